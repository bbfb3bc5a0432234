"""Converting labels that do not use the app's values: 3D Slicer saves its k-th segment as k.

With the file Slicer sends the parameter `label_info`, a list of {"name": ..., "idx": place in its list}.
Segments that are not saved (`background`, scribbles) count in `idx` but not in the voxels (see its
onSaveLabel, and vtkSlicerSegmentationsModuleLogic, ExportSegmentsToLabelmapNode).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nrrd
import numpy as np

from pool.imaging.errors import LabelError, reading_label
from pool.imaging.images import read_array
from pool.imaging.label_writer import write_label
from pool.imaging.names import same_name
from pool.imaging.segments import count_segments


@contextmanager
def own_values(sent: str, info: Mapping[str, Any], labels: Mapping[str, int]) -> Iterator[str]:
    """Yield the path of the label with the app's values: the file itself, or a copy that lasts for the block.

    :param info: parameters sent with the label
    :param labels: {name: value} of the app
    Raises LabelError when a name is not one of the app's, or the names do not tell which value is which.
    """
    segments, name = _segment_names(info), sent.lower()
    if not segments or not name.endswith((".nii", ".nii.gz", ".nrrd")):
        yield sent
        return
    with reading_label(sent):
        voxels, affine = read_array(sent, stored=True)
        header = nrrd.read_header(sent) if name.endswith(".nrrd") else {}
        file_values = np.unique(voxels)
    values = {} if count_segments(header) else _value_mapping(segments, labels, file_values)
    if all(file_value == app_value for file_value, app_value in values.items()):
        yield sent
        return
    out = np.zeros(voxels.shape, np.uint8)
    for file_value, app_value in values.items():
        out[voxels == file_value] = app_value
    with tempfile.TemporaryDirectory() as folder:
        copy = str(Path(folder) / f"label{'.nrrd' if header else '.nii.gz'}")
        with reading_label(sent):
            _write_copy(copy, out, affine, header, sent)
        yield copy


def _write_copy(copy: str, out: np.ndarray, affine: np.ndarray, header: Mapping[str, Any], sent: str) -> None:
    """Write a label's new values with the geometry of its file. Raises LabelError."""
    if out.size != np.prod(out.shape[:3]) if not header else out.ndim != len(header["sizes"]):
        raise LabelError(f"{sent}: has {out.shape[-1]} values per voxel; save one")
    if not header:
        write_label(copy, out.reshape(out.shape[:3]), affine, {}, {}, sent)
    else:
        nrrd.write(copy, out, header={k: v for k, v in header.items() if k not in ("type", "encoding")})


def _segment_names(info: Mapping[str, Any]) -> list[tuple[int, str]]:
    """Return the place and name of each segment, or [] when the client does not list them as Slicer does."""
    listed = info.get("label_info")
    try:
        return [(int(item["idx"]), str(item["name"])) for item in listed or []]
    except (KeyError, TypeError, ValueError):
        return []


def _value_mapping(
    segments: list[tuple[int, str]], labels: Mapping[str, int], file_values: np.ndarray
) -> dict[int, int]:
    """Return {value in the file: value of the app}, or {} when the names do not fit. Raises LabelError."""
    if np.iscomplexobj(file_values) or not np.isfinite(file_values).all() or (file_values % 1).any():
        return {}  # check_label refuses these with a clear message
    file_labels = {int(value) for value in file_values if value}
    readings = [dict(segments)]
    if sorted(segments) == segments:  # in the order in which Slicer lists them
        readings.append({k: name for k, (_, name) in enumerate(segments, start=1)})
    fitting = [
        {value: names[value] for value in file_labels} for names in readings if file_labels <= names.keys()
    ]
    if not fitting:
        return {}
    if fitting[0] != fitting[-1]:
        raise LabelError(
            "label_info does not say which value is which segment; save as .seg.nrrd, or remove the segments "
            "before the app's own"
        )
    app_values = {same_name(name): value for name, value in labels.items()}
    for name in fitting[0].values():
        if same_name(name) not in app_values:
            raise LabelError(f"segment {name!r} is not one of {', '.join(labels)}; rename or remove it")
    return {file_value: app_values[same_name(name)] for file_value, name in fitting[0].items()}
