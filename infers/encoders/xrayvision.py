"""Chest X-ray models of torchxrayvision: Cohen et al., "TorchXRayVision", MIDL 2022, arXiv 2111.00595.

DenseNet-121 at 224 pixels, 1024 features, and ResNet-50 at 512 pixels, 2048 features, trained on one or
several public chest X-ray sets. torchxrayvision is an optional dependency (`extras.py`); it loads its
published files itself, from a given path. Nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import torch

from infers.encoders.base import StagedEncoder
from infers.encoders.extras import import_extra
from infers.encoders.files import fingerprint
from infers.runtime import Runtime


class XRayVision(StagedEncoder):
    """A model of torchxrayvision as an encoder.

    The grey image is scaled to [-1024, 1024] and its central square resized, both by torchxrayvision's own
    functions. A DenseNet's features are its last map after ReLU, averaged (`features2`), a ResNet's those
    before its classifier (`features`).

    Example:
        >>> file = Path("nih-densenet121-d121-tw-lr001-rot45-tr15-sc15-seed0-best.pt")
        >>> XRayVision(file).embed([np.zeros((512, 512), np.float32)]).shape  # doctest: +SKIP
        (1, 1024)
    """

    def __init__(self, file: Path) -> None:
        self.key = key_of_xrayvision(file)
        self.name = f"torchxrayvision:{file}"
        self._library = import_extra("torchxrayvision")
        model = _load(self._library, file)
        self._run = Runtime(_Features(model), f"Encoder {self.name}", for_maps=True)
        self._side = int(model.input_resolution)
        self.dim = int(self._run(torch.zeros(1, 1, self._side, self._side)).shape[1])

    def prepare(self, image: np.ndarray) -> torch.Tensor:
        data = self._library.datasets
        square = data.XRayCenterCrop()(data.normalize(image, 1)[None])
        return torch.from_numpy(data.XRayResizer(self._side)(square))

    def forward(self, prepared: Sequence[torch.Tensor]) -> np.ndarray:
        return self._run(torch.stack(list(prepared))).cpu().numpy()


class _Features(torch.nn.Module):
    """A model of torchxrayvision without its classifier."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self._name = "features2" if hasattr(model, "features2") else "features"

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return getattr(self.model, self._name)(pixels)


def key_of_xrayvision(file: Path) -> str:
    """Return the encoder's key: the model's name and its file's sha256; raises as `_model_name`."""
    name = _model_name(import_extra("torchxrayvision"), file)
    return f"torchxrayvision:{name}:{fingerprint([file])}"


def _model_name(library: Any, file: Path) -> str:
    """Return torchxrayvision's name of the model published under the file's name.

    Raises:
        FileNotFoundError: the file does not exist.
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
        f"torchxrayvision publishes no model as {file.name}, so its model is unknown: keep the "
        f"name of the published file, one of {listed}"
    )


def _load(library: Any, file: Path) -> Any:
    """Load the model from the file; torchxrayvision loads strictly and does not download existing files."""
    try:
        return library.models.get_model(_model_name(library, file), cache_dir=str(file.parent))
    except Exception as error:  # a pickle of something else can raise anything
        raise ValueError(
            f"torchxrayvision cannot load {file} ({' '.join(str(error).split())[:500]}): it is damaged, "
            "half a download or another model; download it again"
        ) from error
