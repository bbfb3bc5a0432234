"""Checksums of image files, by which viewers tell whether their own copy of an image is still right."""

from __future__ import annotations

import hashlib
import threading

from pool.imaging.names import image_fingerprint

_MAX_BYTES = 4 * 2**20  # of a file that is read while somebody waits


class Checksums:
    """SHA-256 of files, kept for as long as a file's fingerprint stays the same; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, tuple[str, str]] = {}  # by path: fingerprint, checksum
        self._waiting: set[str] = set()

    @property
    def is_behind(self) -> bool:
        """True if `catch_up` has something to do."""
        return bool(self._waiting)

    def quick(self, path: str) -> str:
        """Return the checksum "SHA256:<hex>" of a file, "" while that of a large one is not known.

        `catch_up` works that out. Raises OSError.
        """
        fingerprint = image_fingerprint(path)
        known = self._known.get(path)
        if known and known[0] == fingerprint:
            return known[1]
        with open(path, "rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            with self._lock:
                self._waiting.add(path)
            return ""
        return self._keep(path, fingerprint, hashlib.sha256(content).hexdigest())

    def catch_up(self) -> None:
        """Work out the checksums of the large files that were asked for; one that is gone is passed over."""
        with self._lock:
            waiting, self._waiting = self._waiting, set()
        for path in sorted(waiting):
            try:
                fingerprint = image_fingerprint(path)
                digest = hashlib.sha256()
                with open(path, "rb") as file:
                    while piece := file.read(_MAX_BYTES):
                        digest.update(piece)
            except OSError:
                continue
            self._keep(path, fingerprint, digest.hexdigest())

    def _keep(self, path: str, fingerprint: str, digest: str) -> str:
        checksum = f"SHA256:{digest}"
        with self._lock:
            self._known[path] = (fingerprint, checksum)
        return checksum
