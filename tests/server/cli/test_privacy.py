"""What a pool keeps of a patient, and its removal: on a folder and on a real DICOM server."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from benchmarks.server_process import ROOT, Server
from pool.database import schema
from pool.database.database import Database
from pool.database.handouts import Client
from pool.database.state import State
from server.cli.main import app
from tests.forked import prepare
from tests.orthanc import Orthanc, radiograph
from tests.server.conftest import TINY

PATIENT = "Mustermann"


class Pool:
    """Runs `scan-selection privacy` on one pool."""

    def __init__(self, studies: Path | str, state: Path, **conf: object) -> None:
        self.studies, self.folder = studies, state
        self.conf = {**TINY, "instant": True, "prelabels": 0, "state": state, **conf}

    @property
    def state(self) -> State:
        return State(self.folder)

    def run(self, *words: str, answer: str = "") -> Result:
        line = ["privacy", *words, "--app", str(ROOT / "apps" / "cxr_lungs"), "--studies", str(self.studies)]
        line += [f"--conf={key}={value}" for key, value in self.conf.items()]
        return CliRunner().invoke(app, line, input=answer)

    def list(self, *patients: str) -> dict[str, object]:
        done = self.run("list", *patients, "--json")
        assert done.exit_code == 0, done.output
        return dict(json.loads(done.stdout))

    def everything(self) -> bytes:
        """Every file of the state but backups and logs, with its name."""
        kept = {"backups", "logs"}
        files = [path for path in self.folder.rglob("*") if path.is_file() and kept.isdisjoint(path.parts)]
        return b"".join(str(path).encode() + path.read_bytes() for path in files)


@pytest.fixture(scope="module")
def prepared(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three scans in a folder of one patient, five of others; one is labelled and was trained on."""
    place = tmp_path_factory.mktemp("prepared")
    files, patient = sorted((phantoms / "studies").iterdir())[:8], place / "studies" / PATIENT
    patient.mkdir(parents=True)
    for number, file in enumerate(files):
        shutil.copy(file, patient if number < 3 else patient.parent)
    pool = Pool(place / "studies", place / "state", recursive=True)
    prepare("cxr_lungs", pool.studies, pool.folder, pool.conf)
    (pool.folder / "validation" / PATIENT / files[0].stem).mkdir(parents=True)
    labels = place / "studies" / "labels" / "final" / PATIENT
    labels.mkdir(parents=True, exist_ok=True)
    shutil.copy(phantoms / "labels" / files[0].name, labels / files[0].name)
    pool.state.models.add("sha", [f"{PATIENT}/{files[0].stem}"], {})
    (pool.folder / "model.pt").write_bytes(b"weights")
    (pool.folder / "logs").mkdir()
    (pool.folder / "logs" / "app.log").write_text(f"Label of {PATIENT}/{files[0].stem} kept\nanother line\n")
    pool.state.drafts.save("ada", f"{PATIENT}/{files[1].stem}", b"drawing", {})
    pool.state.handouts.skip(f"{PATIENT}/{files[2].stem}", Client("ada"), "blurred")
    pool.state.fold()
    return place


@pytest.fixture
def folder(prepared: Path, tmp_path: Path) -> Pool:
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    return Pool(tmp_path / "studies", tmp_path / "state", recursive=True)


def test_a_patient_of_a_folder_is_listed_and_removed(folder: Pool) -> None:
    kept = folder.list(PATIENT)
    assert isinstance(kept["images"], list) and len(kept["images"]) == 3
    assert kept["present"] == kept["images"] and kept["rounds"] == [1]
    assert len(str(kept["studies"]).split(",")) == 4, "three images and a label"
    assert isinstance(kept["rows"], dict) and kept["rows"]["embeddings"] == 3
    assert {"layouts", "plans", "drafts", "skips", "ledger", "models", "prints"} <= set(kept["rows"])
    assert kept["log_lines"] == {str(folder.folder / "logs" / "app.log"): 1}
    files = str(kept["files"])
    assert "validation" in files and "coarse" in files
    assert folder.list(f"{PATIENT}/*")["images"] == kept["images"]
    before = folder.state.maps.get(1)
    refused = folder.run("remove", PATIENT, "--yes")
    assert refused.exit_code == 1 and "3 of the 3 images are still in the pool" in refused.output
    assert folder.list(PATIENT)["rows"] == kept["rows"]
    assert PATIENT.encode() in folder.everything()
    shutil.rmtree(Path(folder.studies) / PATIENT)
    assert folder.run("remove", PATIENT, answer="n\n").exit_code == 1
    assert folder.list(PATIENT)["rows"] == kept["rows"], "asked first"
    done = folder.run("remove", PATIENT, "--as", "Dr. Lead", answer="y\n")
    assert done.exit_code == 0, done.output
    assert "Removed: 3 images" in done.output and "labels in the studies; remove them there" in done.output
    assert "model.pt" in done.output and "train again" in done.output
    assert PATIENT.encode() not in folder.everything()
    last = folder.state.ledger.entries()[-1]
    assert (last["event"], last["image"], last["details"]["client"]) == ("patient_removed", None, "Dr. Lead")
    gone = folder.run("list", PATIENT)
    assert gone.exit_code == 1 and "nothing is known of" in gone.output
    after, others = folder.state.maps.get(1), [not image.startswith(PATIENT) for image in before.images]
    np.testing.assert_array_equal(after.points, before.points[others])
    (folder.folder / "model.pt").unlink()
    Database(folder.folder).write(sa.delete(schema.models))
    prepare("cxr_lungs", folder.studies, folder.folder, folder.conf)
    assert PATIENT.encode() not in folder.everything(), "nothing comes back"
    assert len(folder.state.traces.images()) == 5


def test_a_pool_that_a_server_holds_is_left_alone(folder: Pool, start: Callable[..., Server]) -> None:
    start(Path(folder.studies), folder.folder, recursive=True)
    shutil.rmtree(Path(folder.studies) / PATIENT)
    refused = folder.run("remove", PATIENT, "--yes")
    assert refused.exit_code == 1 and "stop the server of this pool first" in refused.output
    assert folder.list(PATIENT)["rows"], "a list needs no rest"


def test_a_patient_of_a_dicom_server_is_listed_and_removed(
    make_orthanc: Callable[[], Orthanc], phantoms: Path, tmp_path: Path
) -> None:
    orthanc, series = make_orthanc(), list[str]()
    for number, path in enumerate(sorted((phantoms / "studies").iterdir())[:5]):
        file = radiograph(path.stem, np.asarray(Image.open(path)))
        file.PatientID = PATIENT if number < 2 else f"other {number}"
        series += orthanc.add(file)
    pool = Pool(orthanc.url, tmp_path / "state")
    prepare("cxr_lungs", pool.studies, pool.folder, pool.conf)
    kept = pool.list(PATIENT)
    assert kept["images"] == kept["present"] == sorted(series[:2])
    assert str(kept["files"]).count(".nii.gz") == 2 and PATIENT.encode() in pool.everything()
    refused = pool.run("remove", PATIENT, "--yes")
    assert refused.exit_code == 1 and f"series {min(series[:2])}" in refused.output
    for uid in series[:2]:
        orthanc.remove(uid)
    done = pool.run("remove", PATIENT, "--yes")
    assert done.exit_code == 0 and "Removed: 2 images" in done.output, done.output
    everything = pool.everything()
    assert all(text.encode() not in everything for text in (PATIENT, *series[:2]))
    assert series[2].encode() in everything, "the others stay"
    orthanc.stop()
    assert "does not answer" in pool.run("remove", series[2], "--yes").output, (
        "nobody knows whether it has left"
    )
