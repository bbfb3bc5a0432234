"""Features and uncertainties of the pool's volumes by the published self-supervised network (CSAL-3D).

One pass over a volume gives both. They are kept under `Context.pretrained_key`: the features as embeddings of
that encoder, the uncertainties beside the entropies. Selection by entropy never sees these.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from bundle_configs.checks import check_channels
from infers.csal3d.task import Csal3d, Judged
from pool.imaging.images import ImageError
from pool.protocol import PoolStore
from strategies.context import Context, marks

logger = logging.getLogger(__name__)


def to_judge(context: Context, datastore: PoolStore) -> dict[str, str]:
    """Images that the published network has not judged in their present file, with its fingerprint."""
    key = context.pretrained_key
    if key is None:
        return {}
    state = context.state
    embedded, judged = state.embeddings.fingerprints(key), state.scores.entropies(key)
    failed = {image: mark for image, (mark, _) in state.failures.all().items()}
    return {
        image: mark
        for image, mark in marks(datastore, datastore.list_images()).items()
        if mark != failed.get(image) and (mark != embedded.get(image) or image not in judged)
    }


def judge(context: Context, datastore: PoolStore, channels: int) -> Iterator[tuple[int, int]]:
    """Judge what is missing, one image per transaction; tells images done and all before each.

    When another network is published meanwhile it ends, and the next refresh begins with that one.

    :param channels: of the images, as the app reads them

    Raises ValueError when the network was trained on images with other channels.
    """
    todo = to_judge(context, datastore)
    if not todo:
        return
    network = Csal3d(context.pretrained_file)
    check_channels(context.pretrained_file.name, network.channels, channels)
    if not context.state.embeddings.fingerprints(network.key):
        context.state.ledger.add("pretrained", None, {"key": network.key, **network.details})
    for done, (image, mark) in enumerate(todo.items()):
        if context.pretrained_key != network.key:
            return
        yield done, len(todo)
        try:
            found = network.judge(datastore.get_image_uri(image))
        except ImageError as error:
            logger.error("Image %s is left out: %s", image, error)
            context.state.failures.add(image, mark, str(error))
            continue
        _keep(context, network.key, image, mark, found)
    yield len(todo), len(todo)


def _keep(context: Context, key: str, image: str, mark: str, found: Judged) -> None:
    """The uncertainty comes last: without it an image is judged again."""
    context.state.embeddings.add(key, [(image, mark, found.features)])
    context.state.scores.add_entropies(key, {image: found.uncertainty})
