"""Leases: nobody gets an image another holds, clients get their own back, and the pool has its own clock."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pool.database.handouts import Client, Handout, HandoutError, LeasePolicy
from pool.database.state import State

IMAGES = [f"i{n:02d}" for n in range(12)]
ANN, BOB, NOBODY = Client("ann"), Client("bob"), Client("anonymous", named=False)
POLICY = LeasePolicy(lease_seconds=600, max_open=3)
LATER = 10.0  # more than a double click


class Desk:
    """Hand-outs of one pool, with a clock that tests advance."""

    def __init__(self, folder: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder, self._url, self._passed, self.labelled = folder, url, 0.0, set[str]()
        monotonic = time.monotonic
        monkeypatch.setattr(time, "monotonic", lambda: monotonic() + self._passed)
        self.state = State(folder, migrate=True, url=url)

    def wait(self, seconds: float = LATER) -> None:
        self._passed += seconds

    def restart(self) -> None:
        self.state = State(self._folder, migrate=True, url=self._url)

    def ask(self, client: Client, images: Iterable[str] = IMAGES, **more: Any) -> Handout | None:
        return self.state.handouts.give(
            client, "plan", images, self.is_open, lambda i: {"said": i}, POLICY, **more
        )

    def is_open(self, image: str) -> bool:
        return image not in self.labelled

    def image(self, client: Client, **more: Any) -> str:
        given = self.ask(client, **more)
        assert given is not None
        return given.image

    def label(self, image: str) -> None:
        self.labelled.add(image)
        self.state.handouts.labelled(image, "ann", {})

    @property
    def outcomes(self) -> list[tuple[str, str]]:
        ended = (e for e in self.state.ledger.entries() if e["event"] == "handout_ended")
        return [(e["image"], e["details"]["outcome"]) for e in ended]


@pytest.fixture
def desk(tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(tmp_path, database, monkeypatch)


def test_everybody_gets_another_image(desk: Desk) -> None:
    given = [desk.image(client) for client in (ANN, BOB, NOBODY, NOBODY, Client("eve"))]
    assert given == IMAGES[:5]


def test_double_click_gives_the_same_image_with_the_same_words(desk: Desk) -> None:
    first, second = desk.ask(ANN), desk.ask(ANN)
    assert first is not None and second is not None
    assert (second.image, second.selection, second.again) == (first.image, {"said": "i00"}, "double click")
    assert len(desk.state.handouts.open()) == 1
    desk.wait()
    assert desk.image(ANN) == "i01", "later, ann moves on; her first one stays open"
    assert [lease.image for lease in desk.state.handouts.open()] == ["i00", "i01"]


def test_unnamed_clients_never_share_an_image_within_a_lease(desk: Desk) -> None:
    assert [desk.image(NOBODY) for _ in IMAGES] == IMAGES
    assert desk.ask(NOBODY) is None
    desk.wait(601)
    assert desk.image(NOBODY) == "i00"


def test_resume_gives_the_oldest_open_one(desk: Desk) -> None:
    assert desk.image(ANN, resume=True) == "i00", "nothing to resume: a new one"
    desk.wait()
    desk.image(ANN)
    again = desk.ask(ANN, resume=True)
    assert again is not None and (again.image, again.again) == ("i00", "resumed")
    assert desk.image(BOB, resume=True) == "i02", "never somebody else's"


def test_at_max_open_the_oldest_is_given_again(desk: Desk) -> None:
    for expected in ("i00", "i01", "i02"):
        assert desk.image(ANN) == expected
        desk.wait()
    again = desk.ask(ANN)
    assert again is not None and (again.image, again.again) == ("i00", "max_open")
    desk.label("i00")
    assert desk.image(ANN) == "i03"


def test_a_label_ends_the_lease_whoever_saved_it(desk: Desk) -> None:
    desk.image(BOB)
    desk.label("i00")  # by ann
    assert desk.state.handouts.open() == [] and desk.outcomes == [("i00", "labelled")]
    assert desk.image(BOB) == "i01", "no double click: bob's image is done"


def test_a_label_that_nobody_noticed_ends_the_lease_too(desk: Desk) -> None:
    desk.image(ANN)
    desk.labelled.add("i00")  # the server died between the label and its note
    assert desk.image(ANN) == "i01" and desk.outcomes == [("i00", "closed")]


def test_release_and_skip(desk: Desk) -> None:
    desk.image(ANN), desk.image(BOB)
    handouts = desk.state.handouts
    handouts.release("i00", ANN)
    assert desk.image(NOBODY) == "i00"
    handouts.skip("i01", BOB, "blurred")
    handouts.skip("i07", BOB, "")
    assert handouts.skipped() == {"i01": "blurred", "i07": ""}
    assert [desk.image(NOBODY) for _ in range(6)] == ["i02", "i03", "i04", "i05", "i06", "i08"]
    handouts.unskip("i01", ANN)
    assert desk.image(NOBODY) == "i01"
    assert desk.outcomes == [("i00", "released"), ("i01", "skipped")]
    events = [entry["event"] for entry in desk.state.ledger.entries()]
    assert (events.count("skip"), events.count("unskip"), events.count("handout")) == (2, 1, 10)


def test_one_without_a_name_ends_and_takes_nobodys_lease(desk: Desk) -> None:
    """Another who gave no name may hold it: only time or a label ends such a lease."""
    handouts = desk.state.handouts
    assert [desk.image(NOBODY), desk.image(ANN)] == ["i00", "i01"]
    for refused in (
        lambda: handouts.release("i00", NOBODY),
        lambda: handouts.release("i00", BOB),
        lambda: handouts.release("i01", NOBODY),
        lambda: handouts.take("i00", NOBODY, "chosen", POLICY),
        lambda: handouts.release_all(NOBODY),
    ):
        with pytest.raises(HandoutError, match="without a name|in the hands of|nobody knows"):
            refused()
    handouts.skip("i00", NOBODY, "blurred")
    assert [lease.image for lease in handouts.open()] == ["i00", "i01"], "whoever draws it may go on"
    assert desk.image(NOBODY) == "i02" and handouts.skipped() == {"i00": "blurred"}
    assert handouts.take("i03", NOBODY, "chosen", POLICY) > 590, "a free one"
    assert handouts.renew("i00", NOBODY, POLICY) > 590, "work goes on, whosever it is"


def test_what_another_holds_can_be_neither_released_nor_skipped(desk: Desk) -> None:
    desk.image(ANN)
    before = desk.state.ledger.entries()
    for refused, says in (
        (lambda: desk.state.handouts.release("i00", BOB), "in the hands of ann"),
        (lambda: desk.state.handouts.skip("i00", BOB, "x"), "in the hands of ann"),
        (lambda: desk.state.handouts.release("i05", BOB), "not in the hands of bob"),
        (lambda: desk.state.handouts.unskip("i05", BOB), "not skipped"),
    ):
        with pytest.raises(HandoutError, match=says):
            refused()
    assert desk.state.ledger.entries() == before and desk.state.handouts.skipped() == {}


def test_many_are_skipped_and_taken_back_together_or_not_at_all(desk: Desk) -> None:
    handouts = desk.state.handouts
    own, other = desk.image(ANN), desk.image(BOB)
    with pytest.raises(HandoutError, match=f"{other} is in the hands of bob"):
        handouts.skip_all(IMAGES, ANN, "rotated")
    assert handouts.skipped() == {} and len(handouts.open()) == 2
    rest = [image for image in IMAGES if image != other]
    handouts.skip_all(rest, ANN, "rotated")
    handouts.skip_all(rest[:2], ANN, "twice")
    assert handouts.skipped() == dict.fromkeys(rest, "rotated") | dict.fromkeys(rest[:2], "twice")
    assert desk.outcomes == [(own, "skipped")]
    assert handouts.unskip_all([*rest[1:], other, "nobody"], ANN) == rest[1:]
    assert handouts.unskip_all([other], ANN) == [] and list(handouts.skipped()) == rest[:1]
    events = [entry["image"] for entry in desk.state.ledger.entries() if entry["event"] == "unskip"]
    assert events == rest[1:]


def test_own_skips_only(desk: Desk) -> None:
    handouts = desk.state.handouts
    handouts.skip("i03", BOB, "no chest")
    handouts.skip("i04", ANN, "mine", own=True)
    handouts.skip_all(["i03", "i05"], ANN, "took it over?", own=True)
    assert handouts.skipped() == {"i03": "no chest", "i04": "mine", "i05": "took it over?"}
    with pytest.raises(HandoutError, match="i03 was skipped by bob; a reviewer can undo it"):
        handouts.unskip_all(["i04", "i03"], ANN, own=True)
    assert len(handouts.skipped()) == 3, "all or none"
    assert handouts.unskip_all(["i04", "i05"], ANN, own=True) == ["i04", "i05"]
    handouts.skip("i03", ANN, "of a reviewer")
    handouts.unskip("i03", ANN, own=True)
    assert handouts.skipped() == {}


def test_a_lease_runs_out(desk: Desk) -> None:
    desk.image(ANN)
    desk.wait(599)
    assert desk.image(BOB) == "i01"
    desk.wait(2)
    assert [lease.client for lease in desk.state.handouts.open()] == ["bob"]
    assert desk.image(Client("eve")) == "i00" and desk.outcomes == [("i00", "expired")]


def test_a_lease_that_ran_out_stands_in_nobodys_way(desk: Desk) -> None:
    desk.image(ANN)
    desk.wait(601)
    desk.state.handouts.skip("i00", BOB, "blurred")
    assert desk.state.handouts.skipped() == {"i00": "blurred"} and desk.outcomes == [("i00", "expired")]


def test_a_server_that_does_not_know_of_a_label_yet_gives_the_image_to_nobody(desk: Desk) -> None:
    desk.image(ANN)
    desk.state.handouts.labelled("i00", "ann", {})  # through another server: here it still looks unlabelled
    terms = LeasePolicy(settle_seconds=120)
    given = desk.state.handouts.give(BOB, "plan", IMAGES, desk.is_open, lambda i: {}, terms)
    assert given is not None and given.image == "i01"
    desk.wait(121)
    given = desk.state.handouts.give(Client("eve"), "plan", IMAGES, desk.is_open, lambda i: {}, terms)
    assert given is not None and given.image == "i00", "the label was removed"


@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0])
def test_a_wall_clock_that_jumps_changes_no_lease(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    desk.image(ANN)
    wall = time.time
    monkeypatch.setattr(time, "time", lambda: wall() + jump)
    assert desk.image(BOB) == "i01"
    desk.wait(601)
    assert desk.image(Client("eve")) == "i00", "after its 600 seconds, neither sooner nor later"


def test_a_wall_clock_set_back_while_the_server_was_down_shortens_no_lease(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall = time.time
    desk.image(ANN)
    monkeypatch.setattr(time, "time", lambda: wall() - 86_400.0)
    desk.restart()
    desk.image(BOB)
    assert [lease.client for lease in desk.state.handouts.open()] == ["ann", "bob"]
    desk.wait(599)
    assert desk.image(Client("eve")) == "i02"
    desk.wait(2)
    assert desk.image(Client("kim")) == "i00"


def test_images_that_cannot_be_read_are_not_given(desk: Desk) -> None:
    desk.state.failures.add("i00", "1", "damaged")
    assert desk.image(ANN) == "i01"


def test_candidates_are_looked_at_only_as_far_as_needed(desk: Desk) -> None:
    seen = []

    def endless() -> Iterable[str]:
        for n in range(10**9):
            seen.append(n)
            yield f"i{n}"

    assert desk.image(ANN, images=endless()) == "i0" and len(seen) < 100


def test_processes_that_ask_at_once_never_get_the_same_image(tmp_path: Path, database: str) -> None:
    state, workers = State(tmp_path, migrate=True, url=database), 4
    images = [f"i{n:02d}" for n in range(40)]
    script = (
        "import sys; from pathlib import Path; "
        "from pool.database.state import State\n"
        "from pool.database.handouts import Client, LeasePolicy\n"
        "state, images = State(Path(sys.argv[1]), url=sys.argv[3]), sys.argv[2].split(',')\n"
        "input()\n"
        "for _ in range(10):\n"
        "    client = Client('anonymous', named=False)\n"
        "    one = state.handouts.give(client, 'p', images, lambda i: True, lambda i: {}, LeasePolicy())\n"
        "    print(one.image)\n"
    )
    command = [sys.executable, "-c", script, str(state.folder), ",".join(images), database]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    running = [subprocess.Popen(command, **pipes) for _ in range(workers)]  # type: ignore[call-overload]
    for process in running:  # all are let go together
        process.stdin.write("\n")
        process.stdin.flush()
    given = [process.communicate(timeout=60)[0].split() for process in running]
    assert [process.returncode for process in running] == [0] * workers
    assert Counter(image for part in given for image in part) == Counter(images)
    for part in given:
        assert part == sorted(part), "best first for each process"


def test_the_wait_does_not_grow_with_the_history(tmp_path: Path) -> None:
    """No statement of a click scans the history of hand-outs, according to SQLite's query plan."""
    state, asked = State(tmp_path, migrate=True), list[tuple[str, Any]]()
    engine = state.handouts._db.engine
    sa.event.listen(
        engine, "before_cursor_execute", lambda c, cursor, text, values, *_: asked.append((text, values))
    )
    state.handouts.give(ANN, "plan", IMAGES, lambda i: True, lambda i: {}, LeasePolicy(600, 3))
    state.handouts.release(IMAGES[0], ANN)
    state.handouts.open()
    looks = [(text, values) for text, values in asked if text.startswith("SELECT") and "handouts" in text]
    with sqlite3.connect(tmp_path / "pool.db") as database:
        steps = [
            row[3] for text, values in looks for row in database.execute(f"EXPLAIN QUERY PLAN {text}", values)
        ]
    assert len(looks) >= 4 and any("USING INDEX one_open_handout" in step for step in steps)
    assert not [step for step in steps if "handouts" in step and "INDEX" not in step]


def test_work_on_an_image_renews_the_lease_of_its_holder_only(desk: Desk) -> None:
    def left() -> float:
        (lease,) = desk.state.handouts.open()
        return lease.expires - desk.state.handouts.now()

    image, handouts = desk.image(ANN), desk.state.handouts
    before = handouts.open()
    handouts.touch(image, ANN, POLICY)
    assert handouts.open() == before, "a fresh lease is not written anew"
    desk.wait(300)
    for client, at in ((BOB, image), (NOBODY, image), (ANN, "i11")):
        handouts.touch(at, client, POLICY)
        assert left() < 301
    handouts.touch(image, ANN, POLICY)
    assert left() > 590
    desk.wait(700)
    handouts.touch(image, ANN, POLICY)
    assert not handouts.open(), "a lease that has ended stays ended"
