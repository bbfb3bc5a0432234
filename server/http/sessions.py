"""Temporary images of a client that are not in the pool: MONAI Label's sessions, as 3D Slicer uses them.

A session is a folder whose random name only this server knows; client ids and file names never become paths.
"""

from __future__ import annotations

import logging
import shutil
import signal
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import APIRouter, HTTPException, Query, Response, UploadFile
from fastapi.responses import FileResponse
from filelock import FileLock, Timeout
from monailabel.config import settings
from monailabel.interfaces.utils.app import app_instance
from monailabel.utils.others.generic import get_mime_type

from server.http import access
from server.http.table import GiB, size_text
from server.http.uploads import extension_of, shown_name, write

logger = logging.getLogger(__name__)
MAX_SESSIONS, MAX_BYTES = 64, 8 * GiB  # for all sessions of a server
_MIN_EXPIRY = 60  # seconds


@dataclass
class Session:
    """One upload.

    :param image: the file, or the folder of several files
    :param name: the client's name of the file
    :param expiry: seconds after the last use
    """

    id: str
    folder: Path
    image: Path
    name: str
    owner: str
    size: int
    expiry: int
    created: float = field(default_factory=time.time)
    used: float = field(default_factory=time.time)
    used_at: float = field(default_factory=time.monotonic)  # `used`, whatever the clock is set to

    def as_json(self) -> dict[str, Any]:
        """Describe the session to clients, with MONAI Label's keys but no paths."""
        times = {"create_ts": int(self.created), "last_access_ts": int(self.used), "expiry": self.expiry}
        return {"name": self.id, "image": self.name, "meta": {}, **times}


class Sessions:
    """The sessions of one server; thread-safe. They end with the server, or when they expire.

    :param folder: the pool's state folder; each server of the pool has its own subfolder
    :param expiry: maximum seconds that a session lives without use
    """

    def __init__(self, folder: Path, expiry: int) -> None:
        self._parent, self._expiry = folder / "sessions", max(expiry, _MIN_EXPIRY)
        self._lock = threading.RLock()
        self._sessions: dict[str, Session] = {}
        self._adding: dict[str, int] = {}  # bytes of sessions whose files are being written
        self._parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._remove_leftovers()
        self._folder = self._parent / uuid.uuid4().hex
        self._held = FileLock(self._folder.with_suffix(".lock"))
        self._held.acquire()  # before making the folder, which another server would take for a leftover
        self._folder.mkdir(mode=0o700)

    def _remove_leftovers(self) -> None:
        """Remove the folders of killed servers, whose locks nobody holds."""
        for folder in [path for path in self._parent.iterdir() if path.is_dir()]:
            lock = folder.with_suffix(".lock")
            try:
                with FileLock(lock, timeout=0):
                    shutil.rmtree(folder, ignore_errors=True)
                    lock.unlink(missing_ok=True)
            except Timeout:
                continue

    def add(self, uploads: list[UploadFile], expiry: int, owner: str) -> Session:
        """Store uploaded files as one image. Raises HTTPException 429 for too many sessions, 507."""
        size = sum(upload.size or 0 for upload in uploads)
        with self._lock:
            self._check_room(size)
            session_id = str(uuid.uuid4())
            self._adding[session_id] = size
            folder = self._folder / session_id
            folder.mkdir(mode=0o700)
        try:
            files = [write(upload, folder / _stored_name(i, upload)) for i, upload in enumerate(uploads)]
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            del self._adding[session_id]
        image, name = files[0] if len(files) == 1 else folder, shown_name(uploads[0].filename)
        lifetime = min(expiry, self._expiry) if expiry > 0 else self._expiry
        session = Session(session_id, folder, image, name, owner, size, lifetime)
        with self._lock:
            self._sessions[session_id] = session
        return session

    def _check_room(self, size: int) -> None:
        """Raise HTTPException 429 when one more session of this size is too much."""
        self.remove_expired()
        sizes = [session.size for session in self._sessions.values()] + list(self._adding.values())
        if len(sizes) >= MAX_SESSIONS or sum(sizes) + size > MAX_BYTES:
            raise HTTPException(
                429,
                f"{len(sizes)} sessions are open, with {MAX_SESSIONS} and {size_text(MAX_BYTES)} at most: "
                "end one (DELETE /session/{id}), or try again later",
            )

    def get(self, session_id: str, owner: str) -> Session:
        """Return a session and mark it as used. Raises HTTPException 404 if it ended or is another user's."""
        with self._lock:
            self.remove_expired()
            session = self._sessions.get(session_id)
            if session is None or session.owner != owner:
                raise HTTPException(404, "there is no such session; it may have ended: send the image again")
            session.used, session.used_at = time.time(), time.monotonic()
            return session

    def remove(self, session_id: str, owner: str) -> Session:
        """End a session. Raises HTTPException 404."""
        with self._lock:
            session = self.get(session_id, owner)
            del self._sessions[session_id]
        shutil.rmtree(session.folder, ignore_errors=True)
        return session

    def remove_expired(self) -> None:
        """End the sessions that have expired."""
        with self._lock:
            for session in list(self._sessions.values()):
                if session.used_at + session.expiry < time.monotonic():
                    del self._sessions[session.id]
                    shutil.rmtree(session.folder, ignore_errors=True)

    def close(self) -> None:
        """End all sessions."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.with_suffix(".lock").unlink(missing_ok=True)


def _stored_name(number: int, upload: UploadFile) -> str:
    return f"{number:05d}{extension_of(upload.filename)}"


def close_at_stop(close: Callable[[], None]) -> None:
    """Call `close` when the server gets a stop signal, then run its own handler.

    An app has no hook for this, as its lifespan is MONAI Label's. Must run in the main thread.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _chain(close, signal.getsignal(number)))


def _chain(first: Callable[[], None], then: Any) -> Callable[[int, Any], None]:
    def handle(number: int, frame: Any) -> None:
        first()
        if callable(then):
            then(number, frame)
        else:  # the default handler: raise again without ours
            signal.signal(number, then)
            signal.raise_signal(number)

    return handle


def routes() -> APIRouter:
    """Make the routes of `/session/...`."""
    router = APIRouter(prefix="/session", tags=["Session"])

    def sessions() -> Sessions:
        current: Sessions | None = app_instance().sessions()
        if current is None:
            raise HTTPException(406, "sessions are switched off (MONAI_LABEL_SESSIONS)")
        return current

    @router.put("/", summary="Upload a temporary image; several files form one image")
    def create(
        files: list[UploadFile], uncompress: bool = False, expiry: int = Query(0, ge=0)
    ) -> dict[str, Any]:
        if uncompress:
            raise HTTPException(
                403, "archives are not unpacked; send the files themselves, each as a field `files`"
            )
        session = sessions().add(files, expiry, access.user().username)
        return {"session_id": session.id, "session_info": session.as_json()}

    @router.get(
        "/{session_id}", response_model=None, summary="Information on a session, or with image=true its file"
    )
    def get(session_id: str, update_ts: bool = False, image: bool = False) -> Response | dict[str, Any]:
        session = sessions().get(session_id, access.user().username)
        if not image:
            return session.as_json()
        if not session.image.is_file():
            raise HTTPException(409, "this session has several files, so there is no single one to download")
        return FileResponse(session.image, media_type=get_mime_type(session.name), filename=session.name)

    @router.delete("/{session_id}", summary="End a session")
    def remove(session_id: str) -> dict[str, Any]:
        return sessions().remove(session_id, access.user().username).as_json()

    return router


def open_sessions(folder: Path) -> Sessions | None:
    """Open the server's sessions; None when MONAI Label's settings switch them off."""
    if not settings.MONAI_LABEL_SESSIONS:
        return None
    return Sessions(folder, settings.MONAI_LABEL_SESSION_EXPIRY)
