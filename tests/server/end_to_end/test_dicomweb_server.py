"""The whole loop on a real DICOM server: suggestions, labels, training, and a kill of the DICOM server."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import requests
from PIL import Image
from pydicom.uid import EnhancedMRImageStorage
from typer.testing import CliRunner

from benchmarks.annotator import Annotator
from benchmarks.server_process import ROOT, Server
from server.cli.main import app
from tests.orthanc import Orthanc, radiograph
from tests.server.conftest import TINY

Run = dict[str, Any]


@pytest.fixture(scope="module")
def run(
    phantoms: Path,
    make_orthanc: Callable[[], Orthanc],
    start: Callable[..., Server],
    tmp_path_factory: pytest.TempPathFactory,
) -> Run:
    """Eight radiographs and a CT; two are labelled, a model is trained, then the DICOM server is killed."""
    folder, orthanc = tmp_path_factory.mktemp("dicomweb"), make_orthanc()
    (folder / "labels").mkdir()
    for i, path in enumerate(sorted((phantoms / "studies").iterdir())[:8]):
        pixels = np.asarray(Image.open(path))
        (series,) = orthanc.add(radiograph(path.stem, pixels, "DX" if i % 2 else "CR", inverse=i == 5))
        shutil.copy(phantoms / "labels" / path.name, folder / "labels" / f"{series}.png")
    orthanc.add(radiograph("chest CT", np.zeros((64, 64), np.uint8), "CT"))
    server = start(f"{orthanc.url}/", folder / "state", cold_start_budget=2)
    annotator = Annotator(server.url, folder / "labels")
    said: Run = {"server": server, "annotator": annotator, "orthanc": orthanc, "folder": folder}
    annotator.wait_ready(rounds=0)
    said["first"] = annotator.label_next("auto")
    said["after_one"] = annotator.status()
    said["second"] = annotator.label_next("auto")
    said["stats"] = annotator.train(1)
    annotator.wait_ready(rounds=1)
    said["third"] = annotator.ask("auto")
    said["stored"] = orthanc.find("SEG")
    return said


def send(run: Run, image: str) -> requests.Response:
    """Save a label as the client does, and return the answer."""
    with open(run["annotator"].label_of(image), "rb") as file:
        return requests.put(
            f"{run['server'].url}/datastore/label?image={image}",
            files={"label": ("label.png", file)},
            timeout=60,
        )


def test_radiographs_are_handed_out_with_what_a_viewer_needs(run: Run) -> None:
    answer, known = run["first"], run["orthanc"].find("CR") + run["orthanc"].find("DX")
    assert answer["id"] in known and Path(answer["path"]).is_file()
    assert answer["selection"]["stage"] == "cold_start"
    assert answer["StudyInstanceUID"] and answer["Modality"] in ("CR", "DX")
    assert run["after_one"]["images"] == 8, "the CT is left out"


def test_a_label_counts_at_once_and_its_image_is_not_handed_out_again(run: Run) -> None:
    assert run["after_one"]["labelled"] == 1 and run["after_one"]["failed"] == 0
    given = [run[name]["id"] for name in ("first", "second", "third")]
    assert len(set(given)) == 3 and len(run["stored"]) == 2


def test_a_model_is_trained_on_labels_of_the_dicom_server(run: Run) -> None:
    assert run["third"]["selection"]["stage"] == "active"
    assert run["stats"]["train"]["metrics"]["train_loss"] > 0
    ledger = requests.get(f"{run['server'].url}/selection/ledger", timeout=30).json()
    model = next(entry["details"] for entry in ledger if entry["event"] == "model")
    assert sorted(model["images"]) == sorted(run[name]["id"] for name in ("first", "second"))


def test_a_prediction_is_a_dicom_segmentation_if_asked_for(run: Run) -> None:
    """The DICOM segmentation is made without dcmqi."""
    at = f"{run['server'].url}/infer/segmentation"
    answer = requests.post(at, params={"image": run["third"]["id"], "output": "dicom_seg"}, timeout=120)
    assert answer.status_code == 200 and answer.headers["Content-Type"] == "application/dicom"
    seg = pydicom.dcmread(io.BytesIO(answer.content))
    assert seg.Modality == "SEG" and seg.StudyInstanceUID == run["third"]["StudyInstanceUID"]
    assert [str(segment.SegmentLabel) for segment in seg.SegmentSequence] == ["right lung", "left lung"]
    refused = requests.post(at, params={"image": "nothing", "output": "dicom_seg"}, timeout=60)
    assert refused.status_code == 404


def test_the_command_line_says_what_the_server_says(run: Run, long: bool) -> None:
    line = ["status", "--json", "--app", str(ROOT / "apps" / "cxr_lungs"), "--studies", run["orthanc"].url]
    conf = {**TINY, "state": run["folder"] / "state", "cold_start_budget": 2, "instant": long}
    for key, value in conf.items():
        line.append(f"--conf={key}={value}")
    done = CliRunner().invoke(app, line)
    assert done.exit_code == 0, done.output
    theirs = requests.get(f"{run['server'].url}/selection/status", timeout=30).json()
    ours = json.loads(done.stdout)
    theirs = {key: value for key, value in theirs.items() if key in ours}  # without what it says for pages
    assert ours | {"progress": None} == theirs | {"progress": None}  # it says how long ago


def test_a_killed_dicom_server_is_named_and_comes_back(run: Run) -> None:
    orthanc, image = run["orthanc"], run["third"]["id"]
    orthanc.stop()
    answer = send(run, image)
    assert answer.status_code == 503 and orthanc.url in answer.json()["detail"]
    assert run["annotator"].status()["labelled"] == 2
    assert run["annotator"].ask("auto")["id"], "images that are here are still handed out"
    orthanc.start()
    assert send(run, image).status_code == 200
    assert run["annotator"].status()["labelled"] == 3 and len(orthanc.find("SEG")) == 3


def test_a_start_without_the_dicom_server_says_what_to_do(
    start: Callable[..., Server], tmp_path: Path
) -> None:
    url = "http://127.0.0.1:9/dicom-web"
    server = start(url, tmp_path / "state", wait=False)
    with pytest.raises(RuntimeError, match="did not start"):
        server.wait()
    assert f"--studies {url}: the DICOM server {url} does not answer" in server.log.read_text()


def test_a_series_that_no_label_could_be_stored_for_is_left_out(
    phantoms: Path, make_orthanc: Callable[[], Orthanc], start: Callable[..., Server], tmp_path: Path
) -> None:
    orthanc = make_orthanc()
    for path in sorted((phantoms / "studies").iterdir())[:3]:
        orthanc.add(radiograph(path.stem, np.asarray(Image.open(path)), "DX"))
    cine = radiograph("cine", np.asarray(Image.open(path)), "DX")
    cine.NumberOfFrames, cine.PixelData = 3, cine.PixelData * 3
    left_out = set(orthanc.add(cine, enhanced_mr(np.asarray(Image.open(path)))))
    server = start(orthanc.url, tmp_path / "state", cold_start_budget=2, modality="DX,MR")
    annotator = Annotator(server.url, phantoms / "labels")
    annotator.wait_ready(rounds=0)
    status = requests.get(f"{server.url}/selection/status", timeout=30).json()
    assert status["failures"].keys() == left_out and len(left_out) == 2
    assert all("3 frames in one file" in reason for reason in status["failures"].values())
    assert status["map"]["images"] == 3
    url, clients = f"{server.url}/activelearning/auto", ({"client_id": f"c{n}"} for n in range(3))
    given = {requests.post(url, json=client, timeout=60).json()["id"] for client in clients}
    assert len(given) == 3 and not given & left_out


def enhanced_mr(rows: np.ndarray) -> pydicom.Dataset:
    """Make an MR volume of three slices in one file, which each have their place in functional groups."""
    volume = radiograph("enhanced", rows, "CT")
    volume.Modality = "MR"
    volume.SOPClassUID = volume.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    volume.NumberOfFrames, volume.PixelData = 3, volume.PixelData * 3
    frames = []
    for height in range(3):
        place, frame = pydicom.Dataset(), pydicom.Dataset()
        place.ImagePositionPatient = [0, 0, 5 * height]
        frame.PlanePositionSequence = [place]
        frames.append(frame)
    volume.PerFrameFunctionalGroupsSequence = frames
    return volume
