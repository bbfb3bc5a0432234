"""Download of one file: resumable, checked, and atomic."""

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

TIMEOUT = (10, 60)  # seconds to connect, and between two blocks
_BLOCK_SIZE = 1 << 14  # bytes lost at most when a connection breaks
_SHA256 = re.compile(r"[0-9a-f]{64}")

Progress = Callable[[int, int | None], object]  # (bytes received or already there; total bytes if known)


class DownloadError(Exception):
    """A download that failed; the text says why and what to do."""


class NotThereError(DownloadError):
    """The server does not have the file."""


def fetch(
    url: str, target: Path, sha256: str | None, progress: Progress, token: str | None = None
) -> tuple[str, bool]:
    """Download `url` to `target`, whose folder exists. A partial download is kept as `<name>.part`.

    Args:
        url: http or https; redirects are followed.
        target: replaced once the download is complete and checked, else not touched.
        sha256: expected 64 hex digits; default: those that the hub announces for large files (header
            X-Linked-ETag).
        progress: called for every block.
        token: for files behind terms of use; sent to the first host only.

    Returns:
        The file's sha256, and True if it was compared with an expected one.

    Raises:
        NotThereError: 404.
        DownloadError: anything else: no connection, refused, interrupted, wrong sha256, disk full.
    """
    part = target.with_name(f"{target.name}.part")
    try:
        with _request(url, part, token) as response:
            announced = _announced_sha256(response)
            _receive(response, part, progress)
    except requests.RequestException as error:
        received = part.stat().st_size if part.is_file() else 0
        raise DownloadError(
            f"{url} broke off after {received:,} bytes ({error}); run it again to resume"
        ) from error
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise DownloadError(
            f"disk full while writing {target}: free some space and run it again to resume"
        ) from error
    expected, actual = (sha256 or announced), sha256_of([part])
    if expected and actual != expected:
        _discard(part)
        raise DownloadError(
            f"{url} has sha256 {actual}, expected {expected}: it is another file, or was damaged on the "
            "way; nothing was kept. Run it again; if that fails too, check the checksum with its source"
        )
    os.replace(part, target)
    sync_folder(target.parent)
    _discard(part)
    return actual, expected is not None


def _validator(part: Path) -> Path:
    """Return the path of the validator, which tells the server of which version `part` is a part."""
    return part.with_name(f"{part.name}.of")


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _validator(part).unlink(missing_ok=True)


def _request(url: str, part: Path, token: str | None) -> requests.Response:
    """Request the bytes that `part` lacks; the answer is 200 (all), 206 (the rest) or 416 (none)."""
    headers = {"Accept-Encoding": "identity"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if part.is_file() and _validator(part).is_file():
        # a file that changed meanwhile is sent whole, so parts of two versions never mix
        headers["Range"] = f"bytes={part.stat().st_size}-"
        headers["If-Range"] = _validator(part).read_text()
    try:
        response = requests.get(url, headers=headers, stream=True, timeout=TIMEOUT)
    except (requests.ConnectionError, requests.Timeout) as error:
        raise DownloadError(
            f"no connection to {url} ({error}); if you need a proxy, set the variable HTTPS_PROXY"
        ) from error
    if response.status_code == 404:
        raise NotThereError(f"{url} does not exist (404)")
    if response.status_code in (401, 403):
        raise DownloadError(
            f"{url} refused access ({response.status_code}): accept the terms on its page and put a token of "
            "your account into the variable HF_TOKEN; a misspelt name is refused as well"
        )
    if response.status_code not in (200, 206, 416):
        raise DownloadError(f"{url} answers {response.status_code} {response.reason}; try again later")
    return response


def _announced_sha256(response: requests.Response) -> str | None:
    """Return the sha256 that the hub announces for large files, from the first answer that has one."""
    for answer in [*response.history, response]:
        tag = answer.headers.get("X-Linked-ETag", "").strip('"').lower()
        if _SHA256.fullmatch(tag):
            return tag
    return None


def _receive(response: requests.Response, part: Path, progress: Progress) -> None:
    """Append the answer to the partial download, or replace it."""
    offset = part.stat().st_size if part.is_file() else 0
    content_range = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+)", response.headers.get("Content-Range", ""))
    if response.status_code == 416 and content_range and int(content_range[2]) == offset:
        progress(offset, offset)
        return  # interrupted between the last byte and the check
    if response.status_code == 200:
        offset, total = 0, int(response.headers.get("Content-Length", 0)) or None
    elif (
        response.status_code == 206 and content_range and content_range[1] and int(content_range[1]) == offset
    ):
        total = int(content_range[2])
    else:
        _discard(part)
        raise DownloadError(f"{response.url} does not resume at byte {offset:,}; run it again to start over")
    _check_room(part, (total or 0) - offset)
    progress(offset, total)
    _store_validator(response, part)
    with part.open("ab" if offset else "wb") as file:
        for block in response.iter_content(_BLOCK_SIZE):
            file.write(block)
            progress(len(block), total)
        file.flush()
        os.fsync(file.fileno())


def _store_validator(response: requests.Response, part: Path) -> None:
    """Store the version being received; a weak ETag cannot identify bytes (RFC 9110, 13.1.5)."""
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
            f"{needed:,} bytes are needed, but {part.parent} has {free:,} free; free some space, or choose "
            "another folder"
        )
