"""Odd requests: each answer says what to do, and nothing breaks for others."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import nibabel
import nrrd
import numpy as np
import pytest

from tests.server.http.conftest import Target

LONG = "x" * 300


def sent(target: Target, request: bytes) -> bytes:
    """Send raw bytes, with `{host}` replaced by the server's, and return the answer."""
    host = f"127.0.0.1:{target.server.port}"
    with socket.create_connection(("127.0.0.1", target.server.port), timeout=60) as connection:
        connection.sendall(request.replace(b"{host}", host.encode()))
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return answer


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /info/ HTTP/1.0\r\n\r\n", b"400"),
        (b"GET /info/ HTTP/1.1\r\nHost: a\r\nHost: {host}\r\nConnection: close\r\n\r\n", b"400"),
        (b"GET http://evil.example/info/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n", b"404"),
        (b"GET //info/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n", b"404"),
        (b"GET /info/%00 HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n", b"404"),
        (
            b"GET /datastore/image?image=%ED%A0%80%00 HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n",
            b"404",
        ),
        (b"GET /info/?%ED%A0%80=1 HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n", b"422"),
        (b"TRACE /info/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n", b"405"),
        (b"GET /info/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 1\r\n\r\na", b"413"),
    ],
)
def test_raw_requests(laptop: Target, request_: bytes, status: bytes) -> None:
    assert sent(laptop, request_).split(b" ", 2)[1] == status


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({"client_id": "\ud800"}, 400),
        ({"\udfff": 1}, 400),
        ({"client_id": {"a": 1}}, 422),
        ({"client_id": 5}, 422),
        ({"client_id": "Zoë \u0000"}, 200),
        ({"client_id": None}, 200),
        ({"skip": ["phantom_001"]}, 400),
        ({"skip": "nobody"}, 404),
        ({"resume": "yes"}, 400),
        ({"strategy": "random"}, 422),
    ],
)
def test_next_sample(laptop: Target, params: dict[str, Any], status: int) -> None:
    answer = laptop.ask(
        "POST",
        "/activelearning/random",
        data=json.dumps(params).encode(),
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == status, answer.text
    assert status == 200 or answer.json()["detail"]


@pytest.mark.parametrize("tag", ["../x", "a/b", "a\nb", LONG, "a b"])
def test_a_tag_is_a_plain_word(laptop: Target, tag: str) -> None:
    files = {"label": ("label.png", laptop.label())}
    answer = laptop.ask("PUT", "/datastore/label", params={"image": "phantom_001", "tag": tag}, files=files)
    assert answer.status_code == 400 and "letters, digits" in answer.json()["detail"]


@pytest.mark.parametrize("params", ["[]", "1", '"x"', "{", '{"empty": NaN}', '{"label_info": "\\ud800"}'])
def test_parameters_of_a_label_are_an_object(laptop: Target, params: str) -> None:
    files = {"label": ("label.png", laptop.label())}
    at = "/datastore/label?image=phantom_001"
    answer = laptop.ask("PUT", at, files=files, data={"params": params})
    assert (
        answer.status_code in (400, 422) and laptop.ask("GET", "/info/").json()["datastore"]["completed"] == 1
    )


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("a.png", LONG),
        (f"{LONG}.png", ""),
        ("a.png", "../x"),
        ("a.png", " "),
        ("a.png", "a\nb"),
        ("a.exe", "b"),
    ],
)
def test_a_name_of_a_new_image_is_a_file_name(laptop: Target, name: str, image: str) -> None:
    content = (laptop.folder / "studies" / "phantom_001.png").read_bytes()
    answer = laptop.ask("PUT", "/datastore/image", params={"image": image}, files={"file": (name, content)})
    assert answer.status_code == 400 and answer.json()["detail"]
    assert laptop.ask("GET", "/selection/status").json()["images"] == 6


def test_a_file_that_cannot_be_read_is_named_as_its_client_named_it(laptop: Target) -> None:
    for at, field in (("/infer/segmentation", "file"), ("/datastore/label?image=phantom_001", "label")):
        method = "POST" if field == "file" else "PUT"
        answer = laptop.ask(method, at, files={field: ("C:\\mine\\scan 1.nrrd", b"junk")})
        assert answer.status_code == 422 and "scan 1.nrrd" in answer.json()["detail"]
        assert "/tmp" not in answer.text and str(laptop.folder) not in answer.text
    made = laptop.ask("PUT", "/session/", files={"files": ("own scan.nrrd", b"junk")}).json()["session_id"]
    answer = laptop.ask("POST", f"/infer/segmentation?session_id={made}")
    assert answer.status_code == 422 and "own scan.nrrd" in answer.json()["detail"]
    assert str(laptop.folder) not in answer.text


@pytest.mark.parametrize(
    "note",
    [
        {"strategy": "x"},
        {"strategy": {"random": [1]}},
        {"id": "phantom_001", "selection": 1, "path": "/etc/passwd"},
        {"name": 5, "ts": "never"},
    ],
)
def test_what_is_noted_of_an_image_breaks_no_answer(laptop: Target, note: dict[str, Any]) -> None:
    images = [f"phantom_{n:03}" for n in range(1, 6)]
    for image in images:
        at = f"/datastore/image/info?image={image}"
        assert laptop.ask("PUT", at, data={"info": json.dumps(note)}).status_code == 200
    answer = laptop.ask("POST", "/activelearning/random", json={"client_id": "ann"}).json()
    assert answer["path"].endswith(f"{answer['id']}.png") and answer["selection"]["reason"]
    for path in (
        "/datastore/?output=all",
        "/datastore/?output=train",
        "/selection/ledger",
        "/selection/report.html",
    ):
        assert laptop.ask("GET", path).status_code == 200
    more = {"client_id": "ann", "release": answer["id"]}
    assert laptop.ask("POST", "/activelearning/random", json=more).status_code in (200, 409)


@pytest.mark.parametrize("check_sum", ["MD4:1", "::", "\n:x"])
def test_a_checksum_names_its_algorithm(laptop: Target, check_sum: str) -> None:
    at = {"image": "phantom_001", "check_sum": check_sum}
    assert laptop.ask("HEAD", "/datastore/image", params=at).status_code == 422
    right = "MD5:" + "0" * 32
    assert laptop.ask("HEAD", "/datastore/image", params={**at, "check_sum": right}).status_code == 404


def test_text_is_utf_8(laptop: Target) -> None:
    """Other codecs may block the event loop for minutes per megabyte."""
    body = b'--x\r\nContent-Disposition: form-data; name="params"\r\n\r\n{}\r\n--x--\r\n'
    for charset, status in (("punycode", 415), ("utf-7", 415), ("UTF-8", 200)):
        kind = {"Content-Type": f"multipart/form-data; boundary=x; charset={charset}"}
        answer = laptop.ask("POST", "/infer/segmentation?image=phantom_001", data=body, headers=kind)
        assert answer.status_code == status, answer.text[:200]


def test_a_second_refresh_of_all_is_not_queued(laptop: Target) -> None:
    answers = [laptop.ask("POST", "/scoring/", json={}).status_code for _ in range(4)]
    assert set(answers) <= {200, 429} and answers.count(429) >= 3


def test_json_has_not_too_many_values(laptop: Target) -> None:
    body = b"[" + b"[]," * 1_000_000 + b"[]]"
    answer = laptop.ask("POST", "/selection/marks", data=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413 and "100000 values" in answer.json()["detail"]


def test_nobody_chooses_whose_label_it_is(clinic: Target) -> None:
    claimed = {name: "judy" for name in ("client", "user", "by", "client_id")}
    files = {"label": ("label.png", clinic.label())}
    at = "/datastore/label?image=phantom_002"
    saved = clinic.ask("PUT", at, "painter", files=files, data={"params": json.dumps(claimed)})
    assert saved.status_code == 200
    ledger = clinic.ask("GET", "/selection/ledger", "reader").json()
    details = [entry["details"] for entry in ledger if entry["event"] == "label"][-1]
    assert "judy" not in json.dumps(details) and details["client"] == details["user"] == "eve"


def test_a_form_has_few_fields(laptop: Target) -> None:
    fields = {f"field {n}": "x" for n in range(20)}
    answer = laptop.ask(
        "POST", "/infer/segmentation?image=phantom_001", data=fields, files={"file": ("a", b"")}
    )
    assert answer.status_code == 400 and "16" in answer.json()["detail"]


def odd_files(folder: Path) -> dict[str, Path]:
    """Files that libraries can read but whose types, shapes or headers are unusual."""
    made = {name: folder / file for name, file in ODD.items()}
    colours = np.zeros((20, 20, 1), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(colours, np.eye(4)), made["colours"])
    nrrd.write(str(made["empty"]), np.zeros((0, 5), np.uint8))
    segment = {"Segment0_Name": "right lung", "Segment0_LabelValue": "1"}
    plane = np.ones((128, 128, 1), np.uint8)
    nrrd.write(str(made["layer"]), plane, header=segment | {"Segment0_Layer": "7"})
    nrrd.write(str(made["gap"]), plane, header=segment | {"Segment3_Name": "left lung"})
    made["skip"].write_bytes(
        b"NRRD0004\ntype: uint8\ndimension: 2\nsizes: 2 2\nencoding: raw\nline skip: 999999999\n\n1234"
    )
    nrrd.write(str(made["value"]), plane, header=segment | {"Segment0_LabelValue": "x"})
    return made


ODD = {
    "colours": "colours.nii.gz",
    "empty": "empty.nrrd",
    "layer": "layer.seg.nrrd",
    "gap": "gap.seg.nrrd",
    "value": "value.seg.nrrd",
    "skip": "skip.nrrd",
}


@pytest.mark.parametrize("name", ODD)
def test_a_file_of_odd_types_is_refused_by_name(laptop: Target, tmp_path: Path, name: str) -> None:
    file = odd_files(tmp_path)[name]
    sent = {"label": (file.name, file.read_bytes())}
    answer = laptop.ask("PUT", "/datastore/label?image=phantom_001", files=sent)
    assert answer.status_code == 422 and answer.json()["detail"]
    if name in ("colours", "empty", "skip"):
        answer = laptop.ask("POST", "/infer/segmentation", files={"file": sent["label"]})
        assert answer.status_code == 422 and file.name in answer.json()["detail"]
