"""How good the newest model is on the held-out images, which it was never trained on."""

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
    """Held-out images with a label that the newest model was not measured on yet, sorted."""
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
    """Predict one image, compare it with its label, and keep the scores; nothing when a newer model came.

    Kept beside is the Dice between this prediction and that of the model before, as `agreement`: successive
    models that say the same have little left to learn (Bloodgood and Vijay-Shanker, CoNLL 2009).

    Raises PoolError for an image that cannot be read, LabelError for a label that cannot.
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
    before = folder / f"{models[1].fingerprint}{_EXTENSION}" if len(models) > 1 else None
    if before and before.exists():
        scores["agreement"] = score_files(predicted, before, path, labels)["dice"]
    context.state.validations.add(models[0].fingerprint, image, scores)
    for old in folder.glob(f"*{_EXTENSION}"):
        if old not in (predicted, before):  # the one before is wanted again when the label changes
            old.unlink()
