"""A remote Slicer: a client in a network of its own that reaches the server by address."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.server_process import Server
from tests.options import missing_service
from tests.server.http.conftest import pool

HERE, THERE, SPACE = "10.97.31.1", "10.97.31.2", "scan-selection-slicer"
CLIENT = """
import json, sys
import requests
from monailabel.client import MONAILabelClient
client = MONAILabelClient(sys.argv[1], tmpdir=sys.argv[2], client_id="slicer")
answer = client.next_sample("random", {})
file, said = client.infer("segmentation", answer["id"], {"result_extension": ".nrrd"})
saved = client.save_label("phantom_001", sys.argv[3])
session = client.create_session(sys.argv[3])["session_id"]
told = [answer["id"], file, saved["label"], bool(client.get_session(session)), client.info()["name"]]
strange = ({}, {"Host": "evil.example"}, {"Origin": "http://evil.example"})
codes = [requests.get(f"{sys.argv[1]}/info/", headers=one).status_code for one in strange]
print(json.dumps([*told, codes]))
"""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def network(request: pytest.FixtureRequest) -> Iterator[None]:
    """A second network namespace, joined to this one by two addresses."""
    if not shutil.which("ip"):
        missing_service(request.config, "no network namespaces: apt-get install iproute2")
    try:
        ip("netns", "add", SPACE)
    except subprocess.CalledProcessError as error:
        missing_service(
            request.config, f"network namespaces are not allowed here: {error.stderr.decode().strip()}"
        )
    try:
        ip("link", "add", "scan-here", "type", "veth", "peer", "name", "scan-there", "netns", SPACE)
        ip("addr", "add", f"{HERE}/30", "dev", "scan-here")
        ip("link", "set", "scan-here", "up")
        ip("-n", SPACE, "addr", "add", f"{THERE}/30", "dev", "scan-there")
        ip("-n", SPACE, "link", "set", "scan-there", "up")
        yield
    finally:
        subprocess.run(["ip", "link", "del", "scan-here"], capture_output=True)
        ip("netns", "del", SPACE)


def test_a_client_on_another_machine_works_by_address(
    network: None, phantoms: Path, start: Callable[..., Server], tmp_path: Path
) -> None:
    server = start(pool(phantoms, tmp_path), tmp_path / "state", host="0.0.0.0", prepared=True)
    (tmp_path / "client").mkdir()
    inside = ["ip", "netns", "exec", SPACE, sys.executable, "-c", CLIENT]
    label = phantoms / "labels" / "phantom_001.png"
    command = [*inside, f"http://{HERE}:{server.port}", str(tmp_path / "client"), str(label)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    image, file, saved, session, name, codes = json.loads(done.stdout)
    assert image.startswith("phantom") and Path(file).stat().st_size and saved == "phantom_001"
    assert session and name == "Chest X-ray lungs" and codes == [200, 403, 403]
