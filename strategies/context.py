"""What selection works on: the pool's state, the settings, and what the datastore says now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from infers.csal3d import key_of
from infers.encoders import CSAL3D
from pool.copies import Sets
from pool.datastore import PoolDatastore
from pool.groups import Groups
from pool.handouts import Terms
from pool.images import fingerprint
from pool.journal import Plan
from pool.marks import HELD_OUT, NEXT, Mark
from pool.state import Layout, Model, State
from pool.store import PoolStore
from strategies.reach import Reach
from strategies.settings import Settings

_SETTLE = 120.0  # seconds; a server looks for labels saved through others every 30 s or so


@dataclass(frozen=True)
class Context:
    """One pool and how it is selected from; made once per process.

    :param fixed_encoder_key: the encoder with its weights, as `check_encoder` says
    """

    state: State
    settings: Settings
    fixed_encoder_key: str
    reach: Reach = field(default_factory=Reach, compare=False)
    groups: Groups = field(default_factory=Groups)

    @property
    def terms(self) -> Terms:
        """Of the leases."""
        several = bool(self.settings.database)  # each has its own view of the labels for a while
        return Terms(self.settings.lease_minutes * 60, self.settings.max_open, _SETTLE if several else 0.0)

    @property
    def copies(self) -> Sets:
        """Images that are copies of each other, under each of their ids, where one is enough."""
        return self.state.copies.sets() if self.settings.duplicates == "leave_out" else {}

    def held_out(self) -> frozenset[str]:
        """Images that are never trained on: what is marked so, and copies of it."""
        return with_copies(self.state.marks.held_out(), self.copies)

    @property
    def model_file(self) -> Path:
        """Where the trainer publishes."""
        return self.state.folder / "model.pt"

    @property
    def pretrained_file(self) -> Path:
        """Where the self-supervised pretraining publishes."""
        return self.state.folder / "pretrained.pt"

    @property
    def pretrained_key(self) -> str | None:
        """What features and uncertainties of the published pretraining are kept under; None before it."""
        return key_of(self.pretrained_file)

    @property
    def is_pretrained_here(self) -> bool:
        """Whether the encoder is the one that is pretrained on the pool itself."""
        return self.settings.encoder == CSAL3D

    @property
    def encoder_key(self) -> str:
        """The encoder with its weights. That of a pretraining on the pool has none before it is published."""
        return (self.is_pretrained_here and self.pretrained_key) or self.fixed_encoder_key

    @property
    def layout_key(self) -> str:
        """The map: another encoder, projection or seed is another map."""
        s = self.settings
        return f"{self.encoder_key}|{s.projection}|{s.perplexity:g}|{s.seed}"

    @property
    def cold_key(self) -> str:
        """The cold-start plan, made once under this key."""
        return f"cold_start|{self.layout_key}|{self.settings.cold_start_budget}"

    def active_key(self, model: str, alpha: float | str) -> str:
        """The active plan of one model and alpha, or "adaptive"."""
        weight = alpha if isinstance(alpha, str) else f"{alpha:g}"
        return f"active|{self.layout_key}|{model}|{weight}"

    @property
    def active_alpha(self) -> float | str:
        """What `active` weighs diversity by: what a lead chose since, else the setting."""
        chosen = self.state.marks.chosen_alpha()
        return self.settings.active_alpha if chosen is None else chosen

    def layout(self) -> Layout | None:
        """The newest map, or None before the first."""
        return self.state.newest_layout(self.layout_key)

    def active_plan(self, alpha: float | str) -> tuple[Model, Plan] | None:
        """The plan of the newest model that has one; an older round goes on until the new one is planned."""
        for model in self.state.models():
            plan = self.state.journal.plan(self.active_key(model.fingerprint, alpha))
            if plan:
                return model, plan
        return None


@dataclass(frozen=True)
class Pool:
    """The datastore, and who works on what. Whatever costs the pool's size is worked out on demand.

    :param failed: images that cannot be read, with the reason
    :param leased: images in somebody's hands
    :param skipped: images that are handed out to nobody
    :param marks: what a lead decided about single images, in order
    :param groups: which images are of one patient
    :param copies: images that are copies of each other, under each of their ids, where one is enough
    """

    store: PoolStore
    failed: dict[str, str]
    leased: frozenset[str] = frozenset()
    skipped: frozenset[str] = frozenset()
    marks: tuple[Mark, ...] = ()
    groups: Groups = Groups()
    copies: Sets = field(default_factory=dict)

    @staticmethod
    def of(context: Context, store: PoolStore) -> Pool:
        state = context.state
        failed = {i: reason for i, (_, reason) in state.failures().items() if store.has_image(i)}
        leased = frozenset(image for image in state.handouts.held() if is_unlabelled(store, image))
        skipped, marks = frozenset(state.handouts.skipped()), tuple(state.marks.all())
        return Pool(store, failed, leased, skipped, marks, context.groups, context.copies)

    @property
    def images(self) -> list[str]:
        """All ids, sorted."""
        return self.store.list_images()

    @cached_property
    def labelled(self) -> list[str]:
        """Ids with a final label that models are trained on, sorted."""
        held_out = self.held_out
        return [image for image in self.store.get_labeled_images() if image not in held_out]

    @cached_property
    def unlabelled(self) -> list[str]:
        """Ids without a final label that can be read and may be selected, sorted."""
        done = {*self.store.get_labeled_images(), *self.failed, *self.held_out, *self.left_out}
        return [image for image in self.images if image not in done]

    @cached_property
    def held_out(self) -> frozenset[str]:
        """Images that are labelled but never trained on, and take no part in selection; with their copies."""
        return frozenset(filter(self.store.has_image, with_copies(self._marked_held_out, self.copies)))

    @property
    def measured_on(self) -> list[str]:
        """Held-out images that have a label or are to get one: of copies one is enough."""
        return [i for i in self.held_out if self.store.is_labelled(i) or not self.is_left_out(i)]

    @property
    def wanted(self) -> list[Mark]:
        """Images that a lead wants next and that are free, in the order in which they were marked."""
        return [mark for mark in self.marks if mark.kind == NEXT and self.is_free(mark.image)]

    @property
    def validation_open(self) -> list[Mark]:
        """Held-out images that can be handed out."""
        return [mark for mark in self.marks if mark.kind == HELD_OUT and self._is_open(mark.image)]

    def group_rows(self, images: Sequence[str]) -> list[str] | None:
        """The group (mostly the patient) of each image; None when nothing is grouped."""
        return self.groups.rows(images, self.store)

    def is_left_out(self, image: str) -> bool:
        """Whether a copy of the image stands for it: a labelled one, else one in somebody's hands, else one
        that is marked as held out, else the first. A copy that is skipped stands for the others too."""
        return image in self.copies and image != self._standing(self.copies[image])

    def _standing(self, copies: Sequence[str]) -> str | None:
        if copies[0] not in self._stands:  # once for all of them, which may be thousands
            self._stands[copies[0]] = self._find_standing(copies)
        return self._stands[copies[0]]

    @cached_property
    def _stands(self) -> dict[str, str | None]:
        return {}

    def _find_standing(self, copies: Sequence[str]) -> str | None:
        there = [i for i in copies if self.store.has_image(i) and i not in self.failed]
        labelled = (i for i in there if self.store.is_labelled(i))
        held = (i for i in there if i in self.leased)
        marked = (i for i in there if i in self._marked_held_out)
        return next((i for some in (labelled, held, marked, there) for i in some), None)

    @cached_property
    def _marked_held_out(self) -> frozenset[str]:
        return frozenset(mark.image for mark in self.marks if mark.kind == HELD_OUT)

    @cached_property
    def left_out(self) -> frozenset[str]:
        """Images without a final label that `is_left_out`. Costs as many looks as there are copies."""
        found: set[str] = set()
        for first, copies in self.copies.items():
            if first != copies[0]:
                continue
            standing = self._standing(copies)
            found.update(i for i in copies if i != standing and is_unlabelled(self.store, i))
        return frozenset(found.difference(self.failed))

    def is_free(self, image: str) -> bool:
        """Whether an image may be selected and handed out now."""
        return image not in self.held_out and self._is_open(image)

    def _is_open(self, image: str) -> bool:
        return (
            image not in self.leased
            and image not in self.skipped
            and image not in self.failed
            and is_unlabelled(self.store, image)
            and not self.is_left_out(image)
        )

    def count_labelled(self) -> int:
        """Length of `labelled`, without making it."""
        return self.store.count_labelled() - sum(map(self.store.is_labelled, self.held_out))

    def count_unlabelled(self) -> int:
        """Length of `unlabelled`, without making it."""
        out = self.held_out | self.left_out | self.failed.keys()
        return len(self.images) - self.store.count_labelled() - sum(is_unlabelled(self.store, i) for i in out)

    def count_free(self) -> int:
        """Number of images that `is_free`."""
        taken = (self.leased | self.skipped).difference(self.failed, self.held_out, self.left_out)
        return self.count_unlabelled() - sum(is_unlabelled(self.store, image) for image in taken)

    def has_free(self) -> bool:
        """Whether any image `is_free`; of every click, so copies are looked at only when little is left."""
        most = len(self.leased) + len(self.skipped) + len(self.failed) + len(self.held_out)
        most += len(self.copies)
        return (
            len(self.images) - self.store.count_labelled() > most
            or any(map(self.is_free, self.copies))  # in a pool of copies one soon is
            or self.count_free() > 0
        )


def with_copies(images: frozenset[str], copies: Sets) -> frozenset[str]:
    """The images and all copies of them."""
    return images.union(*(copies.get(image, ()) for image in images))


def is_unlabelled(store: PoolStore, image: str) -> bool:
    """Whether the pool holds an image that has no final label."""
    return store.has_image(image) and not store.is_labelled(image)


def marks(datastore: PoolStore, images: list[str]) -> dict[str, str]:
    """Fingerprint of each image's file; a DICOM series never changes under its UID, so it needs no look."""
    if not isinstance(datastore, PoolDatastore):
        return dict.fromkeys(images, "series")
    found: dict[str, str] = {}
    for image in images:
        try:
            found[image] = fingerprint(datastore.get_image_uri(image))
        except FileNotFoundError:  # removed a moment ago; the datastore will notice
            continue
    return found


def plain(value: Any) -> Any:
    """A NumPy scalar as JSON can hold it; NaN becomes None."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and value != value else value
