"""A small OpenID Connect server: discovery, keys, and tokens for a name and password."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

from benchmarks.server_process import free_port

AUDIENCE = "scans"
PASSWORD = "correct horse"


def new_key(algorithm: str) -> Any:
    """Make a private key for RS*, PS*, ES256 or EdDSA."""
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    if algorithm == "ES256":
        return ec.generate_private_key(ec.SECP256R1())
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class Issuer:
    """A server that listens after `start` and counts fetches of its keys; `hold` makes these wait."""

    def __init__(self) -> None:
        self.port = free_port()
        self.realm = f"http://127.0.0.1:{self.port}/realms/test"
        self.name = "https://sign-in.example.org/realms/test"  # behind a proxy it is not the realm's address
        self.keys: dict[str, tuple[str, Any]] = {}
        addresses = {"jwks_uri": f"{self.realm}/certs", "token_endpoint": f"{self.realm}/token"}
        self.discovery: tuple[int, Any] = (200, {"issuer": self.name, **addresses})
        self.fetches = 0
        self.hold = threading.Event()
        self.hold.set()  # nothing waits
        self.waiting = threading.Event()
        for algorithm in ("RS256", "ES256", "PS256", "EdDSA"):
            self.add_key(algorithm, algorithm)

    def add_key(self, kid: str, algorithm: str) -> None:
        """Add a key to the key set, for signing tokens from now on."""
        self.keys[kid] = (algorithm, new_key(algorithm))

    def token(
        self, user: str | None = "ada", roles: Any = ("reader",), kid: str = "RS256", **changes: Any
    ) -> str:
        """Make a valid token with `changes` to its claims; None removes a claim."""
        now = int(time.time())
        claims = {"iss": self.name, "aud": [AUDIENCE, "account"], "iat": now, "exp": now + 3600, "sub": "1"}
        claims |= {"login": user, "access": {"scan": {"roles": roles}}, **changes}
        claims = {name: value for name, value in claims.items() if value is not None}
        algorithm, key = self.keys[kid]
        return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": kid})

    def answer(self, path: str, form: dict[str, list[str]]) -> tuple[int, Any]:
        """Return status and JSON of a request to the realm."""
        if path.endswith("/.well-known/openid-configuration"):
            return self.discovery
        if path.endswith("/certs"):
            self.fetches += 1
            if not self.hold.is_set():
                self.waiting.set()
                self.hold.wait(120)
            return 200, {"keys": [self._jwk(kid) for kid in list(self.keys)]}
        if form.get("password") != [PASSWORD] or form.get("client_id") != [AUDIENCE]:
            return 401, {"error": "invalid_grant", "error_description": "Invalid user credentials"}
        return 200, {"access_token": self.token(form["username"][0]), "token_type": "Bearer"}

    def _jwk(self, kid: str) -> dict[str, Any]:
        algorithm, key = self.keys[kid]
        jwk = get_default_algorithms()[algorithm].to_jwk(key.public_key(), as_dict=True)
        return {**jwk, "kid": kid, "alg": algorithm, "use": "sig"}

    def start(self) -> None:
        """Start to listen; until then the port refuses connections."""
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                status, body = issuer.answer(self.path, parse_qs(self.rfile.read(size).decode()))
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            do_POST = do_GET

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Stop, so that the port refuses connections again."""
        self.hold.set()
        self._server.shutdown()
        self._server.server_close()
