"""Validation of the newest model on the held-out images, which it was never trained on."""

from __future__ import annotations

import shutil

import torch
from monailabel.interfaces.datastore import DefaultLabelTag

from infers.metrics import score_files
from infers.model_file import bundle_of
from infers.segmentation.task import SegmentationInfer, model_fingerprint
from pool.protocol import PoolStore
from strategies.context import Context
from strategies.snapshot import PoolSnapshot

_EXTENSION = ".nii.gz"


def to_validate(context: Context, pool: PoolSnapshot) -> list[str]:
    """Return the labelled held-out images on which the newest model is not yet validated, sorted."""
    models = context.state.models.all()
    if not models or not pool.held_out:
        return []
    trained, done = set(models[0].labelled), context.state.validations.of(models[0].fingerprint)
    return [
        image
        for image in sorted(pool.held_out)
        if pool.store.is_labelled(image) and image not in trained and image not in done
    ]


def validate(context: Context, infer: SegmentationInfer, store: PoolStore, image: str) -> None:
    """Predict one image and store its scores against its label; store nothing if a newer model came.

    Also stores, as `agreement`, the Dice between this prediction and the previous model's: successive models
    that agree have little left to learn (Bloodgood and Vijay-Shanker, CoNLL 2009).

    Raises PoolError for an unreadable image, LabelError for an unreadable label.
    """
    path, models = store.get_image_uri(image), context.state.models.all()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    folder = context.state.folder / "validation" / image
    folder.mkdir(parents=True, exist_ok=True)
    predicted = folder / f"{models[0].fingerprint}{_EXTENSION}"
    file, _ = infer({"image": path, "device": device, "result_extension": _EXTENSION})
    shutil.move(file, predicted)
    if model_fingerprint(context.model_file) != models[0].fingerprint:
        return
    labels = bundle_of(models[0].details).get("labels")
    reference = store.get_label_uri(image, DefaultLabelTag.FINAL.value)
    scores = score_files(predicted, reference, path, labels)
    previous = folder / f"{models[1].fingerprint}{_EXTENSION}" if len(models) > 1 else None
    if previous and previous.exists():
        scores["agreement"] = score_files(predicted, previous, path, labels)["dice"]
    context.state.validations.add(models[0].fingerprint, image, scores)
    for other in folder.glob(f"*{_EXTENSION}"):
        if other not in (predicted, previous):  # the previous one is needed again if the label changes
            other.unlink()
