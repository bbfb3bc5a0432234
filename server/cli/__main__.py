"""Run `python -m server.cli`, which is `scan-selection`."""

from server.cli.main import app

app()
