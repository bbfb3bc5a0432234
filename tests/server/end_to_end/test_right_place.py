"""Through real servers: predictions lie on their images, losses of a label are said, bad files are named."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import nrrd
import numpy as np
import pytest
import requests
import SimpleITK as sitk
import torch
from PIL import Image

from benchmarks.annotator import Annotator
from benchmarks.server_process import Server
from pool.imaging.labels import read_label
from tests.orthanc import radiograph
from tests.pool.imaging.damaged import damaged, phantoms
from tests.pool.imaging.test_geometry import assert_same_geometry, boxed, drawn, shifted
from tests.pool.imaging.test_limits import RGB24, nifti, png
from tests.server.published import publish
from tests.volumes import write_volume

XRAYS = {"image_size": 64, "channels": "[4,8,16]", "cold_start_budget": 4, "instant": False}
VOLUMES = {
    "instant": False,
    "channels": "[4,8]",
    "window": "[16,16,8]",
    "labels": '{"oedema": 1, "tumour": 2}',
    "cold_start_budget": 2,
}
LUNGS, TISSUES = {"right lung": 1, "left lung": 2}, {"oedema": 1, "tumour": 2}
SPACED = ("dots_tif", "dots_jpg", "fine")


class Pool:
    """A server on a folder, and the requests that these tests make."""

    def __init__(self, server: Server, studies: Path, folder: Path) -> None:
        self.url, self.server, self.studies, self.folder = server.url, server, studies, folder

    def image(self, name: str) -> Path:
        (found,) = self.studies.glob(f"{name}.*")
        return found

    def infer(self, name: str, **params: Any) -> Path:
        answer = requests.post(
            f"{self.url}/infer/segmentation?image={name}&output=image",
            data={"params": json.dumps(params)},
            timeout=120,
        )
        assert answer.status_code == 200, answer.text
        sent = answer.headers["content-disposition"].split("filename=")[1].strip('"')
        path = self.folder / f"prediction{sent[sent.index('.') :]}"
        path.write_bytes(answer.content)
        return path

    def save(self, name: str, file: Path, **params: Any) -> requests.Response:
        with open(file, "rb") as content:
            return requests.put(
                f"{self.url}/datastore/label?image={name}&tag=final",
                data={"params": json.dumps(params)},
                files={"label": (file.name, content)},
                timeout=120,
            )

    def stored(self, name: str) -> Path:
        (found,) = (self.studies / "labels" / "final").glob(f"{name}.*")
        return found

    def status(self) -> dict[str, Any]:
        return Annotator(self.url, self.studies).status()

    def wait_ready(self) -> None:
        Annotator(self.url, self.studies).wait_ready(rounds=0)


def only_left(model: Path) -> None:
    """Make a network predict value 2 everywhere."""
    checkpoint = torch.load(model, weights_only=True)
    bias = [key for key in checkpoint["model"] if key.endswith("bias")][-1]
    checkpoint["model"] = {key: value * 0 for key, value in checkpoint["model"].items()}
    checkpoint["model"][bias] = torch.eye(3)[2]
    torch.save(checkpoint, model)


@pytest.fixture(scope="module")
def xrays(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    """Radiographs in all formats, some of them bad, and a model that predicts the left lung everywhere."""
    folder = tmp_path_factory.mktemp("xrays")
    studies = folder / "studies"
    studies.mkdir()
    pictures = [Image.open(path) for path in sorted((phantoms / "studies").iterdir())[:8]]
    for i, picture in enumerate(pictures[:4]):
        picture.save(studies / f"p{i}.png")
    pictures[4].save(studies / "dots_tif.tif", dpi=(72, 72))
    pictures[5].save(studies / "dots_jpg.jpg", dpi=(300, 300))
    fine = radiograph("fine", np.asarray(pictures[6]), "DX")
    fine.ImagerPixelSpacing = [0.2, 0.2]
    fine.save_as(studies / "fine.dcm", write_like_original=False)
    pictures[7].convert("RGB").quantize(64).save(studies / "palette.png")
    nibabel.save(nibabel.Nifti1Image(np.zeros((40, 40, 1), RGB24), np.eye(4)), studies / "colours.nii.gz")
    nifti(studies / "bomb.nii.gz", (32_000, 32_000, 20))
    png(studies / "huge.png")
    (studies / "cut.png").write_bytes((studies / "p0.png").read_bytes()[:900])
    publish(folder / "state", "cxr_lungs", XRAYS)
    only_left(folder / "state" / "model.pt")
    with Server("cxr_lungs", studies, XRAYS | {"state": folder / "state"}, folder / "server.log") as server:
        server.wait()
        yield Pool(server, studies, folder)


def test_bad_images_are_named_and_the_others_get_a_plan(xrays: Pool) -> None:
    xrays.wait_ready()
    failures = xrays.status()["failures"]
    says = {"colours": "has colours", "bomb": "declares", "huge": "declares", "cut": "cannot be read"}
    assert failures.keys() == says.keys()
    assert all(text in failures[name] and name in failures[name] for name, text in says.items())
    assert requests.post(f"{xrays.url}/activelearning/auto", json={}, timeout=60).status_code == 200


@pytest.mark.parametrize("extension", [".nrrd", ".nii.gz", ".seg.nrrd"])
@pytest.mark.parametrize("name", ["p1", "palette", *SPACED])
def test_a_prediction_lies_on_its_picture(xrays: Pool, name: str, extension: str) -> None:
    predicted = xrays.infer(name, result_extension=extension)
    assert_same_geometry(predicted, xrays.image(name))
    answer = xrays.save(name, predicted, confirmed=True)
    assert answer.status_code == 200 and "warnings" not in answer.json()
    assert (read_label(xrays.stored(name), LUNGS, xrays.image(name)) == 2).all()


def test_a_batch_inference_passes_bad_images_and_keeps_names_and_spacings(xrays: Pool) -> None:
    xrays.wait_ready()
    asked = f"{xrays.url}/batch/infer/segmentation?images=all"  # N02: on whatever device there is
    assert requests.post(asked, json={"label_tag": "original"}, timeout=60).status_code == 200
    end = time.monotonic() + 180
    while (task := requests.get(f"{xrays.url}/batch/infer", timeout=60).json())["status"] != "DONE":
        assert task["status"] in ("SUBMITTED", "RUNNING") and time.monotonic() < end, task
        time.sleep(0.5)
    said = next(line for line in task["details"] if "images have no prediction" in line)
    assert "4 of " in said and all(name in said for name in ("colours", "bomb", "huge", "cut"))
    for name in ("p1", *SPACED):
        at = {"label": name, "tag": "original"}
        info = requests.get(f"{xrays.url}/datastore/label/info", params=at, timeout=60).json()
        assert info["params"]["label_names"] == {"left lung": 2} and info["model"] == "segmentation"
        (file,) = (xrays.studies / "labels" / "original").glob(f"{name}.*")
        assert file.name == info["name"] and file.name.endswith(".png" if name == "p1" else ".nii.gz")
        if name != "p1":
            assert_same_geometry(file, xrays.image(name))
    assert not list((xrays.studies / "labels" / "original").glob(".*"))


def test_a_bad_label_is_refused_with_what_to_do(xrays: Pool, tmp_path: Path) -> None:
    size = Image.open(xrays.image("p2")).size
    flat = np.ones(size, np.uint8)
    nibabel.save(nibabel.Nifti1Image(np.zeros((*size, 1), RGB24), np.eye(4)), tmp_path / "rgb.nii.gz")
    nifti(tmp_path / "bomb.nii.gz", (32_000, 32_000, 20))
    nrrd.write(
        str(tmp_path / "word.seg.nrrd"), flat, header={"Segment0_Name": "x", "Segment0_LabelValue": "x"}
    )
    nrrd.write(str(tmp_path / "apart.nhdr"), flat, detached_header=True)
    nrrd.write(str(tmp_path / "broken.nrrd"), flat)
    content = (tmp_path / "broken.nrrd").read_bytes()
    (tmp_path / "broken.nrrd").write_bytes(content.replace(b"sizes: ", b"sizes: x "))
    Image.fromarray(flat.T.copy()).save(tmp_path / "lossy.png", format="JPEG")
    three = nibabel.Nifti1Image(np.ones((*size, 1, 1, 3), np.uint8), np.eye(4))
    nibabel.save(three, tmp_path / "three.nii.gz")
    says = {
        "rgb.nii.gz": "colours",
        "bomb.nii.gz": "declares",
        "word.seg.nrrd": "'x'",
        "apart.nhdr": "beside",
        "broken.nrrd": "sizes",
        "lossy.png": "JPEG",
        "three.nii.gz": "values per voxel",
    }
    for name, text in says.items():
        started = time.monotonic()
        sent = [{"name": "left lung", "idx": 1}] if name == "three.nii.gz" else []
        answer = xrays.save("p2", tmp_path / name, label_info=sent)
        assert answer.status_code == 422 and text in answer.json()["detail"], answer.text
        assert name in answer.json()["detail"] and "\n" not in answer.json()["detail"]
        assert not any(word in answer.json()["detail"] for word in ("/tmp", "ITK", ".cxx", " ()"))
        assert time.monotonic() - started < 10
    assert not list((xrays.studies / "labels" / "final").glob("p2.*"))


def test_what_is_not_kept_of_a_label_is_said(xrays: Pool, tmp_path: Path) -> None:
    layers = np.zeros((2, *Image.open(xrays.image("p3")).size, 1), np.uint8)
    layers[0, 5:25, 5:25], layers[1, 15:35, 15:35] = 1, 1
    header: dict[str, Any] = {"kinds": ["list", *["domain"] * 3]}
    for i, name in enumerate(LUNGS):
        header |= {f"Segment{i}_Name": name, f"Segment{i}_LabelValue": "1", f"Segment{i}_Layer": str(i)}
    nrrd.write(str(tmp_path / "two.seg.nrrd"), layers, header=header)
    answer = xrays.save("p3", tmp_path / "two.seg.nrrd", warnings=["not ours"])
    said = ["segments overlap in 100 voxels, where the later segment of the file is kept"]
    assert answer.status_code == 200 and answer.json()["warnings"] == said
    at = {"label": "p3", "tag": "final"}
    assert requests.get(f"{xrays.url}/datastore/label/info", params=at, timeout=60).json()["warnings"] == said


def test_damaged_labels_are_read_or_refused_by_name(xrays: Pool, tmp_path: Path, long: bool) -> None:
    (tmp_path / "whole").mkdir()
    labels = [path for path in phantoms(tmp_path / "whole") if path.name.startswith(("m.", "l.", "p.", "c."))]
    for number in range(1000 if long else 20):
        file = damaged(labels, number, tmp_path)
        before = [path.read_bytes() for path in xrays.studies.glob("labels/final/p0.*")]
        answer = xrays.save("p0", file, label_info=[{"name": "right lung", "idx": 1}])
        assert answer.status_code in (200, 422), answer.text
        if answer.status_code == 422:
            assert "p0" in answer.json()["detail"] or file.name in answer.json()["detail"]
            assert [path.read_bytes() for path in xrays.studies.glob("labels/final/p0.*")] == before
    assert "Traceback" not in xrays.server.log.read_text()


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    """Volumes with any two forms, one with NaN, a NRRD that is a picture, and a published model."""
    folder = tmp_path_factory.mktemp("volumes")
    studies = folder / "studies"
    studies.mkdir()
    write_volume(studies / "v0.nii.gz", 0)
    voxels = np.asarray(nibabel.nifti1.load(studies / "v0.nii.gz").dataobj, dtype=np.float32)
    sform, qform = np.eye(4), np.diag([-1.0, -1, 1, 1])
    sform[:3, 3], qform[:3, 3] = (7, -3, 2), (30, 40, 0)
    for codes in ((2, 1), (4, 1), (0, 0), (1, 1)):
        header = nibabel.Nifti1Header()
        header.set_data_dtype(np.float32)
        header.set_sform(sform, codes[0])
        header.set_qform(qform, codes[1])
        made = nibabel.Nifti1Image(voxels + sum(codes), None, header)
        nibabel.save(made, studies / f"forms{codes[0]}{codes[1]}.nii.gz")
    some = voxels[:20, :20, :20].copy()
    some[:3] = np.nan
    nibabel.save(nibabel.Nifti1Image(some, shifted(-5)), studies / "shifted.nii.gz")
    space = {"space dimension": 2, "space directions": np.eye(2), "space origin": [0, 0]}
    nrrd.write(str(studies / "flat.nrrd"), voxels[:, :, 5], header=space)
    nibabel.save(nibabel.Nifti1Image(np.zeros((20, 18, 9), RGB24), np.eye(4)), studies / "colours.nii.gz")
    some[:11] = np.nan
    nibabel.save(nibabel.Nifti1Image(some, np.eye(4)), studies / "mostly.nii.gz")
    publish(folder / "state", "volumes", VOLUMES)
    with Server("volumes", studies, VOLUMES | {"state": folder / "state"}, folder / "server.log") as server:
        server.wait()
        yield Pool(server, studies, folder)


def test_a_flat_nrrd_among_volumes_is_named(volumes: Pool) -> None:
    volumes.wait_ready()
    status = volumes.status()
    assert status["failures"].keys() == {"flat", "colours", "mostly"}
    assert "flat.nrrd" in status["failures"]["flat"] and "50% may be" in status["failures"]["mostly"]
    assert "1200 of 8000 values are not finite; they are read as" in volumes.server.log.read_text()
    assert requests.post(f"{volumes.url}/activelearning/auto", json={}, timeout=60).status_code == 200


@pytest.mark.parametrize("name", ["forms21", "forms41", "forms00", "forms11", "shifted"])
def test_a_volumes_prediction_and_label_lie_on_it(volumes: Pool, name: str) -> None:
    image = volumes.image(name)
    source = sitk.ReadImage(str(image))
    for extension in (".nii.gz", ".nrrd"):
        assert_same_geometry(volumes.infer(name, result_extension=extension), image)
    label = drawn(source.GetSize())
    made = sitk.GetImageFromArray(label.T)
    made.CopyInformation(source)
    sitk.WriteImage(made, str(volumes.folder / "drawn.nii.gz"))
    order = [{"name": "tumour", "idx": 1}, {"name": "oedema", "idx": 2}]
    for sent in ([], order):
        assert volumes.save(name, volumes.folder / "drawn.nii.gz", label_info=sent).status_code == 200
        expected = np.choose(label, [0, 2, 1]) if sent else label
        np.testing.assert_array_equal(read_label(volumes.stored(name), TISSUES, image), expected)
        assert_same_geometry(volumes.stored(name), image)
    predicted = nibabel.nifti1.load(volumes.infer(name, result_extension=".nii.gz")).header
    for field in ("sform_code", "qform_code", "srow_x", "qoffset_x"):
        np.testing.assert_array_equal(predicted[field], nibabel.nifti1.load(image).header[field])


def test_a_label_that_would_lose_voxels_is_refused(volumes: Pool, tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(boxed(), np.eye(4)), tmp_path / "label.nii.gz")
    answer = volumes.save("shifted", tmp_path / "label.nii.gz")
    assert answer.status_code == 422 and "300 of 1600 voxels" in answer.json()["detail"]
    assert "3 mm" in answer.json()["detail"]
    nrrd.write(str(tmp_path / "index.nrrd"), boxed().astype(np.int64))
    assert volumes.save("shifted", tmp_path / "index.nrrd").status_code == 200
    np.testing.assert_array_equal(
        read_label(volumes.stored("shifted"), TISSUES, volumes.image("shifted")), boxed()
    )
