"""Plausibility of labels that are saved: compared with predictions, other labels and a good model."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from pool.imaging.labels import read_label
from pool.label_states import EDITED, UNEDITED, UNEDITED_NOTE, Verdict, copied
from server.desk.models import Model, best_model, prelabels_of
from strategies.refresh.prelabels import BY, TAG

logger = logging.getLogger(__name__)
GOOD_DICE = 0.8  # measured Dice above which a model is taken for an opinion
LOW_DICE = 0.3  # agreement with it below which a label is doubted
_MAX_PIXELS, _MAX_VOXELS = 2**24, 2**22  # of a picture, a volume that is predicted while somebody waits


class Plausibility:
    """Judges labels for the datastore (`pool.label_states.Judge`); a trouble of its own stops no save."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def __call__(self, image: str, digest: str, label: np.ndarray) -> Verdict:
        """Return the verdict on the label of an image."""
        try:
            if self._app.state.predictions.has(image, digest):
                return Verdict(UNEDITED, UNEDITED_NOTE)
            if other := self._same_label(image, digest):
                return copied(other)
            return Verdict(EDITED, self._doubt(image, label))
        except Exception:  # whatever a model raises, the label is what counts
            logger.exception("The label of %s is not compared with others: it counts", image)
            return Verdict(EDITED)

    def _same_label(self, image: str, digest: str) -> str:
        """Return another image with this very label now, which is no copy of the image; "" for none."""
        store, state = self._app.datastore(), self._app.state
        copies = {image, *state.duplicates.sets().get(image, ())}
        same = {i: at for i, at in state.label_checks.with_digest(digest).items() if i not in copies}
        present = store.label_fingerprints(list(same))
        return next((other for other, at in same.items() if present.get(other) == at), "")

    def _doubt(self, image: str, label: np.ndarray) -> str:
        """Return a sentence on a label that hardly overlaps with a good model's prediction, else ""."""
        model = best_model(self._app)
        if model is None or model.dice is None or model.dice <= GOOD_DICE:
            return ""
        predicted = self._prediction(image, label, model)
        if predicted is None or predicted.shape != label.shape:
            return ""
        agreement = _mean_dice(predicted, label)
        if agreement >= LOW_DICE:
            return ""
        return (
            f"this label hardly overlaps with the prediction of model {model.name!r} (Dice {agreement:.2f}; "
            f"the model's own is {model.dice:.2f}): make sure that it belongs to image {image}"
        )

    def _prediction(self, image: str, label: np.ndarray, model: Model) -> np.ndarray | None:
        """Return the worker's pre-label, or predict an image of moderate size, or return the desk's, or None.

        A volume of 256 x 256 x 256 voxels takes half a minute of a processor: neither a client nor the next
        plan waits so long for a doubt.
        """
        store, labels = self._app.datastore(), self._app.bundle.get("labels")
        path, info = store.get_image_uri(image), store.get_label_info(image, TAG)
        if info.get("by") == BY and (info.get("dice") or 0) > GOOD_DICE:
            return read_label(store.get_label_uri(image, TAG), labels, path)
        if label.size <= (_MAX_PIXELS if label.ndim == 2 else _MAX_VOXELS):
            return model.predict(path)
        return prelabels_of(self._app).kept(image, model)


def _mean_dice(predicted: np.ndarray, label: np.ndarray) -> float:
    """Return the mean Dice over the structures that either label shows."""
    values = {*np.unique(predicted).tolist(), *np.unique(label).tolist()} - {0}
    return float(np.mean([_dice(predicted == value, label == value) for value in values]))


def _dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * np.sum(one & other) / (np.sum(one) + np.sum(other)))
