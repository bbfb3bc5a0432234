"""Servers to attack: one open, as on a laptop, and one whose users sign in."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from benchmarks.server_process import Server
from tests.server.conftest import TINY
from tests.server.issuer import AUDIENCE, Issuer
from tests.server.polling import status, until
from tests.server.published import publish

ROLES = {"USER": "reader", "ANNOTATOR": "painter", "REVIEWER": "judge", "ADMIN": "boss"}


@dataclass
class Target:
    """A running server with a model and one label, and its folders."""

    server: Server
    folder: Path
    issuer: Issuer | None = None

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def ask(self, method: str, path: str, *roles: str, **more: Any) -> requests.Response:
        """Send a request, with a token of these roles where users sign in (`user=`, by default eve)."""
        headers, user = dict(more.pop("headers", {})), more.pop("user", "eve")
        if self.issuer:
            headers["Authorization"] = f"Bearer {self.issuer.token(user, list(roles))}"
        return requests.request(method, self.url + path, headers=headers, timeout=120, **more)

    def label(self) -> bytes:
        """Return the final label of the labelled image."""
        return (self.folder / "studies" / "labels" / "final" / "phantom_000.png").read_bytes()


def pool(phantoms: Path, folder: Path) -> Path:
    """Make six images, the first of them labelled, and a published model; return the studies folder."""
    studies = folder / "studies"
    (studies / "labels" / "final").mkdir(parents=True)
    for path in sorted((phantoms / "studies").iterdir())[:6]:
        shutil.copy(path, studies)
    shutil.copy(phantoms / "labels" / "phantom_000.png", studies / "labels" / "final")
    publish(folder / "state", "cxr_lungs", {k: TINY[k] for k in ("image_size", "channels", "epochs")})
    return studies


@pytest.fixture(scope="module")
def laptop(phantoms: Path, start: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Target:
    """A server on the loopback address without authentication."""
    folder = tmp_path_factory.mktemp("laptop")
    server = start(pool(phantoms, folder), folder / "state", prepared=True)
    until(lambda: status(server)["labelled"] == 1 and status(server)["progress"]["step"] == "ready")
    return Target(server, folder)


@pytest.fixture(scope="module")
def clinic(
    phantoms: Path, start: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Target]:
    """A server whose users sign in; `reader`, `painter`, `judge` and `boss` are its roles."""
    folder, issuer = tmp_path_factory.mktemp("clinic"), Issuer()
    issuer.start()
    env = {"ENABLE": "true", "REALM_URI": issuer.realm, "CLIENT_ID": AUDIENCE}
    env |= {"TOKEN_USERNAME": "login", "TOKEN_ROLES": "access#scan#roles"}
    env |= {f"ROLE_{name}": role for name, role in ROLES.items()}
    env = {f"MONAI_LABEL_AUTH_{name}": value for name, value in env.items()}
    server = start(pool(phantoms, folder), folder / "state", env=env, prepared=True)
    yield Target(server, folder, issuer)
    issuer.stop()
