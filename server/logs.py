"""The server's log: short, and no larger than a few files."""

from __future__ import annotations

import logging
from logging.handlers import RotatingFileHandler
from pathlib import Path

_MAX_BYTES, _FORMER = 2 * 2**20, 4  # of a file; files beside the newest
_DICOM = "/proxy/dicom/"
_WEB_SERVER = "uvicorn"  # MONAI Label gives it a handler for the terminal only
# libraries that log at each start what nobody acts on; `timeloop` writes every line twice
_CHATTY = ("alembic.runtime.plugins", "alembic.runtime.migration", "monailabel.utils.others.class_utils")


class _WithoutSearches(logging.Filter):
    """Leaves what viewers search for, such as a patient's name, out of the web server's lines."""

    def filter(self, record: logging.LogRecord) -> bool:
        args = record.args
        if isinstance(args, tuple) and len(args) > 2 and _DICOM in str(args[2]):
            record.args = (*args[:2], str(args[2]).partition("?")[0], *args[3:])
        return True


def bound_log() -> RotatingFileHandler | None:
    """Let the log file that MONAI Label opened rotate early and hold the web server's lines too; return it.

    None when it writes no file (`--log_config`).
    """
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("timeloop").disabled = True
    logging.getLogger(f"{_WEB_SERVER}.access").addFilter(_WithoutSearches())
    files = [item for item in logging.getLogger().handlers if isinstance(item, RotatingFileHandler)]
    if not files:
        return None
    file = files[0]
    file.maxBytes, file.backupCount = _MAX_BYTES, _FORMER
    if not logging.getLogger(_WEB_SERVER).propagate:
        logging.getLogger(_WEB_SERVER).addHandler(file)
    return file


def keep_log(file: RotatingFileHandler, state: Path) -> Path:
    """Go on in a file of the pool's state, as two servers of one app would rotate each other's; return it."""
    path = state / "logs" / "app.log"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    file.close()
    file.baseFilename = str(path.resolve())  # opened with the next line
    return path


def size_text() -> str:
    """Return how large the log becomes, in words."""
    return f"at most {_FORMER + 1} files of {_MAX_BYTES >> 20} MiB"
