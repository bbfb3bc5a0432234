"""Search for duplicate images: compute prints and compare them (`docs/selection.md`)."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import partial

from bundle_configs import Bundle
from pool.database.duplicates import Duplicate
from pool.imaging.prints import Originals, blocks
from strategies.context import Context
from strategies.engine.image_pass import ImagePass
from strategies.engine.workers import PrintWorker
from strategies.snapshot import PoolSnapshot

logger = logging.getLogger(__name__)


def to_print(context: Context, pool: PoolSnapshot) -> list[str]:
    """Return the images without a print of their present file; none if duplicates are off."""
    if context.settings.duplicates == "off":
        return []
    printed = context.state.duplicates.printed()
    failed = {image: fingerprint for image, (fingerprint, _) in context.state.failures.all().items()}
    return [
        image
        for image, fingerprint in pool.fingerprints.items()
        if fingerprint not in (failed.get(image), printed.get(image))
    ]


def print_images(passes: ImagePass, bundle: Bundle) -> None:
    """Compute missing prints; 2-D images usually got theirs while being embedded."""
    todo = to_print(passes.context, PoolSnapshot.of(passes.context, passes.datastore))
    worker = partial(PrintWorker, bundle.name, bundle.values)
    for results in passes.run("reading images to look for duplicates", todo, worker) if todo else ():
        passes.context.state.duplicates.add_prints((f.image, f.fingerprint, f.value) for f in results)


def to_compare(context: Context) -> list[str]:
    """Return the images whose print was not yet compared, sorted; none if duplicates are off."""
    return [] if context.settings.duplicates == "off" else context.state.duplicates.uncompared()


def find_copies(context: Context, pool: PoolSnapshot) -> Iterator[tuple[int, int]]:
    """Compare new images with all originals, block by block; yield (done, total) before each block."""
    todo = to_compare(context)
    if not todo:
        return
    copies = context.state.duplicates
    prints = copies.originals()
    names, originals = list(prints), Originals([original.hash for original in prints.values()])
    for block in blocks(len(todo)):
        yield block.start, len(todo)
        images = todo[block.start : block.stop]
        prints |= copies.prints(images)
        duplicates: list[Duplicate] = []
        for image, match in zip(images, originals.find([prints[i].hash for i in images]), strict=True):
            if match is None:
                names.append(image)
            else:
                original, bits = names[match[0]], match[1]
                exact = prints[image].pixels == prints[original].pixels
                duplicates.append(Duplicate(image, original, bits, exact))
        copies.add(images, duplicates, _groups_of(pool, duplicates))
    yield len(todo), len(todo)


def _groups_of(pool: PoolSnapshot, duplicates: Sequence[Duplicate]) -> dict[str, str]:
    """Return the groups of the images in these pairs; warn of a pair in two groups: one must be wrong."""
    images = sorted({image for copy in duplicates for image in (copy.image, copy.original)})
    groups = dict(zip(images, pool.group_rows(images) or [], strict=False))
    for copy in duplicates:
        if groups.get(copy.image) != groups.get(copy.original):
            logger.warning(
                "%s looks like a copy of %s, but they are in different groups: check both",
                copy.image,
                copy.original,
            )
    return groups
