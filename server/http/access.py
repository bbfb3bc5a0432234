"""Who asks, and what they may do: MONAI Label's roles, checked for every route in one place."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from anyio import CapacityLimiter, to_thread
from fastapi import HTTPException
from fastapi.security.utils import get_authorization_scheme_param
from monailabel.config import settings
from monailabel.endpoints.user.auth import DEFAULT_USER, User
from starlette.datastructures import Headers

from server.http.table import ADMIN, ANNOTATOR, OPEN, READER, REVIEWER, SIGNED_IN
from server.tokens import SignInServer, check
from strategies.identity import current_user, is_reviewer

_THREADS = 8  # that may wait for the sign-in server at once; the other requests have threads of their own
_NOBODY = DEFAULT_USER.model_copy(update={"roles": []})
_user: ContextVar[User | None] = ContextVar("user", default=None)


def user() -> User:
    """Who makes the present request; without authentication MONAI Label's default name."""
    return _user.get() or _NOBODY


def require(role: str, what: str) -> None:
    """Raises HTTPException 403 unless the user has a role; `what` says what for."""
    if not _has(role):
        raise HTTPException(403, f"{what} needs the role {_name_of(role)!r}")


def _name_of(role: str) -> str:
    names: dict[str, Any] = {
        READER: settings.MONAI_LABEL_AUTH_ROLE_USER,
        ANNOTATOR: settings.MONAI_LABEL_AUTH_ROLE_ANNOTATOR,
        REVIEWER: settings.MONAI_LABEL_AUTH_ROLE_REVIEWER,
        ADMIN: settings.MONAI_LABEL_AUTH_ROLE_ADMIN,
    }
    return str(names[role])


def _has(role: str) -> bool:
    if role in (OPEN, SIGNED_IN) or not settings.MONAI_LABEL_AUTH_ENABLE:
        return True
    wanted = _name_of(role)
    if wanted == "*":  # MONAI Label's word for any of its roles
        return any(_name_of(one) in user().roles for one in (READER, ANNOTATOR, REVIEWER, ADMIN))
    return wanted in user().roles


class Access:
    """Finds the user of a request.

    :param server: of OpenID Connect; None without authentication
    """

    def __init__(self, server: SignInServer | None) -> None:
        self._server, self._limiter = server, CapacityLimiter(_THREADS)

    async def sign_in(self, headers: Headers) -> None:
        """Note who asks, for the request's own task. Raises HTTPException 401, 503."""
        if self._server is None:
            return
        scheme, token = get_authorization_scheme_param(headers.get("authorization"))
        if scheme.lower() != "bearer":
            raise HTTPException(401, "sign in first: a token is missing", {"WWW-Authenticate": "Bearer"})
        found = await to_thread.run_sync(check, token, self._server, limiter=self._limiter)
        _user.set(found)  # here, in the request's own task: a thread has a copy of the context
        current_user.set(found.username)
        is_reviewer.set(_has(REVIEWER))
