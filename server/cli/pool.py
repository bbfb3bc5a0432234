"""Commands for one pool: `scan-selection pool backup | restore | move`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from filelock import FileLock, Timeout
from sqlalchemy.exc import SQLAlchemyError
from tqdm import tqdm

from pool.backup.archive import BackupError, Reader
from pool.backup.backup import back_up
from pool.backup.restore import restore as restore_pool
from pool.database.database import reason_of
from server.cli.named import NamedPool
from server.cli.options import App, pool_command
from server.places import state_folder, state_name, states_folder

app = typer.Typer(help="Back up, restore and move a pool: its labels and its state.", no_args_is_help=True)

Url = Annotated[
    str,
    typer.Option(
        help="PostgreSQL URL, if the pool has one: postgresql://user@host/name, password in PGPASSWORD."
    ),
]


@contextmanager
def _report_errors() -> Iterator[None]:
    """Print errors of the block in one line, and exit with code 1."""
    try:
        yield
    except BackupError as error:
        message = str(error)
    except SQLAlchemyError as error:
        message = f"the database cannot be used: {reason_of(error)}"
    except (OSError, ValueError) as error:
        message = str(error)
    else:
        return
    typer.echo(f"Nothing was changed: {message}", err=True)
    raise typer.Exit(1)


def _studies_folder(studies: str) -> Path | None:
    """Return the studies folder, or None for a DICOMweb URL."""
    return None if studies.startswith(("http://", "https://")) else Path(studies).expanduser().resolve()


def _byte_bar(text: str) -> Any:
    return tqdm(desc=text, unit="B", unit_scale=True)


@pool_command(app)
def backup(
    pool: NamedPool,
    out: Annotated[Path, typer.Argument(help="Destination: a file that ends in .tar, or a new folder.")],
    database: Url = "",
    images: Annotated[bool, typer.Option(help="Include the images, not just the labels.")] = False,
) -> None:
    """Copy labels, their versions, the database and the model; the server may keep running.

    The database is stored in one format: a backup of PostgreSQL can be restored to SQLite and vice versa. A
    manifest lists the sha256 of every file. Nothing is overwritten.
    """
    with _report_errors():
        studies, state, database = _files_of(pool, database)
        with _byte_bar("backup") as bar:
            manifest = back_up(_studies_folder(studies), state, database, out, images, bar.update)
    typer.echo(f"{out}: {_contents_text(manifest)}")


@pool_command(app)
def restore(
    pool: NamedPool,
    source: Annotated[Path, typer.Argument(help="A backup: the .tar file or the folder.")],
    database: Url = "",
) -> None:
    """Restore a backup to an empty state folder and a studies folder without labels.

    Every file is checked first. If the backup has images, the studies folder must be empty; if not, copy the
    images there yourself with their times (cp -a, rsync -a), so that none is embedded again.
    """
    with _report_errors():
        studies, state = _new_files_of(pool)
        opened = Reader(source)
        with _byte_bar("check") as bar:
            opened.check(bar.update)
        with _byte_bar("restore") as bar:
            left_out = restore_pool(
                opened, _studies_folder(studies), state, database, bar.update, _check_model
            )
    typer.echo(f"Restored the backup of {opened.manifest['created']}: {_contents_text(opened.manifest)}")
    if left_out:
        typer.echo(f"{left_out}; train again", err=True)
    typer.echo(f"Start the server with --studies {studies} --conf state {state.resolve()}")


def _files_of(pool: NamedPool, database: str) -> tuple[str, Path, str]:
    """Return a pool's studies, state folder and database. Raises ValueError, which says what to name."""
    if pool.studies is not None and pool.state is not None:
        return pool.studies, pool.state, database or pool.pairs().get("database", "")
    place = pool.place()
    return place.studies, Path(place.state), database or place.conf.get("database", "")


def _new_files_of(pool: NamedPool) -> tuple[str, Path]:
    """Return studies and state folder of a pool that need not be there yet. Raises BackupError."""
    state = pool.pairs().get("state", "")
    if pool.studies is None or (pool.app is None and not state):
        raise BackupError("name the new pool by --studies and --state, or by --studies and --app")
    studies = str(_studies_folder(pool.studies) or pool.studies)
    return pool.studies, state_folder(os.path.realpath(pool.app or ""), studies, state)


def _check_model(path: Path) -> None:
    from infers.model_file import check_model  # imports torch, which no other command needs

    check_model(path)


def _contents_text(manifest: dict[str, Any]) -> str:
    rows, files = manifest["rows"], manifest["files"]
    labels = sum(name.startswith("studies/labels/") for name in files)
    counts = [f"{rows[name]} {name}" for name in ("embeddings", "plans", "handouts", "skips", "ledger")]
    model = "a model" if "state/model.pt" in files else "no model"
    return f"{len(files)} files, {labels} of them labels; {model}; rows: {', '.join(counts)}"


@app.command()
def move(
    old: Annotated[str, typer.Option("--from", help="The former studies folder or URL.")],
    new: Annotated[str, typer.Option("--to", help="The new studies folder or URL.")],
    app: App = None,
    state: Annotated[
        Path | None,
        typer.Option(help="The folder with the states of an app's pools; default: that of --app."),
    ] = None,
) -> None:
    """Move a pool's state after its studies folder was moved or renamed. Stop the server first.

    The state folder is named after the studies' path, so a moved pool would otherwise start from scratch.
    With `--conf state` this is not needed.
    """
    with _report_errors():
        state = state or _states_with(app, _state_name(old))
        before, after = state / _state_name(old), state / _state_name(new)
        _check_move(before, after, new)
        lock = FileLock(before / "server.lock")
        try:
            with lock.acquire(timeout=0):
                os.rename(before, after)
        except Timeout:
            raise BackupError(
                f"a server is running on this pool (it holds {lock.lock_file}); stop it first"
            ) from None
    typer.echo(f"{before.name} is now {after.name}, where a server with --studies {new} finds it.")
    typer.echo(_changed_images_text(after, _studies_folder(new)))


def _states_with(app: Path | None, name: str) -> Path:
    """Return the folder of an app's states that has this one. Raises BackupError."""
    if app is None:
        raise BackupError("name the app of the pool by --app, or the folder of its states by --state")
    in_app = app / "state"
    return in_app if (in_app / name).is_dir() else states_folder(str(app))


def _state_name(studies: str) -> str:
    return state_name(str(_studies_folder(studies) or studies))


def _check_move(before: Path, after: Path, new: str) -> None:
    folder = _studies_folder(new)
    if not before.is_dir():
        states = ", ".join(sorted(path.name for path in before.parent.glob("*") if path.is_dir())) or "none"
        raise BackupError(
            f"there is no {before}: is --from the path that was given to the server? States: {states}"
        )
    if folder and not folder.is_dir():
        raise BackupError(f"{folder}: no such studies folder; move it there first")
    if after.exists():
        raise BackupError(
            f"{after} already exists: a server was started on the new path. Remove it if it holds nothing "
            "that you need"
        )


def _changed_images_text(state: Path, studies: Path | None) -> str:
    """Report how many images will be embedded again because their times changed."""
    if studies is None or not (state / "pool.db").exists():
        return "Images were not compared: they or the database are on another server."
    import sqlalchemy as sa

    from pool.database import schema
    from pool.database.database import Database
    from pool.imaging.names import EXTENSIONS, image_fingerprint, image_id

    rows = Database(state).read(sa.select(schema.embeddings.c.image, schema.embeddings.c.fingerprint))
    files = [path for path in studies.iterdir() if path.name.lower().endswith(EXTENSIONS)]
    current = {image_id(str(path)): image_fingerprint(path) for path in files}
    embedded = {row.image for row in rows}.intersection(current)
    unchanged = {row.image for row in rows if current.get(row.image) == row.fingerprint}
    if embedded == unchanged:
        return f"All {len(embedded)} embedded images kept their times: none will be embedded again."
    return (
        f"{len(embedded - unchanged)} of {len(embedded)} embedded images changed their time or size and will "
        "be embedded again; move with times (mv, cp -a, rsync -a) to avoid that."
    )


if __name__ == "__main__":
    app()
