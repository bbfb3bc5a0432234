"""The files of deploy/: the programs that they are for read them, and names in them exist."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from monailabel.config import Settings

from bundle_configs import Bundle
from server.config import read

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
OWN = {"STUDIES", "APP", "HOST", "PORT", "CONF", "STATE"}  # variables of serve.sh


def tool(name: str) -> str:
    """Return a program, or skip where it is not installed."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    return found or pytest.skip(f"{name} is not installed")


def settings(text: str) -> dict[str, str]:
    """{variable: value} of settings.env, those that are commented out as well."""
    return dict(re.findall(r"^#?([A-Z_]+)=(.*)$", text, re.MULTILINE))


def serve(cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run serve.sh with these variables alone."""
    env = {"PATH": os.environ["PATH"], "HOME": str(cwd), **variables}
    command = ["sh", str(DEPLOY / "serve.sh")]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=120)


def test_the_start_script_passes_the_settings_on(tmp_path: Path) -> None:
    (tmp_path / "my scans").mkdir()
    state = tmp_path / "my state"
    done = serve(
        tmp_path,
        STUDIES=str(tmp_path / "my scans"),
        STATE=str(state),
        APP="brain_mri",
        PORT="8123",
        CONF="--conf alpha 0.5 --dryrun",  # MONAI Label writes its settings to .env and ends
    )
    assert done.returncode == 0, done.stderr
    assert (state / "apps/brain_mri/main.py").read_text() == (ROOT / "apps/brain_mri/main.py").read_text()
    written = dict(re.findall(r"^export (\w+)=(.*)$", (tmp_path / ".env").read_text(), re.MULTILINE))
    assert written["MONAI_LABEL_SERVER_PORT"] == "8123"
    assert written["MONAI_LABEL_STUDIES"] == str(tmp_path / "my scans")
    assert json.loads(written["MONAI_LABEL_APP_CONF"].strip("'")) == {
        "state": str(state / "pool"),
        "alpha": "0.5",
    }


def test_the_start_script_names_the_setting_that_is_missing(tmp_path: Path) -> None:
    done = serve(tmp_path, STATE=str(tmp_path))
    assert done.returncode != 0 and "STUDIES" in done.stderr


def test_settings_are_those_of_the_server() -> None:
    variables = settings((DEPLOY / "settings.env").read_text())
    assert set(variables) <= OWN | {"PGPASSWORD"} | set(Settings.model_fields)
    assert (ROOT / "apps" / variables["APP"] / "main.py").exists()
    words = variables["CONF"].split()
    assert words[::3] == ["--conf"] * (len(words) // 3)
    chosen = read(dict(zip(words[1::3], words[2::3], strict=True)), Bundle(variables["APP"]))
    assert chosen.settings.allowed_hosts == "label.example.org"


def test_systemd_reads_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "scan-selection.service"
    text = (DEPLOY / unit.name).read_text()
    unit.write_text(text.replace("/opt/scan-selection", str(ROOT)))
    done = subprocess.run(
        [tool("systemd-analyze"), "verify", unit], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_nginx_reads_the_site(tmp_path: Path) -> None:
    nginx, openssl = tool("nginx"), tool("openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=label.example.org"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    site = (DEPLOY / "nginx.conf").read_text()
    site = site.replace("/etc/ssl/certs/label.example.org.pem", str(certificate))
    (tmp_path / "site").write_text(site.replace("/etc/ssl/private/label.example.org.key", str(key)))
    (tmp_path / "nginx.conf").write_text(
        f"pid {tmp_path}/pid; error_log stderr; events {{}} http {{ include {tmp_path}/site; }}"
    )
    command = [nginx, "-t", "-p", tmp_path, "-c", tmp_path / "nginx.conf", "-g", "daemon off;"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr


def test_compose_names_what_exists() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    for service in compose["services"].values():
        assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).exists()
        assert {volume.partition(":")[0] for volume in service["volumes"]} <= set(compose["volumes"])
        assert set(service.get("depends_on", ())) <= set(compose["services"])
        assert all(port.startswith("127.0.0.1:") for port in service["ports"]), "open to the network"
    server = compose["services"]["server"]
    assert set(server["environment"]) <= OWN | set(Settings.model_fields)
    assert server["healthcheck"]["test"][1:] == health_command()
    orthanc = json.loads((DEPLOY / "orthanc.json").read_text())
    assert server["environment"]["STUDIES"] == (
        f"http://orthanc:{orthanc['HttpPort']}{orthanc['DicomWeb']['Root'].rstrip('/')}"
    )


def health_command() -> list[str]:
    """The health check of the Containerfile."""
    (line,) = re.findall(r"^    CMD (\[.*\])$", (DEPLOY / "Containerfile").read_text(), re.MULTILINE)
    return list(json.loads(line))


@pytest.mark.parametrize("name", ["Containerfile", "Containerfile.orthanc"])
def test_containerfiles_copy_what_exists_and_run_as_a_user(name: str) -> None:
    text = (DEPLOY / name).read_text()
    for sources in re.findall(r"^COPY (?!--)(.*) \S+$", text, re.MULTILINE):
        assert all((ROOT / source).exists() for source in sources.split())
    for target in re.findall(r"make (\w+)", text):
        assert f"\n{target}: " in (ROOT / "Makefile").read_text()
    assert re.findall(r"^USER (\S+)$", text, re.MULTILINE)[-1] not in ("root", "0")


class Answering(BaseHTTPRequestHandler):
    """Answers as a server does that is up."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/favicon.ico" else 404)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), Answering)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def test_the_health_check_tells_a_server_that_answers_from_none(port: int) -> None:
    def check(at: int) -> int:
        command = [sys.executable, str(DEPLOY / "health.py")]
        return subprocess.run(command, env={"PORT": str(at)}, capture_output=True, timeout=60).returncode

    assert check(port) == 0
    assert check(9) != 0  # the port of discard, where nobody listens
