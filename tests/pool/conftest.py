"""A studies folder for tests that save, break and kill."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from monailabel.datastore.local import LocalDatastore
from PIL import Image

from pool.datastore import PoolDatastore
from pool.imaging.label_writer import write_label

LABELS = {"right lung": 1, "left lung": 2}


class Place:
    """Small images `a`, `b`, `c` in `studies`; labels are sent from a folder beside it."""

    def __init__(self, top: Path, images: tuple[str, ...] = ("a.png", "b.png", "c.png")) -> None:
        self.top, self.studies = top, top / "studies"
        self.json, self.journal = self.studies / "datastore_v2.json", self.studies / "datastore_v2.journal"
        self.stores: list[PoolDatastore] = []
        self.studies.mkdir(parents=True, exist_ok=True)
        for name in images:
            self.image(name)

    def image(self, name: str, value: int = 90) -> Path:
        pixels = np.zeros((20, 24), np.uint8)
        pixels[4:12, 5:9] = value
        Image.fromarray(pixels).save(self.studies / name)
        return self.studies / name

    def mask(self, row: int, ext: str = ".png") -> Path:
        """Write a label that fits; a different row makes a different label."""
        path, plane = self.top / f"mask{row}{ext}", np.zeros((24, 20), np.uint8)
        plane[5:9, row] = 1
        write_label(path, plane, np.eye(4), LABELS, {})
        return path

    def open(self, **options: Any) -> PoolDatastore:
        self.stores.append(PoolDatastore(str(self.studies), LABELS, **options))
        return self.stores[-1]

    def stock(self) -> LocalDatastore:
        """Open MONAI Label's own datastore on the same folder."""
        return LocalDatastore(str(self.studies), extensions=["*.png", "*.nii.gz", "*.nrrd"])

    def label(self, store: Any, image: str, row: int, who: str, ext: str = ".png") -> bytes:
        """Save a final label, and return its bytes."""
        store.save_label(image, str(self.mask(row, ext)), "final", {"client_id": who})
        return self.mask(row, ext).read_bytes()

    def versions(self) -> dict[str, tuple[bytes, dict[str, Any]]]:
        """Return the kept versions: {file: (bytes, info)}."""
        folder = self.studies / "versions" / "final"
        said = [json.loads(p.read_text()) for p in sorted(folder.glob("*.json"))]
        return {s["file"]: ((folder / s["file"]).read_bytes(), s) for s in said}

    def killed(self, work: Callable[[], Any], step: int = 10**9) -> bool:
        """Do `work` in a process that is killed before its step-th call that syncs files.

        A write is cut in half. Whether the process was killed; it is also killed at the end, without
        closing anything, and an error in it is raised here.
        """
        pid = os.fork()
        if pid == 0:
            _die_at(step)
            try:
                work()
            except BaseException:
                os._exit(3)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the work failed"
        return os.WIFSIGNALED(status)


def _die_at(step: int) -> None:
    left = [step]

    def dying(name: str) -> None:
        true = getattr(os, name)

        def call(*args: Any, **more: Any) -> Any:
            left[0] -= 1
            if left[0] <= 0:
                if name == "write":
                    true(args[0], args[1][: len(args[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return true(*args, **more)

        setattr(os, name, call)

    for name in ("replace", "link", "unlink", "fsync", "write", "mkdir"):
        dying(name)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    for store in made.stores:
        store.close()


@pytest.fixture
def new_place(tmp_path: Path) -> Iterator[Callable[..., Place]]:
    """Make places by name."""
    made: list[Place] = []

    def make(name: str, **more: Any) -> Place:
        made.append(Place(tmp_path / name, **more))
        return made[-1]

    yield make
    for each in made:
        for store in each.stores:
            store.close()
