"""A DICOM server that wants bearer tokens, which expire: upload, hand-outs, labels, OHIF, commands."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from benchmarks.server_process import ROOT, Server
from server.cli.main import app
from tests.orthanc import Orthanc
from tests.server.conftest import TINY
from tests.token_proxy import TokenProxy

IMAGES = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tokens")


@pytest.fixture(scope="module")
def proxy(orthanc: Orthanc, phantoms: Path, folder: Path) -> Iterator[TokenProxy]:
    """The way to a DICOM server with three radiographs, which `dicom-in` has put there."""
    proxy = TokenProxy(orthanc.rest, folder / "token")
    (folder / "xrays").mkdir()
    for path in sorted((phantoms / "studies").iterdir())[:IMAGES]:
        (folder / "xrays" / path.name).write_bytes(path.read_bytes())
    sent = dicom_in(proxy, folder, "--token-command", proxy.command)
    assert sent.exit_code == 0, sent.output
    yield proxy
    proxy.stop()


def dicom_in(proxy: TokenProxy, folder: Path, *words: str) -> Result:
    line = ["dicom-in", "--source", str(folder / "xrays"), "--to", proxy.url, "--modality", "DX"]
    line += ["--spacing", "0.5", "--record", str(folder / "record.csv"), *words]
    return CliRunner().invoke(app, line)


def save(url: str, image: str, value: int) -> requests.Response:
    mask = np.zeros((128, 128), np.uint8)
    mask[20 : 40 + value, 20:60] = value
    content = io.BytesIO()
    Image.fromarray(mask).save(content, "PNG")
    return requests.put(
        f"{url}/datastore/label",
        params={"image": image, "tag": "final"},
        files={"label": ("label.png", content.getvalue())},
        timeout=120,
    )


def test_dicom_in_says_which_token_is_missing_and_takes_one_from_a_variable(
    proxy: TokenProxy, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = dicom_in(proxy, folder)
    assert refused.exit_code == 1 and "refused with HTTP 401" in refused.output
    assert "--token-env or --token-command" in refused.output
    monkeypatch.setenv("PACS_TOKEN", proxy.token)
    again = dicom_in(proxy, folder, "--token-env", "PACS_TOKEN")
    assert again.exit_code == 0 and "0 images were sent in this run" in again.output
    both = dicom_in(proxy, folder, "--token-env", "PACS_TOKEN", "--token-command", proxy.command)
    assert both.exit_code == 2 and "give one of the two" in both.output


def test_a_server_renews_the_token_that_a_command_prints(
    proxy: TokenProxy, orthanc: Orthanc, start: Callable[..., Server], folder: Path
) -> None:
    """It expires before each kind of request: download, label, the viewer's, a look by a command."""
    conf: dict[str, Any] = {"dicomweb_token_command": proxy.command, "cold_start_budget": 2}
    server = start(proxy.url, folder / "state", prepared=True, **conf)
    tokens = [proxy.token]

    def expired() -> int:
        proxy.renew()
        tokens.append(proxy.token)
        return proxy.refused

    before = expired()
    given = requests.post(f"{server.url}/activelearning/auto", json={"client_id": "ann"}, timeout=60).json()
    content = requests.get(f"{server.url}/datastore/image", params={"image": given["id"]}, timeout=60)
    assert content.status_code == 200 and given["id"] in orthanc.find("DX")
    expired()
    assert save(server.url, given["id"], 1).status_code == 200 and len(orthanc.find("SEG")) == 1
    expired()
    viewer = requests.get(f"{server.url}/proxy/dicom/qido/studies", timeout=60)
    assert viewer.status_code == 200 and len(viewer.json()) == IMAGES
    assert proxy.refused >= before + 2, "refused once each time, then renewed"
    line = ["status", "--json", "--app", str(ROOT / "apps" / "cxr_lungs"), "--studies", proxy.url]
    settings = {**TINY, "state": folder / "state", **conf}
    done = CliRunner().invoke(app, [*line, *(f"--conf={key}={value}" for key, value in settings.items())])
    assert done.exit_code == 0 and json.loads(done.stdout)["labelled"] == 1, done.output
    log = server.log.read_text()
    assert not [token for token in tokens if token in log + done.output]


def test_a_server_takes_the_token_of_a_variable_and_says_when_it_is_refused(
    proxy: TokenProxy, orthanc: Orthanc, start: Callable[..., Server], folder: Path
) -> None:
    stored, env = len(orthanc.find("SEG")), {"PACS_TOKEN": proxy.token}
    server = start(proxy.url, folder / "other", env=env, dicomweb_token_env="PACS_TOKEN")
    images = sorted(requests.get(f"{server.url}/datastore/?output=all", timeout=60).json()["objects"])
    assert images == orthanc.find("DX")
    assert save(server.url, images[-1], 2).status_code == 200 and len(orthanc.find("SEG")) == stored + 1
    proxy.renew()
    refused = save(server.url, images[-1], 1)
    assert refused.status_code == 502 and "dicomweb_token_env" in refused.json()["detail"]
    assert requests.get(f"{server.url}/proxy/dicom/qido/studies", timeout=60).status_code == 401
    assert env["PACS_TOKEN"] not in server.log.read_text() + refused.text
