"""Labels that other programs put into `labels/final` count only if they fit."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nrrd
import numpy as np
import pytest
import requests
from monailabel.client import MONAILabelClient
from PIL import Image
from typer.testing import CliRunner

from benchmarks.server_process import ROOT, Server
from server.cli.main import app
from tests.server.polling import status, until

NAMES = [f"{kind}" for kind in ("right", "scaled", "jpeg", "rgb", "size", "zero", "nothing", "seg", "later")]


@pytest.fixture(scope="module")
def studies(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pool of pictures, with one good label and many odd ones."""
    folder = tmp_path_factory.mktemp("found") / "studies"
    final = folder / "labels" / "final"
    final.mkdir(parents=True)
    pictures = sorted((phantoms / "studies").glob("*.png"))
    for name, picture in zip(NAMES, pictures, strict=False):
        shutil.copy(picture, folder / f"{name}.png")
    mask = np.array(Image.open(phantoms / "labels" / pictures[0].name))
    Image.fromarray(mask).save(final / "right.png")
    Image.fromarray(((mask > 0) * 255).astype(np.uint8)).save(final / "scaled.png")
    Image.fromarray(mask).save(final / "jpeg.jpg")
    red_green = np.zeros((*mask.shape, 3), np.uint8)
    red_green[mask == 1], red_green[mask == 2] = (255, 0, 0), (0, 255, 0)
    Image.fromarray(red_green).save(final / "rgb.png")
    Image.fromarray(mask[:64]).save(final / "size.png")
    (final / "nothing.png").touch()
    Image.fromarray(np.zeros_like(mask)).save(final / "zero.png")
    nrrd.write(str(final / "seg.seg.nrrd"), mask.T[..., None])
    return folder


@pytest.fixture(scope="module")
def server(studies: Path, start: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    return start(studies, tmp_path_factory.mktemp("state"))


def test_only_the_label_that_fits_counts_and_the_others_are_named(server: Server) -> None:
    found = until(lambda: (now := status(server))["unchecked_labels"] == 0 and now)
    assert found["labelled"] == 1
    assert found["refused_labels"] == 7
    refused = found["label_failures"]
    assert set(refused) == {"scaled", "jpeg", "rgb", "size", "zero", "nothing", "seg.seg.nrrd"}
    assert {label["file"] for label in refused.values()} == {
        *("scaled.png", "jpeg.jpg", "rgb.png", "size.png", "zero.png", "nothing.png", "seg.seg.nrrd"),
    }
    reasons = {image: label["reason"] for image, label in refused.items()}
    assert "255" in reasons["scaled"] and "empty" in reasons["zero"]
    assert "64" in reasons["size"] and "name a label as its image" in reasons["seg.seg.nrrd"]


def test_images_of_refused_labels_stay_on_offer(server: Server) -> None:
    until(lambda: status(server)["stage"] == "cold_start")
    client = MONAILabelClient(server.url)
    given = {client.next_sample("random", {"client_id": f"c{n}"})["id"] for n in range(8)}
    assert given == set(NAMES) - {"right"}


def test_the_command_of_the_reason_repairs_a_mask(server: Server, studies: Path) -> None:
    final = studies / "labels" / "final"
    mask = np.array(Image.open(final / "scaled.png"))
    folder = next(line.split("state: ")[1].split(";")[0] for line in _lines(server, "; state: "))
    options = ["--app", str(ROOT / "apps" / "cxr_lungs"), "--studies", str(studies), "--state", folder]
    done = CliRunner().invoke(app, ["labels", "fix", "--map", "255=1", *options])
    assert done.exit_code == 0 and "Labels written anew: 1" in done.output, done.output
    now = until(lambda: (now := status(server))["labelled"] == 2 and now)
    assert now["refused_labels"] == 6 and "scaled" not in now["label_failures"]
    np.testing.assert_array_equal(np.array(Image.open(final / "scaled.png")), (mask > 0) * 1)


def test_a_label_that_is_repaired_or_comes_later_counts_once_it_is_checked(
    phantoms: Path, studies: Path, server: Server
) -> None:
    masks = sorted((phantoms / "labels").glob("*.png"))
    shutil.copy(masks[0], studies / "labels" / "final" / "scaled.png")  # under the same name
    shutil.copy(masks[NAMES.index("later")], studies / "labels" / "final" / "later.png")
    now = until(lambda: (now := status(server))["labelled"] == 3 and now)
    assert now["refused_labels"] == 6 and "scaled" not in now["label_failures"]
    shutil.copy(studies / "labels" / "final" / "zero.png", studies / "labels" / "final" / "later.png")
    now = until(lambda: (now := status(server))["labelled"] == 2 and now)
    assert "empty" in now["label_failures"]["later"]["reason"]


def test_what_is_not_used_of_a_found_label_is_in_the_ledger(studies: Path, server: Server) -> None:
    layers = np.zeros((2, *Image.open(studies / "nothing.png").size, 1), np.uint8)
    layers[0, 5:25, 5:25], layers[1, 15:35, 15:35] = 1, 1
    header: dict[str, Any] = {"kinds": ["list", *["domain"] * 3]}
    for i, name in enumerate(("right lung", "left lung")):
        header |= {f"Segment{i}_Name": name, f"Segment{i}_LabelValue": "1", f"Segment{i}_Layer": str(i)}
    (studies / "labels" / "final" / "nothing.png").unlink()
    nrrd.write(str(studies / "labels" / "final" / "nothing.nrrd"), layers, header=header)
    until(lambda: status(server)["labelled"] == 3)
    ledger = requests.get(f"{server.url}/selection/ledger", timeout=60).json()
    (entry,) = [entry for entry in ledger if entry["event"] == "label_warnings"]
    assert entry["image"] == "nothing" and "100 voxels" in entry["details"]["warnings"][0]


def test_labels_are_not_checked_again_at_the_next_start(
    studies: Path, server: Server, start: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory
) -> None:
    before = status(server)
    state = requests.get(f"{server.url}/info/", timeout=60).json()
    assert state["selection"]["labelled"] == before["labelled"]
    server.stop()
    folder = next(Path(line.split("state: ")[1].split(";")[0]) for line in _lines(server, "; state: "))
    again = start(studies, folder)
    now = status(again)
    assert (now["labelled"], now["refused_labels"], now["unchecked_labels"]) == (3, 6, 0)


def _lines(server: Server, text: str) -> list[str]:
    return [line for line in server.log.read_text().splitlines() if text in line]
