"""Being told at once when files come, go, are renamed or finished."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from pool.imaging.names import split_name

logger = logging.getLogger(__name__)


class _Handler(FileSystemEventHandler):
    def __init__(self, told: Callable[[], None]) -> None:
        self._told = told

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.is_directory or event.event_type not in ("created", "deleted", "moved", "closed"):
            return
        names = [os.path.basename(os.fsdecode(p)) for p in (event.src_path, event.dest_path) if p]
        if not any(split_name(name) or "." not in name for name in names):  # DICOM may have no extension
            return
        try:
            self._told()
        except Exception:  # an error here would end the watcher's thread
            logger.exception("What a new file calls for could not be started")


def watch(folders: Mapping[str, bool], told: Callable[[], None]) -> BaseObserver:
    """A running observer of folders {path: with those below}; `told` is called in its thread.

    Where the system refuses one, or files come over a network, changes are found at the next look.
    """
    observer, handler = Observer(), _Handler(told)
    observer.daemon = True
    try:
        for path, below in folders.items():
            observer.schedule(handler, path, recursive=below)
        observer.start()
    except OSError as error:
        logger.warning("New files are noticed later than they could be: no file watcher (%s)", error)
    return observer


def end_watch(observer: BaseObserver) -> None:
    """Stop an observer and wait for its thread."""
    if observer.is_alive():
        observer.stop()
        observer.join(5)
