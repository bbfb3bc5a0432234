"""The desk on a pool of a real DICOM server: 16 bits, an inverted radiograph, and labels that become SEGs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.server_process import Server
from tests.orthanc import Orthanc, radiograph
from tests.pool.imaging.test_geometry import drawn
from tests.server.conftest import TINY
from tests.server.desk.conftest import Browser
from tests.server.published import publish

ROWS = np.random.default_rng(7).integers(1, 256, (70, 110), dtype=np.uint8)


def test_what_is_drawn_on_a_radiograph_is_stored_as_a_segmentation(
    make_orthanc: Callable[[], Orthanc], start: Callable[..., Server], tmp_path: Path
) -> None:
    orthanc = make_orthanc()
    (plain,) = orthanc.add(radiograph("plain", ROWS, "DX"))
    (inverse,) = orthanc.add(radiograph("inverse", ROWS, "CR", inverse=True))
    publish(tmp_path / "state", "cxr_lungs", {k: TINY[k] for k in ("image_size", "channels", "epochs")})
    ann = Browser(start(orthanc.url, tmp_path / "state"), "ann")
    for number, image in enumerate((plain, inverse)):
        seen = ann.array(image, "voxels")
        assert seen.dtype == np.uint16
        np.testing.assert_array_equal(seen, ROWS.astype(np.uint16) * 16)
        mask = np.roll(drawn(seen.shape), number, axis=1)  # not the same for both
        saved = ann.save(image, mask, seconds=3)
        assert saved.status_code == 200 and (saved.json()["version"], saved.json()["state"]) == (1, "edited")
        np.testing.assert_array_equal(ann.array(image, "label"), mask)
    assert len(orthanc.find("SEG")) == 2 and ann.ask("GET", "status").json()["labelled"] == 2
    assert ann.save(plain, mask).status_code == 409
    predicted = ann.array(plain, "prelabel")
    again = ann.save(plain, predicted, base_version=1)
    assert (again.json()["version"], again.json()["state"]) == (2, "unedited")
    assert ann.ask("GET", "status").json()["labelled"] == 1, "the newest label counts, once it is confirmed"
    assert ann.ask("POST", f"image/{plain}/confirm").status_code == 200
    assert ann.ask("GET", "status").json()["labelled"] == 2
