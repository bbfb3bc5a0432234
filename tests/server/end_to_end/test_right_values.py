"""Through a real server: grey values as meant, labels in any known geometry, and refusals that help."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest
import requests
import SimpleITK as sitk
from PIL import Image

from benchmarks.server_process import Server
from pool.imaging.geometry import former_affine
from pool.imaging.label_writer import write_label
from pool.imaging.labels import read_label
from tests.orthanc import radiograph
from tests.pool.imaging.test_geometry import padded
from tests.pool.imaging.test_grey_values import min_is_white
from tests.server.conftest import TINY
from tests.server.end_to_end.test_right_place import LUNGS, Pool

ROWS, COLUMNS = np.mgrid[:400, :500]
GREY = ((COLUMNS + 2 * ROWS) // 6).astype(np.uint8)
PICTURES = ("grey", "dots_tif", "dots_jpg", "fine")
MEANT = (*PICTURES, "palette", "cmyk", "deep", "white", "some")


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    """One picture as files of every kind, and two of which parts are not a number."""
    folder = tmp_path_factory.mktemp("values")
    studies = folder / "studies"
    studies.mkdir()
    picture = Image.fromarray(GREY)
    picture.save(studies / "grey.png")
    picture.save(studies / "dots_tif.tif", dpi=(72, 72))
    picture.save(studies / "dots_jpg.jpg", dpi=(300, 300), quality=95)
    picture.convert("RGB").quantize(64).save(studies / "palette.png")
    picture.convert("CMYK").save(studies / "cmyk.jpg", quality=95)
    Image.fromarray(GREY.astype(np.uint16) * 250).save(studies / "deep.png")
    min_is_white(studies / "white.tif", 255 - GREY)
    radiograph("fine", GREY, "DX").save_as(studies / "fine.dcm", write_like_original=False)
    for name, rows in (("some", 80), ("most", 300)):
        voxels = GREY.T[..., None].astype(np.float32)
        voxels[:, :rows] = np.nan
        nibabel.save(nibabel.Nifti1Image(voxels, np.diag([-1, -1, 1, 1])), studies / f"{name}.nii.gz")
    (studies / "broken.nrrd").write_bytes(b"NRRD0004\ntype: uint8\ndimension: two\n\n")
    conf = TINY | {"state": folder / "state", "duplicates": "off"}
    with Server("cxr_lungs", studies, conf, folder / "server.log") as server:
        server.wait()
        yield Pool(server, studies, folder)


def test_too_much_that_is_no_number_is_refused_and_some_is_said(pool: Pool) -> None:
    pool.wait_ready()
    failures = pool.status()["failures"]
    assert failures.keys() == {"most", "broken"}
    assert "150000 of 200000 values are not finite, 50% may be" in failures["most"]
    assert "some.nii.gz: 40000 of 200000 values are not finite" in pool.server.log.read_text()


@pytest.mark.parametrize("name", MEANT)
def test_pages_show_high_values_bright(pool: Pool, name: str) -> None:
    at = f"{pool.url}/selection/images/thumbnail"
    shown = requests.get(at, params={"image": name}, timeout=60)
    seen = np.asarray(Image.open(io.BytesIO(shown.content)).convert("L"))
    meant = np.asarray(Image.fromarray(GREY).resize(seen.shape[::-1], Image.Resampling.BILINEAR))
    top = len(seen) // 4 if name == "some" else 0
    assert np.corrcoef(seen[top:].ravel(), meant[top:].ravel())[0, 1] > 0.99
    voxels = requests.get(f"{pool.url}/selection/image/{name}/voxels", timeout=60)
    shape = [int(n) for n in voxels.headers["X-Shape"].split(",")]
    own = np.frombuffer(voxels.content, np.dtype(voxels.headers["X-Dtype"])).reshape(shape)
    rows = 100 if name == "some" else 0
    assert np.corrcoef(own[rows:].ravel(), GREY[rows:].ravel())[0, 1] > 0.99


def drawn(number: int) -> np.ndarray:
    """Draw a label (W, H) that every flip changes, another for each number."""
    label = np.zeros(GREY.T.shape, np.uint8)
    label[20 + number : 90, 30:300], label[100:350, 310:390] = 1, 2
    return label


@pytest.mark.parametrize("name", PICTURES)
def test_labels_of_pictures_in_any_known_geometry_are_kept_unmoved(
    pool: Pool, name: str, tmp_path: Path
) -> None:
    image, number = pool.image(name), 10 * PICTURES.index(name)

    def kept(file: str, label: np.ndarray) -> None:
        answer = pool.save(name, tmp_path / file, confirmed=True)
        assert answer.status_code == 200, answer.text
        np.testing.assert_array_equal(read_label(pool.stored(name), LUNGS, image), label, err_msg=file)

    for file in ("itk.nii.gz", "itk.nrrd"):
        number += 1
        made = sitk.GetImageFromArray(drawn(number).T[None])
        made.CopyInformation(padded(image))
        sitk.WriteImage(made, str(tmp_path / file))
        kept(file, drawn(number))
    for file in ("former.nii.gz", "former.nrrd", "former.seg.nrrd"):
        number += 1
        write_label(tmp_path / file, drawn(number), former_affine(image), LUNGS, {})
        kept(file, drawn(number))
    nrrd.write(str(tmp_path / "index.nrrd"), drawn(number + 1).astype(np.int64))
    kept("index.nrrd", drawn(number + 1))
    made = Image.fromarray(drawn(number + 2).T.copy(), "P")
    made.putpalette([0, 0, 0, 250, 20, 20, 20, 250, 20])
    made.save(tmp_path / "palette.png")
    kept("palette.png", drawn(number + 2))


def test_refusals_show_the_useful_line_the_name_and_what_to_do(pool: Pool, tmp_path: Path) -> None:
    (tmp_path / "broken.nrrd").write_bytes((pool.studies / "broken.nrrd").read_bytes())
    answer = pool.save("grey", tmp_path / "broken.nrrd")
    long = requests.put(
        f"{pool.url}/datastore/label?image=grey",
        files={"label": (f"{'x' * 300}.nrrd", (tmp_path / "broken.nrrd").read_bytes())},
        timeout=60,
    )
    texts = [pool.status()["failures"]["broken"], answer.json()["detail"], long.json()["detail"]]
    assert answer.status_code == 422 and long.status_code in (400, 422)
    assert "broken.nrrd" in texts[0] and "broken.nrrd" in texts[1]
    for text in texts:
        assert not any(word in text for word in ("ITK-source", "SimpleITK", ".cxx", "0x", "()", "\n"))
        assert len(text) < 600
