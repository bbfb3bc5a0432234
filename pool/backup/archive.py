"""The container of a backup: a tar file or a folder, with a manifest that has the sha256 of every file."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

MANIFEST = "manifest.json"
FORMAT = 1
Progress = Callable[[int], object]  # called with the number of bytes just processed


class BackupError(RuntimeError):
    """A backup or restore that failed; the text says why and what to do."""


class _Hashing(io.RawIOBase):
    """A file wrapper that hashes and counts what is read."""

    def __init__(self, file: BinaryIO, progress: Progress) -> None:
        self._file, self._progress, self.sha256 = file, progress, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        part = self._file.read(size)
        self.sha256.update(part)
        self._progress(len(part))
        return part


class Writer:
    """Writes files to a new backup, which is incomplete until `close`.

    :param path: a tar file when its name ends in .tar, else a folder
    """

    def __init__(self, path: Path, as_tar: bool, progress: Progress) -> None:
        self._path, self._progress = path, progress
        self._tar = tarfile.open(path, "w") if as_tar else None  # noqa: SIM115 (closed in `close`)
        self.files: dict[str, dict[str, Any]] = {}

    def add(self, name: str, source: Path) -> None:
        """Add a file as it is when opened: a pool's files are either replaced whole or appended to."""
        with open(source, "rb") as file:
            stat = os.fstat(file.fileno())
            reader = _Hashing(file, self._progress)
            self._write(name, reader, stat.st_size, int(stat.st_mtime))
        entry = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": reader.sha256.hexdigest()}
        self.files[name] = entry

    def _write(self, name: str, content: io.RawIOBase | io.BytesIO, size: int, mtime: int) -> None:
        if self._tar:
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode = size, mtime, 0o644
            self._tar.addfile(info, cast(BinaryIO, content))
            return
        path = self._path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            shutil.copyfileobj(cast(BinaryIO, content), file)

    def close(self, facts: dict[str, Any]) -> None:
        """Write the manifest last, so that a truncated backup has none."""
        manifest = {"format": FORMAT, **facts, "files": self.files}
        text = json.dumps(manifest, indent=1).encode()
        self._write(MANIFEST, io.BytesIO(text), len(text), 0)
        if self._tar:
            self._tar.close()


class Reader:
    """Reads a backup. Raises BackupError when the path is not a backup or is damaged."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise BackupError(f"{path}: no such backup; check the path")
        self._path, self._members = path, dict[str, tarfile.TarInfo]()
        try:
            if path.is_file():
                self._tar = tarfile.open(path, "r:")  # noqa: SIM115 (open as long as the reader)
                self._members = {info.name: info for info in self._tar.getmembers() if info.isfile()}
            with self.open(MANIFEST) as file:
                self.manifest: dict[str, Any] = json.load(file)
            self.files: dict[str, dict[str, Any]] = self.manifest["files"]
            version = self.manifest["format"]
        except (OSError, tarfile.TarError, ValueError, KeyError, TypeError) as error:
            raise BackupError(
                f"{path} is not a backup of a pool, or is damaged ({type(error).__name__}: {error}); "
                "take another copy"
            ) from error
        if version != FORMAT:
            raise BackupError(
                f"{path} has format {version}, but this version reads {FORMAT}: use the newer version"
            )

    def open(self, name: str) -> BinaryIO:
        """Open a file of the backup. Raises KeyError or OSError when it is missing."""
        if self._path.is_dir():
            return open(self._path / name, "rb")
        file = self._tar.extractfile(self._members[name])
        assert file is not None  # only regular files are members
        return cast(BinaryIO, file)

    def check(self, progress: Progress) -> None:
        """Verify the presence and sha256 of every file. Raises BackupError naming the first that fails."""
        for name, entry in self.files.items():
            path = PurePosixPath(name)
            is_plain = str(path) == name and len(path.parts) > 1 and ".." not in path.parts
            if not is_plain or path.parts[0] not in ("state", "studies"):
                raise BackupError(
                    f"{self._path}: {name!r} does not belong in a pool; do not trust this backup"
                )
            try:
                self._copy(name, None, progress)
            except (OSError, tarfile.TarError, KeyError) as error:
                raise BackupError(
                    f"{self._path}: {name} cannot be read ({error}); take another copy"
                ) from error
            except ValueError:
                raise BackupError(
                    f"{self._path}: {name} is damaged, its sha256 is not {entry['sha256']}; take another copy"
                ) from None

    def extract(self, name: str, target: Path, progress: Progress) -> None:
        """Extract a file, keeping its modification time. Raises ValueError when it changed since `check`."""
        target.parent.mkdir(parents=True, exist_ok=True)
        self._copy(name, target, progress)
        time = self.files[name]["mtime_ns"]
        os.utime(target, ns=(time, time))

    def _copy(self, name: str, target: Path | None, progress: Progress) -> None:
        with self.open(name) as file, open(target or os.devnull, "wb") as out:
            reader = _Hashing(file, progress)
            shutil.copyfileobj(cast(BinaryIO, reader), out, 1 << 20)
        if reader.sha256.hexdigest() != self.files[name]["sha256"]:
            raise ValueError(f"{name} is damaged")
