"""The series of a DICOMweb server, and which segmentation belongs to which of them.

Kept in memory, and in two JSON files for child processes and for the next start.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from pydicom import Dataset

from pool.dicomweb.cache import read_json, write_json
from pool.dicomweb.client import DicomServer, ServerError, first
from pool.dicomweb.seg import names_of
from pool.imaging.names import same_name
from pool.label_states import WAITING
from pool.protocol import LabelCheck

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Seg:
    """One segmentation series."""

    series: str
    study: str
    image: str | None  # the series that it segments; None when it is no label of ours
    made: str  # date and time, such that a later one is greater


@dataclass(frozen=True)
class View:
    """The pool at one moment; never changed, only replaced."""

    images: list[str] = field(default_factory=list)  # sorted
    info: Mapping[str, dict[str, str]] = field(default_factory=dict)  # of each image
    labelled: list[str] = field(default_factory=list)  # with a label that counts, sorted
    segs: Mapping[str, Seg] = field(default_factory=dict)  # newest label of each image that has one
    unchecked: frozenset[str] = frozenset()  # images whose label is not checked yet
    unedited: frozenset[str] = frozenset()  # images whose label equals a prediction or another, unconfirmed
    refused: Mapping[str, str] = field(default_factory=dict)  # why the label of an image does not count


class Index:
    """The newest `View`, and the searches it is made from.

    :param folder: where it is written down
    :param labels: names of the app's structures; a segmentation with none of them is no label
    :param trusts_files: True: every label counts; False: those stored by us, and those checked
    :param counts_unedited: labels that equal a prediction count, too
    """

    def __init__(
        self,
        folder: Path,
        labels: Mapping[str, int],
        server: DicomServer,
        filters: Sequence[Mapping[str, Any]],
        trusts_files: bool,
        counts_unedited: bool = False,
    ) -> None:
        self._trusts_files, self._counts_unedited = trusts_files, counts_unedited
        self._images_file, self._segs_file = folder / "images.json", folder / "segs.json"
        self._names, self._server, self._filters = {same_name(n) for n in labels}, server, list(filters)
        self._lock = threading.Lock()
        self._unseen: dict[str, Seg] = {}  # stored by us, not found in a search yet
        self._segs: dict[str, Seg] = self._read_segs()
        self._reasons: dict[str, str] = {}  # why a checked segmentation does not count; "" for a good one
        self._states: dict[str, str] = {}  # of `pool.label_states`, of those that have one
        self.view = View()

    def _read_segs(self) -> dict[str, Seg]:
        kept = read_json(self._segs_file)
        return {row["series"]: Seg(**row) for row in kept.get(self._key(), [])}

    def _key(self) -> str:
        """Return the key of the app's structures: other structures make other labels."""
        return "|".join(sorted(self._names))

    def load(self) -> bool:
        """Load what the server process wrote; False when it wrote nothing."""
        written = read_json(self._images_file)
        if written.get("filters") != self._filters:
            return False
        segs = self._read_segs()
        present = {uid: segs[uid] for uid in written["segs"] if uid in segs}
        self.view = self._new_view(written["images"], present)
        return True

    def settle(self, checks: Iterable[LabelCheck]) -> None:
        """Count segmentations, or not, by their checks."""
        with self._lock:
            for check in checks:
                self._reasons[check.fingerprint] = check.reason
                self._states[check.fingerprint] = check.state
            self.view = self._new_view(self.view.info, self._segs)

    def count_labels(self, image: str) -> int:
        """Return the number of segmentations of an image."""
        with self._lock:
            return sum(seg.image == image for seg in self._segs.values())

    def segs_of(self, images: Collection[str]) -> list[str]:
        """Return the segmentations of images, also of those that have left the server, sorted."""
        with self._lock:
            return sorted(seg.series for seg in self._segs.values() if seg.image in set(images))

    def look(self, write: bool = True) -> bool:
        """Search the server; True when its images or labels have changed. Raises ServerError."""
        images = self._server.search(self._filters)
        listed = self._server.search([{"Modality": "SEG"}])
        known = {uid: self._segs.get(uid) or self._ask(uid, row) for uid, row in listed.items()}
        with self._lock:
            self._unseen = {uid: seg for uid, seg in self._unseen.items() if uid not in listed}
            present = {uid: seg for uid, seg in known.items() if seg} | self._unseen
            before, self.view = self.view, self._new_view(images, present)
            changed = before != self.view
            stale = changed or present.keys() != self._segs.keys() or not self._images_file.exists()
            self._segs = present
            if write and stale:
                self._write()
        return changed

    def _ask(self, series: str, row: Mapping[str, str]) -> Seg | None:
        """Look at one new segmentation; None when it cannot be read now. Raises ServerError when down."""
        study = row["StudyInstanceUID"]
        try:
            instance = (self._server.metadata(study, series) or [{}])[0]
        except ServerError as error:
            if error.status == 503:
                raise
            self._server.check()
            logger.error("Segmentation %s is not looked at: %s", series, error.text)
            return None
        referenced, segments = first(instance, "00081115"), instance.get("00620002", {}).get("Value", [])
        image = first(referenced, "0020000E") if referenced else None
        names = [str(first(segment, "00620005")) for segment in segments]
        if image and not self._ours(names):
            logger.warning("Segmentation %s is no label of this app: it has %s", series, names)
            image = None
        made = f"{first(instance, '00080023') or ''}{first(instance, '00080033') or ''}"
        return Seg(series, study, image, made)

    def _ours(self, names: Sequence[str]) -> bool:
        return any(same_name(name) in self._names for name in names)

    def add_own(self, image: str, seg: Dataset, state: str = "") -> None:
        """Add a segmentation that was just stored, with its state: its image is labelled from now on."""
        series = str(seg.SeriesInstanceUID)
        made = f"{seg.get('ContentDate', datetime.now().strftime('%Y%m%d'))}{seg.get('ContentTime', '')}"
        assert self._ours(names_of(seg))
        own = Seg(series, str(seg.StudyInstanceUID), image, made)
        with self._lock:
            self._unseen[series] = self._segs[series] = own
            self._reasons[series], self._states[series] = "", state  # it was checked when it was sent
            self.view = self._new_view(self.view.info, self._segs)
            self._write()

    def _write(self) -> None:
        """Write the segmentations first, so that a reader finds all that the list of images names."""
        write_json(self._segs_file, {self._key(): [asdict(seg) for seg in self._segs.values()]})
        content = {"filters": self._filters, "images": dict(self.view.info), "segs": list(self._segs)}
        write_json(self._images_file, content)

    def _new_view(self, info: Mapping[str, dict[str, str]], segs: Mapping[str, Seg]) -> View:
        """Build the view of a search; lists that did not change stay the same objects."""
        images, old = sorted(info), self.view
        newest: dict[str, Seg] = {}
        for seg in sorted(segs.values(), key=lambda seg: (seg.made, seg.series)):
            if seg.image in info:
                newest[str(seg.image)] = seg
        unknown = "" if self._trusts_files else None
        reasons = {image: self._reasons.get(seg.series, unknown) for image, seg in newest.items()}
        good = {image for image, reason in reasons.items() if reason == ""}
        unedited = {image for image in good if self._states.get(newest[image].series) in WAITING}
        unedited = set() if self._counts_unedited else unedited
        labelled = sorted(good - unedited)
        return View(
            old.images if old.images == images else images,
            info,
            old.labelled if old.labelled == labelled else labelled,
            newest,
            frozenset(image for image, reason in reasons.items() if reason is None),
            frozenset(unedited),
            {image: reason for image, reason in reasons.items() if reason},
        )
