"""The table of routes: complete, equal to the documents, and decisive for permissions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from server.http.table import (
    ADMIN,
    ANNOTATOR,
    OPEN,
    READER,
    REVIEWER,
    SIGNED_IN,
    TABLE,
    Row,
    as_markdown,
    uncovered,
)
from tests.server.http.conftest import Target

NAMES = {READER: "reader", ANNOTATOR: "painter", REVIEWER: "judge", ADMIN: "boss"}
SECURITY = Path(__file__).parents[3] / "docs" / "security.md"


def test_the_document_shows_the_table() -> None:
    assert as_markdown() in SECURITY.read_text(), "run: python -m server.http.table"


def test_a_route_without_a_row_is_noticed() -> None:
    assert uncovered([("GET", "/info/"), ("GET", "/new/"), ("PUT", "/info/")]) == [
        ("GET", "/new/"),
        ("PUT", "/info/"),
    ]


def test_every_described_route_has_a_row_and_every_row_a_route(clinic: Target) -> None:
    described = clinic.ask("GET", "/openapi.json").json()["paths"]
    routes = {(method.upper(), path) for path, methods in described.items() for method in methods}
    described_rows = {(row.method, row.path.replace(":path", "")) for row in TABLE}
    assert routes and routes <= described_rows
    for row in TABLE:
        answer = clinic.ask(row.method, filled(row), *NAMES.values())
        unknown = answer.status_code == 404 and "on this server" in answer.text
        assert not unknown and answer.status_code not in (401, 405, 500), (
            row,
            answer.status_code,
            answer.text[:200],
        )


def filled(row: Row) -> str:
    return re.sub(r"\{[^}]*\}", "nothing", row.path)


@pytest.mark.parametrize(
    "row", [row for row in TABLE if row.role != OPEN], ids=lambda row: f"{row.method} {row.path}"
)
def test_each_route_wants_its_role(clinic: Target, row: Row) -> None:
    """A missing token and every other role are refused; the route's own role is let in."""
    assert clinic.ask(row.method, filled(row), headers={"X": "1"}).status_code == (
        200 if row.role == SIGNED_IN else 403
    )
    for role, name in NAMES.items():
        answer = clinic.ask(row.method, filled(row), name)
        let_in = row.role in (role, SIGNED_IN) and not row.off
        assert (answer.status_code == 403) != let_in, (name, answer.status_code, answer.text)
        if not let_in and row.method != "HEAD":
            assert row.off in answer.text if row.role == role else NAMES[row.role] in answer.text


def test_a_token_is_wanted_before_anything_is_told(clinic: Target) -> None:
    import requests

    for row in TABLE:
        answer = requests.request(row.method, clinic.url + filled(row), timeout=60)
        if row.role == OPEN:
            assert answer.status_code != 401
        else:
            assert answer.status_code == 401 and answer.headers["WWW-Authenticate"] == "Bearer"
    assert requests.get(f"{clinic.url}/nowhere", timeout=60).status_code == 401


def test_unknown_names_in_a_query_are_named(clinic: Target) -> None:
    answer = clinic.ask("GET", "/datastore/label?label=phantom_000&tga=final", "reader")
    assert answer.status_code == 422 and "'tga'; did you mean 'tag'?" in answer.json()["detail"]
    assert clinic.ask("POST", "/train/segmentation?run_sync=true", "boss", json={}).status_code == 422
    answer = clinic.ask("GET", "/info/?" + "&".join(f"a{i}=1" for i in range(100)), "reader")
    assert answer.status_code == 400


def test_a_missing_slash_is_a_redirect_as_before(clinic: Target) -> None:
    assert clinic.ask("GET", "/info", "reader").json()["labels"]
    assert clinic.ask("GET", "/info").status_code == 403


def test_a_signed_in_user_counts_whatever_the_browsers_cookie_says(clinic: Target) -> None:
    for role, allowed in ((NAMES[READER], False), (NAMES[ANNOTATOR], True)):
        headers = {"Cookie": f"scan_selection_reader={'x' * 32}"}
        said = clinic.ask("GET", "/selection/reader", "reader", role, headers=headers).json()
        assert (said["kind"], said["name"], said["authenticated"]) == ("named", "eve", True)
        assert said["allowed"] is allowed
