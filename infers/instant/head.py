"""The instant head: small perceptrons on features, one place of a grid at a time, averaged.

It needs NumPy alone, and serialises to some 50 KB, so that servers which share a pool can share it.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from infers.instant.features import CHANNELS, Features
from infers.instant.presence import Presence

INPUTS = CHANNELS + 3  # with the coordinates: down, right, and from feet to head
FOREGROUND = 0.1  # probability of any structure from which a place may show something
_PLACES = 1 << 16  # predicted at once


class HeadError(ValueError):
    """A head that does not fit the features, or is damaged."""


@dataclass(frozen=True)
class Head:
    """A fitted head.

    :ivar features_key: key of the `Reduction` whose features it was fitted on
    :ivar classes: values of the app's structures
    :ivar shown: number of labelled images that show each structure; one never shown is never predicted
    :ivar labels: number of labelled images
    :ivar members: of each perceptron the matrices and offsets of its two layers, float32
    :ivar presence: calibration of "shows this structure", by value
    :ivar quality: cross-validated Dice on the grid, by value, of structures shown at least twice; None
        if it was not or could not be measured
    :ivar seed: seed of the fit
    """

    features_key: str
    classes: tuple[int, ...]
    shown: Mapping[int, int]
    labels: int
    members: tuple[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray], ...]
    presence: Mapping[int, Presence] = field(default_factory=dict)
    quality: Mapping[int, float | None] = field(default_factory=dict)
    seed: int = 42

    @property
    def dice(self) -> float | None:
        """Mean cross-validated Dice over structures; None if unknown."""
        known = [value for value in self.quality.values() if value is not None]
        return float(np.mean(known)) if known else None

    def presence_of(self, value: int) -> Presence:
        """Return the calibration for a structure; uncalibrated if the fit was not validated."""
        return self.presence.get(value, Presence())

    def predict(self, features: Features) -> np.ndarray:
        """Predict the probabilities (n, g, g, 1 + classes) float32 at each place, background first.

        Raises HeadError for features of another width.
        """
        n, g, _, channels = features.grids.shape
        if channels != CHANNELS:
            raise HeadError(f"features have {channels} channels; the head needs {CHANNELS}")
        out = np.empty((n, g, g, 1 + len(self.classes)), np.float32)
        step = max(_PLACES // (g * g), 1)
        for start in range(0, n, step):
            part = slice(start, start + step)
            rows = inputs(Features(features.grids[part], features.positions[part]))
            shares = np.mean([_member(rows, *member) for member in self.members], axis=0)
            out[part] = shares.reshape(out[part].shape)
        return out

    def to_bytes(self) -> bytes:
        """Serialise without pickle."""
        meta = {
            "features_key": self.features_key,
            "classes": list(self.classes),
            "shown": {str(k): v for k, v in self.shown.items()},
            "labels": self.labels,
            "presence": {str(k): asdict(v) for k, v in self.presence.items()},
            "quality": {str(k): v for k, v in self.quality.items()},
            "seed": self.seed,
        }
        arrays = {f"{m}_{i}": a for m, member in enumerate(self.members) for i, a in enumerate(member)}
        file = io.BytesIO()
        np.savez(file, meta=np.array(json.dumps(meta, sort_keys=True)), **arrays)
        return file.getvalue()

    @staticmethod
    def from_bytes(data: bytes) -> Head:
        """Read what `to_bytes` wrote. Raises HeadError for anything else."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                meta = json.loads(str(file["meta"]))
                members = tuple(
                    (file[f"{m}_0"], file[f"{m}_1"], file[f"{m}_2"], file[f"{m}_3"])
                    for m in range((len(file.files) - 1) // 4)
                )
            return _from_meta(meta, members)
        except Exception as error:  # a damaged zip can raise anything
            raise HeadError(f"a stored head cannot be read ({error}); it is fitted anew") from error


def _from_meta(meta: dict[str, Any], members: tuple[Any, ...]) -> Head:
    return Head(
        meta["features_key"],
        tuple(meta["classes"]),
        {int(k): v for k, v in meta["shown"].items()},
        meta["labels"],
        members,
        {int(k): Presence(**v) for k, v in meta["presence"].items()},
        {int(k): v for k, v in meta["quality"].items()},
        meta["seed"],
    )


def inputs(features: Features) -> np.ndarray:
    """Join features and coordinates in [-1, 1] to rows (n * g * g, INPUTS) float32."""
    n, g, _, channels = features.grids.shape
    rows = np.empty((n, g, g, INPUTS), np.float32)
    rows[..., :channels] = features.grids
    axis = (np.arange(g, dtype=np.float32) + 0.5) / g * 2 - 1
    rows[..., channels], rows[..., channels + 1] = axis[:, None], axis
    rows[..., channels + 2] = (2 * features.positions - 1)[:, None, None] if len(features.positions) else 0
    return rows.reshape(-1, INPUTS)


def _member(rows: np.ndarray, w1: np.ndarray, b1: np.ndarray, w2: np.ndarray, b2: np.ndarray) -> np.ndarray:
    hidden = rows @ w1
    hidden += b1
    logits = np.maximum(hidden, 0, out=hidden) @ w2 + b2
    logits -= logits.max(axis=1, keepdims=True)
    shares = np.exp(logits, out=logits)
    return shares / shares.sum(axis=1, keepdims=True)


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """Return the entropy (n, g, g) in nats of probabilities (n, g, g, 1 + classes)."""
    return np.asarray(-(probabilities * np.log(probabilities + 1e-8)).sum(axis=-1))


def mean_entropies(probabilities: np.ndarray, nats: np.ndarray) -> tuple[float, float]:
    """Return the mean of an entropy over all places, and over those that may show something.

    These are the places with a foreground probability of at least `FOREGROUND`; without any the mean is 0.
    """
    likely = probabilities[..., 0] <= 1 - FOREGROUND
    return float(nats.mean()), float(nats[likely].mean()) if likely.any() else 0.0


def top_scores(probabilities: np.ndarray, classes: Sequence[int]) -> dict[int, np.ndarray]:
    """Return by structure the mean of the highest 1 % of each plane's probabilities, (n,)."""
    n, g = probabilities.shape[:2]
    most = max(g * g // 100, 1)
    flat = probabilities.reshape(n, g * g, -1)
    top = np.partition(flat, g * g - most, axis=1)[:, g * g - most :].mean(axis=1)
    return {value: top[:, i] for i, value in enumerate(classes, start=1)}
