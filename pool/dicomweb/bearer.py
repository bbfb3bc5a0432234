"""Bearer tokens for a DICOMweb server: from an environment variable, or from a command that prints one."""

from __future__ import annotations

import os
import shlex
import subprocess
import threading
from functools import lru_cache
from typing import Any

import requests
from requests.auth import AuthBase

_TIMEOUT = 30.0  # seconds for the command


class TokenError(requests.RequestException):
    """There is no token; the text says why, without what the command printed."""


class Bearer(AuthBase):
    """Signs requests with a token; a refused one (401) is fetched anew, once for each request. Thread-safe.

    :param variable: name of the environment variable with the token, or
    :param command: command line that prints it; it runs for the first request and after a 401
    """

    def __init__(self, variable: str, command: str) -> None:
        self._variable, self._command = variable, command
        self._lock, self._token = threading.Lock(), ""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the token, as `requests` asks. Raises TokenError."""
        request.headers["Authorization"] = f"Bearer {self._current()}"
        request.register_hook("response", self._answered)
        return request

    def _current(self) -> str:
        with self._lock:
            self._token = self._token or self._fetch()
            return self._token

    def _renewed(self, refused: str) -> str:
        """Return a token other than the refused one, if there is; another thread may have fetched it."""
        with self._lock:
            if self._token == refused:
                self._token = self._fetch()
            return self._token

    def _fetch(self) -> str:
        token = os.environ.get(self._variable, "") if self._variable else self._printed()
        if not (token := token.strip()):
            where = f"the variable {self._variable}" if self._variable else "dicomweb_token_command"
            raise TokenError(f"there is no token for the DICOM server: {where} gives none")
        if not token.isascii() or not token.isprintable():
            raise TokenError("the token for the DICOM server has line breaks or other strange characters")
        return token

    def _printed(self) -> str:
        try:
            done = subprocess.run(
                shlex.split(self._command), capture_output=True, text=True, timeout=_TIMEOUT, check=True
            )
        except subprocess.CalledProcessError as error:
            raise TokenError(f"dicomweb_token_command ended with status {error.returncode}") from None
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            raise TokenError(f"dicomweb_token_command failed ({type(error).__name__})") from None
        return done.stdout

    def _answered(self, response: requests.Response, **sending: Any) -> requests.Response:
        """Send a request once more with a new token; one that was redirected elsewhere has none to renew."""
        sent = response.request.headers.get("Authorization", "")
        if response.status_code != 401 or not sent or hasattr(response.request, "is_second"):
            return response
        token = self._renewed(sent.removeprefix("Bearer "))
        if sent == f"Bearer {token}":
            return response
        response.content  # noqa: B018  read, so that the connection can be used again
        response.close()
        again = response.request.copy()
        again.headers["Authorization"] = f"Bearer {token}"
        again.is_second = True  # type: ignore[attr-defined]
        answer: requests.Response = response.connection.send(again, **sending)
        answer.history.append(response)
        answer.request = again
        return answer


@lru_cache(maxsize=8)
def bearer_of(variable: str, command: str) -> Bearer | None:
    """Return the source of tokens that the settings name, one for the whole process; None without."""
    return Bearer(variable, command) if variable or command else None
