"""Shared steps of all preparers: write case after case into studies and labels, with a manifest of checksums.

A preparer can be stopped at any moment and restarted: every file is written atomically, and files that the
manifest lists and whose checksums match are not written again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import typer
from tqdm import tqdm

from pool.files import remove_leftovers, write_atomically


class DataError(ValueError):
    """A source file that cannot be used; the text names it and says what is wrong."""


@dataclass(frozen=True)
class Source:
    """The origin of a data set, for its manifest."""

    name: str
    url: str
    licence: str
    citation: list[str]


@dataclass(frozen=True)
class Case:
    """One image of a data set and its label.

    :param id: name of both files, without the extension
    :param write: writes study and label to the two paths it is given and returns their entry in the manifest;
        raises DataError if the source's files cannot be used
    :param suffix: extension of both files
    """

    id: str
    write: Callable[[Path, Path], dict[str, Any]]
    suffix: str = ".nii.gz"


@dataclass
class Plan:
    """A data set, ready to be written.

    :param labels: {name: value in the label files}
    :param settings: settings that change the result; every run into the same folder must use the same
    :param counts: {what is counted: (published number, number in the source)}
    :param files: {name: content} of further files to put beside studies and labels
    """

    source: Source
    labels: Mapping[str, int]
    cases: Sequence[Case]
    settings: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, tuple[int, int]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)


def prepare(plan: Plan, out: Path) -> dict[str, Any]:
    """Write a data set into `out`, or complete an interrupted run with the same settings.

    Returns the manifest: dataset (name, url, licence, citation), settings, labels, counts, complete, cases
    {id: study, label, sha256, ...} and failed {id: reason}. A case whose files cannot be used is left out and
    listed in `failed`; then, and if the source is not complete, `complete` is False.

    Raises ValueError if `out` holds something else.
    """
    done = _resume(plan, out)
    parts = out / "unfinished"
    parts.mkdir(parents=True, exist_ok=True)
    remove_leftovers(out)  # left by a killed run
    failed: dict[str, str] = {}
    for name, content in plan.files.items():
        write_atomically(out / name, content)
    for case in tqdm(plan.cases, desc=plan.source.name, unit="image", disable=None):
        if not _is_complete(done.get(case.id), out):
            done.pop(case.id, None)
            try:
                done[case.id] = _write(case, out, parts)
            except DataError as error:
                failed[case.id] = str(error)
            _save(_manifest(plan, done, failed, complete=False), out)
    shutil.rmtree(parts)
    as_published = all(published == counted for published, counted in plan.counts.values())
    manifest = _manifest(plan, done, failed, complete=as_published and not failed)
    _save(manifest, out)
    return manifest


def _resume(plan: Plan, out: Path) -> dict[str, dict[str, Any]]:
    """Return the cases an earlier run wrote into `out`. Raises ValueError if it holds another data set."""
    path = out / "manifest.json"
    if not path.is_file():
        if any((out / folder).is_dir() and any((out / folder).iterdir()) for folder in ("studies", "labels")):
            raise ValueError(f"{out} holds studies or labels without {path.name}: choose another --out")
        for folder in ("studies", "labels"):
            (out / folder).mkdir(parents=True, exist_ok=True)
        return {}
    manifest = json.loads(path.read_text(encoding="utf-8"))
    if (manifest["dataset"]["name"], manifest["settings"]) != (plan.source.name, plan.settings):
        raise ValueError(
            f"{out} holds {manifest['dataset']['name']} with the settings {manifest['settings']}, not "
            f"{plan.source.name} with {plan.settings}: choose another --out"
        )
    done: dict[str, dict[str, Any]] = manifest["cases"]
    strange = sorted(done.keys() - {case.id for case in plan.cases})
    if strange:
        raise ValueError(
            f"{out} holds {len(strange)} cases that are not in this source ({', '.join(strange[:3])}); "
            "it was prepared from another source: choose another --out"
        )
    return done


def _is_complete(entry: Mapping[str, Any] | None, out: Path) -> bool:
    """Check a case's files against the checksums in the manifest."""
    return entry is not None and all(
        (out / entry[kind]).is_file() and sha256(out / entry[kind]) == entry["sha256"][kind]
        for kind in ("study", "label")
    )


def _write(case: Case, out: Path, parts: Path) -> dict[str, Any]:
    """Write both files of a case; return its manifest entry."""
    names = {"study": f"studies/{case.id}{case.suffix}", "label": f"labels/{case.id}{case.suffix}"}
    part = {kind: parts / f"{kind}-{case.id}{case.suffix}" for kind in names}
    for path in part.values():
        path.unlink(missing_ok=True)
    facts = case.write(part["study"], part["label"])
    sums = {kind: sha256(path) for kind, path in part.items()}
    for kind, name in names.items():
        (out / name).unlink(missing_ok=True)  # renaming onto a hard link to the same file does nothing
        part[kind].replace(out / name)
    return {**names, "sha256": sums, **facts}


def _manifest(
    plan: Plan, done: Mapping[str, Any], failed: Mapping[str, str], complete: bool
) -> dict[str, Any]:
    return {
        "dataset": asdict(plan.source),
        "settings": plan.settings,
        "labels": dict(plan.labels),
        "counts": {
            **{what: {"published": w, "found": f} for what, (w, f) in plan.counts.items()},
            "written": len(done),
            "failed": len(failed),
        },
        "complete": complete,
        "cases": dict(sorted(done.items())),
        "failed": dict(sorted(failed.items())),
    }


def _save(manifest: Mapping[str, Any], out: Path) -> None:
    write_atomically(out / "manifest.json", json.dumps(manifest, indent=1).encode())


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def run(make_plan: Callable[[], Plan], source: Path, out: Path) -> None:
    """Run a preparer's command and report the result.

    Exits with 0 if the data set is complete, 1 if something is missing, 2 if nothing could be done.
    """
    try:
        if out.resolve().is_relative_to(source.resolve()):
            raise ValueError(f"--out {out} is inside --source: choose a folder outside it")
        manifest = prepare(make_plan(), out)
    except ValueError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    for name, reason in manifest["failed"].items():
        typer.echo(f"left out: {name}: {reason}", err=True)
    for what, count in manifest["counts"].items():
        if isinstance(count, dict) and count["published"] != count["found"]:
            typer.echo(
                f"wrong count: {count['found']} {what}; the published set has {count['published']}", err=True
            )
    typer.echo(f"{manifest['counts']['written']} images with labels in {out}")
    typer.echo(f"licence: {manifest['dataset']['licence']}")
    if not manifest["complete"]:
        typer.echo(
            "not complete: see above and manifest.json; repair the source and run the command again", err=True
        )
        raise typer.Exit(1)
