"""The state of one pool of images: files, database, datastore."""

import importlib
from typing import Any

# where modules went that stand in people's own bundles (`_target_: pool.images.ReadImaged`)
MOVED = {
    "images": "pool.imaging.images",
    "labels": "pool.imaging.labels",
    "pairs": "pool.imaging.pairs",
    "volumes": "pool.imaging.volumes",
}


def __getattr__(name: str) -> Any:
    if name in MOVED:
        return importlib.import_module(MOVED[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
