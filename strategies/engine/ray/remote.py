"""Worker on a node of a Ray cluster: created from files sent to it, run on images that it fetches."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import numpy as np

from pool.imaging.errors import ImageError
from strategies.engine.local import Batch
from strategies.engine.worker import Done, Worker, try_read


class NodeError(RuntimeError):
    """A node that cannot take part; the text says why and what to do."""


@dataclass(frozen=True)
class Sent:
    """One file of a worker's arguments.

    :param path: the argument: the file, or the folder that contains it
    :param name: file name, prefixed with the folder's name if it is in one
    :param sha256: hash of its bytes
    """

    path: str
    name: str
    sha256: str


@dataclass(frozen=True)
class Order:
    """Everything a node needs before it starts.

    :param make_worker: a worker class with its positional arguments
    :param files: the files that these arguments name, as on the sender
    :param shared: fsspec URL of the folder with the images; "": the images' own paths
    :param probes: paths of images; a node that can read none of them does not take part
    """

    make_worker: partial[Worker]
    files: tuple[Sent, ...]
    shared: str
    probes: tuple[str, ...]


def read_files(paths: Sequence[str]) -> Iterator[tuple[Sent, np.ndarray]]:
    """Yield the files at these paths, and those in the folders, each with its bytes (N,) uint8."""
    for path in paths:
        source = Path(path).expanduser().resolve()
        files = sorted(file for file in source.iterdir() if file.is_file()) if source.is_dir() else [source]
        for file in files:
            content = np.fromfile(file, dtype=np.uint8)
            name = file.relative_to(source.parent).as_posix()
            yield Sent(path, name, hashlib.sha256(content.data).hexdigest()), content


@contextmanager
def unpacked(files: Sequence[Sent], contents: Sequence[np.ndarray]) -> Iterator[dict[str, str]]:
    """Write received files to a temporary folder for a `with` block; yield {sender's path: local path}.

    Raises NodeError for a file that differs from what was sent.
    """
    with tempfile.TemporaryDirectory(prefix="scan-selection-") as folder:
        local_paths: dict[str, str] = {}
        for sent, content in zip(files, contents, strict=True):
            if hashlib.sha256(content.data).hexdigest() != sent.sha256:
                raise NodeError(f"{sent.name} arrived damaged: its sha256 is not {sent.sha256}; try again")
            argument = hashlib.sha256(sent.path.encode()).hexdigest()  # names may repeat
            file = Path(folder, argument, sent.name)
            file.parent.mkdir(parents=True, exist_ok=True)
            content.tofile(file)
            local_paths[sent.path] = str(Path(folder, argument, Path(sent.name).parts[0]))
        yield local_paths


def moved(value: Any, local_paths: Mapping[str, str]) -> Any:
    """Replace the path in a worker's argument, plain or as <kind>:<path>, by the local one."""
    if not isinstance(value, str):
        return value
    kind, colon, path = value.partition(":")
    return local_paths.get(value, f"{kind}{colon}{local_paths.get(path, path)}")


class RemoteWorker:
    """A worker on a node. Two calls of `work` overlap: one batch is read while another is processed.

    :param readers: number of threads that read images
    """

    def __init__(self, readers: int) -> None:
        self._readers, self._looking = ThreadPoolExecutor(readers, "reading"), threading.Lock()

    def start(self, order: Order, *contents: np.ndarray) -> None:
        """Create the worker. `contents` are the bytes of the order's files.

        Raises NodeError when this node cannot read the images, and what creating the worker raises.
        """
        self._shared, factory = order.shared.rstrip("/"), order.make_worker
        self._probes = order.probes
        self._check_access()
        with unpacked(order.files, contents) as local_paths:
            self._worker = factory.func(*(moved(value, local_paths) for value in factory.args))

    def work(self, batch: Batch) -> list[Done]:
        """Return the worker's results, in order. Raises NodeError when the images have become unreachable."""
        read = list(self._readers.map(self._read, [path for _, path in batch]))
        with self._looking:
            return self._worker.answer([image for image, _ in batch], read)

    def _check_access(self) -> None:
        """Raise NodeError if none of the probe images can be read."""
        if not self._probes or any(map(self._can_read, self._probes)):
            return
        first, node = self._probes[0], os.uname().nodename
        if self._shared:
            raise NodeError(
                f"{self._url(first)} cannot be read on {node}: copy it there, or change shared_studies"
            )
        raise NodeError(
            f"{first} cannot be read on {node}: mount the studies folder there at the same path, or name "
            "shared storage with --conf shared_studies"
        )

    def _can_read(self, path: str) -> bool:
        """Return True if an image's file, or its folder of slices, can be read on this node."""
        try:
            if not self._shared and os.path.isdir(path):
                return bool(os.listdir(path))
            with fsspec.open(self._url(path) if self._shared else path, "rb") as file:
                file.read(1)
        except OSError:
            return False
        return True

    def _url(self, path: str) -> str:
        return f"{self._shared}/{Path(path).name}"

    def _read(self, path: str) -> Any:
        """Return what the worker reads, or the ImageError that it raises.

        Raises NodeError when no image can be read any more, which is not the fault of this one.
        """
        content = self._fetch_and_read(path) if self._shared else try_read(self._worker, path)
        if isinstance(content, ImageError) and not self._can_read(path):
            self._check_access()
        return content

    def _fetch_and_read(self, path: str) -> Any:
        with tempfile.TemporaryDirectory(prefix="scan-selection-") as folder:
            copy = Path(folder, Path(path).name)
            try:
                with fsspec.open(self._url(path), "rb") as source, open(copy, "wb") as target:
                    shutil.copyfileobj(source, target)
            except FileNotFoundError:
                hint = "copy it there, then `scan-selection retry`"
                return ImageError(f"{path}: is not in {self._shared}; {hint}")
            except (PermissionError, IsADirectoryError) as error:
                return ImageError(f"{path}: cannot be read from {self._shared} ({error})")
            except OSError as error:
                raise NodeError(f"{self._url(path)}: {error}") from error
            content = try_read(self._worker, str(copy))
            return (
                ImageError(str(content).replace(str(copy), path))
                if isinstance(content, ImageError)
                else content
            )
