"""The weight-free encoder: balanced, smooth, and sensitive to relevant changes."""

import numpy as np
import pytest

from infers.encoders.descriptor import WEIGHTS, Descriptor, groups


@pytest.fixture(scope="module")
def phantoms() -> list[np.ndarray]:
    from benchmarks.phantoms.anatomy import Anatomy
    from benchmarks.phantoms.generate import plan
    from benchmarks.phantoms.image import radiograph

    entries = plan(40, 3)
    drawn = [radiograph(Anatomy(**e["parameters"]), e["mode"], 128, e["seed"]) for e in entries]
    return [image.astype(np.float32) / 255 for image in drawn]


def test_length_is_fixed() -> None:
    encoder = Descriptor()
    assert encoder.dim == 689 and encoder.key == "descriptor:1"
    assert encoder.embed([np.zeros((7, 900), np.float32)]).shape == (1, 689)


def test_neither_gradients_nor_intensities_dominate(phantoms: list[np.ndarray]) -> None:
    found = [groups(image) for image in phantoms]
    variance = {k: np.stack([WEIGHTS[k] * g[k] for g in found]).var(axis=0).sum() for k in WEIGHTS}
    share = variance["hog"] / sum(variance.values())
    assert 0.15 < share < 0.85, variance


def test_size_of_the_image_matters_little_and_mirroring_a_lot(phantoms: list[np.ndarray]) -> None:
    image = phantoms[0]
    doubled = np.repeat(np.repeat(image, 2, axis=0), 2, axis=1)
    base, larger, mirrored = Descriptor().embed([image, doubled, image[:, ::-1]])
    assert np.linalg.norm(base - larger) < 0.3 * np.linalg.norm(base - mirrored)


def test_near_duplicates_are_neighbours() -> None:
    from benchmarks.phantoms.anatomy import Anatomy
    from benchmarks.phantoms.generate import plan
    from benchmarks.phantoms.image import radiograph

    entries = plan(40, 5)
    drawn = [radiograph(Anatomy(**e["parameters"]), e["mode"], 128, e["seed"]) for e in entries]
    rows = Descriptor().embed([image.astype(np.float32) / 255 for image in drawn])
    ids = [entry["id"] for entry in entries]
    for i, entry in enumerate(entries):
        if entry["near_duplicate_of"]:
            distances = np.linalg.norm(rows - rows[i], axis=1)
            distances[i] = np.inf
            assert ids[int(distances.argmin())] == entry["near_duplicate_of"]
