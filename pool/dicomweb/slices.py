"""Match the frames of a segmentation (SEG) to the slices of a volume."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydicom import Dataset

from pool.imaging.labels import LabelError

_CLOSE = 1e-2  # millimetres, and components of a direction


class Slices:
    """The slices of a volume, by their UIDs and positions.

    :param images: their headers, in the volume's order
    Raises LabelError when the SEG's rows and columns run in other directions.
    """

    def __init__(self, seg: Dataset, images: Sequence[Dataset]) -> None:
        self._number = {str(image.SOPInstanceUID): z for z, image in enumerate(images)}
        try:
            self._positions = np.array([image.ImagePositionPatient for image in images], dtype=float)
            own = np.array(images[0].ImageOrientationPatient, dtype=float)
        except (AttributeError, IndexError) as error:
            raise LabelError("the slices of the DICOM series have no position in the body") from error
        shared = seg.SharedFunctionalGroupsSequence[0]
        for groups in (shared, *seg.PerFrameFunctionalGroupsSequence):
            for plane in groups.get("PlaneOrientationSequence", []):
                if np.abs(np.array(plane.ImageOrientationPatient, dtype=float) - own).max() > _CLOSE:
                    raise LabelError(
                        "the segmentation lies in other planes than the slices of its series; "
                        "draw it on the series itself"
                    )

    def of(self, groups: Dataset) -> int:
        """Return the slice that a frame belongs to: the image it names, else the one at its position.

        Raises LabelError when there is none.
        """
        for derivation in groups.get("DerivationImageSequence", []):
            for source in derivation.get("SourceImageSequence", []):
                if str(source.ReferencedSOPInstanceUID) in self._number:
                    return self._number[str(source.ReferencedSOPInstanceUID)]
        for plane in groups.get("PlanePositionSequence", []):
            away = np.abs(self._positions - np.array(plane.ImagePositionPatient, dtype=float)).max(axis=1)
            if away.min() <= _CLOSE:
                return int(away.argmin())
        raise LabelError("a frame of the segmentation lies on none of the series' slices")
