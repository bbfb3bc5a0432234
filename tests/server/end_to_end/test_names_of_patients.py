"""Names of patients: in no log, no address and no error of a server on a real DICOM server."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image

from benchmarks.annotator import Annotator
from benchmarks.server_process import Server
from server.logs import bound_log
from tests.orthanc import Orthanc, radiograph
from tests.server.polling import until

NAME, ID = "Zwiebelfisch", "PID-4711"


def marked(stem: str, pixels: np.ndarray) -> object:
    file = radiograph(stem, pixels)
    file.PatientName, file.PatientID = f"{NAME}^{stem}", f"{ID}-{stem}"
    return file


@pytest.fixture(scope="module")
def site(
    make_orthanc: Callable[[], Orthanc],
    phantoms: Path,
    start: Callable[..., Server],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Server, Orthanc, Path, list[str]]:
    """Six radiographs of patients with a marked name: one twice, for two patients, and one without pixels."""
    folder, orthanc, series = tmp_path_factory.mktemp("marked"), make_orthanc(), list[str]()
    (folder / "labels").mkdir()
    for path in sorted((phantoms / "studies").iterdir())[:4]:
        series += orthanc.add(marked(path.stem, np.asarray(Image.open(path))))  # type: ignore[arg-type]
        shutil.copy(phantoms / "labels" / path.name, folder / "labels" / f"{series[-1]}.png")
    orthanc.add(marked("copy", np.asarray(Image.open(path))))  # type: ignore[arg-type]
    broken = marked("broken", np.zeros((64, 64), np.uint8))
    broken.PixelData = broken.PixelData[:100]  # type: ignore[attr-defined]
    orthanc.add(broken)  # type: ignore[arg-type]
    server = start(orthanc.url, folder / "state", log_opened="true", cold_start_budget=2)
    return server, orthanc, folder, series


def test_names_are_in_no_log_and_no_error(site: tuple[Server, Orthanc, Path, list[str]]) -> None:
    server, orthanc, folder, series = site
    annotator = Annotator(server.url, folder / "labels")
    annotator.wait_ready(rounds=0)
    image = annotator.label_next("auto")["id"]
    proxy = f"{server.url}/proxy/dicom"
    for params in ({"PatientName": f"{NAME}*"}, {"PatientID": f"{ID}-copy", "limit": 1}):
        assert requests.get(f"{proxy}/studies", params=params, timeout=60).status_code == 200
    found = requests.get(f"{proxy}/studies", timeout=60)
    assert len(found.json()) == 6 and NAME in found.text, "a viewer may show names"
    study = next(row for row in found.json() if row["0020000D"])["0020000D"]["Value"][0]
    assert requests.get(f"{proxy}/studies/{study}", timeout=60).status_code == 200
    for path in (f"datastore/image?image={image}", f"selection/image/{image}/voxels"):
        assert requests.get(f"{server.url}/{path}", timeout=60).status_code == 200
    errors = requests.get(f"{server.url}/selection/status", timeout=60).json()["failures"]
    assert len(errors) == 1 and NAME not in str(errors) and ID not in str(errors)
    until(lambda: {row["image"] for row in opened(server)} >= {image, study})
    orthanc.stop()
    down = requests.get(f"{proxy}/studies", params={"PatientName": f"{NAME}*"}, timeout=60)
    assert down.status_code == 503 and NAME not in down.text
    orthanc.start()
    log = server.log.read_text(errors="replace")
    lines = [line for line in log.splitlines() if NAME in line or ID in line]
    assert not lines, lines
    paths = " ".join(str(path) for path in (folder / "state").rglob("*"))
    assert NAME not in paths and ID not in paths, "files are named by UIDs"


def test_a_log_of_requests_leaves_searches_out(caplog: pytest.LogCaptureFixture) -> None:
    """MONAI Label logs no requests, unless `--log_config` says so."""
    bound_log()
    access = logging.getLogger("uvicorn.access")
    with caplog.at_level(logging.INFO, "uvicorn.access"):
        access.addHandler(caplog.handler)
        for path in (f"/proxy/dicom/studies?PatientName={NAME}", "/datastore/image?image=a"):
            access.info('%s - "%s %s HTTP/%s" %d', "127.0.0.1", "GET", path, "1.1", 200)
        access.removeHandler(caplog.handler)
    assert "/proxy/dicom/studies HTTP" in caplog.text and NAME not in caplog.text
    assert "image?image=a" in caplog.text


def opened(server: Server) -> list[dict[str, str]]:
    ledger = requests.get(f"{server.url}/selection/ledger", timeout=60).json()
    return [row for row in ledger if row["event"] == "opened"]
