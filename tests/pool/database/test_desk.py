"""Records of the desk: drafts that survive kills, readers told apart, leases renewed, predictions known."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from pool.database import drafts, predictions, schema
from pool.database.handouts import Client, HandoutError, LeasePolicy
from pool.database.state import State
from pool.errors import PoolError

ANN, BOB = Client("ann"), Client("bob")
POLICY = LeasePolicy(lease_seconds=600)


@pytest.fixture
def state(tmp_path: Path, database: str) -> State:
    return State(tmp_path / "state", migrate=True, url=database)


def files(state: State) -> list[Path]:
    return sorted((state.folder / "drafts").iterdir())


def test_a_client_has_one_draft_of_each_image(state: State) -> None:
    state.drafts.save("ann", "a", b"one", {"seconds": 1})
    state.drafts.save("ann", "a", b"two", {"seconds": 2})
    state.drafts.save("bob", "a", b"three", {})
    found = state.drafts.get("ann", "a")
    assert found is not None and (found.content, found.details) == (b"two", {"seconds": 2})
    assert len(files(state)) == 2 and state.drafts.images_of("ann") == ["a"]
    assert state.drafts.remove("ann", "a") and not state.drafts.remove("ann", "a")
    assert state.drafts.get("ann", "a") is None and state.drafts.get("bob", "a") is not None
    assert len(files(state)) == 1


def test_drafts_are_bounded_in_size_and_number(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drafts, "MAX_OF_CLIENT", 3)
    monkeypatch.setattr(drafts, "MAX_BYTES", 40)
    monkeypatch.setattr(drafts, "MAX_DRAFT", 20)
    for image in "abcd":
        state.drafts.save("ann", image, b"x" * 10, {})
    assert state.drafts.images_of("ann") == ["d", "c", "b"] and len(files(state)) == 3
    with pytest.raises(PoolError, match="submit") as refused:
        state.drafts.save("ann", "e", b"x" * 21, {})
    assert refused.value.status == 413
    state.drafts.save("bob", "a", b"x" * 10, {})
    with pytest.raises(PoolError, match="fill their room") as full:
        state.drafts.save("bob", "b", b"x", {})
    assert full.value.status == 507 and len(files(state)) == 4, "nothing is left of it"


def test_a_draft_that_a_kill_interrupted_leaves_the_one_before(state: State) -> None:
    state.drafts.save("ann", "a", b"one", {})
    orphan = state.folder / "drafts" / f"{'0' * 32}.draft"
    orphan.write_bytes(b"two")  # written, but its row was not
    state.drafts.clean()
    assert orphan.exists(), "it may belong to a save that is under way"
    old = time.time() - 7200
    for path in files(state):
        os.utime(path, (old, old))
    state.drafts.clean()
    found = state.drafts.get("ann", "a")
    assert not orphan.exists() and found is not None and found.content == b"one"
    files(state)[0].unlink()  # a backup has no drafts
    state.drafts.clean()
    assert state.drafts.images_of("ann") == []


def test_a_draft_that_cannot_be_written_says_so(state: State) -> None:
    (state.folder / "drafts").write_text("in the way")
    with pytest.raises(PoolError, match="draft for a") as refused:
        state.drafts.save("ann", "a", b"one", {})
    assert refused.value.status == 507


def test_readers_are_told_apart_by_their_cookie_alone(state: State) -> None:
    one, two = state.readers.of("x" * 32), state.readers.of("y" * 32)
    assert one != two and one == state.readers.of("x" * 32) and one.shown == f"browser {one.tag}"
    assert state.readers.rename("x" * 32, "Ann").shown == state.readers.of("x" * 32).shown == "Ann"
    assert state.readers.rename("z" * 32, "Ann").tag != one.tag, "one name at two computers"
    with state.ledger._db.engine.connect() as connection:
        tokens = connection.execute(sa.select(schema.readers.c.token)).scalars().all()
    assert not {"x" * 32, "y" * 32} & set(tokens), "the cookie itself is not kept"


def test_browsers_with_the_same_first_digits_have_other_tags(state: State) -> None:
    seen: dict[str, str] = {}
    for number in range(10_000):
        token = f"{number:032d}"
        start = hashlib.sha256(token.encode()).hexdigest()[:4]
        if other := seen.get(start):
            break
        seen[start] = token
    assert other
    assert state.readers.of(other).tag == start and state.readers.of(token).tag[:4] == start
    assert state.readers.of(token).tag != start


def test_a_lease_is_renewed_by_its_holder_alone(state: State) -> None:
    state.handouts.give(ANN, "p", ["a"], lambda i: True, lambda i: {}, LeasePolicy(lease_seconds=5))
    assert 599 < state.handouts.renew("a", ANN, POLICY) <= 600
    assert state.handouts.renew("a", ANN, LeasePolicy(lease_seconds=5)) > 590, "it is never made shorter"
    with pytest.raises(HandoutError, match="hands of ann"):
        state.handouts.renew("a", BOB, POLICY)
    with pytest.raises(HandoutError, match="hands of ann"):
        state.handouts.take("a", BOB, "chosen", POLICY)
    state.handouts.release("a", ANN)
    with pytest.raises(HandoutError, match="has ended"):
        state.handouts.renew("a", ANN, POLICY)
    assert state.handouts.take("a", BOB, "chosen", POLICY) > 590
    assert state.handouts.take("a", BOB, "chosen", POLICY) > 590
    assert [lease.client for lease in state.handouts.open()] == ["bob"]
    state.handouts.skip("b", ANN, "blurred")
    with pytest.raises(HandoutError, match="skipped"):
        state.handouts.take("b", ANN, "chosen", POLICY)


def test_a_browser_gets_its_own_image_again(state: State) -> None:
    browser = Client("browser 3f2a", resumes=True)
    given = [
        state.handouts.give(browser, "p", ["a", "b"], lambda i: True, lambda i: {}, POLICY, moved_on=True)
        for _ in range(3)
    ]
    assert [one and one.image for one in given] == ["a", "a", "a"]


def test_predictions_are_remembered_by_image(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictions, "_MAX_PER_IMAGE", 3)
    for number in (0, 1, 2, 3, 3):
        state.predictions.add("a", f"d{number}", "segmentation")
    assert state.predictions.has("a", "d3") and not state.predictions.has("a", "d0")
    assert not state.predictions.has("b", "d3")
