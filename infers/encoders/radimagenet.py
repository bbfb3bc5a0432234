"""RadImageNet's ResNet-50: 2048 features learned from 1.35 million CT, MR and ultrasound images.

Mei et al., "RadImageNet: an open radiologic deep learning research dataset for effective transfer learning",
Radiology: Artificial Intelligence 4(5), 2022. Two different encoders are published under this name:

- the official `ResNet50.pt` (github BMEII-AI/RadImageNet), trained in PyTorch;
- `RadImageNet-ResNet50_notop.pth` (github Warvito/radimagenet-models), ported from the Keras weights.

They differ in architecture, weights and preprocessing; a file's keys tell which one it is.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch

from infers.encoders.base import StagedEncoder
from infers.encoders.dense import SIDE as DENSE_SIDE
from infers.encoders.dense import DenseMaps, Pyramid
from infers.encoders.files import fingerprint
from infers.encoders.images import resize
from infers.encoders.resnet import DIM, KERAS, TORCHVISION, ResNet50, Stages, Variant
from infers.runtime import Runtime

SIDE = 224
ACCEPTED = (
    "RadImageNet-ResNet50_notop.pth (Warvito/radimagenet-models: keys conv1.weight, conv1.bias, bn1.weight, "
    "layer1.0.conv1.weight, ..., every convolution with a bias) or the official ResNet50.pt "
    "(BMEII-AI/RadImageNet: keys backbone.0.weight, backbone.1.weight, backbone.4.0.conv1.weight, ..., "
    "no convolution bias)"
)
_STEPS = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}


@dataclass(frozen=True)
class Layout:
    """One published file: its name in encoder keys, its architecture, and its input.

    Both expect BGR, which for a repeated grey channel only fixes the order of `shift`.
    The network's input is `scale * x - shift` for x in [0, 1].
    """

    name: str
    variant: Variant
    scale: float
    shift: tuple[float, float, float]


WARVITO = Layout("radimagenet-warvito", KERAS, 1.0, (0.406, 0.456, 0.485))
# (255 x - 127.5) * 2 / 255 = 2 x - 1
OFFICIAL = Layout("radimagenet-official", TORCHVISION, 2.0, (1.0, 1.0, 1.0))


class RadImageNet(StagedEncoder):
    """RadImageNet's ResNet-50 as an encoder, 2048 features averaged over a 7x7 map at 224x224.

    Example:
        >>> encoder = RadImageNet(Path("ResNet50.pt"))  # doctest: +SKIP
        >>> encoder.embed([np.zeros((512, 512), np.float32)]).shape  # doctest: +SKIP
        (1, 2048)
    """

    name = "radimagenet"
    dim = DIM

    def __init__(self, weights: Path) -> None:
        self.layout, state = read_weights(weights)
        self.key = key_of(self.layout, weights)
        self._shift = torch.tensor(self.layout.shift).view(3, 1, 1)
        with torch.device("meta"):
            model = ResNet50(self.layout.variant)
        model.to_empty(device="cpu").load_state_dict(state, strict=True)
        self._run = Runtime(model, f"Encoder {self.name}", for_maps=True)
        self.dense_key = f"{self.key}|dense:1"
        self._model, self._maps = model, cast(DenseMaps | None, None)

    def prepare(self, image: np.ndarray) -> torch.Tensor:
        return self._input(resize(image, SIDE))

    def _input(self, image: np.ndarray) -> torch.Tensor:
        """Return the network's input (3, H, W) for an image of the right size."""
        return self.layout.scale * torch.tensor(image).expand(3, -1, -1) - self._shift

    def dense(self, images: Sequence[np.ndarray]) -> list[Pyramid]:
        """Compute the outputs of the four stages; see `DenseEncoder.dense`."""
        if self._maps is None:
            self._maps = DenseMaps(Stages(self._model), self._input, DENSE_SIDE, self.name)
        return self._maps(images)

    def forward(self, prepared: Sequence[torch.Tensor]) -> np.ndarray:
        return self._run(torch.stack(list(prepared))).cpu().numpy()


def key_of(layout: Layout, weights: Path) -> str:
    """Return the encoder's key: which of the two files, and its sha256."""
    return f"{layout.name}:{fingerprint([weights])}"


def read_weights(path: Path) -> tuple[Layout, dict[str, torch.Tensor]]:
    """Load a published RadImageNet file and detect which one it is.

    Returns:
        The layout, and a complete state dict for `ResNet50(layout.variant)`.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is neither of the two; the text shows some of its keys.
    """
    loaded = _load(path)
    layout = OFFICIAL if any(key.startswith("backbone.") for key in loaded) else WARVITO
    state = {_torchvision_key(key): value for key, value in loaded.items()} if layout is OFFICIAL else loaded
    with torch.device("meta"):
        expected = ResNet50(layout.variant).state_dict()
    for key, value in expected.items():
        if key.endswith("num_batches_tracked"):  # unused in inference, and missing in old files
            state[key] = torch.zeros(value.shape, dtype=value.dtype)
    wrong = [key for key in expected if key in state and state[key].shape != expected[key].shape]
    missing, extra = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    if wrong or missing or extra:
        raise ValueError(_mismatch(path, loaded, layout, missing, extra, wrong))
    return layout, state


def _load(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise FileNotFoundError(
            f"encoder weights {path} are not a file; set encoder_weights to the path of {ACCEPTED}"
        )
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise ValueError(
            f"{path} cannot be read as PyTorch weights ({type(error).__name__}): it is damaged, half a "
            f"download, or something else; download it again. Expected {ACCEPTED}"
        ) from error
    if not isinstance(loaded, dict) or not all(isinstance(value, torch.Tensor) for value in loaded.values()):
        held = (
            f"a dict with {_abbreviated(list(loaded))}" if isinstance(loaded, dict) else type(loaded).__name__
        )
        raise ValueError(f"{path} holds {held}, not a plain state dict of tensors; expected {ACCEPTED}")
    return dict(loaded)


def _torchvision_key(key: str) -> str:
    prefix, _, rest = key.partition(".")
    step, _, tail = rest.partition(".")
    return f"{_STEPS[step]}.{tail}" if prefix == "backbone" and step in _STEPS else key


def _mismatch(
    path: Path,
    loaded: dict[str, torch.Tensor],
    layout: Layout,
    missing: list[str],
    extra: list[str],
    wrong: list[str],
) -> str:
    parts = [f"{path} is not a RadImageNet ResNet-50 without classifier: expected {ACCEPTED}"]
    parts.append(f"found {len(loaded)} keys: {_abbreviated(list(loaded))}")
    for problem, keys in (("missing", missing), ("not expected", extra), ("of another shape", wrong)):
        if keys:
            parts.append(f"{problem} for {layout.name}: {_abbreviated(keys)}")
    return "; ".join(parts) + ". Nothing was loaded; set encoder_weights to one of the two files"


def _abbreviated(keys: Sequence[object], limit: int = 4) -> str:
    shown = ", ".join(str(key) for key in keys[:limit])
    return f"{shown}, ... ({len(keys)} in all)" if len(keys) > limit else shown or "none"
