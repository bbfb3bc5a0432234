"""What runs on a node of a cluster: a worker made of files that were sent, on images that it fetches."""

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

from pool.imaging.images import ImageError
from strategies.engine.local import Batch
from strategies.engine.workers import Done, Worker, try_read


class NodeError(RuntimeError):
    """A node that cannot take part; the text says why, and what to do."""


@dataclass(frozen=True)
class Sent:
    """One file of a worker's arguments.

    :param path: the argument: the file, or the folder that it lies in
    :param name: its name, below that of its folder if it lies in one
    :param sha256: of its bytes
    """

    path: str
    name: str
    sha256: str


@dataclass(frozen=True)
class Order:
    """What a node needs to know before it works.

    :param make_worker: a class of workers with its arguments, none by name
    :param files: what these name by path, as it is at the sender
    :param shared: URL of the folder that the images are in, as fsspec knows them; "": at their own paths
    :param probes: paths of images; a node that sees none of them does not take part
    """

    make_worker: partial[Worker]
    files: tuple[Sent, ...]
    shared: str
    probes: tuple[str, ...]


def read_files(paths: Sequence[str]) -> Iterator[tuple[Sent, np.ndarray]]:
    """The files at these paths, of a folder all that lie in it, each with its bytes (N,) uint8."""
    for path in paths:
        there = Path(path).expanduser().resolve()
        files = sorted(each for each in there.iterdir() if each.is_file()) if there.is_dir() else [there]
        for file in files:
            content = np.fromfile(file, dtype=np.uint8)
            name = file.relative_to(there.parent).as_posix()
            yield Sent(path, name, hashlib.sha256(content.data).hexdigest()), content


@contextmanager
def unpacked(files: Sequence[Sent], contents: Sequence[np.ndarray]) -> Iterator[dict[str, str]]:
    """Write files that came here into a folder, for a `with` block: {path there: path here}.

    Raises NodeError for one that is not what was sent.
    """
    with tempfile.TemporaryDirectory(prefix="scan-selection-") as folder:
        here: dict[str, str] = {}
        for sent, content in zip(files, contents, strict=True):
            if hashlib.sha256(content.data).hexdigest() != sent.sha256:
                raise NodeError(f"{sent.name} came damaged: its sha256 is not {sent.sha256}; try again")
            argument = hashlib.sha256(sent.path.encode()).hexdigest()  # two may have files of one name
            file = Path(folder, argument, sent.name)
            file.parent.mkdir(parents=True, exist_ok=True)
            content.tofile(file)
            here[sent.path] = str(Path(folder, argument, Path(sent.name).parts[0]))
        yield here


def moved(value: Any, here: Mapping[str, str]) -> Any:
    """A worker's argument, with the path that it names, alone or as <kind>:<path>, as it is here."""
    if not isinstance(value, str):
        return value
    kind, colon, path = value.partition(":")
    return here.get(value, f"{kind}{colon}{here.get(path, path)}")


class RemoteWorker:
    """A worker on a node. It is told twice at a time to `work`: one batch is read while another is looked at.

    :param readers: threads that read images
    """

    def __init__(self, readers: int) -> None:
        self._readers, self._looking = ThreadPoolExecutor(readers, "reading"), threading.Lock()

    def start(self, order: Order, *contents: np.ndarray) -> None:
        """Make the worker. `contents` are those of the order's files.

        Raises NodeError when this node does not see the images, and what making the worker raises.
        """
        self._shared, make = order.shared.rstrip("/"), order.make_worker
        self._probes = order.probes
        self._check_sight()
        with unpacked(order.files, contents) as here:
            self._worker = make.func(*(moved(value, here) for value in make.args))

    def work(self, batch: Batch) -> list[Done]:
        """What the worker finds of these images, in their order. Raises NodeError when they are gone."""
        read = list(self._readers.map(self._read, [path for _, path in batch]))
        with self._looking:
            return self._worker.answer([image for image, _ in batch], read)

    def _check_sight(self) -> None:
        """Raises NodeError where none of the pool's first images can be read."""
        if not self._probes or any(map(self._sees, self._probes)):
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

    def _sees(self, path: str) -> bool:
        """Whether an image's file, or its folder of slices, can be read here."""
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
        """What the worker reads of an image, or the ImageError that it raises.

        Raises NodeError where the node has lost sight of all images, which says nothing about one of them.
        """
        found = self._fetch_and_read(path) if self._shared else try_read(self._worker, path)
        if isinstance(found, ImageError) and not self._sees(path):
            self._check_sight()
        return found

    def _fetch_and_read(self, path: str) -> Any:
        with tempfile.TemporaryDirectory(prefix="scan-selection-") as folder:
            copy = Path(folder, Path(path).name)
            try:
                with fsspec.open(self._url(path), "rb") as source, open(copy, "wb") as target:
                    shutil.copyfileobj(source, target)
            except FileNotFoundError:
                again = "copy it there, then `scan-selection retry`"
                return ImageError(f"{path}: is not in {self._shared}; {again}")
            except (PermissionError, IsADirectoryError) as error:
                return ImageError(f"{path}: cannot be read from {self._shared} ({error})")
            except OSError as error:
                raise NodeError(f"{self._url(path)}: {error}") from error
            found = try_read(self._worker, str(copy))
            return ImageError(str(found).replace(str(copy), path)) if isinstance(found, ImageError) else found
