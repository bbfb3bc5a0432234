"""`python -m infers.encoders.weights` against a real web server with typical and worse behaviour."""

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
import typer
from filelock import FileLock
from transformers import ViTConfig, ViTModel
from typer.testing import CliRunner

from infers.encoders import make_encoder
from infers.encoders.open_clip import CONFIG, WEIGHTS
from infers.encoders.resnet import KERAS, TORCHVISION, ResNet50
from infers.encoders.sources import SOURCES
from infers.encoders.weights import main
from tests.infers.encoders.test_open_clip import published, save

PREPARE = {
    "image_processor_type": "ViTImageProcessor", "do_resize": True, "do_rescale": True, "do_normalize": True,
    "size": {"height": 32, "width": 32}, "resample": 2, "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
}  # fmt: skip
TINY = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32,
    "patch_size": 8, "intermediate_size": 1024}  # fmt: skip
MODEL = "owner/tiny-vit"
URL = f"/{MODEL}/resolve/main/"


class Hub(ThreadingHTTPServer):
    """Serves files by path like the hub: large ones by a redirect with their sha256."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files: dict[str, bytes] = {}
        self.ranges = True  # whether it knows Range
        self.stop_after: int | None = None  # bytes of a body, then the connection breaks
        self.announce = True
        self.terms = False  # whether it wants a token
        self.length: int | None = None  # what it says the length is
        self.asked: list[tuple[str, str | None, str | None]] = []  # path, Range, Authorization
        self.address = f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        hub, path = self.server, self.path.removeprefix("/cdn")
        hub.asked.append((self.path, self.headers["Range"], self.headers["Authorization"]))
        data = hub.files.get(path)
        if hub.terms and not self.headers["Authorization"]:
            return self.send_error(401)
        if data is None:
            return self.send_error(404)
        if path == self.path and not path.endswith(".json"):
            self.send_response(302)
            if hub.announce:
                self.send_header("X-Linked-ETag", f'"{hashlib.sha256(data).hexdigest()}"')
            self.send_header("Location", f"/cdn{path}")
            return self.end_headers()
        self.send_file(data)

    def send_file(self, data: bytes) -> None:
        hub, etag, start = self.server, f'"{hashlib.md5(data).hexdigest()}"', 0
        if hub.ranges and self.headers["Range"] and self.headers["If-Range"] == etag:
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
            if start >= len(data):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(data)}")
                return self.end_headers()
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        self.send_header("ETag", etag)
        self.send_header("Content-Length", str(hub.length or len(data) - start))
        self.end_headers()
        end = len(data) if hub.stop_after is None else start + hub.stop_after
        self.wfile.write(data[start:end])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return a tiny model in the hub's layout, by file name."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    ViTModel(ViTConfig(**TINY)).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPARE))
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture
def hub(model: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub()
    server.files = {URL + name: data for name, data in model.items()}
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    yield server
    server.shutdown()
    server.server_close()


def run(*words: object) -> tuple[int, str]:
    """Run the command; return its exit code and output."""
    app = typer.Typer()
    app.command()(main)
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_a_model_comes_whole_and_works(hub: Hub, model: dict[str, bytes], tmp_path: Path) -> None:
    code, said = run(MODEL, "--out", tmp_path / "new" / "weights")
    folder = tmp_path / "new" / "weights" / "tiny-vit"
    assert code == 0 and f"--conf encoder transformers:{folder}" in said and "licence" in said
    assert hashlib.sha256(model["model.safetensors"]).hexdigest() in said and "as expected" in said
    assert make_encoder(f"transformers:{folder}").dim == 16
    assert {file.name for file in folder.iterdir()} == {*model, "SHA256SUMS"}
    asked = len(hub.asked)
    assert run(MODEL, "--out", folder.parent)[0] == 0 and len(hub.asked) == asked  # it is there


def test_what_broke_off_goes_on(hub: Hub, model: dict[str, bytes], tmp_path: Path) -> None:
    hub.stop_after = 40_000
    code, said = run(MODEL, "--out", tmp_path)
    assert code == 1 and "broke off after 32,768 bytes" in said and "run it again to resume" in said
    assert "By hand: on a machine with internet open" in said and not (tmp_path / "tiny-vit").exists()
    run(MODEL, "--out", tmp_path)
    hub.stop_after = None
    assert run(MODEL, "--out", tmp_path)[0] == 0
    ranges = [part for path, part, _ in hub.asked if path.startswith("/cdn") and path.endswith("safetensors")]
    assert ranges == [None, "bytes=32768-", "bytes=65536-"]
    assert (tmp_path / "tiny-vit" / "model.safetensors").read_bytes() == model["model.safetensors"]


def test_a_server_without_ranges_starts_afresh(hub: Hub, tmp_path: Path) -> None:
    hub.stop_after, hub.ranges = 40_000, False
    assert run(MODEL, "--out", tmp_path)[0] == 1
    hub.stop_after = None
    assert run(MODEL, "--out", tmp_path)[0] == 0


def test_two_halves_are_of_one_file(hub: Hub, model: dict[str, bytes], tmp_path: Path) -> None:
    """Between the two runs the file was replaced by one without an announced sha256."""
    hub.stop_after, hub.announce = 40_000, False
    assert run(MODEL, "--out", tmp_path)[0] == 1
    hub.stop_after = None
    newer = bytearray(model["model.safetensors"])
    newer[-1] ^= 1
    hub.files[URL + "model.safetensors"] = bytes(newer)
    code, said = run(MODEL, "--out", tmp_path)
    assert code == 0 and f"to pin it: --sha256 {hashlib.sha256(newer).hexdigest()}" in said
    assert (tmp_path / "tiny-vit" / "model.safetensors").read_bytes() == newer


def test_stopped_after_the_last_byte(hub: Hub, model: dict[str, bytes], tmp_path: Path) -> None:
    hub.stop_after = 40_000
    run(MODEL, "--out", tmp_path)
    (tmp_path / ".tiny-vit.part" / "model.safetensors.part").write_bytes(model["model.safetensors"])
    hub.stop_after = None
    assert run(MODEL, "--out", tmp_path)[0] == 0
    assert hub.asked[-1][1] == f"bytes={len(model['model.safetensors'])}-"


@pytest.mark.parametrize("announce", [True, False])
def test_another_sha256_is_refused_and_not_kept(
    announce: bool, hub: Hub, model: dict[str, bytes], tmp_path: Path
) -> None:
    hub.announce = announce
    code, said = run(MODEL, "--out", tmp_path, "--sha256", "0" * 64)
    found = hashlib.sha256(model["model.safetensors"]).hexdigest()
    assert code == 1 and f"has sha256 {found}, expected {'0' * 64}" in said
    assert not list(tmp_path.rglob("model.safetensors*"))
    assert run(MODEL, "--out", tmp_path, "--sha256", found.upper())[0] == 0
    code, said = run(MODEL, "--out", tmp_path, "--sha256", "0" * 64)
    assert code == 1 and "delete it and run it again" in said


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_a_page_instead_of_the_file_is_refused(file: str, hub: Hub, tmp_path: Path) -> None:
    hub.files[URL + file] = b"<html>sign in to the proxy</html>"
    code, said = run(MODEL, "--out", tmp_path)
    assert (
        code == 1
        and "is not the expected encoder, nothing was kept" in said
        and file in said
        and "proxy" in said
    )
    assert not list(tmp_path.rglob(file))


def test_pytorch_weights_where_there_are_no_others(hub: Hub, tmp_path: Path) -> None:
    torch.save(ViTModel(ViTConfig(**TINY)).state_dict(), tmp_path / "w")
    del hub.files[URL + "model.safetensors"]
    code, said = run(MODEL, "--out", tmp_path / "out")
    assert code == 1 and "pytorch_model.bin does not exist (404)" in said
    hub.files[URL + "pytorch_model.bin"] = (tmp_path / "w").read_bytes()
    assert run(MODEL, "--out", tmp_path / "out")[0] == 0


def test_terms_need_a_token(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.terms = True
    code, said = run(MODEL, "--out", tmp_path)
    assert code == 1 and "(401): accept the terms on its page" in said and "HF_TOKEN" in said
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert run(MODEL, "--out", tmp_path)[0] == 0
    assert {asked[2] for asked in hub.asked[1:]} == {"Bearer secret"}


def test_without_internet_it_says_what_to_do_by_hand(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    code, said = run("radimagenet", "--out", tmp_path)
    assert code == 1 and "no connection to http://127.0.0.1:9/" in said
    assert "By hand: on a machine with internet open http://127.0.0.1:9/MONAI/checkpoints/tree/main" in said
    assert f"--conf encoder_weights {tmp_path}/radimagenet/RadImageNet-ResNet50_notop.pth" in said
    assert "Traceback" not in said


def test_room_is_looked_for_first_and_a_full_disk_is_named(hub: Hub, tmp_path: Path) -> None:
    hub.length = 10**17
    code, said = run(MODEL, "--out", tmp_path)
    assert code == 1 and "100,000,000,000,000,000 bytes are needed" in said and "free some space" in said
    hub.length = None
    (tmp_path / ".tiny-vit.part" / "config.json.part").symlink_to("/dev/full")
    code, said = run(MODEL, "--out", tmp_path)
    assert code == 1 and "disk full while writing" in said and "run it again to resume" in said


def test_a_folder_that_was_damaged_since_is_named(hub: Hub, tmp_path: Path) -> None:
    assert run(MODEL, "--out", tmp_path)[0] == 0
    with (tmp_path / "tiny-vit" / "model.safetensors").open("r+b") as file:
        file.truncate(500)
    code, said = run(MODEL, "--out", tmp_path)
    assert code == 1 and "model.safetensors is damaged or missing; delete" in said
    (tmp_path / "tiny-vit" / "SHA256SUMS").unlink()
    code, said = run(MODEL, "--out", tmp_path)
    assert code == 1 and "not made by this command" in said


@pytest.mark.parametrize("name", ["radimagenet", "radimagenet-official"])
def test_radimagenet_is_one_file_with_a_known_sha256(name: str, hub: Hub, tmp_path: Path) -> None:
    """Random weights in the published layouts: refused for their sha256, accepted if it is given."""
    state = ResNet50(KERAS if name == "radimagenet" else TORCHVISION).state_dict()
    if name == "radimagenet-official":
        steps = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}
        state = {f"backbone.{steps[key.split('.')[0]]}.{key.split('.', 1)[1]}": v for key, v in state.items()}
    torch.save(state, tmp_path / "w")
    source = SOURCES[name]
    data = (tmp_path / "w").read_bytes()
    hub.files[f"/{source.repository}/resolve/main/{source.weights[0]}"] = data
    code, said = run(name, "--out", tmp_path)
    assert code == 1 and f"expected {source.sha256}" in said
    code, said = run(name, "--out", tmp_path, "--sha256", hashlib.sha256(data).hexdigest())
    assert code == 0, said
    assert f"--conf encoder radimagenet --conf encoder_weights {tmp_path / name / source.weights[0]}" in said


def test_one_download_at_a_time(hub: Hub, tmp_path: Path) -> None:
    with FileLock(tmp_path / ".tiny-vit.lock"):
        code, said = run(MODEL, "--out", tmp_path)
    assert code == 1 and "another process is downloading" in said and hub.asked == []


@pytest.mark.parametrize("name", ["radimagnet", "a/b/c", "../x", "/x"])
def test_unknown_names_list_the_known_ones(name: str, hub: Hub, tmp_path: Path) -> None:
    code, said = run(name, "--out", tmp_path)
    assert code == 1 and "expected one of radimagenet, radimagenet-official, resnet-50" in said
    assert hub.asked == []


def test_biomedclip_is_converted(hub: Hub, tmp_path: Path) -> None:
    source = SOURCES["biomedclip"]
    save(tmp_path / "files", published())
    for file in (CONFIG, WEIGHTS):
        hub.files[f"/{source.repository}/resolve/main/{file}"] = (tmp_path / "files" / file).read_bytes()
    assert run("biomedclip", "--out", tmp_path)[0] == 0
    assert make_encoder(f"transformers:{tmp_path / 'biomedclip'}").dim == 128
    assert run("biomedclip", "--out", tmp_path)[0] == 0  # it is there, with the sums of all its files


def test_the_docs_name_every_source_and_its_page() -> None:
    text = (Path(__file__).resolve().parents[3] / "docs" / "encoders.md").read_text(encoding="utf-8")
    for name, source in SOURCES.items():
        assert f"`{name}`" in text or f"ENCODER={name}`" in text, name
        assert f"https://huggingface.co/{source.repository}" in text, source.repository
