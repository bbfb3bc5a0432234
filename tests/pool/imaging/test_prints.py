"""Duplicates are found, and images that only look alike are not."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.phantoms.generate import generate
from pool.imaging.images import unit_range
from pool.imaging.prints import SHARE, SIDE, Originals, blocks, print_of
from pool.imaging.volumes import read_volume

Alter = Callable[[Image.Image], Image.Image]


def jpeg(image: Image.Image) -> Image.Image:
    kept = io.BytesIO()
    image.save(kept, "JPEG", quality=85)
    return Image.open(kept)


ALTERED: dict[str, Alter] = {
    "jpeg": jpeg,
    "half": lambda i: i.resize((i.width // 2, i.height // 2), Image.Resampling.BILINEAR),
    "brighter": lambda i: i.point(lambda value: min(255, round(value * 1.05))),
    "cropped": lambda i: i.crop((1, 1, i.width - 1, i.height - 1)),
    "moved": lambda i: i.crop((1, 0, i.width, i.height)),
}


def read(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("L"), dtype=np.float32) / 255


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Image.Image]:
    folder = tmp_path_factory.mktemp("phantoms")
    generate(folder, count=6, seed=3, size=224)
    return [Image.open(path) for path in sorted((folder / "studies").iterdir())]


@pytest.mark.parametrize("how", ALTERED)
def test_altered_copies_are_found(pictures: list[Image.Image], how: str) -> None:
    originals = Originals([print_of(read(picture)).hash for picture in pictures])
    copies = [print_of(read(ALTERED[how](picture))).hash for picture in pictures]
    assert [found and found[0] for found in originals.find(copies)] == list(range(6))


def test_pixels_are_equal_or_not(pictures: list[Image.Image]) -> None:
    first, again = read(pictures[0]), read(pictures[0])
    again[0, 0] += 1 / 255
    assert print_of(first).pixels == print_of(first.copy()).pixels != print_of(again).pixels
    assert print_of(first.reshape(112, 448)).pixels != print_of(first).pixels


def test_a_changed_or_other_volume_is_no_copy() -> None:
    rng = np.random.default_rng(0)
    volumes = [np.kron(rng.random((1, 5, 5, 4)), np.ones((1, 8, 8, 8))) for _ in range(3)]
    noisy = volumes[0] + rng.normal(scale=0.001, size=volumes[0].shape)
    originals = Originals([print_of(volume).hash for volume in volumes])
    assert originals.find([print_of(noisy).hash]) == [pytest.approx((0, 0), abs=3 * 576 * SHARE)]
    assert originals.find([print_of(volumes[1][..., ::-1]).hash]) == [None]
    assert print_of(noisy).pixels != print_of(volumes[0]).pixels


def flipped(of: bytes, bits: range) -> bytes:
    all_bits = np.unpackbits(np.frombuffer(of, np.uint8))
    all_bits[list(bits)] ^= 1
    return np.packbits(all_bits).tobytes()


def test_copies_make_a_star_and_never_a_chain() -> None:
    """In a chain a, b, c each is within the threshold of the one before, but c is not within that of a."""
    a = np.random.default_rng(0).bytes(SIDE * SIDE // 8)
    b, c = flipped(a, range(40)), flipped(a, range(80))
    assert Originals([]).find([a, b, c]) == [None, (0, 40), None]
    known = Originals([])
    assert [known.find([each])[0] for each in (a, b, c)] == [None, (0, 40), None]
    assert known.find([flipped(a, range(41, 80))]) == [(0, 39)], "nearest; c, number 1, is 41 away"
    assert Originals([a]).find([flipped(a, range(57)), flipped(a, range(58))]) == [(0, 57), None]


@pytest.mark.parametrize("together", [True, False])
def test_blocks_find_what_a_plain_search_finds(together: bool) -> None:
    rng = np.random.default_rng(1)
    hashes: list[bytes] = []
    for _ in range(300):
        like = hashes[rng.integers(len(hashes))] if hashes and rng.random() < 0.5 else rng.bytes(72)
        hashes.append(flipped(like, range(n := rng.integers(0, 500), n + rng.integers(0, 60))))
    expected: list[tuple[int, int] | None] = []
    originals: list[np.ndarray] = []
    for each in hashes:
        bits = np.unpackbits(np.frombuffer(each, np.uint8))
        away = [int((bits != other).sum()) for other in originals]
        near = bool(away) and min(away) <= 57
        expected.append((int(np.argmin(away)), min(away)) if near else None)
        originals += [] if near else [bits]
    known = Originals([])
    parts = [hashes] if together else [hashes[i : i + 7] for i in range(0, 300, 7)]
    assert [found for part in parts for found in known.find(part)] == expected
    assert 50 < sum(found is None for found in expected) < 250


def test_the_search_is_no_loop_over_pairs() -> None:
    rng, known, started = np.random.default_rng(2), Originals([]), time.process_time()
    hashes = [rng.bytes(72) for _ in range(6_000)]
    for block in blocks(len(hashes)):
        known.find(hashes[block.start : block.stop])
    assert time.process_time() - started < 20, "18 million pairs"


# real images ------------------------------------------------------------------------------------------


def test_no_two_real_patients_are_copies_and_all_altered_images_are(real_data: Path) -> None:
    paths = sorted((real_data / "montgomery" / "images").iterdir())
    hashes = [print_of(unit_range(path)).hash for path in paths]
    originals = Originals([])
    assert originals.find(hashes) == [None] * len(paths), "138 patients"
    for how, alter in ALTERED.items():
        copies = [print_of(read(alter(Image.open(path)))).hash for path in paths]
        found = originals.find(copies)
        assert [each and each[0] for each in found] == list(range(len(paths))), how


def test_no_two_real_volumes_are_copies(real_data: Path) -> None:
    paths = sorted((real_data / "hippocampus" / "images").iterdir())
    hashes = [print_of(read_volume(path)[0]).hash for path in paths]
    assert Originals([]).find(hashes) == [None] * len(paths)
