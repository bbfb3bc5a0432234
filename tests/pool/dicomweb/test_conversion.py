"""A converted series has the same bytes on every machine and at any time, so that its checksum tells it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pool.dicomweb.cache import convert
from tests.ct_series import write_series
from tests.orthanc import radiograph

GZIP_TIME = slice(4, 8)  # of the header (RFC 1952), zero for no time


@pytest.mark.parametrize("kind", ["picture", "volume"])
def test_a_conversion_is_repeated_byte_for_byte(tmp_path: Path, kind: str) -> None:
    chance = np.random.default_rng(0)
    if kind == "picture":
        series = tmp_path / "series"
        series.mkdir()
        file = radiograph("a", chance.integers(0, 256, (40, 30), dtype=np.uint8))
        file.save_as(series / "1.dcm", write_like_original=False)
    else:
        voxels = chance.integers(0, 900, (20, 24, 5)).astype(np.int16)
        series = write_series(tmp_path / "series", voxels, np.diag([1.0, 1, 2.5, 1]))
    for name in ("one", "another"):
        convert(series, tmp_path / name / "image.nii.gz")
    one, other = ((tmp_path / name / "image.nii.gz").read_bytes() for name in ("one", "another"))
    assert one == other and one[GZIP_TIME] == bytes(4)
