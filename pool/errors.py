"""The error for a request that cannot be served, raised by every layer below the routes."""

from __future__ import annotations


class PoolError(Exception):
    """A request that cannot be served: an HTTP status, and a text that says what to do.

    The server's routes answer with both (`server.http.application`); `scan-selection` prints the text.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(status, text)
        self.status, self.text = status, text

    def __str__(self) -> str:
        return self.text
