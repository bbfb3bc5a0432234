"""Work shared by the cells of a suite: features, and pretraining on the pool."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from bundle_configs import Bundle
from infers.instant.files import ROOT as FOLDER
from pool.datastore import PoolDatastore
from pool.files import replacing
from strategies.context import Context
from trainers.csal3d.task import Pretraining


def key_of(*parts: Any) -> str:
    """Return a cache key for `parts` (JSON)."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def keep_file(source: Path, target: Path) -> None:
    """Copy a file into the shared folder atomically: another job may be reading."""
    with replacing(target) as part:
        shutil.copy(source, part)


class Features:
    """Features of a data set's images by one encoder, with uncertainties if it provides them."""

    def __init__(self, work: Path, mark: str, context: Context) -> None:
        self.context = context
        self._file = work / f"pool-{mark}-{key_of(context.encoder_key)}.npz"

    @contextmanager
    def shared(self, store: PoolDatastore) -> Iterator[None]:
        """Load cached features into the pool's state; on exit, cache those computed in the `with` block.

        If some are missing, other jobs wait instead of computing the same.
        """
        with ExitStack() as lock:
            if self._missing(store):
                lock.enter_context(FileLock(self._file.with_suffix(".lock")))
                if not self._missing(store):  # another job has computed them meanwhile
                    lock.close()
            self._load(store)
            yield
            self._save(store)

    def _missing(self, store: PoolDatastore) -> bool:
        cached = np.load(self._file)["images"].tolist() if self._file.exists() else []
        return not set(cached).issuperset(store.list_images())

    def _load(self, store: PoolDatastore) -> None:
        state, key = self.context.state, self.context.encoder_key
        if not self._file.exists():
            return
        cached, embedded = np.load(self._file), state.embeddings.fingerprints(key)
        rows = {str(image): row for row, image in enumerate(cached["images"])}
        images = [image for image in store.list_images() if image in rows and image not in embedded]
        vectors, uncertainties = cached["vectors"], cached["uncertainties"]
        fingerprints = store.fingerprints(images)
        if images:
            state.embeddings.add(key, [(i, fingerprints[i], vectors[rows[i]]) for i in images])
        entropies = {i: float(uncertainties[rows[i]]) for i in images if np.isfinite(uncertainties[rows[i]])}
        if entropies:
            state.scores.add_entropies(key, entropies)

    def _save(self, store: PoolDatastore) -> None:
        state, key = self.context.state, self.context.encoder_key
        cached = dict(np.load(self._file)) if self._file.exists() else None
        cached_images = set(cached["images"].tolist()) if cached else set()
        images = [image for image in store.list_images() if image in state.embeddings.fingerprints(key)]
        if cached_images.issuperset(images):
            return
        entropies, vectors = state.scores.entropies(key), state.embeddings.vectors(key, images)
        rows = {image: (vectors[at], entropies.get(image, np.nan)) for at, image in enumerate(images)}
        if cached:
            old = zip(cached["vectors"], cached["uncertainties"], strict=True)
            rows = dict(zip(cached["images"].tolist(), old, strict=True)) | rows
        with replacing(self._file) as part:
            np.savez(
                part,
                images=np.array(list(rows)),
                vectors=np.stack([vector for vector, _ in rows.values()]).astype(np.float32),
                uncertainties=np.array([uncertainty for _, uncertainty in rows.values()]),
            )


def share_instant(work: Path, key: str, context: Context) -> None:
    """Have the cells with this key, which have one pool and encoder, share the instant model's features."""
    folder = work / f"instant-{key}"
    folder.mkdir(exist_ok=True)
    (context.state.folder / FOLDER).symlink_to(folder.resolve(), target_is_directory=True)


def pretrain(work: Path, key: str, context: Context, bundle: Bundle, store: PoolDatastore) -> None:
    """Publish the network pretrained on this pool (CSAL-3D); each pool is pretrained on once."""
    file = work / f"pretrained-{key}.pt"
    with FileLock(file.with_suffix(".lock")):  # another job may be pretraining
        if not file.exists():
            request = {
                "iterations": bundle.get("pretrain_iterations"),
                "losses": bundle.get("pretrain_losses"),
            }
            Pretraining(context.state.folder, bundle, context.settings.seed)(request, store)
            keep_file(context.pretrained_file, file)
    shutil.copy(file, context.pretrained_file)
