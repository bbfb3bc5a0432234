"""The lines at the end of the server's start: where to label, and where to look."""

from __future__ import annotations

import logging
import threading

import uvicorn
from monailabel.config import settings

logger = logging.getLogger(__name__)
_PAGES = (("Label", "label"), ("Look at the pool", "map"), ("See how good the models are", "progress"))
_AFTER = 1.0  # seconds: after uvicorn's own lines, which come when the application has started


def announce(listening: uvicorn.Config | None) -> None:
    """Log the addresses of the pages, once the server listens."""
    if listening is None or listening.uds is not None:
        return
    lines = [f"{text}: {address(listening)}/selection/{page}" for text, page in _PAGES]
    timer = threading.Timer(_AFTER, logger.info, ("The server is ready.\n%s", "\n".join(lines)))
    timer.daemon = True
    timer.start()


def address(listening: uvicorn.Config) -> str:
    """Return the address by which a browser on this machine reaches the server."""
    host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "[::1]"}.get(listening.host, listening.host)
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    scheme = "https" if listening.is_ssl else "http"
    return f"{scheme}://{host}:{listening.port}{settings.MONAI_LABEL_API_STR}"
