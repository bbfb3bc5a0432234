"""Users and permissions: MONAI Label's roles, checked for all routes in one place."""

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

_MAX_THREADS = 8  # waiting for the sign-in server at once; other requests have their own threads
_NOBODY = DEFAULT_USER.model_copy(update={"roles": []})
_user: ContextVar[User | None] = ContextVar("user", default=None)


def user() -> User:
    """Return the user of the current request; without authentication, MONAI Label's default user."""
    return _user.get() or _NOBODY


def require(role: str, what: str) -> None:
    """Raise HTTPException 403 unless the user has a role; `what` names the action that needs it."""
    if not has(role):
        raise HTTPException(403, f"{what} needs the role {_name_of(role)!r}")


def _name_of(role: str) -> str:
    names: dict[str, Any] = {
        READER: settings.MONAI_LABEL_AUTH_ROLE_USER,
        ANNOTATOR: settings.MONAI_LABEL_AUTH_ROLE_ANNOTATOR,
        REVIEWER: settings.MONAI_LABEL_AUTH_ROLE_REVIEWER,
        ADMIN: settings.MONAI_LABEL_AUTH_ROLE_ADMIN,
    }
    return str(names[role])


def has(role: str) -> bool:
    """Return whether the user has a role; everybody has every role without authentication."""
    if role in (OPEN, SIGNED_IN) or not settings.MONAI_LABEL_AUTH_ENABLE:
        return True
    name = _name_of(role)
    if name == "*":  # MONAI Label's wildcard for any of its roles
        return any(_name_of(any_role) in user().roles for any_role in (READER, ANNOTATOR, REVIEWER, ADMIN))
    return name in user().roles


class Access:
    """Identifies the user of a request.

    :param server: OpenID Connect server; None without authentication
    """

    def __init__(self, server: SignInServer | None) -> None:
        self._server, self._limiter = server, CapacityLimiter(_MAX_THREADS)

    async def sign_in(self, headers: Headers) -> None:
        """Set the user for the request's own task. Raises HTTPException 401, 503."""
        if self._server is None:
            return
        scheme, token = get_authorization_scheme_param(headers.get("authorization"))
        if scheme.lower() != "bearer":
            raise HTTPException(401, "sign in first: a token is missing", {"WWW-Authenticate": "Bearer"})
        signed_in = await to_thread.run_sync(check, token, self._server, limiter=self._limiter)
        _user.set(signed_in)  # must run in the request's own task: a thread only has a copy of the context
        current_user.set(signed_in.username)
        is_reviewer.set(has(REVIEWER))
