"""Sign-in. MONAI Label's own check refuses every token, so the server has its own."""

from __future__ import annotations

import asyncio
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
_MAX_THREADS = 8  # waiting for the sign-in server at once; other requests have their own threads


def sign_in_server() -> SignInServer | None:
    """Return the OpenID Connect server in MONAI Label's settings, or None. Raises ConfigError."""
    if not settings.MONAI_LABEL_AUTH_ENABLE:
        return None
    for name in ("MONAI_LABEL_AUTH_REALM_URI", "MONAI_LABEL_AUTH_CLIENT_ID"):
        if not getattr(settings, name).strip():
            raise ConfigError(
                f"authentication is on, but {name} is empty: set it (docs/how-to/authentication.md)"
            )
    return SignInServer(settings.MONAI_LABEL_AUTH_REALM_URI, settings.MONAI_LABEL_AUTH_TIMEOUT)


def routes(server: SignInServer) -> APIRouter:
    """Make the routes of `/auth/...`.

    MONAI Label's own block the whole server while they wait, and answer 500 to a wrong password.
    """
    router = APIRouter(prefix="/auth", tags=["Auth"])
    limiter = CapacityLimiter(_MAX_THREADS)

    @router.get("/", summary="Whether authentication is on, and where")
    def enabled() -> dict[str, Any]:
        return {
            "enabled": True,
            "client_id": settings.MONAI_LABEL_AUTH_CLIENT_ID,
            "realm": settings.MONAI_LABEL_AUTH_REALM_URI,
        }

    @router.post("/token", response_model=Token, summary="A token for a name and password")
    async def token(form: Annotated[OAuth2PasswordRequestForm, Depends()]) -> Any:
        return await to_thread.run_sync(_sign_in, form.username, form.password, server, limiter=limiter)

    @router.get("/token/valid", summary="The user of a token")
    def valid() -> dict[str, Any]:
        return access.user().model_dump()

    return router


def _sign_in(username: str, password: str, server: SignInServer) -> dict[str, Any]:
    """Get a token for name and password (OAuth 2.0, RFC 6749 section 4.3). Raises HTTPException 401, 503."""
    data = {
        "client_id": settings.MONAI_LABEL_AUTH_CLIENT_ID,
        "username": username,
        "password": password,
        "grant_type": "password",
    }
    try:
        server.get_signing_keys()  # runs discovery if it has not run yet
        answer = requests.post(server.discovery["token_endpoint"], data=data, timeout=server.timeout)
        body = answer.json()
        if answer.ok and isinstance(body, dict) and "access_token" in body:
            return {"token_type": "Bearer", **body}
        if answer.status_code in (400, 401) and isinstance(body, dict):
            raise HTTPException(401, f"the sign-in server says: {body.get('error_description') or body}")
        answer.raise_for_status()
        raise ValueError(f"no access_token in the answer of {answer.url}")
    except (SignInServerDown, KeyError, OSError, ValueError) as error:
        logger.warning("Sign-in at %s failed: %r", server.realm, error)
        raise down(server) from error


def warn_if_open() -> None:
    """Warn once when the server is reachable from the network without authentication."""
    found = listening()
    host = found.host if found and found.uds is None else None
    if settings.MONAI_LABEL_AUTH_ENABLE or host is None or is_loopback(host):
        return
    logger.warning(
        "Anyone on the network can read the images, save labels and start trainings: this server listens "
        "on %s without authentication. Start it with --host 127.0.0.1, or turn on authentication: "
        "docs/how-to/authentication.md",
        host,
    )


def listening() -> uvicorn.Config | None:
    """Return what uvicorn is configured to listen on, or None without uvicorn; called while the app starts.

    An app cannot ask its server, and the socket opens only after the app has started, so look for uvicorn's
    configuration in the tasks of its event loop, one of which runs the app's start.
    """
    owners = (getattr(task.get_coro(), "cr_frame", None) for task in asyncio.all_tasks())
    configs = (getattr(frame.f_locals.get("self"), "config", None) for frame in owners if frame)
    return next((config for config in configs if type(config) is uvicorn.Config), None)


def is_loopback(host: str) -> bool:
    """Return whether the address is reachable from this machine only."""
    try:
        addresses = socket.getaddrinfo(host or "0.0.0.0", None)
    except OSError:
        return False
    return all(ipaddress.ip_address(str(address[4][0]).split("%")[0]).is_loopback for address in addresses)
