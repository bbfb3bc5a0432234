"""Labels as DICOM segmentations (SEG), written and read pixel by pixel on the grid of their images.

A label belongs to one image, or to the slices of a CT or MR volume. A radiograph (CR, DX) has no position in
the body, so a SEG of it has none either: each frame says which image it belongs to and that pixels correspond
(DICOM PS3.3, C.7.6.16.2.6, Spatial Locations Preserved). Of a volume it says so too, beside its position. The
files are made with highdicom; no dcmqi is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO

import numpy as np
from highdicom.color import CIELabColor
from highdicom.seg import Segmentation, SegmentDescription
from pydicom import Dataset, dcmread
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid
from skimage.color import rgb2lab

from pool.dicomweb.slices import Slices
from pool.imaging.names import LabelError, same_name
from pool.imaging.segments import overlap_note

_STRUCTURE = Code("123037004", "SCT", "Anatomical Structure")
_ANY = Code("91723000", "SCT", "Anatomical structure")  # for a label whose bundle names no code
# attributes that a file must have but may leave empty (type 2), and that old devices leave out
_MAY_BE_EMPTY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
)


def write_seg(
    label: np.ndarray,
    images: Sequence[Dataset],
    labels: Mapping[str, int],
    colors: Mapping[str, Sequence[int]] | None = None,
    codes: Mapping[str, Sequence[str]] | None = None,
) -> Dataset:
    """A label (W, H) or (W, H, D) as a DICOM SEG in a new series of the images' study, ready to be stored.

    All of `labels` become segments, numbered from 1 in their order, so that an absent structure is known to
    be absent.

    :param images: the headers of the images that were labelled: one, or one per slice in the label's order
    :param colors: {name: red, green, blue}, 0 to 255
    :param codes: {name: value, scheme, meaning} of the structure, such as 3341006, SCT, Right lung
    Raises LabelError when the images are not slices of the label's size, or their headers are unusable.
    """
    volume = label if label.ndim == 3 else label[..., None]
    size = {(int(image.get("Columns", 0)), int(image.get("Rows", 0))) for image in images}
    frames_each = {int(image.get("NumberOfFrames", 1) or 1) for image in images}
    if size != {volume.shape[:2]} or frames_each != {1} or len(images) != volume.shape[2]:
        raise LabelError(
            f"the label is {label.shape}, its DICOM series {len(images)} of {sorted(size)}; "
            "files with one frame each and of one size were expected"
        )
    masks = [np.equal(volume.T, value) for value in labels.values()]
    frames = np.stack(masks, axis=-1).astype(np.uint8)  # (D, H, W, segments)
    try:
        made = _segmentation(frames, images, labels, colors or {}, codes or {})
    except (AttributeError, TypeError, ValueError) as error:  # highdicom's, for a header that lacks things
        raise LabelError(f"the header of the DICOM image does not allow a segmentation: {error}") from error
    made.SpecificCharacterSet = "ISO_IR 192"  # UTF-8: names of patients and structures in any alphabet
    buffer = BytesIO()
    made.save_as(buffer, write_like_original=False)
    buffer.seek(0)
    return dcmread(buffer)


def _segmentation(
    frames: np.ndarray,
    images: Sequence[Dataset],
    labels: Mapping[str, int],
    colors: Mapping[str, Sequence[int]],
    codes: Mapping[str, Sequence[str]],
) -> Segmentation:
    return Segmentation(
        source_images=[_header(image) for image in images],
        pixel_array=frames,
        segmentation_type="BINARY",
        segment_descriptions=[
            _segment(i, name, colors.get(name), codes.get(name)) for i, name in enumerate(labels, start=1)
        ],
        series_instance_uid=generate_uid(),
        series_number=300,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="MONAI Label",
        manufacturer_model_name="monailabel-scan-selection",
        software_versions="0.1.0",
        device_serial_number="0",
        content_label="SEGMENTATION",
        content_description=", ".join(labels)[:64],
        series_description="Segmentation: " + ", ".join(labels)[:50],
        omit_empty_frames=bool(frames.any()),
    )


def _header(image: Dataset) -> Dataset:
    """The image's header as highdicom needs it."""
    header = Dataset()
    header.update({element.tag: element for element in image if element.tag.group < 0x7FE0})
    for name in _MAY_BE_EMPTY:
        if name not in header:
            setattr(header, name, "")
    if "ImagePositionPatient" not in header and "FrameOfReferenceUID" in header:
        del header.FrameOfReferenceUID  # a frame without a position in it says nothing
    return header


def _segment(
    number: int, name: str, color: Sequence[int] | None, code: Sequence[str] | None
) -> SegmentDescription:
    described = SegmentDescription(
        segment_number=number,
        segment_label=name,
        segmented_property_category=_STRUCTURE,
        segmented_property_type=Code(*map(str, code)) if code else _ANY,
        algorithm_type="MANUAL",
    )
    if color:
        lab = rgb2lab(np.asarray(color, dtype=float)[None, None] / 255)[0, 0]
        described.RecommendedDisplayCIELabValue = list(CIELabColor(*map(float, lab)).value)
    return described


def names_of(seg: Dataset) -> list[str]:
    """Names of a SEG's segments."""
    return [str(item.get("SegmentLabel", "")) for item in seg.get("SegmentSequence", [])]


def read_seg(
    seg: Dataset,
    labels: Mapping[str, int],
    shape: Sequence[int],
    images: Sequence[Dataset] = (),
    notes: list[str] | None = None,
) -> np.ndarray:
    """A SEG as a label uint8 of `shape`, (W, H) or (W, H, D), with the values of `labels`.

    Segments are known by their names, whatever their numbers; those that the app does not know are left out,
    and where two overlap, the later in the file wins.

    :param images: the headers of a volume's slices, in its order
    :param notes: gets a sentence on segments that are left out, and on those that overlap
    Raises LabelError when it is on another grid or has none of the app's segments.
    """
    if (seg.Columns, seg.Rows) != tuple(shape[:2]):
        raise LabelError(
            f"the segmentation is {seg.Columns} x {seg.Rows} pixels, its image {shape[0]} x {shape[1]}; "
            "draw it on the image's own grid"
        )
    values = {same_name(name): value for name, value in labels.items()}
    number = {
        int(item.SegmentNumber): values[same_name(str(item.SegmentLabel))]
        for item in seg.SegmentSequence
        if same_name(str(item.get("SegmentLabel", ""))) in values
    }
    if not number:
        raise LabelError(f"the segmentation has {names_of(seg)}, but this app knows {', '.join(labels)}")
    frames = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
    out, overlap = np.zeros(shape, np.uint8), np.zeros(shape, bool)
    slices = Slices(seg, images) if len(shape) == 3 else None
    for frame, groups in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        segment = int(_segment_number(seg, groups))
        if segment in number:
            where = (..., slices.of(groups) if slices else slice(None))
            mask = np.greater_equal(frame.T, _half(seg))
            overlap[where] |= mask & (out[where] != 0) & (out[where] != number[segment])
            out[where][mask] = number[segment]
    if notes is not None:
        notes += _seg_notes(seg, number, int(overlap.sum()))
    return out


def _seg_notes(seg: Dataset, known: Mapping[int, int], overlap: int) -> list[str]:
    dropped = [str(item.SegmentLabel) for item in seg.SegmentSequence if int(item.SegmentNumber) not in known]
    notes = [f"the segments {', '.join(dropped)} are left out: the app does not have them"] if dropped else []
    return notes + ([overlap_note(overlap)] if overlap else [])


def _segment_number(seg: Dataset, groups: Dataset) -> int:
    """Which segment a frame shows; it stands with the frame, or once for all frames."""
    where = groups if "SegmentIdentificationSequence" in groups else seg.SharedFunctionalGroupsSequence[0]
    return int(where.SegmentIdentificationSequence[0].ReferencedSegmentNumber)


def _half(seg: Dataset) -> float:
    """Pixels from here on belong to a segment: 1 in a binary, half the range in a fractional SEG."""
    return int(seg.get("MaximumFractionalValue", 255)) / 2 if seg.SegmentationType == "FRACTIONAL" else 1
