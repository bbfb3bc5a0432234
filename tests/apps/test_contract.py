"""Contract of all folders in `apps/`: a new app needs no other test."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from pydicom import Dataset
from pydicom.uid import CTImageStorage, generate_uid

from bundle_configs import Bundle
from infers.metrics import METRICS
from pool.dicomweb.seg import read_seg, write_seg
from pool.imaging.names import same_name
from server.cli.new_app import ROOT, existing
from server.config import ConfigError, describe, parse
from strategies.settings import PRODUCT, Settings
from tests.forked import run

APPS = existing()
KEYS = (
    *("overrides", "dimensions", "labels", "colors", "codes", "modalities", "metric"),
    *(
        "epochs",
        "train_batch_size",
        "learning_rate",
        "dropout",
        "network_def",
        "inferer",
        "loss",
        "optimizer",
    ),
    *("image_transforms", "label_transforms", "train_transforms"),
)
# through MONAI Label's own loader, as its children do it: a process without a server, on a server's state
_LOADER = """
import json, sys
from pathlib import Path
from monai.bundle import run
from pool.database.state import State
from monailabel.interfaces.utils.app import app_instance
found = {}
for name in sys.argv[3:]:
    state = f"{sys.argv[2]}-{name}"
    State(Path(state), migrate=True)
    app = app_instance(f"{sys.argv[1]}/apps/{name}", f"{sys.argv[2]}/{name}", {"state": state})
    info = app.info()
    found[name] = {key: info[key] for key in ("name", "labels", "metric")}
    found[name] |= {key: list(info[key]) for key in ("models", "trainers", "strategies", "scoring")}
    found[name]["class"] = type(app).__name__
    folder = f"{sys.argv[2]}/{name}"
    tiny = json.loads(Path(folder, "tiny.json").read_text())
    config = f"{sys.argv[1]}/bundle_configs/{name}/configs/train.yaml"
    run(config_file=config, images=folder, masks=f"{folder}/masks", checkpoint=f"{folder}/model.pt", **tiny)
print(json.dumps(found))
"""
TINY: dict[int, dict[str, Any]] = {
    2: {"image_size": 32, "channels": [4, 8], "epochs": 2, "device": "cpu"},
    3: {"window": [16, 16, 16], "channels": [4, 8], "epochs": 2, "device": "cpu"},
}


@pytest.fixture(scope="module")
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Load the apps under test with MONAI Label on three images and train their bundles.

    :returns: what each app reports
    """
    tests = [test for test in request.session.items if isinstance(test, pytest.Function)]
    asked = {test.callspec.params["name"] for test in tests if "loaded" in test.fixturenames}
    apps = [name for name in APPS if name in asked]
    studies = tmp_path_factory.mktemp("studies")
    for name in apps:
        draw_images(studies / name, Bundle(name))
    command = ["-c", _LOADER, str(ROOT), str(studies), *apps]
    said = run(*command, cwd=studies, env={"PYTHONPATH": str(ROOT)})
    return {"studies": studies, **json.loads(said.stdout.splitlines()[-1])}


def draw_images(folder: Path, bundle: Bundle) -> None:
    """Write three slices or volumes as NIfTI with blocks of all structures, and their labels to `masks`."""
    (folder / "masks").mkdir(parents=True)
    dimensions, labels = bundle.get("dimensions"), bundle.get("labels")
    rng = np.random.default_rng(0)
    for number in range(3):
        shape = (40, 36, 20) if dimensions == 3 else (40, 36, 1)
        label = np.zeros(shape, np.uint8)
        for value in labels.values():
            left, top = 2 + 7 * (value % 5), 2 + 7 * (value // 5) + number
            label[left : left + 6, top : top + 6] = value
        image = (label * 9 + rng.normal(0, 3, shape)).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(image, np.eye(4)), folder / f"{number}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(label, np.eye(4)), folder / "masks" / f"{number}.nii.gz")
    (folder / "tiny.json").write_text(json.dumps(TINY[dimensions]))


@pytest.mark.parametrize("name", APPS)
def test_bundle_says_all_that_an_app_needs(name: str) -> None:
    bundle = Bundle(name)
    assert not [key for key in KEYS if bundle.get(key) is None]
    assert all(bundle.get(key) is not None for key in bundle.overrides)
    assert parse({}, bundle).settings == replace(Settings(), **{**PRODUCT, **bundle.selection})
    assert bundle.get("metric") in METRICS and bundle.get("modalities")


@pytest.mark.parametrize("name", APPS)
def test_labels_colours_and_codes_are_of_one_set_of_structures(name: str) -> None:
    bundle = Bundle(name)
    labels, colors, codes = (bundle.get(key) for key in ("labels", "colors", "codes"))
    assert list(labels.values()) == list(range(1, len(labels) + 1))
    assert len({same_name(label) for label in labels}) == len(labels)
    assert set(colors) == set(labels) and len({tuple(color) for color in colors.values()}) == len(labels)
    assert all(len(color) == 3 and 0 <= min(color) <= max(color) <= 255 for color in colors.values())
    assert set(codes) <= set(labels) and len({code[0] for code in codes.values()}) == len(codes)
    for value, scheme, meaning in codes.values():
        assert isinstance(value, str) and len(value) <= 16 and scheme in ("SCT", "DCM") and meaning


@pytest.mark.parametrize("name", APPS)
def test_labels_survive_as_a_dicom_segmentation(name: str) -> None:
    bundle = Bundle(name)
    labels = bundle.get("labels")
    drawn = np.zeros((40, 30), np.uint8)
    drawn.flat[: len(labels)] = list(labels.values())
    seg = write_seg(drawn, [slice_header(drawn.shape)], labels, bundle.get("colors"), bundle.get("codes"))
    assert [item.SegmentLabel for item in seg.SegmentSequence] == list(labels)
    np.testing.assert_array_equal(read_seg(seg, labels, (40, 30)), drawn)


def slice_header(size: tuple[int, int]) -> Dataset:
    """Return the header of a slice at a position in the body."""
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = CTImageStorage, generate_uid()
    made.StudyInstanceUID, made.SeriesInstanceUID, made.FrameOfReferenceUID = (
        generate_uid() for _ in range(3)
    )
    made.Columns, made.Rows, made.Modality = *size, "CT"
    made.ImagePositionPatient, made.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    made.PixelSpacing, made.SliceThickness = [1, 1], 1
    made.file_meta = Dataset()
    made.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    made.is_little_endian, made.is_implicit_VR = True, False
    return made


@pytest.mark.parametrize("name", APPS)
def test_metadata_is_that_of_the_network(name: str) -> None:
    bundle = Bundle(name)
    text = (ROOT / "bundle_configs" / name / "configs" / "metadata.json").read_text()
    data = json.loads(text)["network_data_format"]
    image, pred = data["inputs"]["image"], data["outputs"]["pred"]
    names = ["background", *bundle.get("labels")]
    assert pred["channel_def"] == {str(value): label for value, label in enumerate(names)}
    assert pred["num_channels"] == len(names)
    assert (1, image["num_channels"], *image["spatial_shape"]) == bundle.input_shape
    assert image["modality"] in bundle.get("modalities")


@pytest.mark.parametrize("name", APPS)
def test_network_is_built_and_settings_are_checked(name: str) -> None:
    bundle = Bundle(name)
    assert parse({"epochs": "3"}, bundle).overrides == {"epochs": 3}  # builds the network too
    text = describe(bundle)
    assert all(f"\n  {key} (default " in text for key in ("epochs", "channels"))
    with pytest.raises(ConfigError, match=f"there is no such key.*server.config {name}"):
        parse({"no_such_key": "1"}, bundle)


@pytest.mark.parametrize("name", APPS)
def test_app_starts_through_monai_labels_loader(name: str, loaded: dict[str, Any]) -> None:
    found, bundle = loaded[name], Bundle(name)
    labels = bundle.get("labels")
    assert found["labels"] == sorted(labels, key=labels.get) and found["metric"] == bundle.get("metric")
    assert found["class"] == "".join(word.capitalize() for word in name.split("_"))
    assert found["name"] and "segmentation" in found["trainers"] and found["scoring"] == ["refresh"]
    assert {"auto", "cold_start", "active", "random"} <= set(found["strategies"])


@pytest.mark.parametrize("name", APPS)
def test_bundle_learns_without_a_server(name: str, loaded: dict[str, Any]) -> None:
    bundle = Bundle(name, TINY[Bundle(name).get("dimensions")])
    trained = torch.load(loaded["studies"] / name / "model.pt", weights_only=True)
    torch.manual_seed(bundle.get("seed"))  # what the training started from
    network = bundle.new("network_def").eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    network.load_state_dict(trained)
    assert all(torch.isfinite(value).all() for value in trained.values())
    assert any(not torch.equal(value, before[key]) for key, value in trained.items())
    assert network(torch.rand(bundle.input_shape)).shape[1] == len(bundle.get("labels")) + 1


def test_brain_has_the_structures_that_the_preparer_writes() -> None:
    from benchmarks.datasets.chexmask import LABELS as CHEST
    from benchmarks.datasets.synthstrip2d import LABELS as BRAIN

    assert Bundle("brain_mri").get("labels") == BRAIN
    assert Bundle("cxr_heart_lungs").get("labels") == CHEST


def test_each_app_has_its_bundle_and_each_bundle_its_app() -> None:
    bundles = (path.parent.parent for path in Path(ROOT / "bundle_configs").glob("*/configs/train.yaml"))
    assert sorted(path.name for path in bundles) == APPS
