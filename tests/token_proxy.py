"""A small reverse proxy before a real DICOM server, which lets only the bearer of the present token in."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

import requests

_PASSED = ("Content-Type", "Accept", "Host")  # Host, as the server's answers name its address


class TokenProxy:
    """Passes requests with the token on; others get 401, and are counted.

    :param behind: address of the DICOM server
    :param file: the present token is written there, where a command can print it
    """

    def __init__(self, behind: str, file: Path) -> None:
        self._behind, self._file, self.refused, self.passed = behind, file, 0, 0
        self.renew()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                answer = proxy.answer(self, body)
                content = answer.content if answer else b"no"
                self.send_response(answer.status_code if answer else 401)
                if answer and (kind := answer.headers.get("Content-Type")):
                    self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                return

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}/dicom-web"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    @property
    def token(self) -> str:
        return self._file.read_text().strip()

    @property
    def command(self) -> str:
        """The command line that prints the present token."""
        return f"cat {self._file}"

    def renew(self) -> None:
        """Let the present token expire; the next one is in the file."""
        self._file.write_text(f"{uuid4().hex}\n")

    def answer(self, request: BaseHTTPRequestHandler, body: bytes) -> requests.Response | None:
        """Return the DICOM server's answer, or None for a request without the present token."""
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            self.refused += 1
            return None
        self.passed += 1
        headers = {name: request.headers[name] for name in _PASSED if name in request.headers}
        return requests.request(
            request.command, self._behind + request.path, headers=headers, data=body, timeout=60
        )

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()
