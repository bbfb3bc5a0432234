"""Phantom chest radiographs with true lung masks, for tests and demonstrations without patient data.

    python -m benchmarks.phantoms --out DIR [--count 60] [--seed 42] [--size 512] [--pool mixed]

Writes `DIR/studies/phantom_000.png` (8-bit grey), `DIR/labels/phantom_000.png` (0 background, 1 right lung,
on the image's left, 2 left lung) and `DIR/manifest.json`. The pool has several appearances ("modes") in
unequal numbers and a few near-duplicates, as a selection method has to cope with in practice. Other pools
(`--pool`) take one of these difficulties to the extreme: rare appearances, outliers, or many duplicates. They
are drawings, not physical simulations: a ranking of methods on them says nothing about patients.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image
from tqdm import tqdm

from benchmarks.phantoms.anatomy import Anatomy, lung_labels, sample_anatomy
from benchmarks.phantoms.image import radiograph

VERSION = 1
# share of each mode in the pool; the normal appearance dominates, as in a hospital
MODES = {
    "normal": 0.26,
    "large": 0.10,
    "small": 0.10,
    "rotated": 0.10,
    "dark": 0.10,
    "bright": 0.08,
    "low_contrast": 0.08,
    "opacity": 0.10,
    "bordered": 0.08,
}


@dataclass(frozen=True)
class Kind:
    """The composition of a pool.

    :param modes: share of each appearance
    :param repeats: share of the pool that repeats another phantom
    :param originals: number of phantoms that are repeated; None: each repeat has its own original
    """

    modes: dict[str, float]
    repeats: float = 0.0
    originals: int | None = None


MIXED = "mixed"
KINDS = {
    MIXED: Kind(MODES, repeats=0.1),
    "imbalance": Kind({"normal": 0.88, "dark": 0.03, "bright": 0.03, "rotated": 0.03, "opacity": 0.03}),
    "outliers": Kind({"normal": 0.6, "large": 0.15, "small": 0.15, "spoilt": 0.1}),
    "duplicates": Kind(MODES, repeats=0.6, originals=3),
}
MIN_SIZE = 64


def generate(
    out: Path, count: int = 60, seed: int = 42, size: int = 512, pool: str = MIXED
) -> list[dict[str, Any]]:
    """Write a pool of phantoms, or complete an interrupted run with the same settings.

    Args:
        out: folder for `studies/`, `labels/` and `manifest.json`; created if missing.
        count: number of radiographs.
        seed: the same seed, count and size give the same pool.
        size: side of the square images in pixels, at least 64.
        pool: one of KINDS.

    Returns:
        One entry per phantom, as in the manifest: id, mode, parameters (of the anatomy), seed (of the noise),
        near_duplicate_of (an id, or None).

    Raises:
        ValueError: count or size out of range, unknown pool, or `out` holds other images.
    """
    if pool not in KINDS:
        raise ValueError(f"unknown pool {pool!r}; choose one of: {', '.join(KINDS)}")
    if count < 1 or size < MIN_SIZE:
        raise ValueError(f"count is {count} and size {size}: expected at least 1 and at least {MIN_SIZE}")
    entries = plan(count, seed, KINDS[pool])
    settings = {"version": VERSION, "count": count, "seed": seed, "size": size}
    _claim(out, settings if pool == MIXED else {**settings, "pool": pool}, entries)
    for entry in tqdm(entries, desc="phantoms", unit="image", disable=None):
        study, label = (out / folder / f"{entry['id']}.png" for folder in ("studies", "labels"))
        if study.is_file() and label.is_file():
            continue
        anatomy = Anatomy(**entry["parameters"])
        _save(label, lung_labels(anatomy, size))
        _save(study, radiograph(anatomy, entry["mode"], size, entry["seed"]))
    return entries


def plan(count: int, seed: int, kind: Kind = KINDS[MIXED]) -> list[dict[str, Any]]:
    """Return the manifest's entries for a pool, which describe each phantom before it is drawn."""
    rng = np.random.default_rng(seed)
    repeats = int(kind.repeats * count)
    order = rng.permutation(count)
    modes = _divide(count - repeats, kind.modes)
    entries: dict[int, dict[str, Any]] = {}
    for index, mode in zip(order[repeats:], modes, strict=True):
        entries[int(index)] = _entry(int(index), mode, sample_anatomy(rng, mode), rng, None)
    if kind.originals is None:
        originals = rng.choice(order[repeats:], repeats, replace=False)
    else:
        originals = rng.choice(order[repeats:], kind.originals, replace=False)[
            np.arange(repeats) % kind.originals
        ]
    for index, original in zip(order[:repeats], originals, strict=True):
        source = entries[int(original)]
        moved = {**source["parameters"], "shift": source["parameters"]["shift"] + rng.normal(0, 0.004, 2)}
        anatomy = Anatomy(**{**moved, "shift": tuple(float(v) for v in moved["shift"])})
        entries[int(index)] = _entry(int(index), source["mode"], anatomy, rng, source["id"])
    return [entries[i] for i in range(count)]


def _entry(
    index: int, mode: str, anatomy: Anatomy, rng: np.random.Generator, original: str | None
) -> dict[str, Any]:
    return {
        "id": f"phantom_{index:03d}",
        "mode": mode,
        "parameters": asdict(anatomy),
        "seed": int(rng.integers(2**31)),
        "near_duplicate_of": original,
    }


def _divide(count: int, modes: dict[str, float]) -> list[str]:
    """Divide `count` among the modes by largest remainder, so that small pools are mixed too."""
    exact = {mode: share * count for mode, share in modes.items()}
    counts = {mode: int(value) for mode, value in exact.items()}
    rounded_up = sorted(modes, key=lambda mode: counts[mode] - exact[mode])[: count - sum(counts.values())]
    return [mode for mode in modes for _ in range(counts[mode] + (mode in rounded_up))]


def _claim(out: Path, settings: dict[str, Any], entries: list[dict[str, Any]]) -> None:
    """Write the manifest, or check that the one in `out` has the same settings."""
    path = out / "manifest.json"
    if path.is_file():
        existing = json.loads(path.read_text(encoding="utf-8")).get("settings")
        if existing != settings:
            raise ValueError(
                f"{out} holds phantoms of {existing}, not of {settings}: choose another --out, or empty it"
            )
    elif any((out / "studies").glob("*")) or any((out / "labels").glob("*")):
        raise ValueError(f"{out} holds studies or labels without {path.name}: choose another --out")
    else:
        for folder in ("studies", "labels"):
            (out / folder).mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps({"settings": settings, "phantoms": entries}, indent=1), encoding="utf-8")
        part.replace(path)


def _save(path: Path, image: np.ndarray) -> None:
    """Write a PNG atomically, so that an interrupted run leaves no partial image."""
    part = path.with_suffix(".part")
    Image.fromarray(image).save(part, format="PNG")
    part.replace(path)


def main(
    out: Annotated[Path, typer.Option(help="Folder for studies/, labels/ and manifest.json")],
    count: Annotated[int, typer.Option(min=1, help="Number of radiographs")] = 60,
    seed: Annotated[int, typer.Option(help="Seed; the same seed gives the same pool")] = 42,
    size: Annotated[int, typer.Option(min=MIN_SIZE, help="Side of the images, in pixels")] = 512,
    pool: Annotated[str, typer.Option(help=f"Kind of pool: {', '.join(KINDS)}")] = MIXED,
) -> None:
    """Draw a pool of phantom chest radiographs with their true lung masks."""
    try:
        entries = generate(out, count, seed, size, pool)
    except ValueError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    repeats = sum(entry["near_duplicate_of"] is not None for entry in entries)
    typer.echo(f"{len(entries)} phantoms, {repeats} of them near-duplicates, in {out}")
