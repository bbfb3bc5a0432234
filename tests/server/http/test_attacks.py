"""Attacks that succeed through MONAI Label's own routes: each is refused, and nothing happens."""

from __future__ import annotations

import io
import json
import socket
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
import torch

from tests.forked import commands
from tests.server.http.conftest import Target, pool
from tests.server.issuer import AUDIENCE


@pytest.fixture
def planted(tmp_path: Path) -> tuple[Path, Path]:
    """Make a folder whose `sitecustomize.py` writes a file when Python imports it; return both."""
    marker = tmp_path / "taken over"
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "sitecustomize.py").write_text(f"open({str(marker)!r}, 'w').close()")
    return tmp_path / "evil", marker


@pytest.mark.parametrize("key", ["bundle_path", "PYTHONPATH", "env", "app", "studies"])
@pytest.mark.parametrize(
    "path", ["/scoring/refresh", "/scoring/", "/train/segmentation", "/train/", "/batch/infer/segmentation"]
)
def test_c1_no_request_reaches_the_path_or_the_environment_of_a_child(
    laptop: Target, planted: tuple[Path, Path], path: str, key: str
) -> None:
    folder, marker = planted
    answer = laptop.ask("POST", path, json={key: str(folder)})
    assert answer.status_code == 422 and f"'{key}'" in answer.json()["detail"], answer.text
    assert not marker.exists()


def test_c1_a_session_holds_no_files_under_a_clients_names(
    laptop: Target, planted: tuple[Path, Path]
) -> None:
    script = (planted[0] / "sitecustomize.py").read_bytes()
    files = [("files", (name, script)) for name in ("sitecustomize.py", "../../../up.py", "/tmp/x.py")]
    made = laptop.ask("PUT", "/session/", files=files)
    assert made.status_code == 200
    kept = {path.name for path in (laptop.state / "sessions").rglob("*.py")}
    assert kept == {"00000.py", "00001.py", "00002.py"}
    assert str(laptop.folder) not in made.text, "a client learns no path of the server"
    laptop.ask("DELETE", f"/session/{made.json()['session_id']}")
    assert not list((laptop.state / "sessions").rglob("*.py"))


def test_c1_what_a_child_is_asked_is_in_no_command_line(phantoms: Path, start: Any, tmp_path: Path) -> None:
    with commands():
        laptop = Target(start(pool(phantoms, tmp_path), tmp_path / "state", prepared=True), tmp_path)
    assert laptop.ask("POST", "/train/segmentation", json={"max_epochs": 77}).status_code == 200
    seen: set[str] = set()
    end = time.monotonic() + 60
    while not seen and time.monotonic() < end:
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                environment = (folder / "environ").read_bytes()
            except OSError:
                continue
            if "server.child" in line and str(laptop.state).encode() in environment:
                seen.add(line)
                assert "77" not in line.split("server.child")[1] and b"max_epochs" not in environment
    assert seen
    assert laptop.ask("DELETE", "/train/").json()["status"] == "STOPPED"


def archive(*names: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 4
            tar.addfile(member, io.BytesIO(b"evil"))
    return file.getvalue()


def test_c2_archives_are_not_unpacked(laptop: Target, tmp_path: Path) -> None:
    absolute, above = tmp_path / "absolute", tmp_path / "above"
    content = archive(str(absolute), f"../../../../../../../..{above}", "meta.info")
    answer = laptop.ask("PUT", "/session/?uncompress=true", files={"files": ("a.tar", content)})
    assert answer.status_code == 403 and "archives" in answer.json()["detail"]
    assert not absolute.exists() and not above.exists()


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:{port}"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "localhost.evil.example"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://localhost:{port}.evil.example"},
        {"Origin": "null"},
        {"Origin": "file://"},
        {"Referer": "https://evil.example/page"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"},
    ],
)
def test_c3_pages_of_other_sites_can_do_nothing(laptop: Target, headers: dict[str, str]) -> None:
    port = str(laptop.server.port)
    headers = {name: value.replace("{port}", port) for name, value in headers.items()}
    calls = [
        ("POST", "/scoring/refresh"),
        ("POST", "/train/segmentation"),
        ("POST", "/reload"),
        ("DELETE", "/train/"),
    ]
    if "Referer" not in headers:  # a link from another page is no attack
        calls += [
            ("GET", "/datastore/?output=all"),
            ("GET", "/datastore/image?image=phantom_000"),
            ("GET", "/info/"),
        ]
    for method, path in calls:
        answer = laptop.ask(method, path, headers=headers)
        assert answer.status_code == 403, (method, path, answer.status_code)
        assert "access-control-allow-origin" not in answer.headers and "phantom" not in answer.text


@pytest.mark.parametrize(
    "host", ["127.0.0.1:{port}", "localhost:{port}", "10.1.2.3", "[::1]:{port}", "{name}"]
)
def test_c3_addresses_and_this_machines_names_are_answered(laptop: Target, host: str) -> None:
    host = host.replace("{port}", str(laptop.server.port)).replace("{name}", socket.gethostname())
    own = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
    assert laptop.ask("POST", "/activelearning/random", headers=own, json={}).status_code == 200
    assert laptop.ask("GET", "/info/", headers={"Host": host}).status_code == 200


def test_c3_no_answer_may_be_read_or_framed_elsewhere(laptop: Target) -> None:
    for path in (
        "/info/",
        "/datastore/image?image=phantom_000",
        "/selection/map",
        "/selection/report.html",
        "/nowhere",
    ):
        headers = laptop.ask("GET", path, headers={"Sec-Fetch-Site": "none"}).headers
        assert not [name for name in headers if name.lower().startswith("access-control")]
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["X-Content-Type-Options"] == "nosniff"
        policy = headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in policy and "default-src 'none'" in policy
        assert "http" not in policy and "script-src 'unsafe-inline'" not in policy
        assert ("no-store" in headers["Cache-Control"]) == (path != "/selection/map")


def test_no_page_of_the_server_loads_scripts_from_elsewhere(laptop: Target) -> None:
    start = laptop.ask("GET", "/", allow_redirects=False)
    assert start.status_code == 307 and start.headers["Location"] == "selection/map"
    assert (
        laptop.ask("GET", "/docs").status_code
        == laptop.ask("GET", "/static/ohif/index.html").status_code
        == 404
    )
    log = laptop.ask("GET", "/logs/?lines=5&html=true&refresh=3")
    assert log.headers["Content-Type"].startswith("text/plain") and log.headers["Refresh"] == "3"
    assert "<script" not in log.text and log.text.count("\n") == 5


def evil_model(target: Target, marker: Path, overrides: dict[str, Any], bundle: str = "cxr_lungs") -> bytes:
    """Copy the published model with another network definition."""
    checkpoint = torch.load(target.state / "model.pt", weights_only=True)
    checkpoint["details"] |= {"overrides": checkpoint["details"]["overrides"] | overrides, "bundle": bundle}
    file = io.BytesIO()
    torch.save(checkpoint, file)
    return file.getvalue()


def test_h1_m8_models_are_not_uploaded_unless_that_was_allowed(laptop: Target, tmp_path: Path) -> None:
    before = (laptop.state / "model.pt").read_bytes()
    content = evil_model(
        laptop, tmp_path / "marker", {"dropout": f"$open({str(tmp_path / 'marker')!r}, 'w')"}
    )
    for name, file in (("model.pt", content), ("junk.pt", b"junk")):
        answer = laptop.ask("PUT", "/model/segmentation", files={"file": (name, file)})
        assert answer.status_code == 403 and "--conf allow model_upload" in answer.json()["detail"]
    assert (laptop.state / "model.pt").read_bytes() == before and not (tmp_path / "marker").exists()


def test_h1_a_model_that_was_planted_runs_nothing(laptop: Target, tmp_path: Path) -> None:
    """A model is refused however it got into the state folder."""
    file, marker = laptop.state / "model.pt", tmp_path / "marker"
    before = file.read_bytes()
    expression = f"$open({str(marker)!r}, 'w').close() or 0.1"
    hidden = {"channels": [4, 8, {"_target_": "builtins.open", "file": str(marker), "mode": "w"}]}
    elsewhere = f"../../..{tmp_path}/evil"
    (tmp_path / "evil" / "configs").mkdir(parents=True)
    (tmp_path / "evil" / "configs" / "train.yaml").write_text(f"overrides: {expression!r}")
    try:
        for content in (
            evil_model(laptop, marker, {"dropout": expression}),
            evil_model(laptop, marker, hidden),
            evil_model(laptop, marker, {"network_def": expression}),
            evil_model(laptop, marker, {}, bundle=elsewhere),
        ):
            file.write_bytes(content)
            answer = laptop.ask("POST", "/infer/segmentation?image=phantom_001")
            assert answer.status_code == 422 and "model" in answer.json()["detail"], answer.text
            assert not marker.exists()
    finally:
        file.write_bytes(before)
    assert laptop.ask("POST", "/infer/segmentation?image=phantom_001").status_code == 200


def test_h2_a_reader_saves_nothing_and_nobody_saves_final_labels_by_infer(clinic: Target) -> None:
    before = clinic.label()

    def infer(*roles: str, **params: Any) -> requests.Response:
        at = "/infer/segmentation?image=phantom_000"
        return clinic.ask("POST", at, *roles, data={"params": json.dumps({"save_label": True} | params)})

    for tag in ("final", "original"):
        assert infer("reader", label_tag=tag).status_code in (403, 422)
    assert infer("reader").status_code == 403
    refused = infer("reader", "painter", label_tag="final")
    assert refused.status_code == 422 and "final" in refused.json()["detail"]
    assert clinic.label() == before
    assert infer("reader", "painter", label_tag="original").status_code == 200
    assert clinic.label() == before


@pytest.mark.parametrize("encoded", [False, True])
def test_h4_a_session_id_is_no_path(laptop: Target, tmp_path: Path, encoded: bool) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "meta.info").write_text('{"name": "x", "path": "/", "image": "/etc/passwd", "expiry": 1}')
    for session in (str(victim), f"../../../../..{victim}", ".", "..", ""):
        answer = laptop.ask("POST", "/infer/segmentation", params={"session_id": session})
        assert answer.status_code in (404, 422)
        if session.strip("."):
            at = session.replace("/", "%2F") if encoded else session.lstrip("/")
            assert laptop.ask("GET", f"/session/{at}?image=true").status_code == 404
            assert laptop.ask("DELETE", f"/session/{at}").status_code in (404, 405)
    assert (victim / "meta.info").exists()


def test_h5_images_are_named_by_id_only(laptop: Target, tmp_path: Path) -> None:
    image = next((laptop.folder / "studies").glob("*.png"))
    (tmp_path / "private.png").write_bytes(image.read_bytes())
    for path in (tmp_path / "private.png", tmp_path / "nothing.png", Path("apps"), Path("README.md"), image):
        answer = laptop.ask("POST", "/infer/segmentation", params={"image": str(path)})
        assert answer.status_code == 404 and "no image" in answer.json()["detail"]
        for at in ("/datastore/image", "/datastore/image/info", "/selection/images/picture"):
            assert laptop.ask("GET", at, params={"image": str(path)}).status_code == 404


def test_m1_no_client_names_a_folder(laptop: Target, tmp_path: Path) -> None:
    for params in (
        {"name": str(tmp_path / "x")},
        {"name": "../../x"},
        {"tracking_uri": f"file://{tmp_path}/x"},
    ):
        answer = laptop.ask("POST", "/train/segmentation", json=params)
        assert answer.status_code == 422, answer.text
    params = {"result_extension": f"/../..{tmp_path}/x.png"}
    answer = laptop.ask("POST", "/infer/segmentation?image=phantom_001", data={"params": json.dumps(params)})
    assert answer.status_code == 422 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("verb", ["skip", "release", "unskip"])
def test_m2_a_reader_skips_and_releases_nothing(clinic: Target, verb: str) -> None:
    answer = clinic.ask("POST", "/activelearning/random", "reader", json={verb: "phantom_003"})
    assert answer.status_code == 403 and "painter" in answer.json()["detail"]
    assert not clinic.ask("GET", "/selection/handouts", "reader").json()["skipped"]
    assert clinic.ask("POST", "/activelearning/random", "reader", json={}).status_code == 200


def test_m2_an_annotator_undoes_own_skips_only(clinic: Target) -> None:
    def mark(kind: str, *roles: str, **more: Any) -> requests.Response:
        return clinic.ask("POST", "/selection/marks", *roles, json={"kind": kind} | more, user="judy")

    def verbs(*roles: str, **verbs: str) -> requests.Response:
        return clinic.ask("POST", "/activelearning/random", "reader", *roles, json=verbs, user="anna")

    held = {one["image"] for one in clinic.ask("GET", "/selection/handouts", "reader").json()["open"]}
    hers = next(image for image in ("phantom_003", "phantom_004", "phantom_005") if image not in held)
    assert mark("skip", "judge", images=[hers], reason="no chest").status_code == 200
    refused = verbs("painter", unskip=hers)
    assert refused.status_code == 409 and "skipped by judy; a reviewer can undo it" in refused.text
    own = verbs("painter", skip=hers).json()["id"]  # skipped it is already; judy's skip stays
    assert own != hers and verbs("painter", unskip=hers).status_code == 409
    assert verbs("painter", skip=own).status_code == 200
    assert verbs("painter", unskip=own).status_code == 200
    assert verbs("painter", "judge", unskip=hers).status_code == 200
    assert not clinic.ask("GET", "/selection/handouts", "reader").json()["skipped"]


def test_users_at_one_address_are_told_apart_by_their_tokens_alone(clinic: Target) -> None:
    """Slicers that all say `user-xyz`, and browsers that share a cookie (A02, A02b with authentication)."""
    shared = {"Cookie": f"scan_selection_reader={'a' * 32}"}

    def ask(user: str, method: str = "POST", path: str = "/activelearning/random", **body: Any) -> Any:
        answer = clinic.ask(method, path, "reader", "painter", user=user, headers=shared, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    for earlier in ("eve", "anna"):
        ask(earlier, "DELETE", "/selection/leases")
    given = {user: ask(user, client_id="user-xyz")["id"] for user in ("ann", "bob", "cleo")}
    assert len(set(given.values())) == 3
    assert {user: ask(user, resume=True)["id"] for user in given} == given
    assert clinic.ask("DELETE", "/selection/leases", "reader", json={}).status_code == 403
    for user, image in given.items():
        assert ask(user, "DELETE", "/selection/leases") == {"released": [image]}


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ('{"val_split": NaN}', "NaN"),
        ('{"val_split": 1e999}', "too large"),
        ('{"val_split": 1.5}', "val_split 1.5: expected a number from 0 to 0.9"),
        ('{"max_epochs": -3}', "max_epochs -3: expected a whole number from 1"),
        ('{"max_epochs": "3"}', "max_epochs '3': expected a whole number"),
        ('{"max_epochs": true}', "max_epochs True"),
        ('{"gpus": 5}', "gpus 5: expected a string"),
        ('{"gpus": "5"}', "gpus '5': expected a string matching all"),
        ('{"max_epoch": 3}', "did you mean 'max_epochs'?"),
        ('{"device": "tpu"}', "device 'tpu': expected 'cpu' or 'cuda'"),
        ('{"seed": -1}', "seed -1"),
        ('{"train_ds": "/etc/passwd"}', "'train_ds'"),
        ('{"client_id": "x", "segmentation": {}}', "'segmentation'"),
        ("[]", "expected"),
        ("7", "expected"),
    ],
)
def test_m6_a_training_says_what_it_takes(laptop: Target, params: str, says: str) -> None:
    answer = laptop.ask(
        "POST", "/train/segmentation", data=params, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 422 and says in answer.json()["detail"], answer.text
    assert laptop.ask("GET", "/train/").status_code in (200, 404)


class Pacs(BaseHTTPRequestHandler):
    """A DICOM server that records its requests and allows every site."""

    seen: list[tuple[str, str, dict[str, str]]] = []

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.seen.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
        self.send_response(200)
        for name, value in (
            ("Content-Type", "text/html"),
            ("Access-Control-Allow-Origin", "*"),
            ("Set-Cookie", "a=b"),
        ):
            self.send_header(name, value)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"[]")

    do_POST = do_GET

    def log_message(self, *args: Any) -> None:
        pass


def test_p1_the_proxy_writes_for_admins_only_and_hands_no_secrets_on(
    start: Any, tmp_path: Path, clinic: Target
) -> None:
    pacs = HTTPServer(("127.0.0.1", 0), Pacs)
    threading.Thread(target=pacs.serve_forever, daemon=True).start()
    issuer = clinic.issuer
    assert issuer is not None
    env = {"ENABLE": "true", "REALM_URI": issuer.realm, "CLIENT_ID": AUDIENCE, "TOKEN_USERNAME": "login"}
    env |= {"TOKEN_ROLES": "access#scan#roles", "ROLE_USER": "reader", "ROLE_ADMIN": "boss"}
    env = {f"MONAI_LABEL_AUTH_{name}": value for name, value in env.items()}
    env |= {"MONAI_LABEL_DICOMWEB_USERNAME": "server", "MONAI_LABEL_DICOMWEB_PASSWORD": "secret"}
    studies: Any = f"http://127.0.0.1:{pacs.server_port}/dicom-web"
    target = Target(start(studies, tmp_path / "state", env=env), tmp_path, issuer)
    Pacs.seen.clear()
    cookie = {"Cookie": "session=1", "Content-Type": "application/dicom", "X-Forwarded-For": "1.2.3.4"}
    for path in ("stow/studies", "studies", "wado/studies", "qido/studies", "STOW/studies"):
        answer = target.ask("POST", f"/proxy/dicom/{path}", "reader", data=b"DICM", headers=cookie)
        assert answer.status_code == 403 and not [one for one in Pacs.seen if one[0] == "POST"]
    assert (
        target.ask("POST", "/proxy/dicom/stow/studies", "boss", data=b"DICM", headers=cookie).status_code
        == 200
    )
    answer = target.ask("GET", "/proxy/dicom/qido/studies?limit=1", "reader", headers=cookie)
    (post,), get = [one for one in Pacs.seen if one[0] == "POST"], Pacs.seen[-1]
    assert get[1].endswith("/dicom-web/studies?limit=1")
    for _, _, headers in (post, get):
        assert headers["authorization"].startswith("Basic ") and "cookie" not in headers
        assert "x-forwarded-for" not in headers
    assert post[2]["content-type"] == "application/dicom"
    assert "Set-Cookie" not in answer.headers and "Access-Control-Allow-Origin" not in answer.headers
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    pacs.shutdown()
