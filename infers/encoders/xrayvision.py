"""Chest X-ray models of torchxrayvision: Cohen et al., "TorchXRayVision", MIDL 2022, arXiv 2111.00595.

DenseNet-121 at 224 pixels, 1024 features, and ResNet-50 at 512 pixels, 2048 features, trained on one or
several public chest X-ray sets. torchxrayvision is an extra of this project (`extras.py`); its published
files are loaded by itself, from the path that one gives. Nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import torch

from infers.encoders.base import embed_in_batches
from infers.encoders.extras import import_extra
from infers.encoders.files import fingerprint

BATCH = 16


class XRayVision:
    """A model of torchxrayvision as an encoder.

    The grey image is scaled to [-1024, 1024] and the middle square resized, both by torchxrayvision's own
    functions. A DenseNet's features are the last map after its ReLU, averaged (its `features2`), a ResNet's
    those before its classifier (its `features`).

    Example:
        >>> file = Path("nih-densenet121-d121-tw-lr001-rot45-tr15-sc15-seed0-best.pt")
        >>> XRayVision(file).embed([np.zeros((512, 512), np.float32)]).shape  # doctest: +SKIP
        (1, 1024)
    """

    def __init__(self, file: Path) -> None:
        self.key = key_of_xrayvision(file)
        self.name = f"torchxrayvision:{file}"
        self._library = import_extra("torchxrayvision")
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model = _load(self._library, file)
        self._features = getattr(model, "features2", model.features)
        self._model = model.to(self._device, torch.float32).eval()
        self._side = int(model.input_resolution)
        with torch.inference_mode():
            blank = torch.zeros(1, 1, self._side, self._side, device=self._device)
            self.dim = int(self._features(blank).shape[1])

    def embed(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """(B, dim) float32 from grey images (H, W) in [0, 1]; see `Encoder.embed`."""
        return embed_in_batches(self._forward, images, self.dim, BATCH)

    @torch.inference_mode()
    def _forward(self, images: list[np.ndarray]) -> np.ndarray:
        batch = torch.from_numpy(np.stack([self._prepare(image) for image in images]))
        # TF32 would make a GPU's features differ from a CPU's in the third digit
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False, deterministic=True):
            return self._features(batch.to(self._device)).cpu().numpy()

    def _prepare(self, image: np.ndarray) -> np.ndarray:
        """(1, side, side) float32 in [-1024, 1024] from one image (H, W) in [0, 1]."""
        data = self._library.datasets
        square = data.XRayCenterCrop()(data.normalize(image, 1)[None])
        return data.XRayResizer(self._side)(square)


def key_of_xrayvision(file: Path) -> str:
    """The encoder's key: the model's name and the sha256 of its file; raises what `_model_name` raises."""
    name = _model_name(import_extra("torchxrayvision"), file)
    return f"torchxrayvision:{name}:{fingerprint([file])}"


def _model_name(library: Any, file: Path) -> str:
    """torchxrayvision's name of the model that is published under the file's name.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: torchxrayvision does not import, or publishes no classifier under that name.
    """
    urls = {name: entry["weights_url"] for name, entry in library.models.model_urls.items() if "-res" in name}
    files = {name: Path(urlsplit(url).path).name for name, url in urls.items()}
    listed = "; ".join(f"{files[name]} ({name}: {urls[name]})" for name in sorted(files))
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist: download one of torchxrayvision's files, {listed}")
    for name, published in files.items():
        if published == file.name:
            return name
    raise ValueError(
        f"torchxrayvision publishes no model as {file.name}, so it is not known which one it holds: keep the "
        f"name of the published file, one of {listed}"
    )


def _load(library: Any, file: Path) -> Any:
    """The model, with all weights of the file; torchxrayvision loads strictly, and what is there only."""
    try:
        return library.models.get_model(_model_name(library, file), cache_dir=str(file.parent))
    except Exception as error:  # a pickle of another thing can raise anything
        raise ValueError(
            f"torchxrayvision cannot load {file} ({' '.join(str(error).split())[:500]}): it is damaged, "
            "half a download or another model; download it again"
        ) from error
