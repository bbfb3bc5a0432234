"""Upload of a folder to a real DICOM server: contents, second run, bad files, outage, and our app on it."""

from __future__ import annotations

import csv
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import requests
import typer
from click.testing import Result
from PIL import Image
from pydicom import Dataset, dcmread
from typer.testing import CliRunner

from benchmarks.annotator import Annotator
from benchmarks.server_process import Server
from pool.dicomweb.client import DicomServer, ServerError
from pool.imaging.images import read_image
from server.cli import dicom_in
from tests.orthanc import Orthanc

_AFFINE = np.array([[-0.7, 0, 0, 20], [0, 0, 1.5, -30], [0, -0.9, 0, 40], [0, 0, 0, 1]])


def run(source: Path, to: str, modality: str, record: Path, **options: Any) -> Result:
    app = typer.Typer()
    app.command()(dicom_in.main)
    words = {"source": source, "to": to, "modality": modality, "record": record, **options}
    return CliRunner().invoke(
        app, [w for k, v in words.items() for w in (f"--{k.replace('_', '-')}", str(v))]
    )


def rows_of(record: Path) -> list[dict[str, str]]:
    with open(record, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def images_on(orthanc: Orthanc, series: str) -> list[Dataset]:
    """Return all images of a series from the server, by their numbers."""
    wanted = {"Level": "Instance", "Query": {"SeriesInstanceUID": series}}
    found = requests.post(f"{orthanc.rest}/tools/find", json=wanted, timeout=30).json()
    files = [requests.get(f"{orthanc.rest}/instances/{i}/file", timeout=30).content for i in found]
    return sorted((dcmread(BytesIO(file)) for file in files), key=lambda image: int(image.InstanceNumber))


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    """Write two volumes of 20 and 3 slices."""
    folder = tmp_path / "volumes"
    folder.mkdir()
    for name, depth, seed in (("sub-1_T1w", 20, 1), ("sub-2_T1w", 3, 2)):
        voxels = np.random.default_rng(seed).integers(0, 2000, (16, 18, depth), dtype=np.int16)
        image = nibabel.Nifti1Image(voxels, _AFFINE)
        image.header.set_xyzt_units("mm")
        nibabel.save(image, folder / f"{name}.nii.gz")
    return folder


def test_a_volume_arrives_whole_and_running_again_sends_nothing(
    orthanc: Orthanc, volumes: Path, tmp_path: Path
) -> None:
    record = tmp_path / "record.csv"
    said = run(volumes, orthanc.url, "MR", record, patient=r"(sub-\d+)", seed="one")
    assert (
        said.exit_code == 0
        and "2 of 2 files" in said.output
        and "23 images were sent in this run" in said.output
    )
    first, second = rows_of(record)
    assert (first["file"], first["images"], second["images"]) == ("sub-1_T1w.nii.gz", "20", "3")
    assert sorted(row["SeriesInstanceUID"] for row in rows_of(record)) == orthanc.find("MR")
    images = images_on(orthanc, first["SeriesInstanceUID"])
    stored = np.stack([image.pixel_array.T for image in images], axis=-1)
    expected = nibabel.load(volumes / "sub-1_T1w.nii.gz")
    assert np.array_equal(stored, np.asarray(expected.dataobj))
    for k in (0, 7, 19):
        place = np.array([float(v) for v in images[k].ImagePositionPatient]) * (-1, -1, 1)
        assert np.allclose(place, (expected.affine @ [0, 0, k, 1])[:3], atol=1e-4)
    again = run(volumes, orthanc.url, "MR", record, patient=r"(sub-\d+)", seed="one")
    assert again.exit_code == 0 and "0 images were sent in this run" in again.output
    assert len(rows_of(record)) == 2 and len(orthanc.find("MR")) == 2


def test_what_an_interruption_left_is_completed(
    orthanc: Orthanc, volumes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, sent = DicomServer.store, []

    def lost(self: DicomServer, *images: Dataset) -> None:
        if sent:
            raise ServerError(503, f"the DICOM server {self.url} does not answer")
        sent.extend(images)
        store(self, *images)

    record = tmp_path / "record.csv"
    with monkeypatch.context() as patch:
        patch.setattr(DicomServer, "store", lost)
        said = run(volumes, orthanc.url, "MR", record, seed="two")
    assert said.exit_code == 1 and "it resumes here" in said.output and len(sent) == 16
    assert rows_of(record) == []
    said = run(volumes, orthanc.url, "MR", record, seed="two")
    assert said.exit_code == 0 and "7 images were sent in this run" in said.output
    assert len(images_on(orthanc, rows_of(record)[0]["SeriesInstanceUID"])) == 20


def test_bad_files_are_named_and_the_rest_arrives(orthanc: Orthanc, volumes: Path, tmp_path: Path) -> None:
    (volumes / "sub-3_T1w.nii.gz").write_bytes(b"no NIfTI")
    (volumes / "sub-4_T1w.nii.gz").write_bytes((volumes / "sub-2_T1w.nii.gz").read_bytes())
    (volumes / "sub-5.nii.gz").write_bytes((volumes / "sub-2_T1w.nii.gz").read_bytes())
    (volumes / "._sub-1_T1w.nii.gz").write_bytes(b"of macOS")
    (volumes / "notes.txt").write_text("no image")
    said = run(volumes, orthanc.url, "CT", tmp_path / "record.csv", patient=r"(sub-\d+)_")
    assert said.exit_code == 1 and "2 of 5 files" in said.output and len(orthanc.find("CT")) == 2
    assert "sub-3_T1w.nii.gz: cannot be read" in said.output
    assert "sub-4_T1w.nii.gz: is the same file as sub-2_T1w.nii.gz" in said.output
    assert "sub-5: --patient" in said.output


def test_a_server_that_is_not_there_and_wrong_words(volumes: Path, tmp_path: Path) -> None:
    record = tmp_path / "record.csv"
    said = run(volumes, "http://127.0.0.1:9/dicom-web", "MR", record)
    assert said.exit_code == 1 and "127.0.0.1:9/dicom-web does not answer" in said.output
    assert run(volumes, "http://127.0.0.1:9", "XX", record).exit_code == 2
    assert run(volumes, "http://127.0.0.1:9", "MR", record, patient="(").exit_code == 2
    (tmp_path / "empty").mkdir()
    said = run(tmp_path / "empty", "http://127.0.0.1:9", "MR", record)
    assert said.exit_code == 2 and ".nii.gz" in said.output


def test_pictures_become_a_pool_that_our_app_serves(
    orthanc: Orthanc, phantoms: Path, start: Callable[..., Server], tmp_path: Path
) -> None:
    source, record = tmp_path / "xrays", tmp_path / "record.csv"
    source.mkdir()
    for path in sorted((phantoms / "studies").iterdir())[:4]:
        (source / path.name).write_bytes(path.read_bytes())
    said = run(source, orthanc.url, "DX", record, spacing=0.6, body_part="chest", seed="s")
    assert said.exit_code == 0, said.output
    file_of = {row["SeriesInstanceUID"]: row for row in rows_of(record)}
    (tmp_path / "labels").mkdir()
    for series, row in file_of.items():
        (tmp_path / "labels" / f"{series}.png").write_bytes((phantoms / "labels" / row["file"]).read_bytes())
    server = start(orthanc.url, tmp_path / "state", cold_start_budget=2, prepared=True)
    annotator = Annotator(server.url, tmp_path / "labels")
    annotator.wait_ready(rounds=0)
    answer = annotator.label_next("auto")
    row = file_of[answer["id"]]
    assert answer["PatientID"] == row["PatientID"] and "phantom" not in answer["PatientID"]
    assert answer["StudyInstanceUID"] == row["StudyInstanceUID"] and answer["Modality"] == "DX"
    pixels, affine = read_image(answer["path"])
    assert np.array_equal(pixels.T, np.asarray(Image.open(source / row["file"])))
    assert np.allclose(np.linalg.norm(affine[:3, :2], axis=0), 0.6)
    assert annotator.status()["images"] == 4 and annotator.status()["labelled"] == 1
    assert len(orthanc.find("SEG")) == 1
    viewer = f"{server.url}/proxy/dicom"  # what OHIF asks: the list of studies, and the pixels of an image
    studies = requests.get(f"{viewer}/qido/studies", timeout=30).json()
    assert row["StudyInstanceUID"] in {study["0020000D"]["Value"][0] for study in studies}
    image = images_on(orthanc, answer["id"])[0]
    place = f"studies/{row['StudyInstanceUID']}/series/{answer['id']}/instances/{image.SOPInstanceUID}"
    frame = requests.get(f"{viewer}/wado/{place}/frames/1", timeout=30)
    assert frame.ok and image.PixelData[:1000] in frame.content
