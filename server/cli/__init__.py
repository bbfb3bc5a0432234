"""The command `scan-selection`: what a lead does without a browser."""

from server.cli.main import app

__all__ = ["app"]
