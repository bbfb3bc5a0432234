"""Factory of encoders by their name in an app's configuration; errors say what to change.

Encoders are imported lazily: the weight-free one must not wait for torch or transformers.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from infers.encoders.base import Encoder
from infers.encoders.dense import DenseEncoder, NoDenseFeatures
from infers.encoders.plugins import make_plugin, plugin_names

logger = logging.getLogger(__name__)
CSAL3D = "csal3d"  # pretrained on the pool; judges whole volumes (infers/csal3d/task.py)
NAMES = (
    "descriptor",
    "radimagenet",
    "transformers:<folder>",
    "timm:<folder>",
    "torchxrayvision:<file>",
    CSAL3D,
)
_PATHS = ("transformers", "timm", "torchxrayvision")  # kinds followed by a colon and a path


def make_encoder(name: str, weights: str | None = None) -> Encoder:
    """Create the encoder called `name`, ready to embed.

    Args:
        name: `descriptor`; `radimagenet`; `transformers:<folder>`, a folder that
            `transformers.AutoModel.from_pretrained` loads; `timm:<folder>`; `torchxrayvision:<file>`; or an
            entry point of an installed package.
        weights: for `radimagenet`, the path of the weight file (configuration key `encoder_weights`); passed
            unchanged to an entry point; the others take none.

    Raises:
        FileNotFoundError: a named file or folder does not exist.
        ValueError: an unknown name, missing weights, or weights of another architecture.
    """
    kind, path = _parse(name, weights)
    if kind == "descriptor":
        from infers.encoders.descriptor import Descriptor

        return Descriptor()
    if kind == "radimagenet":
        from infers.encoders.radimagenet import RadImageNet

        return RadImageNet(path)
    if kind == "plugin":
        return make_plugin(name, weights)
    if kind == "timm":
        from infers.encoders.timm_folder import TimmFolder

        return TimmFolder(path)
    if kind == "torchxrayvision":
        from infers.encoders.xrayvision import XRayVision

        return XRayVision(path)
    from infers.encoders.huggingface import Transformers

    return Transformers(path)


def check_encoder(name: str, weights: str | None = None) -> str:
    """Return the key of `make_encoder(name, weights)` without building a model.

    Raises what `make_encoder` would raise about names, files and keys. Cheap enough for a server's start:
    transformers is not imported, and only the keys of RadImageNet weights are compared. CSAL3D is accepted;
    its weights come from a training on the pool. A plugin encoder is created, since only it knows its key;
    timm and torchxrayvision are imported, since importing them may fail.
    """
    if name == CSAL3D and not weights:
        return CSAL3D
    kind, path = _parse(name, weights)
    if kind == "radimagenet":
        from infers.encoders.radimagenet import key_of, read_weights

        return key_of(read_weights(path)[0], path)
    if kind == "transformers":
        from infers.encoders.model_folder import check_folder, key_of_folder

        check_folder(path)
        return key_of_folder(path)
    if kind == "timm":
        from infers.encoders.timm_folder import key_of_timm

        return key_of_timm(path)
    if kind == "torchxrayvision":
        from infers.encoders.xrayvision import key_of_xrayvision

        return key_of_xrayvision(path)
    if kind == "plugin":
        return make_plugin(name, weights).key
    from infers.encoders.descriptor import Descriptor

    return Descriptor.key


def dense_encoder(encoder: Encoder) -> DenseEncoder:
    """Return the encoder if it has dense features, else the descriptor's, with a key that says so."""
    reason = "it computes none"
    if isinstance(encoder, DenseEncoder):
        try:
            encoder.dense([np.full((64, 64), 0.5, np.float32)])
            return encoder
        except NoDenseFeatures as error:
            reason = str(error)
    logger.warning("%s has no dense features (%s): the descriptor's are used", encoder.name, reason)
    from infers.encoders.descriptor_grid import DescriptorGrid

    return DescriptorGrid(instead_of=encoder.key)


def _parse(name: str, weights: str | None) -> tuple[str, Path]:
    """Return the kind of encoder and the path it loads from (unused for `descriptor` and plugins)."""
    kind, colon, folder = name.partition(":")
    if kind == "radimagenet" and not colon:
        if not weights:
            raise ValueError(
                "encoder radimagenet needs encoder_weights, the path of RadImageNet-ResNet50_notop.pth "
                "(Warvito/radimagenet-models) or of the official ResNet50.pt (BMEII-AI/RadImageNet); "
                "run make weights ENCODER=radimagenet, or set encoder to descriptor, which needs none"
            )
        return kind, Path(weights).expanduser()
    is_builtin = name == "descriptor" or (kind in _PATHS and folder)
    if not is_builtin and name in plugin_names():
        return "plugin", Path()
    if not is_builtin:
        names = ", ".join([*NAMES, *plugin_names()])
        raise ValueError(f"encoder {name!r} is unknown: expected one of {names}; change the key encoder")
    if weights:
        raise ValueError(
            f"encoder {name} takes no encoder_weights, but {weights} was given: remove encoder_weights, "
            "or set encoder to radimagenet"
        )
    return kind, Path(folder).expanduser()
