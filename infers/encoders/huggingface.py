"""Image encoders that huggingface transformers loads from a local folder.

Examples: ResNet, MobileNetV2, ViT, DINOv2, DINOv3 and RAD-DINO (Perez-Garcia et al., "Exploring scalable
medical image encoders beyond text supervision", Nature Machine Intelligence 2025). Nothing is downloaded.
A folder that lacks weights is refused, because transformers would initialise them at random.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors import SafetensorError
from transformers import AutoModel

from infers.encoders.base import StagedEncoder
from infers.encoders.dense import DenseMaps, Pyramid
from infers.encoders.hidden_states import dense_maps
from infers.encoders.model_folder import check_folder, key_of_folder
from infers.encoders.processor import load_processor
from infers.runtime import Runtime


class Transformers(StagedEncoder):
    """A transformers image model as an encoder.

    The image is repeated to three 8-bit channels, as in training, and prepared by the folder's own
    preprocessor_config.json. `pooling` names the output used as the vector:

    - "pooler_output", flattened, if the model has one and the folder has its weights;
    - else "cls token" of last_hidden_state, if the model has one;
    - else "mean" of last_hidden_state over its tokens or positions.

    Example:
        >>> encoder = Transformers(Path("rad-dino"))  # doctest: +SKIP
        >>> encoder.embed([np.zeros((512, 512), np.float32)]).shape  # doctest: +SKIP
        (1, 768)
    """

    def __init__(self, folder: Path) -> None:
        check_folder(folder)
        self.name = f"transformers:{folder}"
        self.key = key_of_folder(folder)
        self._processor = load_processor(folder)
        model, trained_pooler = _load_model(folder)
        probe = self._probe(folder, model.to(torch.float32).eval())
        self.pooling = _choose_pooling(probe, model, trained_pooler)
        self.dim = int(_pool(probe, self.pooling).shape[1])
        self._run = Runtime(_Pooled(model, self.pooling), f"Encoder {folder.name}", for_maps=True)
        self._model, self._maps = model, cast(DenseMaps | None, None)
        self.dense_key = f"{self.key}|dense:1"

    def dense(self, images: Sequence[np.ndarray]) -> list[Pyramid]:
        """Compute the maps of the model's hidden states; see `DenseEncoder.dense`."""
        if self._maps is None:
            self._maps = dense_maps(self._model, self._processor, self.name)
        return self._maps(images)

    def prepare(self, image: np.ndarray) -> torch.Tensor:
        """Return the network input (3, h, w)."""
        # uint8, because the processors' Pillow would round floats to it after guessing their range
        grey = np.rint(image * 255).astype(np.uint8)
        return self._processor(np.dstack([grey] * 3))[0]  # three times as fast as `repeat`

    def forward(self, prepared: Sequence[torch.Tensor]) -> np.ndarray:
        same = len({image.shape for image in prepared}) == 1
        # processors that keep the aspect ratio return images of different shapes
        batches = [torch.stack(list(prepared))] if same else [image[None] for image in prepared]
        return np.concatenate([self._run(batch).cpu().numpy() for batch in batches])

    @torch.inference_mode()
    def _probe(self, folder: Path, model: torch.nn.Module) -> Any:
        """Return the model's outputs for one grey image; raise ValueError if it is not an image model."""
        try:
            return model(pixel_values=self.prepare(np.full((224, 224), 0.5, dtype=np.float32))[None].float())
        except (TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise ValueError(
                f"the model in {folder} does not turn one image into features ({error}); expected an image "
                "model with three input channels: give the folder of its image part only"
            ) from error


class _Pooled(torch.nn.Module):
    """A transformers model with pooling: pixels to vectors."""

    def __init__(self, model: torch.nn.Module, pooling: str) -> None:
        super().__init__()
        self.model, self.pooling = model, pooling

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return _pool(self.model(pixel_values=pixels), self.pooling)


def _load_model(folder: Path) -> tuple[torch.nn.Module, bool]:
    """Return the model, and True if no weights, such as a pooler's, were missing in the folder."""
    try:
        model, report = AutoModel.from_pretrained(folder, local_files_only=True, output_loading_info=True)
    except (ImportError, ValueError, OSError, KeyError, RuntimeError, SafetensorError) as error:
        raise ValueError(
            f"transformers cannot load the model in {folder} ({error}); expected one that "
            "AutoModel.from_pretrained loads with this version of transformers"
        ) from error
    missing = sorted(report["missing_keys"])
    lacking = [key for key in missing if not key.startswith("pooler.")]
    if lacking or report["mismatched_keys"]:
        keys = ", ".join((lacking or [str(key) for key in report["mismatched_keys"]])[:4])
        raise ValueError(
            f"the weights in {folder} lack parts of the model that config.json describes ({keys}, ...); "
            "they would be random: use a folder whose config.json and weights belong together"
        )
    return model, not missing


def _choose_pooling(outputs: Any, model: torch.nn.Module, trained_pooler: bool) -> str:
    if trained_pooler and getattr(outputs, "pooler_output", None) is not None:
        return "pooler_output"
    names = [name for name, _ in model.named_parameters()]
    return "cls token" if any(n.endswith(("cls_token", "class_embedding")) for n in names) else "mean"


def _pool(outputs: Any, pooling: str) -> torch.Tensor:
    """Pool the model's outputs to (B, dim); see `Transformers`."""
    if pooling == "pooler_output":
        return outputs.pooler_output.flatten(1)
    hidden = outputs.last_hidden_state
    if pooling == "cls token":
        return hidden[:, 0]
    return hidden.mean(dim=1) if hidden.ndim == 3 else hidden.flatten(2).mean(dim=2)
