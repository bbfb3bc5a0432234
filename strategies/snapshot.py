"""Snapshot of the pool: images, labels, leases, skips, and the lead's marks."""

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
    """The state of the pool at one moment. Anything linear in the pool's size is computed on demand.

    :param failed: images that cannot be read, with the reason
    :param leased: unlabelled images that an annotator holds
    :param skipped: images excluded from hand-out
    :param marks: the lead's decisions about single images, in order
    :param groups: groups of images, mostly patients
    :param copies: sets of duplicates, keyed by each member's id; empty unless one image per set is enough
    :param reopened: labelled images that are to be handed out once more, in order
    """

    store: PoolStore
    failed: dict[str, str]
    leased: frozenset[str] = frozenset()
    skipped: frozenset[str] = frozenset()
    marks: tuple[Mark, ...] = ()
    groups: Groups = Groups()
    copies: Sets = field(default_factory=dict)
    reopened: tuple[Mark, ...] = ()

    @staticmethod
    def of(context: Context, store: PoolStore) -> PoolSnapshot:
        """Take a snapshot."""
        state = context.state
        failed = {i: reason for i, (_, reason) in state.failures.all().items() if store.has_image(i)}
        reopened = tuple(mark for mark in state.reopened.all() if store.has_image(mark.image))
        again = {mark.image for mark in reopened}
        held = state.handouts.held()
        leased = frozenset(image for image in held if image in again or is_unlabelled(store, image))
        skipped, marks = frozenset(state.handouts.skipped()), tuple(state.marks.all())
        return PoolSnapshot(store, failed, leased, skipped, marks, context.groups, context.copies, reopened)

    @property
    def images(self) -> list[str]:
        """All ids, sorted."""
        return self.store.list_images()

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """Fingerprints of all images' files, read when they are first asked for."""
        return self.store.fingerprints(self.images)

    @cached_property
    def labelled(self) -> list[str]:
        """Ids with a final label that are not held out, sorted."""
        held_out = self.held_out
        return [image for image in self.store.get_labeled_images() if image not in held_out]

    @cached_property
    def unlabelled(self) -> list[str]:
        """Ids without a final label that can be read and may be selected, sorted."""
        done = {*self.store.get_labeled_images(), *self.failed, *self.held_out, *self.left_out}
        done |= self.store.unchecked_labels | self.store.unedited_labels
        return [image for image in self.images if image not in done]

    @cached_property
    def held_out(self) -> frozenset[str]:
        """Images excluded from training and selection, to validate models on; with their duplicates."""
        return frozenset(filter(self.store.has_image, with_copies(self._marked_held_out, self.copies)))

    @property
    def measured_on(self) -> list[str]:
        """Held-out images that have a label or need one: one per set of duplicates is enough."""
        return [i for i in self.held_out if self.store.is_labelled(i) or not self.is_left_out(i)]

    @property
    def wanted(self) -> list[Mark]:
        """Marks of free images that a lead wants next, in the order they were marked."""
        return [mark for mark in self.marks if mark.kind == NEXT and self.is_free(mark.image)]

    @property
    def reopened_open(self) -> list[Mark]:
        """Reopened images that can be handed out."""
        taken = self.leased | self.skipped | self.failed.keys()
        return [mark for mark in self.reopened if mark.image not in taken]

    @property
    def has_any(self) -> bool:
        """True if anything can be handed out: free images, held-out or reopened ones."""
        return bool(self.has_free() or self.validation_open or self.reopened_open)

    def may_be_held(self, image: str) -> bool:
        """Return True if the image needs a label, its first one or another: a lease of it may go on."""
        return is_unlabelled(self.store, image) or any(mark.image == image for mark in self.reopened)

    @property
    def validation_open(self) -> list[Mark]:
        """Marks of held-out images that can be handed out."""
        return [mark for mark in self.marks if mark.kind == HELD_OUT and self._is_open(mark.image)]

    def group_rows(self, images: Sequence[str]) -> list[str] | None:
        """Return the group (mostly the patient) of each image; None without groups."""
        return self.groups.rows(images, self.store)

    def is_left_out(self, image: str) -> bool:
        """Return True if a duplicate represents the image.

        A labelled duplicate represents its set, else a leased one, else one marked as held out, else the
        first. A skipped image can represent its set too.
        """
        return image in self.copies and image != self._representative(self.copies[image])

    def _representative(self, copies: Sequence[str]) -> str | None:
        if copies[0] not in self._representatives:  # once per set, which may have thousands of members
            self._representatives[copies[0]] = self._find_representative(copies)
        return self._representatives[copies[0]]

    @cached_property
    def _representatives(self) -> dict[str, str | None]:
        return {}

    def _find_representative(self, copies: Sequence[str]) -> str | None:
        readable = [i for i in copies if self.store.has_image(i) and i not in self.failed]
        labelled = (i for i in readable if self.store.is_labelled(i))
        leased = (i for i in readable if i in self.leased)
        marked = (i for i in readable if i in self._marked_held_out)
        return next((i for images in (labelled, leased, marked, readable) for i in images), None)

    @cached_property
    def _marked_held_out(self) -> frozenset[str]:
        return frozenset(mark.image for mark in self.marks if mark.kind == HELD_OUT)

    @cached_property
    def left_out(self) -> frozenset[str]:
        """Unlabelled images that `is_left_out`. Linear in the number of duplicates."""
        left_out: set[str] = set()
        for first, copies in self.copies.items():
            if first != copies[0]:
                continue
            representative = self._representative(copies)
            left_out.update(i for i in copies if i != representative and is_unlabelled(self.store, i))
        return frozenset(left_out.difference(self.failed))

    def is_free(self, image: str) -> bool:
        """Return True if an image may be selected and handed out now."""
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
        """Return the length of `labelled` without building it."""
        return self.store.count_labelled() - sum(map(self.store.is_labelled, self.held_out))

    def count_unlabelled(self) -> int:
        """Return the length of `unlabelled` without building it."""
        out = self.held_out | self.left_out | self.failed.keys()
        return self._count_without_label() - sum(is_unlabelled(self.store, i) for i in out)

    def _count_without_label(self) -> int:
        """Return the number of images without a final label, whether it counts or waits to be seen."""
        waiting = len(self.store.unchecked_labels) + len(self.store.unedited_labels)
        return len(self.images) - self.store.count_labelled() - waiting

    def count_free(self) -> int:
        """Return the number of images that `is_free`."""
        taken = (self.leased | self.skipped).difference(self.failed, self.held_out, self.left_out)
        return self.count_unlabelled() - sum(is_unlabelled(self.store, image) for image in taken)

    def has_free(self) -> bool:
        """Return True if any image `is_free`.

        Called on every request, so duplicates are only examined when few images are left.
        """
        max_taken = len(self.leased) + len(self.skipped) + len(self.failed) + len(self.held_out)
        max_taken += len(self.copies)
        return (
            self._count_without_label() > max_taken
            or any(map(self.is_free, self.copies))  # in a pool full of duplicates one is soon found
            or self.count_free() > 0
        )


def is_unlabelled(store: PoolStore, image: str) -> bool:
    """Return True if the image is in the pool and has no final label, whether that counts or waits."""
    waits = image in store.unchecked_labels or image in store.unedited_labels
    return store.has_image(image) and not store.is_labelled(image) and not waits
