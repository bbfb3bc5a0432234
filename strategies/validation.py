"""How good the newest model is on the held-out images, which it was never trained on."""

from __future__ import annotations

from pathlib import Path

import torch
from monailabel.interfaces.datastore import DefaultLabelTag

from infers.metrics import score_files
from infers.segmentation import SegmentationInfer, bundle_of, model_fingerprint
from pool.store import PoolStore
from strategies.context import Context, Pool


def to_validate(context: Context, pool: Pool) -> list[str]:
    """Held-out images with a label that the newest model was not measured on yet, sorted."""
    models = context.state.models()
    if not models or not pool.held_out:
        return []
    trained, done = set(models[0].labelled), context.state.validations(models[0].fingerprint)
    return [
        image
        for image in sorted(pool.held_out)
        if pool.store.is_labelled(image) and image not in trained and image not in done
    ]


def validate(context: Context, infer: SegmentationInfer, store: PoolStore, image: str) -> None:
    """Predict one image, compare it with its label, and keep the scores; nothing when a newer model came.

    Raises HTTPException for an image that cannot be read, LabelError for a label that cannot.
    """
    path, newest = store.get_image_uri(image), context.state.models()[0]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    file, _ = infer({"image": path, "device": device, "result_extension": ".nii.gz"})
    try:
        labels = bundle_of(newest.details).get("labels")
        reference = store.get_label_uri(image, DefaultLabelTag.FINAL.value)
        scores = score_files(file, reference, path, labels)
    finally:
        Path(file).unlink(missing_ok=True)
    if model_fingerprint(context.model_file) == newest.fingerprint:
        context.state.add_validation(newest.fingerprint, image, scores)
