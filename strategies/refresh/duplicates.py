"""Looking for copies of images: what is printed, and what is compared with what (`docs/selection.md`)."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import partial

from bundle_configs import Bundle
from pool.database.duplicates import Duplicate
from pool.imaging.prints import Originals, blocks
from pool.protocol import PoolStore
from strategies.context import Context, marks
from strategies.engine.image_pass import ImagePass
from strategies.engine.workers import PrintWorker
from strategies.snapshot import PoolSnapshot

logger = logging.getLogger(__name__)


def to_print(context: Context, datastore: PoolStore, pool: PoolSnapshot) -> list[str]:
    """Images without a print of their present file; none when copies do not matter."""
    if context.settings.duplicates == "off":
        return []
    have = context.state.duplicates.printed()
    failed = {image: mark for image, (mark, _) in context.state.failures.all().items()}
    return [
        image
        for image, mark in marks(datastore, pool.images).items()
        if mark not in (failed.get(image), have.get(image))
    ]


def print_images(passes: ImagePass, bundle: Bundle) -> None:
    """Print what has no print yet; pictures have theirs from being embedded, unless that was long ago."""
    todo = to_print(passes.context, passes.datastore, PoolSnapshot.of(passes.context, passes.datastore))
    worker = partial(PrintWorker, bundle.name, bundle.values)
    for found in passes.run("reading images to look for duplicates", todo, worker) if todo else ():
        passes.context.state.duplicates.add_prints((f.image, f.mark, f.value) for f in found)


def to_compare(context: Context) -> list[str]:
    """Images whose print was not compared with the others yet, sorted; none when copies do not matter."""
    return [] if context.settings.duplicates == "off" else context.state.duplicates.uncompared()


def find_copies(context: Context, pool: PoolSnapshot) -> Iterator[tuple[int, int]]:
    """Compare what is new with all originals, block by block; tells images done and all before each."""
    todo = to_compare(context)
    if not todo:
        return
    copies = context.state.duplicates
    known = copies.originals()
    names, originals = list(known), Originals([each.hash for each in known.values()])
    for block in blocks(len(todo)):
        yield block.start, len(todo)
        images = todo[block.start : block.stop]
        known |= copies.prints(images)
        found: list[Duplicate] = []
        for image, answer in zip(images, originals.find([known[i].hash for i in images]), strict=True):
            if answer is None:
                names.append(image)
            else:
                original, bits = names[answer[0]], answer[1]
                exact = known[image].pixels == known[original].pixels
                found.append(Duplicate(image, original, bits, exact))
        copies.add(images, found, _groups_of(pool, found))
    yield len(todo), len(todo)


def _groups_of(pool: PoolSnapshot, found: Sequence[Duplicate]) -> dict[str, str]:
    """Groups of the images in these pairs; a pair in two groups is worth a look, for one of them is wrong."""
    images = sorted({image for copy in found for image in (copy.image, copy.original)})
    groups = dict(zip(images, pool.group_rows(images) or [], strict=False))
    for copy in found:
        if groups.get(copy.image) != groups.get(copy.original):
            logger.warning(
                "%s looks like a copy of %s, but they are in different groups (%s, %s): check both",
                copy.image,
                copy.original,
                groups[copy.image],
                groups[copy.original],
            )
    return groups
