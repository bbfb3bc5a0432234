"""A PostgreSQL of the tests' own, from Debian's package `postgresql`."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from benchmarks.server_process import free_port

PASSWORD = "p@ss:w/rd"  # which a URL must quote


def programs() -> Path | None:
    """The folder of `initdb` and `postgres`, newest version; None when it is not installed."""
    found = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    return max((path.parent for path in found), key=lambda path: int(path.parent.name), default=None)


class Cluster:
    """A database server on 127.0.0.1; its processes are not root's, which they refuse."""

    def __init__(self, folder: Path, bin: Path) -> None:
        self._folder, self._bin, self._port = folder, bin, free_port()
        self._names = count()
        self._as: dict[str, Any] = {"cwd": folder}
        if os.getuid() == 0:
            self._as |= {"user": "postgres", "group": "postgres", "extra_groups": []}
            shutil.chown(folder, "postgres", "postgres")
        secret = folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        options = ("-U", "pool", "-A", "scram-sha-256", "--pwfile", secret, "-E", "UTF8", "--no-sync")
        subprocess.run(
            [bin / "initdb", "-D", folder / "data", *options],
            check=True,
            stdout=subprocess.DEVNULL,
            **self._as,
        )

    def start(self) -> None:
        """Until it answers."""
        where = ("-D", self._folder / "data", "-h", "127.0.0.1", "-p", str(self._port), "-k", "")
        command = [self._bin / "postgres", *where, "-F"]
        with open(self._folder / "log", "a") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, **self._as)
        end = time.monotonic() + 60
        while True:
            try:
                return sa.create_engine(self.url("postgres")).connect().close()
            except sa.exc.DBAPIError:
                if time.monotonic() > end or self._process.poll() is not None:
                    raise RuntimeError((self._folder / "log").read_text()) from None
                time.sleep(0.1)

    def stop(self) -> None:
        """At once: open connections break."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(60)

    def url(self, name: str) -> str:
        url = sa.URL.create("postgresql+pg8000", "pool", PASSWORD, "127.0.0.1", self._port, name)
        return url.render_as_string(hide_password=False)

    def new_database(self) -> str:
        """URL of an empty database."""
        name = f"test_{next(self._names)}"
        engine = sa.create_engine(self.url("postgres"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with engine.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name}"))
        return self.url(name)


@contextmanager
def cluster(bin: Path) -> Iterator[Cluster]:
    """A running cluster, gone after the block."""
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    try:
        made = Cluster(folder, bin)
        made.start()
        try:
            yield made
        finally:
            made.stop()
    finally:
        shutil.rmtree(folder)
