"""One patient's privacy: what a pool keeps of images, and its removal from the pool's state."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from bundle_configs import Bundle
from infers.instant.files import ROOT as FEATURES
from infers.instant.files import files_about, forget
from pool.backup.regular import backups_of
from pool.database.database import Busy
from pool.database.state import State
from pool.groups import Groups
from pool.protocol import KeepsPatients
from server import config
from server.open_pool import lock_folder, open_datastore, open_groups, open_state, trains_now
from server.places import PoolPlace

_VALIDATION = "validation"  # folder of predictions on held-out images, in the state


@dataclass(frozen=True)
class Kept:
    """What is kept of images.

    :param studies: files or series in the pool's own studies, labels among them
    :param present: those of the images that are still in the pool
    :param rows: {table: number of rows}
    :param files: files and folders in the state
    :param rounds: of the models that were trained on them, the newest first
    :param models: files of weights that may have learnt from them
    :param heads: number of small models fitted after each label
    :param backups: files in the state folder that may hold all of this as it was
    :param log_lines: {log file: number of lines that name one of the images}
    """

    images: list[str]
    present: list[str]
    studies: list[str]
    rows: dict[str, int]
    files: list[str]
    rounds: list[int]
    models: list[str]
    heads: int
    backups: list[str]
    log_lines: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        """Return all of it, for programs."""
        return asdict(self)


@dataclass(frozen=True)
class PatientFiles:
    """A pool, seen for what it keeps of patients.

    :param app: folder of the app, which has the first lines of a log
    """

    state: State
    store: KeepsPatients
    groups: Groups
    app: Path

    def images_of(self, names: Sequence[str]) -> list[str]:
        """Return the images of patients, sorted. Raises ValueError for a name that fits none.

        A name is an image's id, a group of `--conf groups`, a PatientID of a DICOM server, a folder of image
        ids, or the beginning of ids followed by `*`.
        """
        known = {*self.store.list_images(), *self.state.traces.images()}
        gone, found = self.store.cached_patients(), set[str]()
        known.update(gone)
        for name in names:
            fitting = {image for image in known if self._fits(image, name, gone)}
            if not fitting:
                raise ValueError(
                    f"nothing is known of {name!r}: name an image's id, a PatientID, a group of --conf "
                    "groups, a folder, or the beginning of ids and *; for a series that has left the DICOM "
                    "server its UID"
                )
            found |= fitting
        return sorted(found)

    def _fits(self, image: str, name: str, gone: dict[str, str]) -> bool:
        if image == name or (name.endswith("*") and len(name) > 1 and image.startswith(name[:-1])):
            return True
        if image.startswith(f"{name.rstrip('/')}/"):
            return True
        return (self.groups.group_of(image, self.store) or gone.get(image)) == name

    def kept(self, images: Sequence[str]) -> Kept:
        """Return what is kept of images, and where."""
        rounds, models = self.state.traces.rounds(images), self.state.models.all()
        names = ["pretrained.pt", "pretraining"]  # on all images of their day
        names += ["model.pt"] if rounds and rounds[0] == models[0].round else []
        weights = [self.state.folder / name for name in names]
        return Kept(
            images=list(images),
            present=[image for image in images if self.store.has_image(image)],
            studies=self.store.kept_in_studies(images),
            rows=self.state.traces.count(images),
            files=[str(path) for path in self._files(images)],
            rounds=rounds,
            models=[str(path) for path in weights if path.exists()],
            heads=len(self.state.heads.sources()),
            backups=[str(path) for path in self._backups()],
            log_lines=self._log_lines(images),
        )

    def remove(
        self, images: Sequence[str], names: Sequence[str], who: str, advance: Callable[[int], object]
    ) -> dict[str, int]:
        """Remove images that have left the studies from the state; return the rows removed by table.

        :param names: of their patients, as `images_of` takes them
        :param advance: called with the number of rows that were looked at since

        Raises ValueError when one is still in the pool, or the state is in use; nothing is removed then.
        """
        if present := [image for image in images if self.store.has_image(image)]:
            raise ValueError(
                f"{len(present)} of the {len(images)} images are still in the pool, so that what is removed "
                "would be computed again. Take them out of the studies first, with their labels, then run "
                f"this again for {' '.join(images)}: " + ", ".join(self.store.kept_in_studies(images))
            )
        if trains_now(self.state.folder):
            raise ValueError("a training of this pool is running; wait for it or stop it")
        with self.state.exclusive("refresh"):
            facts = {"files": len(self._files(images)), "drafts": self.state.drafts.remove_images(images)}
            for folder in self._predictions(images):
                shutil.rmtree(folder)
            forget(self.state.folder / FEATURES, images, self.state.traces.fingerprints())
            self.store.forget(images)
            rows = self.state.traces.remove(images, who, facts, advance, names)
        self.state.fold()
        return rows

    def _files(self, images: Collection[str]) -> list[Path]:
        """Return what the state folder holds of images, beside the database and drafts."""
        features = files_about(self.state.folder / FEATURES, images, self.state.traces.fingerprints())
        return [*self._predictions(images), *features, *self.store.cached(list(images))]

    def _predictions(self, images: Collection[str]) -> list[Path]:
        folders = (self.state.folder / _VALIDATION / image for image in images)
        return [folder for folder in folders if folder.is_dir()]

    def _backups(self) -> list[Path]:
        return [*backups_of(self.state.folder), *sorted(self.state.folder.glob("pool.db.before-*"))]

    def _log_lines(self, images: Sequence[str]) -> dict[str, int]:
        named = re.compile("|".join(rf"(?<![\w.]){re.escape(image)}(?![\w-]|\.\d)" for image in images))
        counts: dict[str, int] = {}
        folders = (self.app / "logs", self.state.folder / "logs")  # a start logs to the app's until it opens
        for log in sorted(file for folder in folders for file in folder.glob("*.log*")):
            with open(log, encoding="utf-8", errors="replace") as lines:
                counts[str(log)] = sum(bool(named.search(line)) for line in lines)
        return {log: count for log, count in counts.items() if count}


@contextmanager
def closed_pool(place: PoolPlace, bundle: str) -> Iterator[PatientFiles]:
    """Open a pool as its only user, to remove from it. Raises ValueError while a server works on it."""
    defaults = Bundle(bundle)
    chosen = config.read(config.with_dataset(place.conf, place.studies, defaults), defaults)
    settings, folder = chosen.settings, Path(place.state)
    if not folder.is_dir():
        raise ValueError(f"there is no state folder {folder}: nothing is kept")
    try:
        lock = lock_folder(folder)
    except config.ConfigError as error:
        raise ValueError(
            f"stop the server of this pool first, which has in memory what is removed: {error}"
        ) from None
    try:
        state, held = open_state(folder, settings.database, in_server=True, several=False)
        with held:
            used = Bundle(bundle, chosen.overrides)
            store = open_datastore(place.studies.strip(), used, settings, folder, read_only=False)
            try:
                groups = open_groups(settings.groups)
                yield PatientFiles(state, cast(KeepsPatients, store), groups, Path(place.app))
            except Busy as error:
                raise ValueError(f"the pool is being prepared; wait for it or stop it ({error})") from None
            finally:
                if hasattr(store, "close"):
                    store.close()
    finally:
        lock.release()
