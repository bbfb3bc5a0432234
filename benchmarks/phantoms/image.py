"""Render a phantom patient as a radiograph: bright where there is much tissue, dark where there is air.

All functions return float images (size, size); blur widths and strokes are fractions of the image's side.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

from benchmarks.phantoms.anatomy import RIGHT, Anatomy, fill, lung_labels, outlines, place

# (gamma, lowest, highest grey) of a mode; gamma above 1 darkens
_EXPOSURE = {"dark": (1.7, 0.0, 0.66), "bright": (0.6, 0.20, 1.0), "low_contrast": (1.0, 0.36, 0.66)}


def radiograph(anatomy: Anatomy, mode: str, size: int, noise_seed: int) -> np.ndarray:
    """Render `anatomy` with the appearance `mode`: (size, size) uint8.

    Calls that differ only in `noise_seed` give near-duplicates: the same patient with other noise.
    """
    rng = np.random.default_rng(anatomy.shape_seed + 1)
    grey = _tissue(anatomy, size, rng)
    if mode == "opacity":
        grey = _add_opacities(grey, anatomy, size, rng)
    noise_rng = np.random.default_rng(noise_seed)
    sigma = 0.035 if mode in ("large", "dark") else 0.018
    grain = gaussian_filter(noise_rng.normal(size=(size, size)), 0.6)
    grey = np.clip(grey + sigma * grain * (0.5 + grey), 0, 1)
    gamma, low, high = _EXPOSURE.get(mode, (rng.uniform(0.9, 1.15), 0.02, rng.uniform(0.92, 1.0)))
    grey = low + (high - low) * grey**gamma
    if mode == "bordered":
        grey = _add_border(grey, rng)
    if mode == "spoilt":
        grey = _spoil(grey, rng)
    return np.rint(np.clip(grey, 0, 1) * 255).astype(np.uint8)


def _tissue(anatomy: Anatomy, size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw body, lungs, heart, spine, ribs, clavicles and vessels, before exposure and noise."""
    shapes = outlines(anatomy)
    lungs = lung_labels(anatomy, size) > 0
    x, y = _patient_frame(anatomy, size)
    fat = 0.10 * (anatomy.body - 1)
    body = _blur(fill(shapes["body"], anatomy, size), 0.008)
    # the trunk is thickest in the middle and below the diaphragm
    belly = _blur(y > 0.55 + 0.25 * (x + 0.3) ** 2, 0.05)
    tissue = 0.62 + fat + 0.05 * y - 0.22 * np.minimum(np.abs(x), 1) ** 3 + 0.16 * belly
    tissue = tissue - (0.47 - fat - 0.09 * y) * _air(lungs)
    tissue = tissue + 0.11 * _blur(fill(shapes["heart"], anatomy, size), 0.016)
    tissue = tissue + _spine(x - 0.05 * anatomy.turn, y)
    tissue = tissue + 0.085 * _strokes(_ribs(rng), anatomy, size, 0.006)
    tissue = tissue + 0.12 * _strokes(_clavicles(rng), anatomy, size, 0.006)
    tissue = tissue + 0.16 * _strokes(_vessels(rng), anatomy, size, 0.004) * _blur(lungs, 0.02)
    return np.clip(body * (tissue + 0.017 * _cloud(rng, 32, 2.0, size)), 0.0, 1.0)


def _air(lungs: np.ndarray) -> np.ndarray:
    """Return the air along each ray, 0 to 1: a crisp edge at the pleura, and a lung that thins towards it."""
    return 0.55 * _blur(lungs, 0.006) + 0.45 * _blur(lungs, 0.035)


def _cloud(rng: np.random.Generator, cells: int, width: float, size: int) -> np.ndarray:
    """Return a smooth random field of variance 1; a larger size gives the same field, finer."""
    field = gaussian_filter(rng.normal(size=(cells, cells)), width)
    picture = Image.fromarray((field / field.std()).astype(np.float32))
    return np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC), dtype=float)


def _patient_frame(anatomy: Anatomy, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y of every pixel in the patient's frame, each (size, size); the inverse of `place`."""
    corners = place(np.array([(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)]), anatomy, size)
    axes = np.stack([corners[1] - corners[0], corners[2] - corners[0]], axis=1)
    rows, columns = np.mgrid[:size, :size]
    frame = np.linalg.inv(axes) @ (np.stack([columns.ravel(), rows.ravel()]) - corners[0][:, None])
    return frame[0].reshape(size, size), frame[1].reshape(size, size)


def _spine(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Draw the mediastinum, the vertebrae behind it, and the dark trachea above."""
    column = np.exp(-((x / 0.13) ** 4))
    discs = 0.025 * np.cos(2 * np.pi * y / 0.135) * np.exp(-((x / 0.085) ** 6))
    trachea = 0.15 * np.exp(-(((x - 0.01) / 0.045) ** 4)) / (1 + np.exp((y + 0.28) / 0.04))
    return 0.14 * column * (0.75 + 0.25 * np.tanh((y + 0.3) * 3)) + discs - trachea


def _ribs(rng: np.random.Generator) -> list[tuple[np.ndarray, float, float]]:
    """Return sloping posterior ribs and fainter anterior ones, each as (points, width, strength)."""
    along = np.linspace(0, 1, 30)
    ribs = []
    gap, tilt = rng.uniform(0.128, 0.145), rng.uniform(0.10, 0.16)
    for side in (-1, 1):
        for k in range(10):
            reach = min(0.48 + 0.055 * k, 0.82)
            x = side * (0.07 + (reach - 0.07) * np.sin(along * np.pi / 2))
            y = -0.80 + gap * k - 0.07 * np.sin(along * np.pi * 0.8) + (tilt + 0.018 * k) * along**2.2
            ribs.append((np.stack([x, y], 1), 0.034, 1.0))
            if 1 <= k <= 7:
                front_x = side * (reach - (reach - 0.30) * along)
                front_y = y[-1] + 0.03 + 0.20 * along**0.8 + 0.01 * k
                ribs.append((np.stack([front_x, front_y], 1), 0.03, 0.55))
    return ribs


def _clavicles(rng: np.random.Generator) -> list[tuple[np.ndarray, float, float]]:
    lift = rng.uniform(-0.02, 0.05)
    bend = np.array(
        [(0.09, -0.52), (0.25, -0.575), (0.42, -0.63 - lift), (0.62, -0.655 - lift), (0.80, -0.72 - lift)]
    )
    return [(bend * (side, 1), 0.042, 1.0) for side in (-1, 1)]


def _vessels(rng: np.random.Generator) -> list[tuple[np.ndarray, float, float]]:
    """Return branches from both hila outwards, wider and denser near the hilum, more of them downwards."""
    branches = []
    for side in (-1, 1):
        for _ in range(34):
            angle, length = rng.uniform(-1.25, 1.45), rng.uniform(0.15, 0.52)
            steps = np.linspace(0, 1, 8)[:, None]
            heading = np.array([side * np.cos(angle), np.sin(angle)])
            wander = np.cumsum(rng.normal(0, 0.012, (8, 2)), axis=0)
            points = np.array([side * 0.17, rng.normal(-0.06, 0.06)]) + steps * length * heading + wander
            for i in range(7):
                branches.append((points[i : i + 2], 0.018 * (1 - i / 8), 0.9 - 0.1 * i))
    return branches


def _add_opacities(grey: np.ndarray, anatomy: Anatomy, size: int, rng: np.random.Generator) -> np.ndarray:
    """Add one to three consolidations and, in half of the patients, fluid above a diaphragm."""
    lungs = lung_labels(anatomy, size)
    yy, xx = np.mgrid[:size, :size]
    shadow = np.zeros((size, size))
    for _ in range(rng.integers(1, 4)):
        at = np.array([(rng.choice([-1, 1]) * rng.uniform(0.25, 0.60), rng.uniform(-0.60, 0.30))])
        column, row = place(at, anatomy, size)[0]
        radius = size * rng.uniform(0.04, 0.10, 2)
        blob = np.exp(-((((xx - column) / radius[0]) ** 2 + ((yy - row) / radius[1]) ** 2) ** 1.5))
        shadow += rng.uniform(0.6, 1.0) * blob * np.clip(1 + 0.35 * _cloud(rng, 64, 1.0, size), 0, 2)
    if rng.random() < 0.5:
        label = rng.integers(1, 3)
        bottom = np.nonzero((lungs == label).any(axis=1))[0][-1]
        x, _ = _patient_frame(anatomy, size)
        near = (x < 0) == (label == RIGHT)
        shadow += 1.2 / (1 + np.exp(-(yy - bottom + rng.uniform(0.14, 0.26) * size) / (0.02 * size))) * near
    # they replace air, so fluid meets the chest wall without a gap or rim
    return np.clip(grey + 0.40 * np.clip(shadow, 0, 1.1) * _air(lungs > 0), 0, 1)


def _add_border(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Collimate the field: a white or black border with a side marker on it or beside the neck."""
    size = len(grey)
    margins = (rng.uniform(0.03, 0.08, 4) * size).astype(int)
    value = float(rng.choice([1.0, 1.0, 0.0]))
    framed = np.full_like(grey, value)
    top, bottom, left, right = margins[0], size - margins[1], margins[2], size - margins[3]
    framed[top:bottom, left:right] = grey[top:bottom, left:right]
    canvas = Image.fromarray(framed.astype(np.float32))
    font = ImageFont.load_default(size=max(8, size // 11))
    place_at = (left + 0.03 * size, top + 0.03 * size)
    ImageDraw.Draw(canvas).text(place_at, str(rng.choice(["R", "PA", "AP"])), fill=0.98, font=font)
    return np.asarray(canvas, dtype=float)


def _spoil(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Make an image useless: inverted, drowned in noise, or out of focus, each to a random degree."""
    fault = rng.integers(3)
    if fault == 0:
        return 1 - grey * rng.uniform(0.5, 1.0)
    if fault == 1:
        return np.clip(grey + rng.normal(0, rng.uniform(0.2, 0.5), grey.shape), 0, 1)
    return np.asarray(gaussian_filter(grey, rng.uniform(0.03, 0.08) * len(grey)))


def _strokes(
    strokes: list[tuple[np.ndarray, float, float]], anatomy: Anatomy, size: int, blur: float
) -> np.ndarray:
    """Draw blurred lines over each other: (points, width as a fraction of the side, strength up to 1)."""
    picture = Image.new("L", (size, size))
    draw = ImageDraw.Draw(picture)
    for points, width, strength in sorted(strokes, key=lambda stroke: stroke[2]):
        pixels = [tuple(p) for p in place(points, anatomy, size)]
        draw.line(
            pixels, fill=int(255 * strength), width=max(1, round(width * size * anatomy.width)), joint="curve"
        )
    return gaussian_filter(np.asarray(picture, dtype=float) / 255, blur * size)


def _blur(mask: np.ndarray, width: float) -> np.ndarray:
    return gaussian_filter(mask.astype(float), width * len(mask))
