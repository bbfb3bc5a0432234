"""One file from a web server: goes on where it broke off, is checked, and appears whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import requests

from infers.encoders.files import sha256_of
from pool.files import sync_folder

TIMEOUT = (10, 60)  # seconds to connect, and between two pieces
_BLOCK = 1 << 14  # what is lost of a connection that breaks
_SHA256 = re.compile(r"[0-9a-f]{64}")

Progress = Callable[[int, int | None], object]  # (bytes that came, or were there; bytes in all where known)


class DownloadError(Exception):
    """A download that failed; the text says why and what to do."""


class NotThereError(DownloadError):
    """The server has no such file."""


def fetch(
    url: str, target: Path, sha256: str | None, progress: Progress, token: str | None = None
) -> tuple[str, bool]:
    """Download `url` to `target`, whose folder exists. A half is kept beside it as `<name>.part`.

    Args:
        url: http or https; redirects are followed.
        target: is replaced when the download is whole and checked, else not touched.
        sha256: 64 hex digits that the file must have; unless given, those that the hub announces count
            (its header X-Linked-ETag, for large files).
        progress: is called with every piece.
        token: for files with terms to accept; sent to the first host only.

    Returns:
        The file's sha256, and whether it was compared with one.

    Raises:
        NotThereError: 404.
        DownloadError: anything else: no connection, refused, broken off, another sha256, no room.
    """
    part = target.with_name(f"{target.name}.part")
    try:
        with _request(url, part, token) as response:
            announced = _announced(response)
            _receive(response, part, progress)
    except requests.RequestException as error:
        came = part.stat().st_size if part.is_file() else 0
        raise DownloadError(
            f"{url} broke off after {came:,} bytes ({error}); run it again, it goes on"
        ) from error
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise DownloadError(f"no room left for {target}: make some and run it again, it goes on") from error
    expected, found = (sha256 or announced), sha256_of([part])
    if expected and found != expected:
        _discard(part)
        raise DownloadError(
            f"{url} has sha256 {found}, expected {expected}: another file, or damaged on the way; nothing "
            "was kept. Run it again; if it stays so, ask whoever gave you the checksum"
        )
    os.replace(part, target)
    sync_folder(target.parent)
    _discard(part)
    return found, expected is not None


def _validator(part: Path) -> Path:
    """Holds what tells the server which version of the file `part` is half of."""
    return part.with_name(f"{part.name}.of")


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _validator(part).unlink(missing_ok=True)


def _request(url: str, part: Path, token: str | None) -> requests.Response:
    """The answer to a request for what `part` lacks; status 200 (all), 206 (the rest) or 416 (nothing)."""
    headers = {"Accept-Encoding": "identity"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if part.is_file() and _validator(part).is_file():
        # a file that changed since is sent whole, so that two halves are always of one
        headers["Range"] = f"bytes={part.stat().st_size}-"
        headers["If-Range"] = _validator(part).read_text()
    try:
        response = requests.get(url, headers=headers, stream=True, timeout=TIMEOUT)
    except (requests.ConnectionError, requests.Timeout) as error:
        raise DownloadError(
            f"no connection to {url} ({error}); a proxy is named by the variable HTTPS_PROXY"
        ) from error
    if response.status_code == 404:
        raise NotThereError(f"{url} is not there (404)")
    if response.status_code in (401, 403):
        raise DownloadError(
            f"{url} is refused ({response.status_code}): accept the terms on its page and put a token of "
            "your account into the variable HF_TOKEN; a misspelt name is refused as well"
        )
    if response.status_code not in (200, 206, 416):
        raise DownloadError(f"{url} answers {response.status_code} {response.reason}; try again later")
    return response


def _announced(response: requests.Response) -> str | None:
    """The sha256 that the hub gives for large files, in the first of the answers."""
    for answer in [*response.history, response]:
        tag = answer.headers.get("X-Linked-ETag", "").strip('"').lower()
        if _SHA256.fullmatch(tag):
            return tag
    return None


def _receive(response: requests.Response, part: Path, progress: Progress) -> None:
    """Write the answer behind what is there, or in its place."""
    there = part.stat().st_size if part.is_file() else 0
    place = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+)", response.headers.get("Content-Range", ""))
    if response.status_code == 416 and place and int(place[2]) == there:
        progress(there, there)
        return  # it broke off between the last byte and the check
    if response.status_code == 200:
        there, total = 0, int(response.headers.get("Content-Length", 0)) or None
    elif response.status_code == 206 and place and place[1] and int(place[1]) == there:
        total = int(place[2])
    else:
        _discard(part)
        raise DownloadError(
            f"{response.url} does not go on at byte {there:,}; run it again, it starts afresh"
        )
    _check_room(part, (total or 0) - there)
    progress(there, total)
    _keep_validator(response, part)
    with part.open("ab" if there else "wb") as file:
        for block in response.iter_content(_BLOCK):
            file.write(block)
            progress(len(block), total)
        file.flush()
        os.fsync(file.fileno())


def _keep_validator(response: requests.Response, part: Path) -> None:
    """Note the version that is coming; a weak ETag cannot vouch for bytes (RFC 9110, 13.1.5)."""
    tag = response.headers.get("ETag", "")
    value = response.headers.get("Last-Modified") if tag.startswith("W/") or not tag else tag
    if value:
        _validator(part).write_text(value)
    else:
        _validator(part).unlink(missing_ok=True)


def _check_room(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise DownloadError(
            f"{needed:,} bytes are to come, but {part.parent} has {free:,} free; make room, or choose "
            "another folder"
        )
