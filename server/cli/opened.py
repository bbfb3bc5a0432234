"""The pool of an app, opened by a command: without building the app where its `main.py` allows that."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from sqlalchemy.exc import SQLAlchemyError

from bundle_configs import Bundle
from pool.database.database import reason_of
from pool.database.state import State
from pool.errors import PoolError
from pool.protocol import PoolStore
from server import config
from server.app_file import bundle_of_app
from server.cli.named import NamedPool
from server.open_pool import open_datastore, open_pool, take_in_checks
from strategies.stages import status_now


class UnbuiltApp:
    """The parts of `server.app.Shell` that need no network: the same pool, settings, status and plans.

    The networks that the settings describe are not built, so a command accepts settings of a network with
    which a server would not start.
    """

    def __init__(self, app_dir: str, studies: str, conf: Mapping[str, Any], bundle: str) -> None:
        defaults = Bundle(bundle)
        chosen = config.read(config.with_dataset(conf, studies, defaults), defaults)
        pool = open_pool(app_dir, studies, bundle, chosen, in_server=False)
        self.bundle, self.context, self.state = pool.bundle, pool.context, pool.context.state
        self._store = open_datastore(studies.strip(), pool.bundle, chosen.settings, self.state.folder)

    def datastore(self) -> PoolStore:
        """Return the pool's images and labels, to be read only."""
        return self._store

    def selection_status(self, failures: bool = False) -> dict[str, Any]:
        """Return what the server answers to `GET /selection/status`."""
        return status_now(self.context, self._store, failures)

    def preview(self, strategy: str, count: int) -> list[dict[str, Any]]:
        """Return the answers a strategy would give next, without leasing. Raises PoolError."""
        from strategies.strategy import all_strategies, preview  # imports all methods

        return preview(self.context, self._store, all_strategies(self.context), strategy, count)


@contextmanager
def opened(pool: NamedPool, build: bool = False) -> Iterator[Any]:
    """Open the pool of an app. An error here or in the block is printed in one line, with exit code 1.

    An app whose `main.py` does more than naming its bundle is always built, as in a child process of the
    server: it may open its pool in its own way.

    :param build: build any app, for work that needs its networks
    """
    logging.basicConfig(level=logging.WARNING)
    with reporting_errors():
        place = pool.place()
        bundle = None if build else bundle_of_app(Path(place.app) / "main.py")
        app: Any
        if bundle is None:
            app = _built(place.app, place.studies, place.conf)
        else:
            app = UnbuiltApp(place.app, place.studies, place.conf, bundle)
        try:
            State(app.state.folder, migrate=True, url=app.context.settings.database)
            take_in_checks(app.state, app.datastore())
            yield app
        except SQLAlchemyError as error:
            raise PoolError(503, app.state.trouble(error)) from error


@contextmanager
def reporting_errors() -> Iterator[None]:
    """Print an error of the block in one line, and exit with code 1."""
    try:
        yield
    except PoolError as error:
        message = error.text
    except SQLAlchemyError as error:
        message = f"the database cannot be used: {reason_of(error)}"
    except (OSError, ValueError) as error:
        message = str(error)
    else:
        return
    typer.echo(message, err=True)
    raise typer.Exit(1)


def _built(app_dir: str, studies: str, conf: Mapping[str, Any]) -> Any:
    from monailabel.interfaces.utils.app import app_instance  # slow: imports torch

    return app_instance(app_dir, studies, conf or {"server_mode": "false"})  # it ignores an empty mapping
