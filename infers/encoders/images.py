"""Resizing of grey float images, shared by the encoders."""

from __future__ import annotations

import numpy as np
from PIL import Image


def resize(image: np.ndarray, side: int) -> np.ndarray:
    """`image` (H, W) resized to (side, side) float32, bilinear and anti-aliased, in float precision.

    The aspect ratio is not kept, so nothing at the border is cut off. Pillow widens the bilinear filter when
    it shrinks an image, which is the anti-aliasing.
    """
    picture = Image.fromarray(np.ascontiguousarray(image, dtype=np.float32))
    return np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR), dtype=np.float32)
