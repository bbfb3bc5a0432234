"""The pool that a command names, completed by the server that runs on it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import typer

from server.open_pool import is_url
from server.places import PoolPlace, RunningServer, running_servers, state_folder
from server.starting import check_app, check_studies


@dataclass(frozen=True)
class NamedPool:
    """A pool as a command line names it.

    :param conf: KEY=VALUE pairs
    """

    app: Path | None = None
    studies: str | None = None
    state: Path | None = None
    conf: list[str] | None = None

    def pairs(self) -> dict[str, str]:
        """Return the `--conf` pairs, with --state among them."""
        pairs = {key: value for key, _, value in (pair.partition("=") for pair in self.conf or [])}
        return pairs | ({"state": str(self.state)} if self.state is not None else {})

    def place(self) -> PoolPlace:
        """Return where the pool is, with the settings of the server that runs on it, if one does.

        Raises ValueError, which says what to name.
        """
        pairs = self.pairs()
        if self.app is not None:
            check_app(self.app)
        if self.studies is not None:
            check_studies(self.studies)
        server = self._server(pairs.get("state"))
        if server is None and (self.app is None or self.studies is None):
            raise ValueError(
                "name the pool by --app and --studies: no server of yours that runs now fits what is given"
            )
        app = os.path.realpath(self.app) if self.app else server.app  # type: ignore[union-attr]
        studies = _whole(self.studies) if self.studies else server.studies  # type: ignore[union-attr]
        if server and not (self.app and self.studies):
            typer.echo(f"The pool of the server at {server.address}: {studies}", err=True)
        conf = {**(server.conf if server else {}), **pairs}
        return PoolPlace(app, studies, conf, str(state_folder(app, studies, conf.get("state", ""))))

    def _server(self, state: str | None) -> RunningServer | None:
        """Return the one running server that fits what is given. Raises ValueError for several."""
        fitting = [
            server
            for server in running_servers()
            if (self.app is None or server.app == os.path.realpath(self.app))
            and (self.studies is None or server.studies == _whole(self.studies))
            and (not state or server.state == str(state_folder("", "", state)))
        ]
        if len(fitting) > 1:
            raise ValueError(
                "several servers run; name one pool by --studies and --state: "
                + ", ".join(f"{server.studies} ({server.state})" for server in fitting)
            )
        return fitting[0] if fitting else None


def _whole(studies: str) -> str:
    """Return a studies folder as the server knows it: its whole path."""
    return studies if is_url(studies) else os.path.realpath(studies)
