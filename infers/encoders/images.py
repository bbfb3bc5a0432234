"""Resizing of grey float images for the encoders."""

from __future__ import annotations

import numpy as np
from PIL import Image


def resize(image: np.ndarray, side: int) -> np.ndarray:
    """Resize `image` (H, W) to (side, side) float32, bilinear and anti-aliased, in float precision.

    The aspect ratio is not kept, so nothing is cropped. Pillow anti-aliases by widening the bilinear filter
    when it shrinks an image.
    """
    picture = Image.fromarray(np.ascontiguousarray(image, dtype=np.float32))
    return np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR), dtype=np.float32)
