"""Connections to PostgreSQL that are reset at any moment, as when its machine dies or a firewall gives up."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from pool.database.connect import connect
from pool.database.database import Database, entry
from pool.database.ledger import Ledger
from tests.postgres import Cluster
from tests.reset_proxy import resetting


def test_a_connection_that_is_reset_is_an_error_of_the_database(tmp_path: Path, postgresql: Cluster) -> None:
    """While connecting, before a query, and before a commit: no error of the network comes through."""
    url = sa.make_url(postgresql.new_database())
    with resetting(url.port or 0) as proxy:
        text = url.set(port=proxy.port).render_as_string(hide_password=False)
        database = Database(tmp_path, migrate=True, url=text)
        ledger = Ledger(database)
        proxy.resets = True
        with pytest.raises(sa.exc.DBAPIError):
            connect(Path(), text).connect()
        with pytest.raises(sa.exc.DBAPIError):
            ledger.count()
        proxy.resets = False
        assert ledger.count() == 0
        with pytest.raises(sa.exc.DBAPIError), database.begin() as connection:
            connection.execute(entry("label", "x", {}))
            proxy.resets = True
        proxy.resets = False
        ledger.add("label", "y")
        assert [line["image"] for line in ledger.entries()] == ["y"] and proxy.done >= 3
