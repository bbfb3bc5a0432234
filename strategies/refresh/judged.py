"""Features and uncertainties of the pool's volumes by the published self-supervised network (CSAL-3D).

One pass over a volume gives both. They are stored under `Context.pretrained_key`: features as embeddings of
that encoder, uncertainties beside the entropies. Selection by entropy never uses them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from bundle_configs.checks import check_channels
from infers.csal3d.task import Csal3d, Judged
from pool.imaging.images import ImageError
from pool.protocol import PoolStore
from strategies.context import Context
from strategies.snapshot import PoolSnapshot

logger = logging.getLogger(__name__)


def to_judge(context: Context, pool: PoolSnapshot) -> dict[str, str]:
    """Return the images whose present file the published network has not judged, with its fingerprint."""
    key = context.pretrained_key
    if key is None:
        return {}
    state = context.state
    embedded, judged = state.embeddings.fingerprints(key), state.scores.entropies(key)
    failed = {image: fingerprint for image, (fingerprint, _) in state.failures.all().items()}
    return {
        image: fingerprint
        for image, fingerprint in pool.fingerprints.items()
        if fingerprint != failed.get(image) and (fingerprint != embedded.get(image) or image not in judged)
    }


def judge(context: Context, datastore: PoolStore, channels: int) -> Iterator[tuple[int, int]]:
    """Judge the remaining images, one per transaction; yield (done, total) before each.

    Stops if another network is published; the next refresh starts with that one.

    :param channels: number of channels of the images, as the app reads them

    Raises ValueError when the network was trained on images with other channels.
    """
    todo = to_judge(context, PoolSnapshot.of(context, datastore))
    if not todo:
        return
    network = Csal3d(context.pretrained_file)
    check_channels(context.pretrained_file.name, network.channels, channels)
    if not context.state.embeddings.fingerprints(network.key):
        context.state.ledger.add("pretrained", None, {"key": network.key, **network.details})
    for done, (image, fingerprint) in enumerate(todo.items()):
        if context.pretrained_key != network.key:
            return
        yield done, len(todo)
        try:
            judged = network.judge(datastore.get_image_uri(image))
        except ImageError as error:
            logger.error("Image %s is skipped: %s", image, error)
            context.state.failures.add(image, fingerprint, str(error))
            continue
        _store(context, network.key, image, fingerprint, judged)
    yield len(todo), len(todo)


def _store(context: Context, key: str, image: str, fingerprint: str, judged: Judged) -> None:
    """Store both, the uncertainty last: without it, an image is judged again."""
    context.state.embeddings.add(key, [(image, fingerprint, judged.features)])
    context.state.scores.add_entropies(key, {image: judged.uncertainty})
