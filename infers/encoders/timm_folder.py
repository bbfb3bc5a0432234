"""Image encoders of timm (github huggingface/pytorch-image-models) from a local folder.

The folder has the format of published timm models and of `timm.models.save_for_hf`: `config.json` and
`model.safetensors` or `pytorch_model.bin`. timm is an optional dependency (`extras.py`). Nothing is
downloaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from infers.encoders.base import StagedEncoder
from infers.encoders.extras import import_extra
from infers.encoders.files import fingerprint
from infers.encoders.model_folder import WEIGHTS, is_whole, read_settings
from infers.runtime import Runtime

_HINT = "put config.json and model.safetensors (or pytorch_model.bin) of one timm model there"


class TimmFolder(StagedEncoder):
    """A timm model without its classifier as an encoder: the pooled features, (B, dim).

    The grey image is repeated to three 8-bit channels and prepared by timm's own transforms for the folder's
    configuration (`timm.data.resolve_model_data_config`: size, crop, interpolation, mean, std).

    Example:
        >>> encoder = TimmFolder(Path("resnet50.a1_in1k"))  # doctest: +SKIP
        >>> encoder.embed([np.zeros((512, 512), np.float32)]).shape  # doctest: +SKIP
        (1, 2048)
    """

    def __init__(self, folder: Path) -> None:
        self.key = key_of_timm(folder)
        self.name = f"timm:{folder}"
        data = import_extra("timm").data
        model = _load(folder)
        settings = data.resolve_model_data_config(model)
        if settings["input_size"][0] != 3:
            raise ValueError(
                f"the model in {folder} takes {settings['input_size'][0]} channels; expected one that takes 3"
            )
        self._transform = data.create_transform(**settings, is_training=False)
        self._run = Runtime(model, f"Encoder {self.name}", for_maps=True)
        shape = self._run(torch.zeros(1, *settings["input_size"])).shape
        if len(shape) != 2:
            raise ValueError(
                f"the model in {folder} gives {tuple(shape)} for an image; expected one vector: set "
                "global_pool in config.json"
            )
        self.dim = int(shape[1])

    def prepare(self, image: np.ndarray) -> torch.Tensor:
        picture = Image.fromarray(np.rint(image * 255).astype(np.uint8))
        return self._transform(picture.convert("RGB"))

    def forward(self, prepared: Sequence[torch.Tensor]) -> np.ndarray:
        return self._run(torch.stack(list(prepared))).cpu().numpy()


def key_of_timm(folder: Path) -> str:
    """Return the encoder's key: the folder's name, and the sha256 of its settings and weights.

    Raises:
        FileNotFoundError: the folder or one of the files is missing.
        ValueError: timm does not import, the settings are not timm's, or the weights are incomplete.
    """
    import_extra("timm")
    weight_files = [folder / name for name in WEIGHTS if (folder / name).is_file()]
    if not (folder / "config.json").is_file() or not weight_files:
        raise FileNotFoundError(f"{folder} is not the folder of a timm model with its weights: {_HINT}")
    if "architecture" not in read_settings(folder, "config.json"):
        raise ValueError(
            f"{folder / 'config.json'} has no key architecture, so it is not a timm model: {_HINT}; a model "
            "of transformers is set as transformers:<folder>"
        )
    if not is_whole(weight_files[0]):
        raise ValueError(f"{weight_files[0]} is damaged or half a download: delete it, then {_HINT}")
    return f"timm:{folder.resolve().name}:{fingerprint([folder / 'config.json', weight_files[0]])}"


def _load(folder: Path) -> torch.nn.Module:
    """Load the folder's model with all its weights, then remove its classifier."""
    try:
        # with classifier: without it, timm would not require all weights
        model = import_extra("timm").create_model(f"local-dir:{folder}", pretrained=True)
    except Exception as error:  # settings of another model can raise anything, even assertions
        raise ValueError(
            f"timm cannot load the model in {folder} ({' '.join(str(error).split())[:500]}); expected "
            "settings and weights that belong together, of a model that this version of timm knows"
        ) from error
    model.reset_classifier(0)
    return model
