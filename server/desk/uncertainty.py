"""Pictures of a model's uncertainty: the entropy of each pixel, over the image or alone."""

from __future__ import annotations

import io
import math

import numpy as np
from matplotlib import colormaps
from PIL import Image, ImageDraw

_SIDE = 1024  # pixels of a picture's longer side, at most
_BAR, _TEXT = 18, 110  # widths of the legend's colours, and of its words
_MARGIN = 12
_HEAT = colormaps["magma"]


def heat_map(nats: np.ndarray, classes: int) -> Image.Image:
    """Draw entropies (rows, columns) as colours that are the more opaque the higher they are.

    :param classes: number of classes, background included: the highest entropy is its logarithm
    """
    share = np.clip(nats / math.log(classes), 0, 1)
    colours = (_HEAT(share) * 255).astype(np.uint8)
    colours[..., 3] = (np.sqrt(share) * 230).astype(np.uint8)
    return _fitted(Image.fromarray(colours, "RGBA"))


def with_legend(grey: np.ndarray, heat: Image.Image, classes: int, title: str) -> Image.Image:
    """Lay a heat map over an image (rows, columns) in [0, 1], with a bar that says what the colours mean."""
    picture = Image.fromarray((grey * 255).astype(np.uint8)).resize(heat.size).convert("RGBA")
    picture.alpha_composite(heat)
    height = max(picture.height, 220)
    sheet = Image.new("RGB", (picture.width + _BAR + _TEXT + 2 * _MARGIN, height + 40), "white")
    sheet.paste(picture.convert("RGB"), (0, 40))
    draw = ImageDraw.Draw(sheet)
    draw.text((8, 12), title, fill="black")
    left, top, bottom = picture.width + _MARGIN, 46, height + 30
    bar = (_HEAT(np.linspace(1, 0, bottom - top)) * 255).astype(np.uint8)[:, None, :3]
    sheet.paste(Image.fromarray(np.repeat(bar, _BAR, axis=1)), (left, top))
    words = left + _BAR + 6
    draw.text((words, top), f"{math.log(classes):.2f} nats:\nall {classes} classes\nalike", fill="black")
    draw.text((words, bottom - 28), "0 nats:\nsure of one", fill="black")
    return sheet


def as_png(picture: Image.Image) -> bytes:
    """Encode a picture."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def _fitted(picture: Image.Image) -> Image.Image:
    scale = min(1.0, _SIDE / max(picture.size))
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.BILINEAR)
