"""Restoring a backup of a pool into SQLite or PostgreSQL, whichever it came from."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import alembic.util
import sqlalchemy as sa
from filelock import FileLock, Timeout

from pool.backup.archive import BackupError, Progress, Reader
from pool.backup.backup import state_files, studies_files
from pool.backup.tables import copy_tables, snapshot
from pool.database import migration, schema
from pool.database.connect import connect
from pool.database.database import Busy, Database


def restore(
    backup: Reader,
    studies: Path | None,
    state: Path,
    url: str,
    progress: Progress,
    check_model: Callable[[Path], None],
) -> str:
    """Put a checked backup into an empty state, and its labels into a studies folder that has none.

    :param check_model: raises ValueError for a `model.pt` that must not be used; the model is then left out,
        because the labels are what counts, and the returned text says why

    Raises BackupError when a target is not empty or in use by a server. A failed restore is undone.
    """
    from_studies = {name: entry for name, entry in backup.files.items() if name.startswith("studies/")}
    if from_studies and studies is None:
        raise BackupError("this backup has labels of a studies folder; restore it to a folder, not to a URL")
    left_out = ""
    with ExitStack() as undo:
        for folder in (state, studies):
            if folder and not folder.exists():
                folder.mkdir(parents=True)
                undo.callback(shutil.rmtree, folder, ignore_errors=True)
        with _exclusive_target(state, studies, url) as database:
            _check_empty(state, studies, backup.manifest["images"], database)
            for prefix, folder in (("studies/", studies), ("state/", state)):
                if folder:
                    left_out += _restore_files(backup, prefix, folder, undo, progress, database, check_model)
            undo.pop_all()
    return left_out


def _restore_files(
    backup: Reader,
    prefix: str,
    folder: Path,
    undo: ExitStack,
    progress: Progress,
    database: Database | None,
    check_model: Callable[[Path], None],
) -> str:
    """Extract all files under a prefix next to their destination, then rename each into place.

    Return a note of what was left out, or "".
    """
    left_out = ""
    names = [name.removeprefix(prefix) for name in backup.files if name.startswith(prefix)]
    with tempfile.TemporaryDirectory(prefix=".restore.", dir=folder) as temporary:
        for name in names:
            backup.extract(prefix + name, Path(temporary) / name, progress)
        if prefix == "state/" and "model.pt" in names:
            try:
                check_model(Path(temporary) / "model.pt")
            except ValueError as error:
                names.remove("model.pt")
                left_out = f"model.pt is left out: {error}"
        if prefix == "state/":
            _restore_database(Path(temporary) / "pool.db", database, undo)
        for name in names:
            if name == "pool.db" and database:
                continue
            _make_folder((folder / name).parent, undo)
            os.rename(Path(temporary) / name, folder / name)
            undo.callback((folder / name).unlink, missing_ok=True)
    return left_out


def _make_folder(folder: Path, undo: ExitStack) -> None:
    if not folder.exists():
        _make_folder(folder.parent, undo)
        folder.mkdir()
        undo.callback(folder.rmdir)


def _restore_database(file: Path, database: Database | None, undo: ExitStack) -> None:
    """Upgrade the backup's database, and copy it into PostgreSQL if that is the target."""
    source = connect(file)
    try:
        migration.migrate(source)
        if database:
            undo.callback(_drop_all, database.engine)
            migration.migrate(database.engine)
            with snapshot(source) as before, database.begin() as after:
                copy_tables(before, after)
    except alembic.util.CommandError as error:
        raise BackupError(
            f"this backup comes from a newer version ({error}); restore it with that version"
        ) from error
    finally:
        source.dispose()


def _drop_all(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        schema.metadata.drop_all(connection)
        connection.execute(sa.text("DROP TABLE IF EXISTS alembic_version"))


@contextmanager
def _exclusive_target(state: Path, studies: Path | None, url: str) -> Iterator[Database | None]:
    """Hold the target's locks, so that no server uses it; yield its PostgreSQL database, if it has one.

    Raises BackupError when a server is running on it.
    """
    database = Database(state, url=url) if url else None
    files = [state / "server.lock", *([studies / ".server.lock"] if studies else [])]
    existing = {file for file in files if file.exists()}
    try:
        with ExitStack() as locks:
            for file in files:
                locks.enter_context(FileLock(file).acquire(timeout=0))
                if file not in existing:
                    locks.callback(file.unlink, missing_ok=True)
            if database:
                locks.enter_context(database.exclusive("server"))
            yield database
    except Timeout as error:
        raise BackupError(
            f"a server is running on this pool (it holds {error.lock_file}); stop it first"
        ) from None
    except Busy as error:
        raise BackupError(f"a server is running on this pool ({error}); stop it first") from None
    finally:
        if database:
            database.engine.dispose()


def _check_empty(state: Path, studies: Path | None, images: bool, database: Database | None) -> None:
    existing = [
        *state_files(state),
        *state.glob("pool.db*"),
        *(studies_files(studies, images) if studies else []),
    ]
    if existing:
        raise BackupError(
            f"{existing[0]} already exists ({len(existing)} such files): restore to a new state folder and "
            "to a studies folder without labels; nothing is overwritten"
        )
    if database and sa.inspect(database.engine).get_table_names():
        raise BackupError(f"the database {database} already has tables: create an empty one and name that")
