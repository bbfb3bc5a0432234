"""The cache of features: whole, bounded, and by the file's fingerprint."""

import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest

from infers.instant.cache import FeatureCache, Features
from infers.instant.features import CHANNELS, Reduction


def features(value: float, planes: int = 1, side: int = 16) -> Features:
    grids = np.full((planes, side, side, CHANNELS), value, np.float16)
    return Features(
        grids, np.linspace(0, 1, planes, dtype=np.float32) if planes > 1 else np.empty(0, np.float32)
    )


def reduction(key: str = "key") -> Reduction:
    return Reduction(key, (np.ones((3, 2), np.float32),), np.zeros(2, np.float32))


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    made = FeatureCache(tmp_path / "features", "encoder:1")
    made.keep_reduction(reduction())
    return made


def test_the_first_reduction_is_kept(cache: FeatureCache) -> None:
    assert cache.keep_reduction(reduction("other")).key == "key"
    stored = FeatureCache(cache.root, "encoder:1").reduction()
    assert stored and stored.key == "key"
    np.testing.assert_array_equal(stored.weights[0], reduction().weights[0])
    assert FeatureCache(cache.root, "encoder:2").reduction() is None
    (cache.folder / "reduction.npz").write_bytes(b"half")
    assert cache.reduction() is None


def test_coarse_features_come_back_by_fingerprint_and_each_once(cache: FeatureCache) -> None:
    assert cache.add_coarse([("a", "1", features(1)), ("b", "1", features(2))])
    assert cache.add_coarse([("a", "2", features(3)), ("b", "1", features(2))])
    assert cache.coarse_images() == {("a", "1"), ("b", "1"), ("a", "2")}
    values = {
        image: block.features.grids[block.rows[i], 0, 0, 0]
        for block in cache.coarse({"a": "2", "b": "1", "c": "1"})
        for i, image in enumerate(block.images)
    }
    assert values == {"a": 3, "b": 2}
    assert sum(len(block.images) for block in cache.coarse({"a": "2", "b": "1"})) == 2
    cache.prune({"a": "2"})
    assert cache.coarse_images() == {("a", "2"), ("b", "1")}


def test_volumes_of_different_heights_share_a_file(cache: FeatureCache) -> None:
    cache.add_coarse([("a", "1", features(1, 3)), ("b", "1", features(2, 5)), ("c", "1", features(4, 2))])
    (block,) = cache.coarse({"a": "1", "c": "1"})
    assert block.images == ["a", "c"] and block.rows.tolist() == [0, 3, 5]
    assert block.features.grids[:, 0, 0, 0].tolist() == [1, 1, 1, 4, 4]
    assert block.features.positions.tolist() == [0, 0.5, 1, 0, 1]


def test_fine_features_unused_for_longest_are_removed_first_and_coarse_ones_never(tmp_path: Path) -> None:
    size = features(0, side=64).grids.nbytes
    cache = FeatureCache(tmp_path, "encoder:1", max_bytes=3 * size + 60_000)
    cache.keep_reduction(reduction())
    cache.add_coarse([("a", "1", features(1))])
    for number, image in enumerate("abc"):
        assert cache.add_fine(image, "1", features(number, side=64))
        os.utime(next(iter(cache.folder.glob("fine/*"))))
    old = cache._fine_file("b", "1")
    os.utime(old, (1, 1))
    assert cache.fine("a", "1") is not None
    assert cache.add_fine("d", "1", features(4, side=64))
    assert cache.fine("b", "1") is None and cache.fine("a", "1") and cache.fine("d", "1")
    assert cache.bytes_used() <= cache.max_bytes
    assert cache.coarse_images() == {("a", "1")}
    assert not cache.add_coarse([("z", "1", features(0, 200))])


def test_a_damaged_file_is_removed_and_named(cache: FeatureCache, caplog: pytest.LogCaptureFixture) -> None:
    cache.add_coarse([("a", "1", features(1))])
    cache.add_coarse([("b", "1", features(2))])
    cache.add_fine("a", "1", features(1, side=64))
    for file in [next(cache.folder.glob("coarse/*")), cache._fine_file("a", "1")]:
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 0xFF
        file.write_bytes(bytes(content))
    assert cache.fine("a", "1") is None
    assert sum(len(block.images) for block in cache.coarse({"a": "1", "b": "1"})) == 1
    assert len(cache.coarse_images()) == 1
    assert "is damaged" in caplog.text


def _write(root: Path, start: int) -> None:
    cache = FeatureCache(root, "encoder:1")
    for i in range(start, start + 20):
        cache.add_coarse([(f"image {i}", "1", features(i))])
        cache.add_fine(f"image {i}", "1", features(i, side=64))


def test_several_processes_write_at_once(cache: FeatureCache) -> None:
    spawn = multiprocessing.get_context("fork")
    writers = [spawn.Process(target=_write, args=(cache.root, start)) for start in (0, 10)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    marks = {f"image {i}": "1" for i in range(30)}
    read = [image for block in cache.coarse(marks) for image in block.images]
    assert sorted(read) == sorted(marks)
    fine = cache.fine("image 7", "1")
    assert fine is not None and fine.grids[0, 0, 0, 0] == 7
