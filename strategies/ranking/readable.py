"""Open images before they are handed out, as long as the worker has not read them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

from pool.errors import PoolError
from pool.imaging.names import ImageError
from pool.protocol import PoolStore
from strategies.context import Context

logger = logging.getLogger(__name__)


def readable(context: Context, store: PoolStore, images: Iterable[str]) -> Iterator[str]:
    """Yield the images that can be read; the others become failures, as in a refresh."""
    for image in images:
        if context.read is None or context.state.embeddings.has(context.encoder_key, image):
            yield image
            continue
        for fingerprint in store.fingerprints([image]).values():  # none if the file is gone
            try:
                context.read(store.get_image_uri(image))
            except (ImageError, PoolError) as error:
                if isinstance(error, PoolError) and not isinstance(error, ImageError):
                    raise  # the DICOM server is down
                logger.error("Image %s is not handed out: %s", image, error)
                context.state.failures.add(image, fingerprint, str(error))
            else:
                yield image
