"""Validation of tokens from an OpenID Connect server, with its public keys.

The server's addresses come from OpenID Connect Discovery 1.0 (`<realm>/.well-known/openid-configuration`),
its keys are a JSON Web Key Set (RFC 7517). Only asymmetric signatures are accepted, as RFC 8725 advises: a
public key can never pass for a shared secret, and unsigned tokens are refused.
"""

from __future__ import annotations

import logging
import time
from typing import Any

import jwt
import requests
from fastapi import HTTPException
from monailabel.config import settings
from monailabel.endpoints.user.auth import User

logger = logging.getLogger(__name__)
ALGORITHMS = ["RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "EdDSA"]
PAUSE = 5.0  # minimum seconds between two fetches caused by unknown keys or a failing server
_KEY_LIFETIME = 300.0  # seconds until keys are fetched again
_LEEWAY = 30.0  # seconds by which the clocks of the two servers may differ


class SignInServerDown(Exception):
    """Raised when discovery or the keys cannot be fetched or do not follow the standard."""


class SignInServer(jwt.PyJWKClient):
    """An OpenID Connect server: its name, addresses and public keys, fetched on demand.

    A token with an unknown key causes another fetch, so that new keys are found, but at most every `PAUSE`
    seconds, so that nobody can cause requests without end.

    :param realm: address to which `/.well-known/openid-configuration` is appended
    :param timeout: seconds per request
    """

    def __init__(self, realm: str, timeout: float) -> None:
        self.realm = realm.rstrip("/")
        self.discovery: dict[str, Any] = {}
        self._not_before = 0.0  # monotonic seconds; set by a failed fetch
        super().__init__(
            f"{self.realm}/.well-known/openid-configuration",
            lifespan=_KEY_LIFETIME,
            timeout=timeout,
            cooldown_duration=PAUSE,
        )

    def fetch_data(self) -> Any:
        """Run discovery, then fetch the keys it names. Raises SignInServerDown."""
        if time.monotonic() < self._not_before:
            raise SignInServerDown(f"{self.realm} failed less than {PAUSE:.0f} seconds ago")
        try:
            self.discovery = self._discover()
            self.uri = self.discovery["jwks_uri"]
            return super().fetch_data()
        except (OSError, ValueError, jwt.PyJWTError) as error:  # OSError includes all errors of requests
            self._not_before = time.monotonic() + PAUSE
            logger.warning("The sign-in server %s cannot be used: %s", self.realm, error)
            raise SignInServerDown(str(error)) from error

    def _discover(self) -> dict[str, Any]:
        answer = requests.get(f"{self.realm}/.well-known/openid-configuration", timeout=self.timeout)
        answer.raise_for_status()
        config = answer.json()
        for name in ("issuer", "jwks_uri"):
            if not isinstance(config, dict) or not isinstance(config.get(name), str):
                raise ValueError(f"its openid-configuration has no {name}")
        if not config["jwks_uri"].startswith(("http://", "https://")):
            raise ValueError(f"its jwks_uri {config['jwks_uri']!r} is not a web address")
        return dict(config)

    def find(self, kid: str) -> jwt.PyJWK | None:
        """Return the key with this id, or None. Raises SignInServerDown."""
        try:
            return self.match_kid(self.get_signing_keys(), kid) or self.get_signing_key(kid)
        except jwt.PyJWKClientError:
            return None


def down(server: SignInServer) -> HTTPException:
    """Return the error for a sign-in server that is down (503): no token can be checked."""
    return HTTPException(
        503,
        f"the sign-in server {server.realm} does not answer as it should, so no token can be checked; "
        "try again when it is up (this server's log has the reason)",
        headers={"Retry-After": f"{PAUSE:.0f}"},
    )


def refused(why: str) -> HTTPException:
    """Return the error for a refused token (401)."""
    return HTTPException(401, why, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})


def check(token: str, server: SignInServer) -> User:
    """Return the user of a token. Blocks while keys are fetched. Raises HTTPException 401, 503."""
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError:
        raise refused("this is not a readable token (JWT); sign in again") from None
    if header.get("alg") not in ALGORITHMS:
        raise refused(f"the token is signed with {header.get('alg')!r}; accepted are {', '.join(ALGORITHMS)}")
    if not header.get("kid"):
        raise refused("the token does not name the key that signed it (kid)")
    try:
        key = server.find(header["kid"])
    except SignInServerDown:
        raise down(server) from None
    if key is None:
        raise refused(f"the token's key is not one of the sign-in server {server.realm}")
    try:
        claims = jwt.decode(
            token,
            key,
            algorithms=ALGORITHMS,
            audience=settings.MONAI_LABEL_AUTH_CLIENT_ID,
            issuer=server.discovery["issuer"],
            leeway=_LEEWAY,
            options={"require": ["exp", "iss", "aud"]},
        )
    except jwt.PyJWTError as error:
        raise refused(_reason(error, server)) from None
    return _user(claims)


def _reason(error: jwt.PyJWTError, server: SignInServer) -> str:
    """Explain why a token is refused, for the person who sent it."""
    match error:
        case jwt.ExpiredSignatureError():
            return "the token has expired: sign in again"
        case jwt.ImmatureSignatureError():
            return "the token is not valid yet: are the clocks of this and the sign-in server right?"
        case jwt.InvalidAudienceError():
            return (
                f"the token was made for another application: its audience (aud) does not name "
                f"{settings.MONAI_LABEL_AUTH_CLIENT_ID!r} (MONAI_LABEL_AUTH_CLIENT_ID)"
            )
        case jwt.InvalidIssuerError():
            return f"the token's issuer (iss) is not {server.discovery['issuer']!r}"
        case jwt.MissingRequiredClaimError():
            return f"the token has no {error.claim!r}"
        case jwt.InvalidAlgorithmError():
            return "the token is signed with a different algorithm than its key is for"
        case jwt.InvalidSignatureError():
            return "the token's signature is wrong: it was changed, or another key signed it"
    return f"the token is not valid: {error}"


def _user(claims: dict[str, Any]) -> User:
    """Read name, mail and roles from the claims named in MONAI Label's settings. Raises HTTPException 401."""
    username = claims.get(settings.MONAI_LABEL_AUTH_TOKEN_USERNAME)
    if not isinstance(username, str) or not username:
        raise refused(
            f"the token has no {settings.MONAI_LABEL_AUTH_TOKEN_USERNAME!r}, which names the user "
            "(MONAI_LABEL_AUTH_TOKEN_USERNAME)"
        )
    texts = {
        "email": claims.get(settings.MONAI_LABEL_AUTH_TOKEN_EMAIL),
        "name": claims.get(settings.MONAI_LABEL_AUTH_TOKEN_NAME),
    }
    texts = {field: value for field, value in texts.items() if isinstance(value, str)}
    return User(username=username, roles=_roles(claims), **texts)


def _roles(claims: dict[str, Any]) -> list[str]:
    """Return the roles at MONAI_LABEL_AUTH_TOKEN_ROLES, where '#' descends one level; [] if missing."""
    value: Any = claims
    for name in settings.MONAI_LABEL_AUTH_TOKEN_ROLES.split("#"):
        value = value.get(name) if isinstance(value, dict) else None
    if isinstance(value, str):
        return [value]
    return [role for role in value if isinstance(role, str)] if isinstance(value, list) else []
