"""Authentication in a server: MONAI Label's own refuses every token, so its check is replaced here."""

from __future__ import annotations

import gc
import inspect
import ipaddress
import logging
import socket
from typing import Annotated, Any

import requests
import uvicorn
from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, FastAPI, HTTPException
from fastapi.security import OAuth2PasswordRequestForm
from monailabel.config import settings
from monailabel.endpoints import model
from monailabel.endpoints.user.auth import RBAC, Token, User, get_current_user, oauth2_scheme

from server.config import ConfigError
from server.tokens import SignInServer, SignInServerDown, check, down
from strategies.identity import current_user

logger = logging.getLogger(__name__)
_THREADS = 8  # that may wait for the sign-in server at once; the other requests have threads of their own


def add_auth(app: FastAPI) -> None:
    """Check tokens as `server.tokens.check` does, where authentication is on. Raises ConfigError."""
    if not settings.MONAI_LABEL_AUTH_ENABLE:
        return
    for name in ("MONAI_LABEL_AUTH_REALM_URI", "MONAI_LABEL_AUTH_CLIENT_ID"):
        if not getattr(settings, name).strip():
            raise ConfigError(f"authentication is on, but {name} is empty: set it (docs/how-to.md)")
    server = SignInServer(settings.MONAI_LABEL_AUTH_REALM_URI, settings.MONAI_LABEL_AUTH_TIMEOUT)
    limiter = CapacityLimiter(_THREADS)

    async def user_of_token(token: Annotated[str, Depends(oauth2_scheme)]) -> User:
        user = await to_thread.run_sync(check, token, server, limiter=limiter)
        current_user.set(user.username)  # here, in the request's own task: a thread has a copy of the context
        return user

    app.dependency_overrides[get_current_user] = user_of_token
    for endpoint in (model.api_update_model, model.api_delete_model):
        _for_admins(endpoint)
    app.include_router(_routes(server))
    app.router.routes.insert(0, app.router.routes.pop())  # before MONAI Label's of the same paths


def _for_admins(endpoint: Any) -> None:
    """MONAI Label says that this endpoint is for admins, and lets annotators in."""
    rbac: RBAC = inspect.signature(endpoint).parameters["user"].default.dependency
    rbac.roles = settings.MONAI_LABEL_AUTH_ROLE_ADMIN


def _routes(server: SignInServer) -> APIRouter:
    """`/auth/token`, which stops the whole server while it waits and answers 500 to a wrong password in MONAI
    Label."""
    routes = APIRouter(include_in_schema=False)
    limiter = CapacityLimiter(_THREADS)

    @routes.post(f"{settings.MONAI_LABEL_API_STR}/auth/token", response_model=Token)
    async def token(form: Annotated[OAuth2PasswordRequestForm, Depends()]) -> Any:
        return await to_thread.run_sync(_sign_in, form.username, form.password, server, limiter=limiter)

    return routes


def _sign_in(username: str, password: str, server: SignInServer) -> dict[str, Any]:
    """A token for a name and password (OAuth 2.0, RFC 6749 section 4.3). Raises HTTPException 401, 503."""
    data = {
        "client_id": settings.MONAI_LABEL_AUTH_CLIENT_ID,
        "username": username,
        "password": password,
        "grant_type": "password",
    }
    try:
        server.get_signing_keys()  # discovery, if there was none yet
        answer = requests.post(server.discovery["token_endpoint"], data=data, timeout=server.timeout)
        body = answer.json()
        if answer.ok and isinstance(body, dict) and "access_token" in body:
            return {"token_type": "Bearer", **body}
        if answer.status_code in (400, 401) and isinstance(body, dict):
            raise HTTPException(401, f"the sign-in server says: {body.get('error_description') or body}")
        answer.raise_for_status()
        raise ValueError(f"no access_token in the answer of {answer.url}")
    except (SignInServerDown, KeyError, OSError, ValueError) as error:
        logger.warning("Nobody can sign in at %s: %r", server.realm, error)
        raise down(server) from error


def warn_if_open() -> None:
    """One warning when others on the network reach this server, and authentication is off."""
    host = _host()
    if settings.MONAI_LABEL_AUTH_ENABLE or host is None or is_loopback(host):
        return
    logger.warning(
        "Everybody on the network can read the images, save labels and start trainings: this server listens "
        "on %s without authentication. Start it with --host 127.0.0.1, or turn on authentication: "
        "docs/how-to.md",
        host,
    )


def _host() -> str | None:
    """The address that uvicorn was told to listen on, whoever started it; None without uvicorn.

    An app cannot ask its server, and the socket is opened after the app's start: only uvicorn's configuration
    knows, among the objects of this process.
    """
    configs = (found for found in gc.get_objects() if type(found) is uvicorn.Config)
    return next((config.host for config in configs if config.uds is None), None)


def is_loopback(host: str) -> bool:
    """True when only this machine reaches the address."""
    try:
        found = socket.getaddrinfo(host or "0.0.0.0", None)
    except OSError:
        return False
    return all(ipaddress.ip_address(str(address[4][0]).split("%")[0]).is_loopback for address in found)
