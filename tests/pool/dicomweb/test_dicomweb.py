"""A pool on a real DICOM server (Orthanc): what is found, fetched, saved and read back, and outages."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from monailabel.config import settings
from PIL import Image
from pydicom import Dataset
from pydicom.uid import generate_uid

from benchmarks.phantoms.generate import generate
from pool.dicomweb.client import SeriesError, ServerError
from pool.dicomweb.seg import write_seg
from pool.dicomweb.store import DicomWebPool, search_filters
from pool.errors import PoolError
from pool.groups import Groups
from pool.imaging.images import ImageError, read_image
from pool.imaging.labels import read_label
from pool.protocol import LabelCheck, RefusedLabel
from tests.orthanc import Orthanc, radiograph

LABELS = {"right lung": 1, "left lung": 2}
Open = Callable[..., DicomWebPool]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Five phantoms of 96 x 128 pixels (rows, columns): {name: (image, mask)}."""
    folder = tmp_path_factory.mktemp("phantoms")
    generate(folder, count=5, seed=3, size=128)
    return {
        path.stem: tuple(
            np.asarray(Image.open(folder / kind / path.name))[16:112] for kind in ("studies", "labels")
        )
        for path in sorted((folder / "studies").iterdir())
    }  # type: ignore[return-value]


@pytest.fixture(scope="module")
def shared(make_orthanc: Callable[[], Orthanc]) -> Orthanc:
    """One server for all tests here that do not stop it."""
    return make_orthanc()


@pytest.fixture
def files(pictures: dict[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, Dataset]:
    """CR and DX, one of them MONOCHROME1, with UIDs of their own in each test."""
    kinds = [("CR", False), ("DX", False), ("CR", True), ("DX", True), ("CR", False)]
    test = generate_uid()
    return {
        name: radiograph(f"{name}-{test[-12:]}", image, modality, inverse)
        for (name, (image, _)), (modality, inverse) in zip(pictures.items(), kinds, strict=True)
    }


@pytest.fixture
def orthanc(shared: Orthanc, files: dict[str, Dataset]) -> Orthanc:
    """The server with the five radiographs, and a CT that is none."""
    for modality in ("CR", "DX", "CT", "SEG"):
        for series in shared.find(modality):
            shared.remove(series)
    shared.add(*files.values(), radiograph("chest CT", np.zeros((64, 64), np.uint8), "CT"))
    return shared


@pytest.fixture
def opened(orthanc: Orthanc, tmp_path: Path) -> Open:
    def make(**options: Any) -> DicomWebPool:
        options = {"filters": search_filters(["CR", "DX"]), "folder": tmp_path / "cache", **options}
        return DicomWebPool(orthanc.url, labels=LABELS, every=options.pop("every", 0.0), **options)

    return make


def uid(file: Dataset) -> str:
    return str(file.SeriesInstanceUID)


def send(folder: Path, mask: np.ndarray) -> str:
    """A label file as the Python client sends it."""
    Image.fromarray(mask).save(folder / "sent.png")
    return str(folder / "sent.png")


# what there is ----------------------------------------------------------------------------------------


def test_radiographs_are_found_and_the_ct_is_not(opened: Open, files: dict[str, Dataset]) -> None:
    pool, expected = opened(page=2), sorted(map(uid, files.values()))
    assert pool.list_images() == pool.get_unlabeled_images() == expected
    assert pool.has_image(expected[0]) and not pool.has_image("1.2.3")
    same = pool.list_images()
    pool.take_over_changes()
    assert pool.list_images() is same


def test_other_modalities_and_the_users_own_search(
    opened: Open, orthanc: Orthanc, files: dict[str, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert opened(filters=search_filters(["CT"])).list_images() == orthanc.find("CT")
    own = {"Modality": "DX", "PatientID": str(files["phantom_001"].PatientID)}
    monkeypatch.setattr(settings, "MONAI_LABEL_DICOMWEB_SEARCH_FILTER", own)
    assert opened(filters=search_filters(["CR", "DX"])).list_images() == [uid(files["phantom_001"])]


def test_series_of_one_patient_are_a_group_by_themselves(opened: Open, orthanc: Orthanc) -> None:
    names = ("ann", "ann", "bob", "", "")
    files = [radiograph(f"file {n}", np.eye(64, dtype=np.uint8), "DX") for n in range(len(names))]
    for file, name in zip(files, names, strict=True):
        file.PatientID = name
    orthanc.add(*files)
    rows = Groups().rows([uid(file) for file in files], opened())
    assert rows is not None and rows[0] == rows[1] and len(set(rows)) == 4, "without a name: each its own"


def test_series_that_come_and_go_are_noticed_in_the_background(
    opened: Open, orthanc: Orthanc, files: dict[str, Dataset]
) -> None:
    told: list[str] = []
    pool = opened(changed=lambda: told.append("changed"))
    new = radiograph("late", np.eye(64, dtype=np.uint8), "DX")
    orthanc.add(new)
    assert not pool.has_image(uid(new)), "only the background looks"
    pool.take_over_changes()
    assert pool.has_image(uid(new)) and pool.list_images() == sorted([*map(uid, files.values()), uid(new)])
    orthanc.remove(uid(new))
    pool.take_over_changes()
    assert not pool.has_image(uid(new)) and told == ["changed", "changed"]


def test_the_server_is_asked_only_so_often(opened: Open, orthanc: Orthanc) -> None:
    pool = opened(every=3600.0)
    orthanc.remove(pool.list_images()[0])
    pool.take_over_changes()
    assert len(pool.list_images()) == 5
    pool.refresh()
    assert len(pool.list_images()) == 4


# images -----------------------------------------------------------------------------------------------


def test_images_are_fetched_with_high_values_bright(
    opened: Open, files: dict[str, Dataset], pictures: dict[str, tuple[np.ndarray, np.ndarray]]
) -> None:
    pool = opened()
    for name, file in files.items():
        grey, affine = read_image(pool.get_image_uri(uid(file)))
        assert (grey == pictures[name][0].T.astype(float) * 16).all(), name
        assert np.allclose(np.abs(np.diag(affine))[:2], [0.3, 0.4]), name
    info = pool.get_image_info(uid(file))
    assert info["StudyInstanceUID"] == file.StudyInstanceUID and info["PatientID"] == file.PatientID
    assert pool.get_image_uri("1.2.3") == pool.get_image_uri("../../etc") == ""


def test_what_was_prefetched_needs_no_server(
    opened: Open, orthanc: Orthanc, files: dict[str, Dataset], caplog: pytest.LogCaptureFixture
) -> None:
    broken = radiograph("broken", np.eye(64, dtype=np.uint8))
    broken.PixelData = broken.PixelData[:100]
    orthanc.add(broken)
    pool, images = opened(), sorted(map(uid, files.values()))
    gone = images[1]
    orthanc.remove(gone)
    pool.prefetch([uid(broken), *images])
    assert uid(broken) in caplog.text and gone in caplog.text
    orthanc.stop()
    try:
        for image in set(images) - {gone}:
            assert Path(pool.get_image_uri(image)).is_file()
        with pytest.raises(ServerError, match=orthanc.url):
            pool.get_image_uri(gone)
    finally:
        orthanc.start()
    for image in (gone, uid(broken)):
        with pytest.raises(ImageError, match=image):
            pool.get_image_uri(image)


def _fetch_slowly(url: str, folder: Path, image: str, halfway: Any) -> None:
    """In a process of its own: stops where half of the series is written."""
    import pool.dicomweb.client as server

    def half(study: str, series: str, target: str, *rest: Any) -> None:
        (Path(target) / "half.dcm").write_bytes(b"half")
        halfway.set()
        multiprocessing.Event().wait()

    server.dicom_web_download_series = half
    store = DicomWebPool(url, folder, LABELS, search_filters(["CR", "DX"]), read_only=True)
    store.get_image_uri(image)


def test_a_killed_download_leaves_nothing_that_is_taken_for_whole(
    opened: Open, orthanc: Orthanc, files: dict[str, Dataset], tmp_path: Path
) -> None:
    pool, image = opened(), uid(files["phantom_000"])
    spawn = multiprocessing.get_context("spawn")
    halfway = spawn.Event()
    child = spawn.Process(target=_fetch_slowly, args=(orthanc.url, tmp_path / "cache", image, halfway))
    child.start()
    assert halfway.wait(60)
    child.kill()
    child.join()
    assert list((tmp_path / "cache").glob(".*.tmp-*")), "the half is under another name"
    assert read_image(pool.get_image_uri(image))[0].shape == (128, 96)
    opened()
    assert not list((tmp_path / "cache").glob(".*.tmp-*")), "the next start cleans up"


def test_a_series_is_converted_to_the_same_bytes_everywhere(
    opened: Open, files: dict[str, Dataset], tmp_path: Path
) -> None:
    pools = [opened(folder=tmp_path / name) for name in ("here", "there")]
    image = uid(files["phantom_000"])
    assert len({Path(pool.get_image_uri(image)).read_bytes() for pool in pools}) == 1, "for checksums"


def test_a_series_of_two_images_is_refused_by_name(opened: Open, orthanc: Orthanc) -> None:
    first, second = (radiograph("two views", np.full((64, 64), v, np.uint8)) for v in (10, 20))
    second.SOPInstanceUID = second.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    orthanc.add(first, second)
    pool = opened()
    with pytest.raises(ImageError, match=uid(first)):
        read_image(pool.get_image_uri(uid(first)))


# labels -----------------------------------------------------------------------------------------------


def test_labels_come_back_from_the_server_as_they_were(
    opened: Open,
    orthanc: Orthanc,
    files: dict[str, Dataset],
    pictures: dict[str, tuple[np.ndarray, np.ndarray]],
    tmp_path: Path,
) -> None:
    """Saved by one server, read by another that has nothing but the DICOM server."""
    saved: list[tuple[str, str, dict[str, Any]]] = []
    pool = opened(saved=lambda *what: saved.append(what))
    masks = {name: mask.copy() for name, (_, mask) in pictures.items()}
    masks["phantom_001"][masks["phantom_001"] == 1] = 0  # only the left lung
    masks["phantom_002"][:] = 0  # nothing to be seen
    for name, mask in masks.items():
        info = {"client_id": "one", "empty": not mask.any()}
        assert pool.save_label(uid(files[name]), send(tmp_path, mask), "final", info) == uid(files[name])
    assert pool.count_labelled() == 5 and pool.get_unlabeled_images() == []
    assert [(image, tag) for image, tag, _ in saved] == [(uid(f), "final") for f in files.values()]
    assert {i["SeriesInstanceUID"] for _, _, i in saved} == set(orthanc.find("SEG"))
    other = opened(folder=tmp_path / "other")
    assert other.get_labeled_images() == sorted(map(uid, files.values()))
    pairs = other.datalist()
    assert pairs == sorted(pairs, key=lambda pair: pair["image"]) and len(pairs) == 5
    by_image = {Path(pair["image"]).name.removesuffix(".nii.gz"): pair for pair in pairs}
    for name, mask in masks.items():
        pair = by_image[uid(files[name])]
        assert (read_label(pair["label"], LABELS, pair["image"]) == mask.T).all(), name
        assert np.allclose(nibabel.load(pair["label"]).affine, nibabel.load(pair["image"]).affine)
    assert pool.get_label_uri(uid(files[name]), "final") != pair["label"], "each keeps its own files"


def test_a_label_counts_at_once_and_for_good(
    opened: Open, orthanc: Orthanc, files: dict[str, Dataset], tmp_path: Path
) -> None:
    pool, image = opened(), uid(files["phantom_000"])
    before = pool.get_labeled_images()
    mask = np.zeros((96, 128), np.uint8)
    mask[5:9, 5:20] = 2
    pool.save_label(image, send(tmp_path, mask), "final", {})
    assert pool.is_labelled(image) and pool.get_labeled_images() == [image] and before == []
    assert pool.status()["completed"] == 1 and pool.get_labels_by_image_id(image) == {"final": image}
    pool.take_over_changes()
    assert pool.is_labelled(image)
    assert opened().is_labelled(image), "after a restart"
    orthanc.remove(orthanc.find("SEG")[0])
    pool.take_over_changes()
    assert not pool.is_labelled(image), "unless it is removed on the server"


def test_the_newest_of_two_labels_is_trained_on(
    opened: Open, orthanc: Orthanc, files: dict[str, Dataset], tmp_path: Path
) -> None:
    pool, image = opened(), uid(files["phantom_000"])
    for value in (1, 2):
        mask = np.zeros((96, 128), np.uint8)
        mask[5:9, 5:20] = value
        pool.save_label(image, send(tmp_path, mask), "final", {})
    assert len(orthanc.find("SEG")) == 2, "the first is kept"
    for store in (pool, opened(folder=tmp_path / "other")):
        (pair,) = store.datalist()
        assert set(np.unique(read_label(pair["label"], LABELS, pair["image"]))) == {0, 2}


def test_a_segmentation_that_others_stored_counts_once_it_is_checked(
    opened: Open, orthanc: Orthanc, files: dict[str, Dataset], tmp_path: Path
) -> None:
    good, small = np.zeros((128, 96), np.uint8), Dataset()
    good[4:8, 4:8] = 1
    small.update(files["phantom_001"])
    small.Rows, small.Columns = 32, 24  # of another size than the image of this series
    right = write_seg(good, [files["phantom_000"]], LABELS)
    wrong = write_seg(np.ones((24, 32), np.uint8), [small], LABELS)
    orthanc.add(right, wrong)
    images = [uid(files["phantom_000"]), uid(files["phantom_001"])]
    pool = opened(trusts_files=False)
    assert pool.get_labeled_images() == [] and pool.unchecked_labels == set(images)
    found = pool.label_fingerprints()
    assert found == dict(
        zip(images, (str(right.SeriesInstanceUID), str(wrong.SeriesInstanceUID)), strict=True)
    )
    reasons = [pool.check_label(image).reason for image in images]
    assert reasons[0] == "" and "32" in reasons[1]
    rows = [LabelCheck(n, image, found[image], reasons[n]) for n, image in enumerate(images)]
    pool.take_in_checks(rows)
    assert pool.get_labeled_images() == images[:1] and not pool.unchecked_labels
    assert pool.refused_labels == {images[1]: RefusedLabel(str(wrong.SeriesInstanceUID), reasons[1])}
    pool.save_label(images[1], send(tmp_path, np.ones((96, 128), np.uint8)), "final", {})
    assert pool.is_labelled(images[1]) and not pool.refused_labels, "our own was checked when it was sent"


def test_segmentations_of_other_things_are_no_labels(
    opened: Open, orthanc: Orthanc, files: dict[str, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    plane = np.zeros((128, 96), np.uint8)
    plane[4:8, 4:8] = 1
    heart = write_seg(plane, [files["phantom_000"]], {"heart": 1})
    lungs = write_seg(plane, [files["phantom_001"]], {"Left_Lung": 1, "heart": 2})
    orthanc.add(heart, lungs)
    pool = opened()
    assert pool.get_labeled_images() == [uid(files["phantom_001"])]
    (pair,) = pool.datalist()
    assert (read_label(pair["label"], LABELS, pair["image"]) == plane * 2).all(), "known by its name"
    notes: list[str] = []
    assert pool.check_label(uid(files["phantom_001"]), notes).reason == ""
    assert notes == ["the segments heart are left out: the app does not have them"]

    def asked(*_: Any) -> Any:
        raise AssertionError("each segmentation is looked into once")

    monkeypatch.setattr("pool.dicomweb.client.DicomServer.metadata", asked)
    pool.take_over_changes()
    assert opened().get_labeled_images() == [uid(files["phantom_001"])]


@pytest.mark.parametrize(
    ("image", "tag", "name", "value", "status", "says"),
    [
        ("1.2.3", "final", "a.png", 1, 404, "no image '1.2.3'"),
        (None, "../x", "a.png", 1, 400, "tag"),
        (None, "final", "a.jpg", 1, 422, "a label file ends in .png"),
        (None, "final", "a.png", 77, 422, r"\[77\]"),
        (None, "final", "a.png", 0, 422, "empty"),
        (None, "final", "a.bin", 1, 422, "one per pixel"),
    ],
)
def test_refused_label_reaches_nobody(
    opened: Open,
    orthanc: Orthanc,
    files: dict[str, Dataset],
    tmp_path: Path,
    image: str | None,
    tag: str,
    name: str,
    value: int,
    status: int,
    says: str,
) -> None:
    pool, image = opened(), image or uid(files["phantom_000"])
    mask = np.full((96, 128), value, np.uint8)
    if name.endswith(".bin"):
        mask[:50].tofile(tmp_path / name)
    else:
        Image.fromarray(mask).save(tmp_path / name)
    with pytest.raises(PoolError, match=says) as caught:
        pool.save_label(image, str(tmp_path / name), tag, {})
    assert caught.value.status == status
    assert pool.count_labelled() == 0 and orthanc.find("SEG") == []


def test_what_ohif_sends_is_understood(
    opened: Open,
    files: dict[str, Dataset],
    pictures: dict[str, tuple[np.ndarray, np.ndarray]],
    tmp_path: Path,
) -> None:
    pool, mask = opened(), pictures["phantom_003"][1]
    mask.tofile(tmp_path / "label.bin")
    pool.save_label(uid(files["phantom_003"]), str(tmp_path / "label.bin"), "final", {})
    (pair,) = pool.datalist()
    assert (read_label(pair["label"], LABELS, pair["image"]) == mask.T).all()


def test_other_tags_stay_here_and_do_not_count(
    opened: Open, orthanc: Orthanc, files: dict[str, Dataset], tmp_path: Path
) -> None:
    pool, image = opened(), uid(files["phantom_000"])
    pool.save_label(image, send(tmp_path, np.full((9, 9), 7, np.uint8)), "original", {"model": "m"})
    assert pool.count_labelled() == 0 and orthanc.find("SEG") == []
    again = opened()
    assert Path(again.get_label_uri(image, "original")).is_file()
    assert again.get_label_info(image, "original")["model"] == "m"
    again.remove_label(image, "original")
    assert again.get_labels_by_image_id(image) == {}


# processes and outages --------------------------------------------------------------------------------


def test_a_child_works_from_what_the_server_wrote(
    opened: Open, orthanc: Orthanc, files: dict[str, Dataset], tmp_path: Path
) -> None:
    server, image = opened(), uid(files["phantom_000"])
    mask = np.ones((96, 128), np.uint8)
    server.save_label(image, send(tmp_path, mask), "final", {})
    notes = {path: path.read_bytes() for path in (tmp_path / "cache").glob("*.json")}
    orthanc.stop()
    try:
        child = opened(read_only=True)
        assert child.list_images() == server.list_images() and child.get_labeled_images() == [image]
        (pair,) = child.datalist()
        assert (read_label(pair["label"], LABELS, pair["image"]) == 1).all()
        child.update_image_info(image, {"seen": True})
    finally:
        orthanc.start()
    assert {path: path.read_bytes() for path in (tmp_path / "cache").glob("*.json")} == notes
    alone = opened(read_only=True, folder=tmp_path / "alone")
    assert alone.get_labeled_images() == [image] and not list((tmp_path / "alone").glob("*.json"))
    assert len(alone.datalist()) == 1


def test_an_outage_changes_nothing_and_ends_by_itself(
    opened: Open,
    orthanc: Orthanc,
    files: dict[str, Dataset],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    pool, image = opened(), uid(files["phantom_000"])
    pool.prefetch([image])
    sent = send(tmp_path, np.ones((96, 128), np.uint8))
    orthanc.stop()
    try:
        for _ in range(2):
            pool.take_over_changes()
        assert [r.levelname for r in caplog.records if orthanc.url in r.getMessage()] == ["ERROR"]
        assert len(pool.list_images()) == 5
        with pytest.raises(PoolError, match=f"{orthanc.url}.*start it") as caught:
            pool.save_label(image, sent, "final", {})
        assert caught.value.status == 503
        assert pool.count_labelled() == 0 and list((tmp_path / "cache/labels").rglob("*.nii.gz")) == []
        with pytest.raises(ServerError, match=orthanc.url):
            opened(folder=tmp_path / "other")
    finally:
        orthanc.start()
    new = radiograph("after the outage", np.eye(64, dtype=np.uint8))
    orthanc.add(new)
    pool.take_over_changes()
    assert pool.has_image(uid(new))
    pool.save_label(image, sent, "final", {})
    assert pool.count_labelled() == 1


def test_a_url_that_is_no_dicomweb_says_so(orthanc: Orthanc, tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="often ends in /dicom-web") as caught:
        DicomWebPool(orthanc.rest, tmp_path, LABELS, search_filters(["CR"]))
    assert caught.value.status == 502


def test_a_damaged_series_is_one_images_fault(opened: Open, orthanc: Orthanc) -> None:
    broken = radiograph("truncated", np.eye(64, dtype=np.uint8))
    broken.PixelData = broken.PixelData[:64]
    orthanc.add(broken)
    with pytest.raises(SeriesError, match=uid(broken)) as caught:
        opened().get_image_uri(uid(broken))
    assert caught.value.status == 422


def test_notes_of_clients_are_kept(opened: Open, files: dict[str, Dataset], tmp_path: Path) -> None:
    pool, image = opened(), uid(files["phantom_000"])
    pool.update_image_info(image, {"reader": "two"})
    pool.update_image_info(image, {"strategy": {"auto": {"ts": 1}}})  # of each click: in memory only
    assert pool.get_image_info(image)["strategy"] == {"auto": {"ts": 1}}
    again = opened().get_image_info(image)
    assert again["reader"] == "two" and "strategy" not in again
    assert json.dumps(pool.json()) and set(pool.json()["objects"]) == set(pool.list_images())
    for refused in (
        lambda: pool.add_image("x", "x.png", {}),
        lambda: pool.remove_image(image),
        lambda: pool.remove_label(image, "final"),
    ):
        with pytest.raises(PoolError, match="noticed within a minute"):
            refused()
