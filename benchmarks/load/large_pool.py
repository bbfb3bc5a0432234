"""Pools of any size for load tests: a few small images under many names, and a prepared state.

In the state, the pool is embedded, mapped and planned, so that only the hand-out remains. The map is random.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.phantoms.generate import generate
from pool.database.plans import Plan
from pool.database.state import State
from pool.imaging.images import image_fingerprint
from strategies.context import Context
from strategies.settings import Settings

_MAX_LINKS = 20_000  # hard links to one file; file systems limit them
_BATCH_ROWS = 2_000  # embeddings per transaction


def make_studies(studies: Path, count: int) -> list[Path]:
    """Create `count` radiographs `img_000000.png` ..., hard links of a few phantoms; return them sorted."""
    studies.mkdir(parents=True)
    originals = studies.parent / "originals"
    generate(originals, count=8, seed=1, size=96)
    sources = sorted((originals / "studies").iterdir())
    paths = [studies / f"img_{n:06d}.png" for n in range(count)]
    for n, path in enumerate(tqdm(paths, desc="images", leave=False)):
        if n % _MAX_LINKS < len(sources):
            shutil.copyfile(sources[n % len(sources)], path)
        else:
            os.link(paths[n - n % _MAX_LINKS + n % len(sources)], path)
    return paths


def make_state(folder: Path, paths: list[Path], settings: Settings, seed: int = 1) -> None:
    """Write the state of a prepared pool, with a cold-start plan of `cold_start_budget` images."""
    state, random = State(folder, migrate=True), np.random.default_rng(seed)
    context = Context(state, settings, "descriptor:1")
    fingerprints = {path.stem: image_fingerprint(path) for path in paths}
    points, images = random.normal(size=(len(paths), 2)), list(fingerprints)
    for i in tqdm(range(0, len(images), _BATCH_ROWS), desc="state", leave=False):
        rows = [
            (image, fingerprints[image], points[k]) for k, image in enumerate(images[i : i + _BATCH_ROWS], i)
        ]
        state.embeddings.add(context.encoder_key, rows)
    state.maps.add(context.layout_key, fingerprints, points)
    chosen = random.permutation(len(images))[: settings.cold_start_budget]
    picks = [{"image": images[row], "role": "medoid", "cluster": n} for n, row in enumerate(chosen)]
    details = {"seed": seed, "k": len(picks), "map_note": "random points, for measuring", "versions": {}}
    layout = context.layout()
    assert layout is not None
    plan = Plan(0, context.cold_key, "cold_start", layout.id, None, len(images), picks, details)
    state.plans.add(plan)
