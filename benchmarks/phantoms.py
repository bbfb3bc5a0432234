"""Phantom chest radiographs with their true lung masks, for tests and demonstrations without patient data.

    python -m benchmarks.phantoms --out DIR [--count 60] [--seed 42] [--size 512]

writes `DIR/studies/phantom_000.png` (8-bit grey), `DIR/labels/phantom_000.png` (0 background, 1 right lung,
which is on the image's left, 2 left lung) and `DIR/manifest.json`. The pool has several appearances ("modes")
in unequal numbers and a few near-duplicates, which is what a selection method has to cope with. They are
drawings, not simulations of physics: a ranking of methods on them says nothing about patients.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image
from tqdm import tqdm

from benchmarks.phantom_anatomy import Anatomy, lung_labels, sample_anatomy
from benchmarks.phantom_image import radiograph

VERSION = 1
# share of the pool that a mode gets; the common appearance is common, as in a hospital
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
NEAR_DUPLICATES = 0.1  # share of the pool that repeats another phantom
MIN_SIZE = 64


def generate(out: Path, count: int = 60, seed: int = 42, size: int = 512) -> list[dict[str, Any]]:
    """Write a pool of phantoms, or complete one that an interrupted run with the same settings left.

    Args:
        out: folder for `studies/`, `labels/` and `manifest.json`; made if missing.
        count: how many radiographs.
        seed: the pool is the same for the same seed, count and size.
        size: side of the square images in pixels, at least 64.

    Returns:
        One entry per phantom, as in the manifest: id, mode, parameters (of the anatomy), seed (of the noise),
        near_duplicate_of (an id, or None).

    Raises:
        ValueError: count or size out of range, or `out` holds other images.
    """
    if count < 1 or size < MIN_SIZE:
        raise ValueError(f"count is {count} and size {size}: expected at least 1 and at least {MIN_SIZE}")
    entries = plan(count, seed)
    _claim(out, {"version": VERSION, "count": count, "seed": seed, "size": size}, entries)
    for entry in tqdm(entries, desc="phantoms", unit="image", disable=None):
        study, label = (out / folder / f"{entry['id']}.png" for folder in ("studies", "labels"))
        if study.is_file() and label.is_file():
            continue
        anatomy = Anatomy(**entry["parameters"])
        _save(label, lung_labels(anatomy, size))
        _save(study, radiograph(anatomy, entry["mode"], size, entry["seed"]))
    return entries


def plan(count: int, seed: int) -> list[dict[str, Any]]:
    """The manifest's entries for a pool: what each phantom will be, before anything is drawn."""
    rng = np.random.default_rng(seed)
    repeats = int(NEAR_DUPLICATES * count)
    order = rng.permutation(count)
    modes = _spread(count - repeats)
    entries: dict[int, dict[str, Any]] = {}
    for index, mode in zip(order[repeats:], modes, strict=True):
        entries[int(index)] = _entry(int(index), mode, sample_anatomy(rng, mode), rng, None)
    originals = rng.choice(order[repeats:], repeats, replace=False)
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


def _spread(count: int) -> list[str]:
    """`count` modes in the shares of MODES, by largest remainder, so that small pools are mixed too."""
    exact = {mode: share * count for mode, share in MODES.items()}
    given = {mode: int(value) for mode, value in exact.items()}
    left = sorted(MODES, key=lambda mode: given[mode] - exact[mode])[: count - sum(given.values())]
    return [mode for mode in MODES for _ in range(given[mode] + (mode in left))]


def _claim(out: Path, settings: dict[str, int], entries: list[dict[str, Any]]) -> None:
    """Write the manifest, or check that the one in `out` was written for the same settings."""
    path = out / "manifest.json"
    if path.is_file():
        there = json.loads(path.read_text(encoding="utf-8")).get("settings")
        if there != settings:
            raise ValueError(
                f"{out} holds phantoms of {there}, not of {settings}: give another --out, or empty it"
            )
    elif any((out / "studies").glob("*")) or any((out / "labels").glob("*")):
        raise ValueError(f"{out} holds studies or labels without {path.name}: give another --out")
    else:
        for folder in ("studies", "labels"):
            (out / folder).mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps({"settings": settings, "phantoms": entries}, indent=1), encoding="utf-8")
        part.replace(path)


def _save(path: Path, image: np.ndarray) -> None:
    """Write a PNG in one step, so that an interrupted run leaves no half image."""
    part = path.with_suffix(".part")
    Image.fromarray(image).save(part, format="PNG")
    part.replace(path)


def main(
    out: Annotated[Path, typer.Option(help="folder for studies/, labels/ and manifest.json")],
    count: Annotated[int, typer.Option(min=1, help="how many radiographs")] = 60,
    seed: Annotated[int, typer.Option(help="the same seed gives the same pool")] = 42,
    size: Annotated[int, typer.Option(min=MIN_SIZE, help="side of the images in pixels")] = 512,
) -> None:
    """Draw a pool of phantom chest radiographs with their true lung masks."""
    try:
        entries = generate(out, count, seed, size)
    except ValueError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    repeats = sum(entry["near_duplicate_of"] is not None for entry in entries)
    typer.echo(f"{len(entries)} phantoms, {repeats} of them near-duplicates, in {out}")


if __name__ == "__main__":
    typer.run(main)
