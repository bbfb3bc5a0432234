"""Embedding of new images; 2-D images get their print on the way, so each is read only once."""

from __future__ import annotations

import time
from functools import partial

from bundle_configs import Bundle
from strategies.context import Context
from strategies.engine.image_pass import ImagePass
from strategies.engine.workers import EmbedWorker
from strategies.snapshot import PoolSnapshot


def to_embed(context: Context, pool: PoolSnapshot) -> list[str]:
    """Return the images without an embedding of their present file; failed ones once they change."""
    if context.is_pretrained_here:
        return []  # embedded by `judge`
    embedded = context.state.embeddings.fingerprints(context.encoder_key)
    failed = {image: fingerprint for image, (fingerprint, _) in context.state.failures.all().items()}
    return [
        image
        for image, fingerprint in pool.fingerprints.items()
        if fingerprint != failed.get(image, embedded.get(image))
    ]


def embed(passes: ImagePass, bundle: Bundle) -> None:
    """Embed new images with the configured encoder."""
    context = passes.context
    todo = to_embed(context, PoolSnapshot.of(context, passes.datastore))
    if not todo:
        return
    passes.say("loading the encoder", 0, len(todo), time.time())
    settings = context.settings
    prints = bundle.get("dimensions") == 2 and settings.duplicates != "off"
    encoder, weights = settings.encoder, settings.encoder_weights or None
    worker = partial(EmbedWorker, encoder, weights, bundle.name, bundle.values, prints)
    for results in passes.run("embedding", todo, worker):
        if prints:
            context.state.duplicates.add_prints((f.image, f.fingerprint, f.value.print) for f in results)
        rows = [(f.image, f.fingerprint, f.value.vector) for f in results]
        context.state.embeddings.add(results[0].value.key, rows)
