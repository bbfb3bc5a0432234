"""The instant model of a pool: a head with the reduction of the features that it was fitted on."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from bundle_configs import Bundle
from infers.encoders import dense_encoder, make_encoder
from infers.encoders.dense import DenseEncoder
from infers.encoders.factory import CSAL3D
from infers.instant.features import Features, Reduction, plane_features
from infers.instant.head import Head, HeadError
from infers.instant.judging import segment
from infers.instant.planes import Planes, read_planes


@dataclass(frozen=True)
class InstantModel:
    """A fitted head and the reduction whose features it needs."""

    head: Head
    reduction: Reduction

    def to_bytes(self) -> bytes:
        """Serialise without pickle; any server of the pool can predict with these bytes alone."""
        file = io.BytesIO()
        parts = {"head": self.head.to_bytes(), "reduction": self.reduction.to_bytes()}
        np.savez(file, **{name: np.frombuffer(data, np.uint8) for name, data in parts.items()})
        return file.getvalue()


@lru_cache(maxsize=2)
def read_model(data: bytes) -> InstantModel:
    """Read what `InstantModel.to_bytes` wrote. Raises HeadError for anything else."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            parts = {name: file[name].tobytes() for name in ("head", "reduction")}
        return InstantModel(Head.from_bytes(parts["head"]), Reduction.from_bytes(parts["reduction"]))
    except HeadError:
        raise
    except Exception as error:  # a damaged zip can raise anything
        raise HeadError(f"a stored instant model cannot be read ({error}); it is fitted anew") from error


class FeatureMaker:
    """Computes the dense features of an app's images; the encoder is loaded when it is first needed.

    :param encoder: as the settings name it
    :param weights: path of its weights, for encoders that need one
    """

    def __init__(self, encoder: str, weights: str | None, bundle: Bundle) -> None:
        self._name, self._weights, self._bundle = encoder, weights, bundle

    @cached_property
    def encoder(self) -> DenseEncoder:
        """The encoder; the descriptor's features for one that has none. Raises as `make_encoder`."""
        if self._name == CSAL3D:  # it judges whole volumes
            return dense_encoder(make_encoder("descriptor"))
        return dense_encoder(make_encoder(self._name, self._weights))

    def drop_encoder(self) -> None:
        """Free the encoder's memory; it is loaded again when it is needed."""
        self.__dict__.pop("encoder", None)

    def planes(self, path: str) -> Planes:
        """Read an image of the app. Raises ImageError."""
        if self._bundle.get("dimensions") == 2:
            return read_planes(path, 2)
        modality, channels = self._bundle.get("modality_rule"), self._bundle.get("in_channels")
        return read_planes(path, 3, modality, channels)

    def fits(self, reduction: Reduction) -> bool:
        """Return True if a reduction is of this encoder's features."""
        return reduction.key.startswith(f"{self.encoder.dense_key}|")

    def features(self, planes: Planes, reduction: Reduction) -> Features:
        """Compute features on the fine grid. Raises ValueError as the encoder does."""
        return plane_features(self.encoder, reduction, planes)

    def probabilities(self, planes: Planes, model: InstantModel) -> np.ndarray:
        """Predict (n, g, g, 1 + classes), background first.

        Raises HeadError for features of another encoder.
        """
        if not self.fits(model.reduction):
            raise HeadError(
                "the instant model was fitted with another encoder than the one that this server uses; it is "
                "fitted anew after the next label"
            )
        return segment(model.head, self.features(planes, model.reduction))
