"""Signing in: MONAI Label's own check refuses every token, so that the server has its own."""

from __future__ import annotations

import gc
import ipaddress
import logging
import socket
from typing import Annotated, Any

import requests
import uvicorn
from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, HTTPException
from fastapi.security import OAuth2PasswordRequestForm
from monailabel.config import settings
from monailabel.endpoints.user.auth import Token

from server.config import ConfigError
from server.http import access
from server.tokens import SignInServer, SignInServerDown, down

logger = logging.getLogger(__name__)
_THREADS = 8  # that may wait for the sign-in server at once; the other requests have threads of their own


def sign_in_server() -> SignInServer | None:
    """The OpenID Connect server of MONAI Label's settings; None without one. Raises ConfigError."""
    if not settings.MONAI_LABEL_AUTH_ENABLE:
        return None
    for name in ("MONAI_LABEL_AUTH_REALM_URI", "MONAI_LABEL_AUTH_CLIENT_ID"):
        if not getattr(settings, name).strip():
            raise ConfigError(
                f"authentication is on, but {name} is empty: set it (docs/how-to/authentication.md)"
            )
    return SignInServer(settings.MONAI_LABEL_AUTH_REALM_URI, settings.MONAI_LABEL_AUTH_TIMEOUT)


def routes(server: SignInServer) -> APIRouter:
    """`/auth/...`. MONAI Label's own blocks the whole server while it waits, and answers 500 to a wrong
    password."""
    found = APIRouter(prefix="/auth", tags=["Auth"])
    limiter = CapacityLimiter(_THREADS)

    @found.get("/", summary="Whether authentication is on, and where")
    def enabled() -> dict[str, Any]:
        return {
            "enabled": True,
            "client_id": settings.MONAI_LABEL_AUTH_CLIENT_ID,
            "realm": settings.MONAI_LABEL_AUTH_REALM_URI,
        }

    @found.post("/token", response_model=Token, summary="A token for a name and password")
    async def token(form: Annotated[OAuth2PasswordRequestForm, Depends()]) -> Any:
        return await to_thread.run_sync(_sign_in, form.username, form.password, server, limiter=limiter)

    @found.get("/token/valid", summary="The user that a token stands for")
    def valid() -> dict[str, Any]:
        return access.user().model_dump()

    return found


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
        "docs/how-to/authentication.md",
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
