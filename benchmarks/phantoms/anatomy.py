"""Anatomy of a phantom chest: outlines of the organs in a unit frame, and the true lung masks.

The unit frame has x from -1 (image left, the patient's right) to 1 and y from -1 (top) to 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from scipy.interpolate import CubicSpline

RIGHT, LEFT = 1, 2
# The patient's right lung from the apex along the chest wall, the costophrenic angle, the dome of the
# diaphragm and the mediastinum back to the apex; the left lung is its mirror image, cut by the heart.
_LUNG = np.array(
    [
        *((-0.30, -0.77), (-0.42, -0.72), (-0.53, -0.58), (-0.63, -0.32), (-0.69, -0.02), (-0.72, 0.28)),
        *((-0.73, 0.52), (-0.715, 0.60), (-0.66, 0.53), (-0.55, 0.44), (-0.40, 0.40), (-0.26, 0.43)),
        *((-0.16, 0.49), (-0.13, 0.40), (-0.15, 0.15), (-0.17, -0.08), (-0.13, -0.30), (-0.13, -0.52)),
        (-0.19, -0.70),
    ]
)
_DOME = slice(6, 14)  # the points of _LUNG that move with the diaphragm
_BODY = np.array(
    [
        (0.19, -2.0),
        (0.20, -0.98),
        (0.30, -0.90),
        (0.62, -0.83),
        (0.90, -0.68),
        (1.0, -0.3),
        (0.90, 0.3),
        (0.93, 2.5),
    ]
)


@dataclass(frozen=True)
class Anatomy:
    """One phantom patient in one position: everything the masks depend on.

    Attributes: width, height: size of the chest relative to the average. shift: (x, y) of its centre in the
    unit frame. tilt: rotation in the image plane, degrees, clockwise. turn: rotation about the body's axis,
    -1 to 1; shifts heart and mediastinum to one side, narrows a lung. heart: size of the heart relative to
    the average. domes: offset of the right and left dome of the diaphragm below the average. body: half width
    of the trunk relative to the average. shape_seed: seed of small irregularities of outlines, ribs and
    vessels.
    """

    width: float
    height: float
    shift: tuple[float, float]
    tilt: float
    turn: float
    heart: float
    domes: tuple[float, float]
    body: float
    shape_seed: int


def sample_anatomy(rng: np.random.Generator, mode: str) -> Anatomy:
    """Sample a random patient.

    The modes "large", "small" and "rotated" change body and position, others do not.
    """
    size = {"large": 0.80, "small": 1.12}.get(mode, 1.0)
    tilt = rng.uniform(8, 15) * rng.choice([-1, 1]) if mode == "rotated" else rng.normal(0, 1.5)
    turn = rng.uniform(0.5, 1.0) * rng.choice([-1, 1]) if mode == "rotated" else rng.normal(0, 0.12)
    squat = {"large": 0.86, "small": 1.06}.get(mode, 1.0)
    return Anatomy(
        width=float(size * rng.normal(1, 0.035)),
        height=float(size * squat * rng.normal(1.02, 0.04)),
        shift=(float(rng.normal(0, 0.025)), float(rng.normal(0, 0.03))),
        tilt=float(tilt),
        turn=float(turn),
        heart=float((1.22 if mode == "large" else 1.0) * rng.normal(1, 0.08)),
        domes=(float(rng.normal(0, 0.03)), float(rng.normal(0.03, 0.03))),
        body=float((1.18 if mode == "large" else 0.97) * rng.normal(1, 0.03)),
        shape_seed=int(rng.integers(2**31)),
    )


def outlines(anatomy: Anatomy) -> dict[str, np.ndarray]:
    """Return closed outlines (n, 2) in the patient's frame: both lungs (with the heart), heart, body."""
    rng = np.random.default_rng(anatomy.shape_seed)
    shapes = {}
    for name, sign, dome in (("right", 1, anatomy.domes[0]), ("left", -1, anatomy.domes[1])):
        points = _LUNG.copy()
        points[_DOME, 1] += dome
        points += rng.normal(0, 0.008, points.shape)
        points[:, 0] *= sign * (1 + 0.10 * sign * anatomy.turn)
        points[:, 0] += 0.04 * anatomy.turn
        shapes[name] = _smooth(points)
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    size = 0.29 * anatomy.heart
    along, across = size * 1.25 * np.cos(angle), size * 0.80 * np.sin(angle)
    lean = np.deg2rad(47)
    heart = np.stack(
        [along * np.cos(lean) - across * np.sin(lean), along * np.sin(lean) + across * np.cos(lean)], 1
    )
    shapes["heart"] = heart + (0.12 + 0.09 * anatomy.turn, 0.22 + anatomy.domes[1] / 2)
    trunk = _BODY * (anatomy.body / anatomy.width, 1.0)
    shapes["body"] = np.concatenate([trunk, (trunk * (-1, 1))[::-1]])
    return shapes


def place(points: np.ndarray, anatomy: Anatomy, size: int) -> np.ndarray:
    """Map points (n, 2) of the patient's frame to pixels (n, 2), x before y, of an image of `size`."""
    scaled = points * (anatomy.width, anatomy.height)
    angle = np.deg2rad(anatomy.tilt)
    turned = scaled @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return (turned + anatomy.shift + 1) * (size - 1) / 2


def fill(points: np.ndarray, anatomy: Anatomy, size: int) -> np.ndarray:
    """Fill an outline given in the patient's frame: bool (size, size)."""
    picture = Image.new("L", (size, size))
    ImageDraw.Draw(picture).polygon([tuple(p) for p in place(points, anatomy, size)], fill=1)
    return np.asarray(picture, dtype=bool)


def lung_labels(anatomy: Anatomy, size: int) -> np.ndarray:
    """Return the lung labels (size, size), uint8: 1 right lung, 2 left lung, 0 elsewhere.

    The heart's shadow belongs to neither lung.
    """
    shapes = outlines(anatomy)
    heart = fill(shapes["heart"], anatomy, size)
    labels = np.zeros((size, size), dtype=np.uint8)
    labels[fill(shapes["right"], anatomy, size) & ~heart] = RIGHT
    labels[fill(shapes["left"], anatomy, size) & ~heart] = LEFT
    return labels


def _smooth(points: np.ndarray, samples: int = 200) -> np.ndarray:
    """Sample `samples` points of a closed cubic spline through `points` (n, 2)."""
    closed = np.concatenate([points, points[:1]])
    steps = np.sqrt(np.linalg.norm(np.diff(closed, axis=0), axis=1))  # centripetal: no loops at sharp angles
    at = np.concatenate([[0], np.cumsum(steps)])
    return CubicSpline(at, closed, bc_type="periodic")(np.linspace(0, at[-1], samples, endpoint=False))
