"""Labels whose voxels do not have the app's values: 3D Slicer saves the k-th of its segments as k.

With the file it sends the parameter `label_info`, a list of {"name": ..., "idx": place in its list}. Segments
that are not saved (`background`, scribbles) count in `idx`, but not in the voxels (its onSaveLabel,
and vtkSlicerSegmentationsModuleLogic, ExportSegmentsToLabelmapNode).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel
import nrrd
import numpy as np

from pool.imaging.images import refuse_detached
from pool.imaging.labels import LabelError, same_name


@contextmanager
def own_values(sent: str, info: Mapping[str, Any], labels: Mapping[str, int]) -> Iterator[str]:
    """The path of the label with the app's values: the file itself, or a copy for as long as the block lasts.

    :param info: what was sent with the label
    :param labels: {name: value} of the app
    Raises LabelError when the names are none of the app's, or do not say which value is which.
    """
    named, name = _names(info), sent.lower()
    if not named or not name.endswith((".nii", ".nii.gz", ".nrrd")):
        yield sent
        return
    try:
        voxels, header, image = _voxels(sent)
        present = np.unique(voxels).astype(np.float64)
    except Exception as error:  # each library has several kinds for a damaged file
        raise LabelError(f"{sent}: cannot be read ({error}); save it again") from error
    values = {} if "Segment0_Name" in header else _mapping(named, labels, present)
    if all(old == new for old, new in values.items()):
        yield sent
        return
    out = np.zeros(voxels.shape, np.uint8)
    for old, new in values.items():
        out[voxels == old] = new
    with tempfile.TemporaryDirectory() as folder:
        copy = str(Path(folder) / f"label{'.nrrd' if image is None else '.nii.gz'}")
        if image is None:
            nrrd.write(copy, out, header={k: v for k, v in header.items() if k not in ("type", "encoding")})
        else:
            nibabel.nifti1.save(nibabel.nifti1.Nifti1Image(out, image.affine), copy)
        yield copy


def _voxels(path: str) -> tuple[np.ndarray, Mapping[str, Any], nibabel.nifti1.Nifti1Image | None]:
    if path.lower().endswith(".nrrd"):
        refuse_detached(path)
        return *nrrd.read(path), None
    image = nibabel.nifti1.load(path)
    return np.asarray(image.dataobj), {}, image


def _names(info: Mapping[str, Any]) -> list[tuple[int, str]]:
    """Place and name of each segment; nothing when the client does not say it as Slicer does."""
    listed = info.get("label_info")
    try:
        return [(int(item["idx"]), str(item["name"])) for item in listed or []]
    except (KeyError, TypeError, ValueError):
        return []


def _mapping(named: list[tuple[int, str]], labels: Mapping[str, int], present: np.ndarray) -> dict[int, int]:
    """{value in the file: value of the app}; nothing when the names are of others. Raises LabelError."""
    if not np.isfinite(present).all() or (present % 1).any():
        return {}  # refused by name, when the label is checked
    found = {int(value) for value in present if value}
    readings = [dict(named)]
    if sorted(named) == named:  # as Slicer lists them
        readings.append({k: name for k, (_, name) in enumerate(named, start=1)})
    fitting = [{value: names[value] for value in found} for names in readings if found <= names.keys()]
    if not fitting:
        return {}
    if fitting[0] != fitting[-1]:
        raise LabelError(
            "label_info does not say which value is which segment; save as .seg.nrrd, or remove the segments "
            "before the app's own"
        )
    known = {same_name(name): value for name, value in labels.items()}
    for name in fitting[0].values():
        if same_name(name) not in known:
            raise LabelError(f"segment {name!r} is not one of {', '.join(labels)}; rename or remove it")
    return {old: known[same_name(name)] for old, name in fitting[0].items()}
