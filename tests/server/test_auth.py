"""Authentication of a real server, with tokens from a small but real OpenID Connect server."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fastapi import HTTPException
from monailabel.client import MONAILabelClient
from monailabel.client.client import MONAILabelClientException

from benchmarks.server_process import Server
from server.auth import is_loopback
from server.tokens import ALGORITHMS, PAUSE, SignInServer, check
from tests.server.issuer import AUDIENCE, PASSWORD, Issuer, new_key

Start = Callable[..., Server]
Tokens = Callable[[Issuer], str]
OPEN = {("/auth/", "get"), ("/auth/token", "post")}  # how to sign in, and signing in


def settings(issuer: Issuer, **others: str) -> dict[str, str]:
    """Return MONAI Label's settings, each different from its default."""
    chosen = {
        "ENABLE": "true",
        "REALM_URI": issuer.realm,
        "TIMEOUT": "60",
        "CLIENT_ID": AUDIENCE,
        "TOKEN_USERNAME": "login",
        "TOKEN_ROLES": "access#scan#roles",
        "ROLE_USER": "reader",
        "ROLE_ANNOTATOR": "painter",
        "ROLE_ADMIN": "boss",
    }
    return {f"MONAI_LABEL_AUTH_{name}": value for name, value in (chosen | others).items()}


class Site:
    """A server that requires tokens, and their issuer."""

    def __init__(self, server: Server, issuer: Issuer) -> None:
        self.url, self.server, self.issuer = server.url, server, issuer

    def ask(
        self, token: str | None, path: str = "/selection/status", method: str = "GET", **more: Any
    ) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        return requests.request(method, self.url + path, headers=headers, timeout=60, **more)

    def until(self, status: int, token: Callable[[], str]) -> requests.Response:
        """Repeat a request until it has this answer, for at most a minute."""
        end = time.monotonic() + 60
        while (answer := self.ask(token())).status_code != status and time.monotonic() < end:
            time.sleep(0.5)
        assert answer.status_code == status, answer.text
        return answer

    def handed_out(self) -> list[tuple[str, str]]:
        """Return client and image of every hand-out, oldest first."""
        ledger = self.ask(self.issuer.token(), "/selection/ledger").json()
        return [(e["details"]["client"], e["image"]) for e in ledger if e["event"] == "handout"]


@pytest.fixture(scope="module")
def site(phantoms: Path, start: Start, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Start a server while the issuer is down, also for the first token."""
    folder = tmp_path_factory.mktemp("auth")
    shutil.copytree(phantoms / "studies", folder / "studies")
    issuer = Issuer()
    server = start(folder / "studies", folder / "state", env=settings(issuer), host="0.0.0.0", prepared=True)
    down = Site(server, issuer).ask(issuer.token())
    assert down.status_code == 503 and "sign-in server" in down.json()["detail"], down.text
    assert issuer.realm in down.json()["detail"] and int(down.headers["Retry-After"]) > 0
    issuer.start()
    up = Site(server, issuer)
    up.until(200, issuer.token)
    yield up
    issuer.stop()


@pytest.mark.parametrize("kid", ["RS256", "ES256", "PS256", "EdDSA"])
def test_good_tokens_of_every_family_are_let_in(site: Site, kid: str) -> None:
    answer = site.ask(site.issuer.token(kid=kid))
    assert answer.status_code == 200 and answer.json()["images"] == 16


def part(content: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


def claims_of(token: str) -> dict[str, Any]:
    return dict(jwt.decode(token, options={"verify_signature": False}))


def with_public_key_as_secret(issuer: Issuer) -> str:
    """Make the classic algorithm-confusion token: signed with the public key as HMAC secret."""
    pem = issuer.keys["RS256"][1].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    text = f"{part({'alg': 'HS256', 'kid': 'RS256', 'typ': 'JWT'})}.{part(claims_of(issuer.token()))}"
    mac = hmac.new(pem, text.encode(), hashlib.sha256).digest()
    return f"{text}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def resigned(issuer: Issuer, key: Any, algorithm: str, headers: dict[str, Any]) -> str:
    return jwt.encode(claims_of(issuer.token()), key, algorithm=algorithm, headers=headers)


def promoted(issuer: Issuer) -> str:
    """Make a reader's token whose claims were changed after signing."""
    head, _, signature = issuer.token().split(".")
    return f"{head}.{part(claims_of(issuer.token(roles=['boss'])))}.{signature}"


REFUSED: dict[str, tuple[Tokens, str]] = {
    "garbage": (lambda i: "no-token", "not a readable token"),
    "empty": (lambda i: "", "not a readable token"),
    "three dots": (lambda i: "a.b.c", "not a readable token"),
    "unsigned": (lambda i: resigned(i, None, "none", {"kid": "RS256"}), "'none'"),
    "public key as secret": (with_public_key_as_secret, "'HS256'"),
    "no kid": (lambda i: resigned(i, i.keys["RS256"][1], "RS256", {}), "kid"),
    "unknown kid": (lambda i: resigned(i, new_key("RS256"), "RS256", {"kid": "other"}), "not one of"),
    "another key": (lambda i: resigned(i, new_key("RS256"), "RS256", {"kid": "RS256"}), "signature"),
    "changed": (promoted, "signature"),
    "the key's other algorithm": (
        lambda i: resigned(i, i.keys["RS256"][1], "RS512", {"kid": "RS256"}),
        "a different algorithm",
    ),
    "other issuer": (lambda i: i.token(iss="https://evil.example.org"), "issuer"),
    "no issuer": (lambda i: i.token(iss=None), "'iss'"),
    "other audience": (lambda i: i.token(aud=["account"]), AUDIENCE),
    "no audience": (lambda i: i.token(aud=None), "'aud'"),
    "expired": (lambda i: i.token(exp=int(time.time()) - 60), "expired"),
    "never expires": (lambda i: i.token(exp=None), "'exp'"),
    "not yet valid": (lambda i: i.token(nbf=int(time.time()) + 600), "not valid yet"),
    "no user": (lambda i: i.token(user=None), "'login'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_tokens_are_refused_in_plain_words(site: Site, case: str) -> None:
    make, word = REFUSED[case]
    answer = site.ask(make(site.issuer))
    assert answer.status_code == 401, answer.text
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert word in answer.json()["detail"]


def test_only_signatures_with_private_keys_are_accepted() -> None:
    assert all(name[:2] in ("RS", "ES", "PS", "Ed") for name in ALGORITHMS)


def test_clocks_may_differ_a_little(site: Site) -> None:
    ahead = int(time.time()) + 15
    assert site.ask(site.issuer.token(iat=ahead, nbf=ahead)).status_code == 200


def test_without_a_token_nothing_but_signing_in_is_open(site: Site) -> None:
    """List every route that the server describes, and those that it does not."""
    paths = requests.get(f"{site.url}/openapi.json", timeout=60).json()["paths"]
    routes = {(path, method) for path, methods in paths.items() for method in methods} - OPEN
    assert ("/selection/ledger", "get") in routes and len(routes) > 30
    hidden = {("/reload", "post"), ("/ohif/", "get"), ("/datastore/", "put"), ("/train/", "post")}
    for path, method in sorted(routes | hidden):
        answer = site.ask(None, path.replace("{", "").replace("}", ""), method)
        assert answer.status_code == 401, f"{method} {path}: {answer.status_code}"


@pytest.mark.parametrize(
    ("roles", "status", "path", "method"),
    [
        (["reader"], 200, "/selection/ledger", "GET"),
        ("reader", 200, "/selection/status", "GET"),  # one role, not in a list
        (["reader"], 200, "/info/", "GET"),
        ([], 403, "/selection/status", "GET"),
        (None, 403, "/selection/ledger", "GET"),
        ({"reader": True}, 403, "/selection/status", "GET"),
        (["painter", "boss"], 403, "/selection/status", "GET"),
        (["monailabel-user"], 403, "/selection/status", "GET"),  # the name that it has unless it is set
        (["reader"], 403, "/train/segmentation", "POST"),
        (["reader", "painter"], 403, "/model/segmentation", "DELETE"),
        (["boss"], 404, "/model/segmentation", "DELETE"),  # let in: there is no model yet
        (["reader", "painter"], 403, "/reload", "POST"),
    ],
)
def test_roles_decide(site: Site, roles: Any, status: int, path: str, method: str) -> None:
    answer = site.ask(site.issuer.token(roles=roles), path, method)
    assert answer.status_code == status, answer.text


def test_claims_that_are_no_roles_are_no_roles(site: Site) -> None:
    assert site.ask(site.issuer.token(access=["reader"])).status_code == 403


def test_new_keys_are_found_while_others_are_answered(site: Site) -> None:
    """While the fetch of the keys hangs, the server answers everyone else."""
    issuer = site.issuer
    issuer.add_key("new", "RS256")
    issuer.waiting.clear()
    issuer.hold.clear()
    with ThreadPoolExecutor() as pool:
        try:
            asked = pool.submit(site.until, 200, lambda: issuer.token(kid="new"))
            assert issuer.waiting.wait(60)
            assert requests.get(f"{site.url}/auth/", timeout=30).json()["enabled"]
            assert site.ask(issuer.token(kid="ES256")).status_code == 200
            assert not asked.done()
        finally:
            issuer.hold.set()
        assert asked.result().status_code == 200


def test_unknown_keys_do_not_make_the_server_ask_without_end(site: Site) -> None:
    before, begin = site.issuer.fetches, time.monotonic()
    for number in range(40):
        token = resigned(site.issuer, site.issuer.keys["RS256"][1], "RS256", {"kid": f"invented {number}"})
        assert site.ask(token).status_code == 401
    assert site.issuer.fetches - before <= 1 + (time.monotonic() - begin) / PAUSE


def test_two_browsers_and_two_slicers_behind_one_address_never_share_an_image(
    site: Site, tmp_path: Path
) -> None:
    """Who signed in counts, not the cookie of another's browser or the name that Slicer sends by itself."""
    users = ("ann", "bob", "cleo", "dora")
    tokens = {user: site.issuer.token(user, ["reader", "painter"]) for user in users}
    web = requests.Session()  # of one computer, at which ann and bob sign in one after the other
    assert web.get(f"{site.url}/selection/map", timeout=60).cookies

    def browser(user: str, path: str, method: str = "POST", **verbs: Any) -> requests.Response:
        sign = {"Authorization": f"Bearer {tokens[user]}"}
        return web.request(method, site.url + path, headers=sign, json=verbs, timeout=60)

    def ask(user: str, **verbs: Any) -> str:
        if user in users[:2]:
            return str(browser(user, "/activelearning/auto", **verbs).json()["id"])
        slicer = MONAILabelClient(site.url, tmpdir=str(tmp_path), client_id="user-xyz")
        slicer.update_auth({"token_type": "Bearer", "access_token": tokens[user]})
        return str(slicer.next_sample("auto", verbs)["id"])

    with ThreadPoolExecutor(4) as pool:
        held = dict(zip(users, pool.map(ask, users), strict=True))
    assert len(set(held.values())) == 4
    assert {user: ask(user, resume=True) for user in users} == held, "each gets the own one again"
    refused = browser("bob", f"/selection/lease/{held['ann']}", "DELETE")
    assert refused.status_code == 409 and "in the hands of ann" in refused.json()["detail"]
    for user in users:
        assert browser(user, "/selection/leases", "DELETE").json() == {"released": [held[user]]}


def test_signing_in_with_monai_labels_own_client(site: Site, tmp_path: Path) -> None:
    client = MONAILabelClient(site.url, tmpdir=str(tmp_path), client_id="mallory")
    assert client.auth_enabled() and not client.auth_valid_token()
    with pytest.raises(MONAILabelClientException, match=r"401.*Invalid user credentials"):
        client.auth_token("ada", "wrong")
    client.update_auth(client.auth_token("ada", PASSWORD))
    assert client.auth_valid_token()
    answer = client.next_sample("random", {})
    assert site.handed_out()[-1] == ("ada", answer["id"])


def test_each_hand_out_is_its_users_own(site: Site) -> None:
    """Many users act at once; the client named in a request is ignored."""

    def ask(user: str) -> tuple[str, str]:
        answer = site.ask(
            site.issuer.token(user), "/activelearning/random", "POST", json={"client_id": "mallory"}
        ).json()
        assert answer["selection"]["client"] == user
        return user, answer["id"]

    with ThreadPoolExecutor(4) as pool:
        asked = list(pool.map(ask, [f"user {number}" for number in range(12)]))
    assert len({image for _, image in asked}) == 12
    noted = site.handed_out()
    assert sorted(pair for pair in noted if pair[0].startswith("user")) == sorted(asked)
    assert "mallory" not in {client for client, _ in noted}


def test_a_label_is_its_users_own(site: Site, phantoms: Path, tmp_path: Path) -> None:
    """The user of the token counts, not the author named in the request."""
    client = MONAILabelClient(site.url, tmpdir=str(tmp_path), client_id="mallory")
    client.update_auth(
        {"token_type": "Bearer", "access_token": site.issuer.token("zoe", ["reader", "painter"])}
    )
    image = "phantom_000"
    client.save_label(image, str(next((phantoms / "labels").glob(f"{image}.*"))), params={"user": "mallory"})
    ledger = site.ask(site.issuer.token(), "/selection/ledger").json()
    saved = [entry for entry in ledger if entry["event"] == "label"]
    assert [(entry["image"], entry["details"]["client"]) for entry in saved] == [(image, "zoe")]


@pytest.mark.parametrize(
    "discovery",
    [
        (500, {}),
        (200, []),
        (200, {"issuer": "https://sign-in.example.org"}),
        (200, {"issuer": "https://sign-in.example.org", "jwks_uri": "file:///etc/passwd"}),
        (200, {"issuer": "https://sign-in.example.org", "jwks_uri": "{realm}/token"}),  # that has no keys
    ],
)
def test_a_sign_in_server_that_cannot_be_used_is_no_fault_of_the_token(discovery: tuple[int, Any]) -> None:
    issuer = Issuer()
    issuer.discovery = json.loads(json.dumps(discovery).replace("{realm}", issuer.realm))
    issuer.start()
    try:
        with pytest.raises(HTTPException) as error:
            check(issuer.token(), SignInServer(issuer.realm, 10))
    finally:
        issuer.stop()
    assert error.value.status_code == 503 and issuer.realm in error.value.detail


def test_authentication_for_no_application_stops_the_start(start: Start, tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    env = settings(Issuer(), CLIENT_ID="")
    with pytest.raises(RuntimeError, match="MONAI_LABEL_AUTH_CLIENT_ID is empty: set it"):
        start(tmp_path / "studies", tmp_path / "state", env=env)


def test_an_open_server_warns_once_and_one_with_authentication_does_not(
    site: Site, start: Start, tmp_path: Path
) -> None:
    (tmp_path / "studies").mkdir()
    server = start(tmp_path / "studies", tmp_path / "state", host="0.0.0.0")
    log = server.log.read_text()
    assert log.count("Anyone on the network can read the images") == 1
    assert "listens on 0.0.0.0 without authentication" in log and "--host 127.0.0.1" in log
    assert "Anyone on the network" not in site.server.log.read_text()


@pytest.mark.parametrize(
    ("host", "alone"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("localhost", True), ("::1", True)]
    + [("0.0.0.0", False), ("::", False), ("", False), ("192.0.2.7", False)],
)
def test_which_addresses_only_this_machine_reaches(host: str, alone: bool) -> None:
    assert is_loopback(host) == alone
