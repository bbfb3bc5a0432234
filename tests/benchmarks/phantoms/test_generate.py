"""Phantom radiographs: a complete, reproducible and varied pool with true masks."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from benchmarks.phantoms.generate import KINDS, MODES, generate, main, plan

COUNT, SIZE = 40, 128


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.mode == "L"
        return np.asarray(image)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict]]:
    out = tmp_path_factory.mktemp("pool")
    return out, generate(out, COUNT, 42, SIZE)


def test_files_and_manifest_agree(pool: tuple[Path, list[dict]]) -> None:
    out, entries = pool
    names = [f"phantom_{i:03d}" for i in range(COUNT)]
    assert [entry["id"] for entry in entries] == names
    for folder in ("studies", "labels"):
        assert sorted(path.name for path in (out / folder).iterdir()) == [f"{name}.png" for name in names]
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["settings"] == {"version": 1, "count": COUNT, "seed": 42, "size": SIZE}
    assert manifest["phantoms"] == json.loads(json.dumps(entries))


def test_masks_hold_both_lungs_on_their_sides(pool: tuple[Path, list[dict]]) -> None:
    out, entries = pool
    for entry in entries:
        label = read(out / "labels" / f"{entry['id']}.png")
        assert label.shape == (SIZE, SIZE) and set(np.unique(label)) == {0, 1, 2}
        right, left = (np.nonzero(label == value) for value in (1, 2))
        assert min(len(right[0]), len(left[0])) > 0.02 * SIZE**2, entry["id"]
        assert right[1].mean() < left[1].mean(), entry["id"]


def test_lungs_are_darker_than_what_surrounds_them(pool: tuple[Path, list[dict]]) -> None:
    out, entries = pool
    for entry in (e for e in entries if e["mode"] not in ("opacity", "bordered")):
        study = read(out / "studies" / f"{entry['id']}.png").astype(float)
        lungs = read(out / "labels" / f"{entry['id']}.png") > 0
        columns = np.nonzero(lungs.any(axis=0))[0]
        rows = np.nonzero(lungs.any(axis=1))[0]
        box = np.zeros_like(lungs)
        box[rows[0] : rows[-1], columns[0] : columns[-1]] = True
        assert study[lungs].mean() < study[box & ~lungs].mean(), entry["id"]


def test_modes_look_different(pool: tuple[Path, list[dict]]) -> None:
    out, entries = pool
    means: dict[str, list[float]] = {}
    for entry in entries:
        study = read(out / "studies" / f"{entry['id']}.png")
        means.setdefault(entry["mode"], []).append(float(study.mean()))
        assert study.std() > 5, entry["id"]
    assert set(means) == set(MODES)
    assert max(means["dark"]) < min(means["normal"]) and max(means["normal"]) < min(means["bright"])


def test_near_duplicates_repeat_their_original(pool: tuple[Path, list[dict]]) -> None:
    out, entries = pool
    by_id = {entry["id"]: entry for entry in entries}
    repeats = [entry for entry in entries if entry["near_duplicate_of"]]
    assert len(repeats) == COUNT // 10
    for entry in repeats:
        original = by_id[entry["near_duplicate_of"]]
        assert original["near_duplicate_of"] is None and original["mode"] == entry["mode"]
        first, second = (read(out / "studies" / f"{e['id']}.png").astype(float) for e in (original, entry))
        assert not np.array_equal(first, second)
        assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.9, entry["id"]
        masks = [read(out / "labels" / f"{e['id']}.png") > 0 for e in (original, entry)]
        assert 2 * (masks[0] & masks[1]).sum() / (masks[0].sum() + masks[1].sum()) > 0.95


def test_same_seed_same_bytes_and_other_seed_other_pool(tmp_path: Path) -> None:
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        generate(tmp_path / name, 4, seed, 64)
    for path in sorted((tmp_path / "a").rglob("*.*")):
        twin = tmp_path / "b" / path.relative_to(tmp_path / "a")
        assert twin.read_bytes() == path.read_bytes(), path.name
    study = Path("studies") / "phantom_000.png"
    assert (tmp_path / "a" / study).read_bytes() != (tmp_path / "c" / study).read_bytes()


def test_opacities_leave_the_mask_alone(pool: tuple[Path, list[dict]]) -> None:
    from benchmarks.phantoms.anatomy import Anatomy, lung_labels
    from benchmarks.phantoms.image import radiograph

    _, entries = pool
    entry = next(e for e in entries if e["mode"] == "opacity" and not e["near_duplicate_of"])
    anatomy = Anatomy(**entry["parameters"])
    lungs = lung_labels(anatomy, SIZE) > 0
    ill, well = (
        radiograph(anatomy, mode, SIZE, entry["seed"]).astype(float) for mode in ("opacity", "normal")
    )
    assert ill[lungs].mean() > well[lungs].mean() + 2


def test_a_finished_pool_is_left_alone_and_an_interrupted_one_completed(tmp_path: Path) -> None:
    entries = generate(tmp_path, 4, 1, 64)
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.rglob("*.png")}
    lost = tmp_path / "studies" / "phantom_002.png"
    lost.unlink()
    assert generate(tmp_path, 4, 1, 64) == entries
    after = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.rglob("*.png")}
    assert after[lost][1] == before[lost][1]
    for path in before.keys() - {lost, tmp_path / "labels" / lost.name}:
        assert after[path] == before[path]
    assert not list(tmp_path.rglob("*.part"))


def test_other_images_are_not_mixed_in(tmp_path: Path) -> None:
    generate(tmp_path / "a", 2, 1, 64)
    with pytest.raises(ValueError, match="choose another --out"):
        generate(tmp_path / "a", 2, 2, 64)
    (tmp_path / "b" / "studies").mkdir(parents=True)
    (tmp_path / "b" / "studies" / "patient.png").write_bytes(b"")
    with pytest.raises(ValueError, match="without manifest.json"):
        generate(tmp_path / "b", 2, 1, 64)
    with pytest.raises(ValueError, match="size 32"):
        generate(tmp_path / "c", 2, 1, 32)


def test_command_line(tmp_path: Path) -> None:
    import typer

    app = typer.Typer()
    app.command()(main)
    arguments = ["--out", str(tmp_path / "pool"), "--count", "2", "--size", "64"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0 and "2 phantoms" in result.output
    assert CliRunner().invoke(app, [*arguments, "--seed", "1"]).exit_code == 2


def test_other_pools_have_rare_modes_outliers_or_many_copies() -> None:
    planned = {kind: plan(160, 1, KINDS[kind]) for kind in KINDS}
    modes = [entry["mode"] for entry in planned["imbalance"]]
    assert 130 < modes.count("normal") < 150 and len(set(modes)) == 5
    assert sum(entry["mode"] == "spoilt" for entry in planned["outliers"]) == 16
    copies = [entry["near_duplicate_of"] for entry in planned["duplicates"] if entry["near_duplicate_of"]]
    assert len(copies) == 96 and len(set(copies)) == 3


def test_an_unknown_pool_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown pool 'best'; choose one of: mixed, imbalance"):
        generate(tmp_path, pool="best")
