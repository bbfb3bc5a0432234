"""What the datastore, the annotators and the lead make of the pool now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from pool.database.duplicates import Sets, with_copies
from pool.database.marks import HELD_OUT, NEXT, Mark
from pool.groups import Groups
from pool.protocol import PoolStore
from strategies.context import Context


@dataclass(frozen=True)
class PoolSnapshot:
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
    def of(context: Context, store: PoolStore) -> PoolSnapshot:
        state = context.state
        failed = {i: reason for i, (_, reason) in state.failures.all().items() if store.has_image(i)}
        leased = frozenset(image for image in state.handouts.held() if is_unlabelled(store, image))
        skipped, marks = frozenset(state.handouts.skipped()), tuple(state.marks.all())
        return PoolSnapshot(store, failed, leased, skipped, marks, context.groups, context.copies)

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


def is_unlabelled(store: PoolStore, image: str) -> bool:
    """Whether the pool holds an image that has no final label."""
    return store.has_image(image) and not store.is_labelled(image)
