"""The requests of 3D Slicer's MONAI Label module, in its order, with MONAI Label's client.

From the module's published source (Project-MONAI/MONAILabel, plugins/slicer/MONAILabel/MONAILabel.py):
parameters are those of `/info/`, files are as Slicer writes them.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nrrd
import numpy as np
import pytest
import requests
import SimpleITK as sitk
from monailabel.client import MONAILabelClient
from PIL import Image

from benchmarks.server_process import Server
from pool.dicom_export.series import Given, describe
from pool.dicomweb.client import DicomServer
from pool.imaging.labels import read_label
from server.cli.dicom_in import send
from tests.forked import prepare
from tests.orthanc import Orthanc
from tests.pool.imaging.test_geometry import assert_same_geometry
from tests.server.published import publish
from tests.volumes import write_volume

XRAYS = {"image_size": 64, "channels": "[4,8,16]"}
VOLUMES = {"channels": "[4,8]", "window": "[16,16,8]", "labels": '{"oedema": 2, "tumour": 1}'}


@dataclass
class Pool:
    kind: str
    url: str
    client: MONAILabelClient
    folder: Path
    names: list[str]  # structures, in the order of /info/
    values: dict[str, int]


@pytest.fixture(scope="module", params=["png", "nifti", "dicom"])
def pool(
    request: pytest.FixtureRequest, phantoms: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pool]:
    """A pool of four images and a published model."""
    folder = tmp_path_factory.mktemp(request.param)
    app, conf = ("cxr_lungs", XRAYS) if request.param == "png" else ("volumes", VOLUMES)
    studies: Any = folder / "studies"
    studies.mkdir()
    for i, path in enumerate(sorted((phantoms / "studies").iterdir())[:4]):
        if request.param == "png":
            Image.fromarray(np.asarray(Image.open(path))[:100]).save(studies / path.name)
        else:
            write_volume(studies / f"v{i}.nii.gz", i, (26, 24, 10))
    if request.param == "dicom":
        make: Callable[[], Orthanc] = request.getfixturevalue("make_orthanc")
        orthanc = make()
        for path in sorted(studies.iterdir()):
            send(describe(path, Given("MR"), path.name), DicomServer(orthanc.url))
        studies = orthanc.url
    publish(folder / "state", app, conf)
    prepare(app, studies, folder / "state", conf)
    with Server(
        app, studies, conf | {"state": folder / "state", "prelabels": 0}, folder / "server.log"
    ) as server:
        server.wait()
        (folder / "slicer").mkdir()
        client = MONAILabelClient(server.url, tmpdir=str(folder / "slicer"), client_id="user-xyz")
        values = client.info()["models"]["segmentation"]["labels"]
        yield Pool(request.param, server.url, client, folder, sorted(values, key=values.__getitem__), values)


def params_of(section: dict[str, Any], name: str) -> dict[str, Any]:
    """Mirror `getParamsFromConfig`: of a list, take the first value."""
    return {k: v[0] if isinstance(v, list) else v for k, v in section[name].get("config", {}).items()}


def sample(pool: Pool) -> tuple[str, sitk.Image]:
    """Mirror `onNextSampleButton`: get the suggestion and download its image."""
    strategies = pool.client.info()["strategies"]
    found = pool.client.next_sample("auto", params_of(strategies, "auto"))
    assert Path(found["path"]).is_file() and found["name"] and found["selection"]["reason"]
    answer = requests.get(f"{pool.url}/datastore/image", params={"image": found["id"]}, timeout=60)
    file = pool.folder / "slicer" / found["name"]
    file.write_bytes(answer.content)
    assert answer.status_code == 200 and file.read_bytes() == Path(found["path"]).read_bytes()
    assert found["checksum"] == f"SHA256:{hashlib.sha256(answer.content).hexdigest()}"
    info = requests.get(f"{pool.url}/datastore/image/info", params={"image": found["id"]}, timeout=60).json()
    assert info["checksum"] == found["checksum"]
    return found["id"], sitk.ReadImage(str(file))


def draw(image: sitk.Image) -> np.ndarray:
    """Make the annotator's drawing (W, H, D), whose values 1 and 2 are places in a list."""
    size = (*image.GetSize(), 1)[:3]
    drawn = np.zeros(size, np.uint8)
    drawn[3:9, 2:8, size[2] // 3 :], drawn[12:20, 5:18, : size[2] // 2 + 1] = 1, 2
    return drawn


def write(image: sitk.Image, voxels: np.ndarray, file: Path) -> str:
    """Write a labelmap on an image's grid, as Slicer's `saveNode` does through ITK."""
    flat = voxels[:, :, 0].T if image.GetDimension() == 2 else voxels.transpose(2, 1, 0)
    made = sitk.GetImageFromArray(np.ascontiguousarray(flat)[None] if flat.ndim == 2 else flat)
    if image.GetDimension() == 3:
        made.CopyInformation(image)
    sitk.WriteImage(made, str(file))
    return str(file)


def final(pool: Pool, image: str) -> np.ndarray:
    """Return the stored label (W, H, D) in the app's values, on the image's grid."""
    (source,) = (pool.folder / "slicer").glob(f"{image}.*")  # what `sample` downloaded
    return np.atleast_3d(read_label(pool.client.download_label(image, "final"), pool.values, source))


def test_connect_ask_segment_save_train_stop(pool: Pool) -> None:
    info = pool.client.info()
    assert info["labels"] == pool.names and "config" not in info
    model = info["models"]["segmentation"]
    assert (
        model["type"] == "segmentation" and model["description"] and set(model["labels"]) == set(pool.names)
    )

    image, volume = sample(pool)
    with pytest.raises(KeyError):  # caught there: an image without a label of the tag `original`
        pool.client.datastore()["objects"][image]["labels"]["original"]
    params = params_of(info["models"], "segmentation")
    params |= {"result_extension": ".nrrd", "result_dtype": "uint8"}
    file, said = pool.client.infer("segmentation", image, params)
    (source,) = (pool.folder / "slicer").glob(f"{image}.*")
    assert_same_geometry(Path(file), source)  # Slicer lays one over the other by position
    predicted = sitk.GetArrayFromImage(sitk.ReadImage(file))
    assert predicted.size == np.prod(volume.GetSize()[: 2 if pool.kind == "png" else 3])
    assert sorted(said["label_names"].values()) == sorted(set(np.unique(predicted).tolist()) - {0})

    # the annotator put the segments into another order, and had scribbles that are not saved
    order = [pool.names[1], pool.names[0]]
    drawn, label_info = draw(volume), [{"name": name, "idx": i} for i, name in enumerate(order, start=1)]
    label = write(volume, drawn, pool.folder / "slicer" / "label.nii.gz")
    assert pool.client.save_label(image, label, params={"label_info": label_info})["label"] == image
    expected = np.select([drawn == 1, drawn == 2], [pool.values[name] for name in order])
    np.testing.assert_array_equal(final(pool, image), expected)
    assert pool.client.info()["datastore"]["completed"] == 1

    assert not pool.client.train_status(check_if_running=True)
    params = params_of(info["trainers"], "segmentation") | {"max_epochs": 500}  # long enough to be stopped
    assert pool.client.train_start("segmentation", params)["id"]
    end = time.monotonic() + 60
    while not pool.client.train_status(check_if_running=True):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert pool.client.train_stop()["status"] and not pool.client.train_status(check_if_running=True)
    assert requests.get(f"{pool.url}/logs/?lines=50", timeout=30).status_code == 200
    assert sample(pool)[0] != image


def seg_nrrd(image: sitk.Image, drawn: np.ndarray, names: list[str], file: Path) -> str:
    """Overlapping segments in two layers, cropped to the drawing (vtkMRMLSegmentationStorageNode)."""
    layers = np.stack([drawn > 0, drawn == 2]).astype(np.uint8)  # the first lies under the second, too
    inside = np.argwhere(drawn > 0)
    low, high = inside.min(axis=0), inside.max(axis=0) + 1
    layers = layers[:, low[0] : high[0], low[1] : high[1], low[2] : high[2]]
    flat = image.GetDimension() == 2  # Slicer takes a picture for one slice of a volume
    axes = np.eye(3) if flat else np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    origin = np.zeros(3) if flat else np.asarray(image.GetOrigin())
    header: dict[str, Any] = {
        "space": "left-posterior-superior",
        "kinds": ["list", "domain", "domain", "domain"],
        "space directions": np.vstack([np.full(3, np.nan), axes.T]),
        "space origin": origin + axes @ low,
        "encoding": "gzip",
        "Segmentation_ContainedRepresentationNames": "Binary labelmap|Closed surface|",
        "Segmentation_MasterRepresentation": "Binary labelmap",
        "Segmentation_ReferenceImageExtentOffset": " ".join(map(str, low)),
    }
    extent = " ".join(f"0 {n - 1}" for n in layers.shape[1:])
    for i, name in enumerate(names):
        header |= {
            f"Segment{i}_ID": name,
            f"Segment{i}_Name": name,
            f"Segment{i}_LabelValue": "1",
            f"Segment{i}_Layer": str(i),
            f"Segment{i}_Extent": extent,
            f"Segment{i}_Color": "0.5 0.7 0.5",
            f"Segment{i}_Tags": "Segmentation.Status:inprogress|",
        }
    nrrd.write(str(file), layers, header=header)
    return str(file)


def test_seg_nrrd_is_read_by_its_names_and_put_where_it_was_cropped(pool: Pool) -> None:
    image, volume = sample(pool)
    drawn, names = draw(volume), [pool.names[1], pool.names[0]]
    file = seg_nrrd(volume, drawn, names, pool.folder / "slicer" / "label.seg.nrrd")
    label_info = [{"name": name, "idx": i} for i, name in enumerate(names, start=1)]
    pool.client.save_label(image, file, params={"label_info": label_info})
    expected = np.select([drawn == 1, drawn == 2], [pool.values[name] for name in names])
    np.testing.assert_array_equal(final(pool, image), expected)


def test_a_reopened_case_comes_with_its_label_where_it_was_drawn(pool: Pool) -> None:
    """Slicer loads the label with the tag `original` by itself; its k-th name is its k-th value."""
    objects = pool.client.datastore()["objects"]
    image = next(name for name, found in objects.items() if "final" in found["labels"])
    before = final(pool, image)
    body = {"kind": "reopen", "images": [image]}
    assert requests.post(f"{pool.url}/selection/marks", json=body, timeout=60).json() == {"changed": 1}
    assert sample(pool)[0] == image
    info = pool.client.datastore()["objects"][image]["labels"]["original"]["info"]
    file = Path(pool.client.download_label(image, "original"))
    (source,) = (pool.folder / "slicer").glob(f"{image}.*")
    assert_same_geometry(file, source)
    np.testing.assert_array_equal(np.atleast_3d(read_label(file, pool.values, source)), before)
    names = list(info["params"]["label_names"])
    assert [pool.values[name] for name in names] == sorted(set(np.unique(before).tolist()) - {0})


def test_an_image_of_ones_own_is_segmented_in_a_session(pool: Pool) -> None:
    image, volume = sample(pool)
    ext = ".png" if pool.kind == "png" else ".nii.gz"
    file = pool.folder / "slicer" / f"own{ext}"
    sitk.WriteImage(volume, str(file))
    session = pool.client.create_session(str(file))["session_id"]
    assert pool.client.get_session(session)
    result, _ = pool.client.infer("segmentation", image, {"result_extension": ".nrrd"}, session_id=session)
    assert Path(result).stat().st_size > 0
    pool.client.remove_session(session)
