"""The command `scan-selection`, for a lead without a browser."""

from server.cli.main import app

__all__ = ["app"]
