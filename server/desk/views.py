"""The arrangement of an image on the screen: which way its rows and columns go.

Files keep their voxels in many orders. A person sees a picture as browsers show it, turned by its EXIF tag,
and a volume as axial slices from the feet to the head, with the patient's right on the left. Every mask of
the desk has this arrangement; a label is stored in that of its image's file, voxel for voxel.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np

from pool.imaging.errors import StrPath, names_its_file
from pool.imaging.formats import kind_of, open_picture
from pool.imaging.labels import grid_of

_ORIENTATION = 274  # EXIF tag
# EXIF orientation: rows and columns change places, then rows, columns are flipped
_TURNS = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


@dataclass(frozen=True)
class View:
    """The arrangement of one image.

    :param order: the file's axis that each axis on the screen shows: (rows, columns) or
        (slices, rows, columns)
    :param flipped: the axes on the screen that run against the file's
    :param shape: on the screen
    :param affine: (4, 4) from (column, row, slice) on the screen to millimetres, right-anterior-superior
    """

    order: tuple[int, ...]
    flipped: tuple[bool, ...]
    shape: tuple[int, ...]
    affine: np.ndarray

    def shown(self, array: np.ndarray) -> np.ndarray:
        """Arrange an array of the file, (W, H) or (W, H, D), as the screen shows it."""
        return self._flip(array.transpose(self.order))

    def stored(self, array: np.ndarray) -> np.ndarray:
        """Arrange an array of the screen as the file has it: the inverse of `shown`."""
        return self._flip(array).transpose(np.argsort(self.order))

    @property
    def spacing(self) -> tuple[float, float]:
        """Millimetres between two rows, and between two columns."""
        steps = np.linalg.norm(self.affine[:3, :2], axis=0)
        return float(steps[1]), float(steps[0])

    def _flip(self, array: np.ndarray) -> np.ndarray:
        return np.flip(array, [axis for axis, is_flipped in enumerate(self.flipped) if is_flipped])


@names_its_file
def view_of(path: StrPath) -> View:
    """Return the arrangement of an image by its header. Raises ImageError."""
    shape, affine = grid_of(path)
    if len(shape) == 3:
        return _view(shape, affine, *_axial(affine))
    swapped, *flipped = _TURNS.get(_exif_orientation(path), _TURNS[1])
    return _view(shape, affine, (0, 1) if swapped else (1, 0), tuple(flipped))


def _view(
    shape: tuple[int, ...], affine: np.ndarray, order: tuple[int, ...], flipped: tuple[bool, ...]
) -> View:
    out = affine.copy()
    for place, (axis, is_flipped) in enumerate(zip(reversed(order), reversed(flipped), strict=True)):
        step = affine[:3, axis]
        out[:3, place] = -step if is_flipped else step
        out[:3, 3] += step * (shape[axis] - 1) * is_flipped
    return View(order, flipped, tuple(shape[axis] for axis in order), out)


def _axial(affine: np.ndarray) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """Return order and flips that show axial slices upwards, rows to the back, columns to the left."""
    orientation = nibabel.orientations.io_orientation(affine)  # of each axis: right, anterior, superior; sign
    axes = {int(target): (axis, sign) for axis, (target, sign) in enumerate(orientation)}
    wanted = ((2, 1), (1, -1), (0, -1))
    order = tuple(axes[target][0] for target, _ in wanted)
    return order, tuple(bool(axes[target][1] != sign) for target, sign in wanted)


def _exif_orientation(path: StrPath) -> int:
    """Return how the camera was held; readers of TIFF have turned the picture already."""
    if Path(path).is_dir() or kind_of(path) != "picture":
        return 1
    with open_picture(path) as picture:
        if picture.format == "TIFF":
            return 1
        try:
            return int(picture.getexif().get(_ORIENTATION, 1))
        except Exception:  # damage raises many kinds; browsers show such a picture as it is stored
            return 1
