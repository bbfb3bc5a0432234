"""Commands for one pool: `python -m server.pool backup | restore | move`."""

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

app = typer.Typer(help="Back up, restore and move a pool: its labels and its state.", no_args_is_help=True)

Studies = Annotated[
    str, typer.Option(help="The studies folder, or the DICOMweb URL, as the server is given it.")
]
State = Annotated[
    Path,
    typer.Option(help="The pool's state folder: pool.db and model.pt. The server's log names it at start."),
]
Url = Annotated[
    str,
    typer.Option(
        help="PostgreSQL URL, if the pool has one: postgresql://user@host/name, password in PGPASSWORD."
    ),
]


@contextmanager
def _errors() -> Iterator[None]:
    """What goes wrong is said in one line; exit code 1."""
    try:
        yield
    except BackupError as error:
        said = str(error)
    except SQLAlchemyError as error:
        said = f"the database cannot be used: {reason_of(error)}"
    except (OSError, ValueError) as error:
        said = str(error)
    else:
        return
    typer.echo(f"Nothing was changed: {said}", err=True)
    raise typer.Exit(1)


def _folder(studies: str) -> Path | None:
    """The studies folder; None for a DICOMweb URL."""
    return None if studies.startswith(("http://", "https://")) else Path(studies).expanduser().resolve()


def _bytes(text: str) -> Any:
    return tqdm(desc=text, unit="B", unit_scale=True)


@app.command()
def backup(
    out: Annotated[
        Path, typer.Argument(help="Where to: a file that ends in .tar, or the name of a new folder.")
    ],
    studies: Studies,
    state: State,
    database: Url = "",
    images: Annotated[bool, typer.Option(help="The images as well, not the labels alone.")] = False,
) -> None:
    """Copy labels, their versions, the database and the model; the server may go on running.

    The database is kept in one form, wherever it was: a backup of PostgreSQL can be restored to SQLite and
    the other way round. A manifest has the sha256 of every file. Nothing is overwritten.
    """
    with _errors(), _bytes("backup") as bar:
        made = back_up(_folder(studies), state, database, out, images, bar.update)
    typer.echo(f"{out}: {_contents(made)}")


@app.command()
def restore(
    source: Annotated[Path, typer.Argument(help="A backup: the .tar file or the folder.")],
    studies: Studies,
    state: State,
    database: Url = "",
) -> None:
    """Put a backup into an empty state folder and a studies folder that has no labels yet.

    Every file is checked first. With images in the backup the studies folder must be empty; without, copy the
    images there yourself, with their times (cp -a, rsync -a), so that none is embedded again.
    """
    with _errors():
        opened = Reader(source)
        with _bytes("check") as bar:
            opened.check(bar.update)
        with _bytes("restore") as bar:
            left_out = restore_pool(opened, _folder(studies), state, database, bar.update, _check_model)
    typer.echo(f"Restored the backup of {opened.manifest['created']}: {_contents(opened.manifest)}")
    if left_out:
        typer.echo(f"{left_out}; train again", err=True)
    typer.echo(f"Start the server with --studies {studies} --conf state {state.resolve()}")


def _check_model(path: Path) -> None:
    from infers.model_file import check_model  # brings torch, which no other command needs

    check_model(path)


def _contents(manifest: dict[str, Any]) -> str:
    rows, files = manifest["rows"], manifest["files"]
    labels = sum(name.startswith("studies/labels/") for name in files)
    counts = [f"{rows[name]} {name}" for name in ("embeddings", "plans", "handouts", "skips", "ledger")]
    model = "a model" if "state/model.pt" in files else "no model"
    return f"{len(files)} files, {labels} of them labels; {model}; rows: {', '.join(counts)}"


@app.command()
def move(
    state: Annotated[
        Path, typer.Option(help="The folder that holds the states of all pools of an app: apps/<app>/state.")
    ],
    old: Annotated[str, typer.Option("--from", help="The studies folder or URL as it was.")],
    new: Annotated[str, typer.Option("--to", help="The studies folder or URL as it is now.")],
) -> None:
    """Take a pool's state along when its studies folder was moved or renamed. Stop the server first.

    A pool's state lies in a folder named after the studies' path, so that a moved pool would start from
    nothing. With `--conf state` no move is needed.
    """
    with _errors():
        before, after = state / _name(old), state / _name(new)
        _check_move(before, after, new)
        lock = FileLock(before / "server.lock")
        try:
            with lock.acquire(timeout=0):
                os.rename(before, after)
        except Timeout:
            raise BackupError(
                f"a server works on this pool (it holds {lock.lock_file}); stop it first"
            ) from None
    typer.echo(f"{before.name} is now {after.name}, where a server with --studies {new} finds it.")
    typer.echo(_changed(after, _folder(new)))


def _name(studies: str) -> str:
    from server.app import state_folder  # slow: it brings MONAI Label

    return state_folder("", str(_folder(studies) or studies), "").name


def _check_move(before: Path, after: Path, new: str) -> None:
    folder = _folder(new)
    if not before.is_dir():
        there = ", ".join(sorted(path.name for path in before.parent.glob("*") if path.is_dir())) or "none"
        raise BackupError(
            f"there is no {before}: was --from the path that the server was given? States: {there}"
        )
    if folder and not folder.is_dir():
        raise BackupError(f"{folder}: there is no such studies folder; move it there first")
    if after.exists():
        raise BackupError(
            f"{after} is there already: a server was started on the new path. Remove it if it holds nothing "
            "that you need"
        )


def _changed(state: Path, studies: Path | None) -> str:
    """How many images will be embedded again because their times were not kept."""
    if studies is None or not (state / "pool.db").exists():
        return "Images were not compared: they or the database are on another server."
    import sqlalchemy as sa

    from pool.database import schema
    from pool.database.database import Database
    from pool.imaging.images import EXTENSIONS, image_fingerprint, image_id

    rows = Database(state).read(sa.select(schema.embeddings.c.image, schema.embeddings.c.fingerprint))
    files = [path for path in studies.iterdir() if path.name.lower().endswith(EXTENSIONS)]
    now = {image_id(str(path)): image_fingerprint(path) for path in files}
    known = {row.image for row in rows}.intersection(now)
    kept = {row.image for row in rows if now.get(row.image) == row.fingerprint}
    if known == kept:
        return f"All {len(known)} embedded images have kept their times: none is embedded again."
    return (
        f"{len(known - kept)} of {len(known)} embedded images have other times or sizes than before and will "
        "be embedded again; move with times (mv, cp -a, rsync -a) to avoid that."
    )


if __name__ == "__main__":
    app()
