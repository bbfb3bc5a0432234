"""Images are opened before they are handed out, also while the pool is being prepared."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests
from PIL import Image

from benchmarks.server_process import Server
from tests.server.polling import status, until


def test_only_images_that_can_be_opened_are_handed_out_right_after_the_start(
    phantoms: Path, start: Callable[..., Server], tmp_path: Path
) -> None:
    studies = tmp_path / "studies"
    studies.mkdir()
    good = sorted((phantoms / "studies").glob("*.png"))[:10]
    for path in good:
        shutil.copy(path, studies)
    whole = good[0].read_bytes()
    for number in range(60):
        (studies / f"broken{number:02d}.png").write_bytes(whole[: 100 + number])
    server = start(studies, tmp_path / "state")

    def ask(client: int) -> str:
        answer = requests.post(
            f"{server.url}/activelearning/auto", json={"client_id": f"c{client}"}, timeout=120
        )
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    with ThreadPoolExecutor(6) as clients:
        given = list(clients.map(ask, range(6)))
    assert len(set(given)) == 6
    for image in given:
        Image.open(studies / f"{image}.png").load()
    assert {ask(client) for client in range(6, 10)}.isdisjoint(given)
    until(lambda: status(server)["map"]["images"] == 10)
    failures = status(server)["failures"]
    assert failures.keys() == {f"broken{number:02d}" for number in range(60)}
    assert all(f"{image}.png" in reason for image, reason in failures.items())
    label = {"label": ("label.png", (phantoms / "labels" / good[0].name).read_bytes())}
    saved = requests.put(f"{server.url}/datastore/label?image={good[0].stem}", files=label, timeout=60)
    assert saved.status_code == 200 and status(server)["labelled"] == 1
