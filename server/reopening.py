"""Reopening of labelled images: handed out once more, with the label under the tag that 3D Slicer loads."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from pool.database.handouts import Client
from pool.database.reopened import REOPENED
from pool.database.state import State
from pool.datastore.index import FINAL, ORIGINAL
from pool.errors import PoolError
from pool.imaging.names import LabelError
from pool.protocol import PoolStore
from strategies.snapshot import is_unlabelled


def reopen(
    state: State,
    store: PoolStore,
    images: Sequence[str],
    labels: Mapping[str, int],
    client: Client,
    reason: str,
) -> None:
    """Hand out labelled images once more; their labels go on counting until others are saved.

    :param labels: {name: value} of the app

    Raises PoolError 409 for an image without a label, 422 for a label that cannot be read.
    """
    if unlabelled := [image for image in images if is_unlabelled(store, image)]:
        raise PoolError(409, f"{unlabelled[0]} has no label to reopen; mark it with 'next' instead")
    state.handouts.unskip_all(images, client)
    for image in images:
        try:
            _offer(store, image, labels, client)
        except LabelError as error:
            raise PoolError(422, f"the label of {image}: {error}") from error
    state.reopened.put(images, client.name, reason)


def _offer(store: PoolStore, image: str, labels: Mapping[str, int], client: Client) -> None:
    """Copy the final label to the tag `original`, with the names of its values in their order."""
    import numpy as np

    from infers.prediction import default_extension
    from pool.imaging.label_writer import write_label  # imports readers of images
    from pool.imaging.labels import grid_of, read_label

    path = store.get_image_uri(image)
    label, affine = read_label(store.get_label_uri(image, FINAL), labels, path), grid_of(path)[1]
    present = set(np.unique(label).tolist())
    in_order = sorted(labels, key=labels.__getitem__)  # Slicer takes the k-th name for the k-th value
    names = {name: labels[name] for name in in_order if labels[name] in present}
    with tempfile.TemporaryDirectory(prefix="scan-selection-") as folder:
        target = Path(folder) / f"label{default_extension(path, label.ndim, affine)}"
        write_label(target, label, affine, labels, {}, path)
        info = {"by": REOPENED, "client_id": client.name, "params": {"label_names": names}}
        store.save_label(image, str(target), ORIGINAL, info)
