"""Predictions as files: the parameters of a request, the format, and what the answer says of it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from monailabel.interfaces.datastore import DefaultLabelTag

from bundle_configs import Bundle
from bundle_configs.parameters import Parameter, device_parameters
from pool.imaging.digests import label_digest
from pool.imaging.formats import kind_of
from pool.imaging.geometry import PICTURE_AFFINE
from pool.imaging.label_writer import write_label
from pool.imaging.names import LABEL_EXTENSIONS as EXTENSIONS
from pool.imaging.names import LabelError

DIGEST = "label_digest"  # key among the results of a prediction; the server keeps it to itself


def prediction_parameters() -> dict[str, Parameter]:
    """Return the parameters of a request. `final` labels come from people, never from a model."""
    formats = [*EXTENSIONS, ".seg.nrrd"]
    formats += [ext.removeprefix(".") for ext in formats]
    return {
        "device": device_parameters()["device"],
        "result_extension": Parameter(str, choices=tuple(formats)),
        "result_dtype": Parameter(str, choices=("uint8", "uint16", "int16", "int32", "float32")),
        "result_compress": Parameter(bool),
        "restore_label_idx": Parameter(bool),
        "logging": Parameter(str, choices=("DEBUG", "INFO", "WARNING", "ERROR")),
        "save_label": Parameter(bool),
        "label_tag": Parameter(str, pattern=rf"(?!{DefaultLabelTag.FINAL.value}$)[A-Za-z0-9_-]{{1,64}}"),
    }


def write_prediction(
    label: np.ndarray, affine: np.ndarray, image: str, bundle: Bundle, extension: str | None = None
) -> tuple[str, dict[str, Any]]:
    """Write a label (W, H[, D]) into a temporary file; return its path and what the answer says of it.

    :param extension: of the format; by default that of `default_extension`

    Raises LabelError when the format cannot hold it.
    """
    ext = extension or default_extension(image, label.ndim, affine)
    ext = ext if ext.startswith(".") else f".{ext}"
    with tempfile.NamedTemporaryFile(suffix=ext, delete=False) as file:
        target = file.name
    try:
        write_label(target, label, affine, bundle.get("labels"), bundle.get("colors"), image)
    except Exception as error:  # libraries raise their own errors for unsupported geometries
        Path(target).unlink(missing_ok=True)
        raise LabelError(
            f"the prediction for {Path(image).name} cannot be written as {ext} ({error})"
        ) from error
    present = set(np.unique(label).tolist())
    names = {name: value for name, value in bundle.get("labels").items() if value in present}
    # Slicer assigns the k-th of these names to the k-th value in the file
    return target, {"label_names": names, DIGEST: label_digest(label)}


def default_extension(path: str, dimensions: int, affine: np.ndarray) -> str:
    """Return the extension of a label: its image's, else PNG for pictures without a spacing, else NIfTI."""
    is_plain = dimensions == 2 and kind_of(path) == "picture" and np.array_equal(affine, PICTURE_AFFINE)
    own = next((e for e in EXTENSIONS if path.lower().endswith(e)), ".png")
    return own if own != ".png" or is_plain else ".nii.gz"
