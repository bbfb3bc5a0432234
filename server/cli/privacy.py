"""Commands on one patient's privacy: `scan-selection privacy list | remove`."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from server.app_file import bundle_of_app
from server.cli.named import NamedPool
from server.cli.opened import opened, reporting_errors
from server.cli.options import Who, pool_command
from server.privacy import Kept, PatientFiles, closed_pool

app = typer.Typer(
    help="Show and remove what a pool keeps of a patient (docs/privacy.md).", no_args_is_help=True
)
_MAX_NAMED = 10  # files named in one line
Patients = Annotated[
    list[str],
    typer.Argument(
        metavar="PATIENT...",
        help="Image ids, PatientIDs of a DICOM server, groups of --conf groups, folders of image ids, or the "
        "beginning of ids followed by *.",
    ),
]


@pool_command(app, "list")
def list_kept(
    pool: NamedPool, patients: Patients, as_json: Annotated[bool, typer.Option("--json")] = False
) -> None:
    """Show what is kept of patients, and where; changes nothing, also beside a running server."""
    with opened(pool) as opened_app:
        place = pool.place()
        files = PatientFiles(
            opened_app.state, opened_app.datastore(), opened_app.context.groups, Path(place.app)
        )
        kept = files.kept(files.images_of(patients))
        typer.echo(json.dumps(kept.as_json(), indent=1) if as_json else text_of(kept))


@pool_command(app)
def remove(
    pool: NamedPool,
    patients: Patients,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    who: Who = "lead",
) -> None:
    """Remove patients from a pool's state, once their images have left its studies and its server is stopped.

    Studies, labels, backups, logs and trained models are not touched; what to do about them is said.
    """
    logging.basicConfig(level=logging.WARNING)
    with reporting_errors():
        place = pool.place()
        if (bundle := bundle_of_app(Path(place.app) / "main.py")) is None:
            raise ValueError(
                f"{place.app}/main.py opens its pool in its own way, which this command does not know"
            )
        with closed_pool(place, bundle) as files:
            images = files.images_of(patients)
            kept = files.kept(images)
            if not kept.present:
                typer.echo(text_of(kept))
                if not yes and not typer.confirm("Remove this from the state for good?"):
                    raise typer.Exit(1)
            with tqdm(desc="remove", unit="row") as bar:
                rows = files.remove(images, patients, who, bar.update)
        typer.echo(
            f"Removed: {len(images)} images, {sum(rows.values())} rows, {len(kept.files)} files or folders"
        )
        typer.echo(advice_on(kept))


def text_of(kept: Kept) -> str:
    """Describe what is kept, one place a line."""
    rows = ", ".join(f"{count} {table}" for table, count in kept.rows.items())
    logs = ", ".join(f"{count} lines of {log}" for log, count in kept.log_lines.items())
    rounds = ", ".join(map(str, kept.rounds))
    lines = {
        "images": _named(kept.images),
        "still in the pool": _named(kept.present),
        "in the studies": _named(kept.studies),
        "database rows": rows or "none",
        "files of the state": _named(kept.files),
        "models trained": f"rounds {rounds}" if rounds else "none",
        "trained weights": _named([*kept.models, *([f"{kept.heads} instant models"] if kept.heads else [])]),
        "backups": _named(kept.backups),
        "logs": logs or "none",
    }
    return "\n".join(f"{name:<19} {text}" for name, text in lines.items())


def _named(items: list[str]) -> str:
    more = f" and {len(items) - _MAX_NAMED} more" if len(items) > _MAX_NAMED else ""
    return f"{len(items)}: {', '.join(items[:_MAX_NAMED])}{more}" if items else "none"


def advice_on(kept: Kept) -> str:
    """Say what a removal does not touch, and what to do about it."""
    lines = ["Not touched:"]
    if kept.studies:
        lines.append(f"- labels in the studies; remove them there: {_named(kept.studies)}")
    if kept.models or kept.heads:
        lines.append(
            "- trained weights, which may remember images: train again once the images are gone, and remove "
            f"copies that were given away: {_named(kept.models)}"
        )
    if kept.backups:
        lines.append(f"- backups, which hold the state as it was; delete them: {_named(kept.backups)}")
    if kept.log_lines:
        lines.append(
            f"- logs, which name ids until they are overwritten; delete them: {_named(list(kept.log_lines))}"
        )
    lines.append("- backups that you made elsewhere, files that somebody exported, and the ledger's dates")
    return "\n".join(lines)
