"""Parts of the simulation that need no server: split, budget, and resuming."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer

from benchmarks.experiments.simulate import find_images, groups_of, parse_budget, resume, split

IMAGES = [Path(f"i{n:02d}.png") for n in range(21)]


@pytest.mark.parametrize(("share", "count"), [(0.2, 5), (0.01, 1), (0.9, 19), (1 / 3, 7)])
def test_split_holds_out_the_share_rounded_up(share: float, count: int) -> None:
    pool, test = split(IMAGES, share, 43)
    assert len(test) == count and sorted(pool + test) == IMAGES
    assert pool == sorted(pool) and test == sorted(test)


def test_split_is_fixed_by_its_seed() -> None:
    assert split(IMAGES, 0.2, 43) == split(IMAGES, 0.2, 43)
    assert len({tuple(split(IMAGES, 0.2, seed)[1]) for seed in range(43, 54)}) > 5


def test_split_holds_out_whole_groups() -> None:
    images = [Path(f"p{n // 3}_{n:02d}.png") for n in range(21)]
    groups = groups_of(images, r"^(p\d)_")
    for seed in range(43, 47):
        pool, test = split(images, 0.25, seed, groups)
        assert sorted(pool + test) == images and len(test) == 6, "two of seven patients"
        assert not {p.name[:2] for p in pool} & {p.name[:2] for p in test}
        assert (pool, test) == split(images, 0.25, seed, groups)
    with pytest.raises(typer.BadParameter, match="leaves no images for the pool"):
        split(images[:3], 0.25, 43, groups_of(images[:3], r"^(p\d)_"))
    with pytest.raises(typer.BadParameter, match="groups=nothing"):
        groups_of(images, "nothing")


@pytest.mark.parametrize(("text", "steps"), [("8+4+4", [8, 4, 4]), ("12", [12]), (" 8 + 4 ", [8, 4])])
def test_budget(text: str, steps: list[int]) -> None:
    assert parse_budget(text) == steps


@pytest.mark.parametrize("text", ["", "8+", "8+0", "8,4", "-8", "8.5", "all", "8++4", "\u00b2"])
def test_wrong_budget_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(typer.BadParameter, match=r"8\+4\+4"):
        parse_budget(text)


def test_images_of_a_folder(tmp_path: Path) -> None:
    with pytest.raises(typer.BadParameter, match="has no images"):
        find_images(tmp_path)
    for name in ("b.PNG", "a.nii.gz", "c.txt", "._a.nii.gz"):
        (tmp_path / name).touch()
    assert [p.name for p in find_images(tmp_path)] == ["a.nii.gz", "b.PNG"]


def test_simulation_goes_on_with_the_same_settings_only(tmp_path: Path) -> None:
    settings = {"budget": "8+4", "seed": 43, "test": ["a.png"]}
    ledger = resume(tmp_path, settings)
    assert ledger["settings"] == settings and ledger["picks"] == ledger["stages"] == []
    ledger["picks"].append({"image": "b"})
    (tmp_path / "ledger.json").write_text(json.dumps(ledger))
    assert resume(tmp_path, settings)["picks"] == [{"image": "b"}]
    with pytest.raises(typer.BadParameter, match=r"ledger\.json was written with another seed, test;"):
        resume(tmp_path, settings | {"seed": 44, "test": ["b.png"]})
    with pytest.raises(typer.BadParameter, match="another epochs"):
        resume(tmp_path, settings | {"epochs": 3})
