"""Bearer tokens of a DICOMweb server: sent, fetched anew when refused, shown to nobody."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

from pool.dicomweb.bearer import Bearer, bearer_of
from pool.dicomweb.client import DicomServer, ServerError, open_session


class Guarded:
    """A DICOMweb server without series that accepts one token, and sends `/away` to another address."""

    def __init__(self) -> None:
        self.token, self.seen, self.away = "first", list[str](), ""
        guard = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                guard.seen.append(self.headers.get("Authorization", ""))
                if self.path == "/away":
                    self.send_response(302)
                    self.send_header("Location", guard.away)
                    self.end_headers()
                    return
                body = b"[]"
                self.send_response(200 if guard.seen[-1] == f"Bearer {guard.token}" else 401)
                self.send_header("Content-Type", "application/dicom+json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                return

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def guarded() -> Iterator[Guarded]:
    server = Guarded()
    yield server
    server.stop()


def printing(file: Path) -> str:
    return f"{sys.executable} -c \"print(open('{file}').read())\""


def test_a_command_is_asked_again_when_its_token_is_refused(
    guarded: Guarded, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    file = tmp_path / "token"
    file.write_text("first\n")
    server = DicomServer(guarded.url, bearer=Bearer("", printing(file)))
    server.check()
    guarded.token = "second-secret"
    file.write_text("second-secret")
    assert server.search([{"Modality": "CR"}]) == {}
    assert guarded.seen == ["Bearer first", "Bearer first", "Bearer second-secret"]
    guarded.token = "third"
    with pytest.raises(ServerError, match="HTTP 401.*dicomweb_token_command") as refused:
        server.check()
    assert guarded.seen[3:] == ["Bearer second-secret"], "the same token is not sent twice"
    file.unlink()
    with pytest.raises(ServerError, match="is not asked: dicomweb_token_command ended with status 1"):
        server.check()
    assert "secret" not in caplog.text and "secret" not in str(refused.value)


def test_a_variable_holds_the_token(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    server = DicomServer(guarded.url, bearer=bearer_of("SCAN_TOKEN", ""))
    monkeypatch.delenv("SCAN_TOKEN", raising=False)
    with pytest.raises(ServerError, match="SCAN_TOKEN gives none"):
        server.check()
    monkeypatch.setenv("SCAN_TOKEN", "first")
    server.check()
    assert bearer_of("SCAN_TOKEN", "") is bearer_of("SCAN_TOKEN", "") and bearer_of("", "") is None
    monkeypatch.setenv("SCAN_TOKEN", "a\nb")
    with pytest.raises(ServerError, match="strange characters"):
        DicomServer(guarded.url, bearer=Bearer("SCAN_TOKEN", "")).check()


def test_a_token_does_not_follow_a_redirect_to_another_server(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Guarded()
    monkeypatch.setenv("SCAN_TOKEN", "first")
    guarded.away = f"http://localhost:{other.url.rpartition(':')[2]}/"
    try:
        with open_session(guarded.url, Bearer("SCAN_TOKEN", "")) as session:
            assert session.get(f"{guarded.url}/away", timeout=10).status_code == requests.codes.unauthorized
    finally:
        other.stop()
    assert guarded.seen == ["Bearer first"] and other.seen == [""]
