"""Resume, release, skip and unskip in the request for the next image."""

from __future__ import annotations

from typing import Any

import pytest

from pool.errors import PoolError
from strategies.identity import current_user


def refusal(world: Any, **request: Any) -> PoolError:
    with pytest.raises(PoolError) as caught:
        world.ask(**request)
    return caught.value


def test_an_answer_says_whose_it_is_and_for_how_long(world: Any) -> None:
    world.prepare()
    block = world.ask(client_id="ann")["selection"]
    assert block["client"] == "ann" and 3590 < block["expires_in"] <= 3600 and block["again"] is None


def test_the_same_client_gets_its_image_again_with_its_rank(world: Any) -> None:
    world.prepare()
    first, again = world.ask(client_id="ann"), world.ask(client_id="ann")
    assert again["id"] == first["id"] and again["selection"]["again"] == "double click"
    assert again["selection"]["rank"] == 1 and again["selection"]["reason"].startswith("The same as a moment")
    assert world.ask(client_id="bob")["id"] == world.cold[1]
    assert world.ask(client_id="ann", resume=True)["selection"]["again"] == "resumed"


def test_skip_gives_the_next_one_and_is_for_everyone(world: Any) -> None:
    world.prepare()
    first = world.ask(client_id="ann")["id"]
    assert world.ask(client_id="ann", skip=first, reason="blurred")["id"] == world.cold[1]
    assert world.ask(client_id="bob")["id"] == world.cold[2]
    assert world.context.state.handouts.skipped() == {first: "blurred"}
    assert world.ask(client_id="eve", unskip=first)["id"] == first, "again the best of the plan"


def test_release_frees_the_image_for_others(world: Any) -> None:
    world.prepare()
    first = world.ask(client_id="ann")["id"]
    second = world.ask(client_id="bob")["id"]
    assert world.ask(client_id="ann", release=first)["id"] == first, "still the best"
    assert world.ask(client_id="eve")["id"] not in (first, second)


def test_cold_start_goes_on_beyond_its_plan_when_picks_are_skipped(world: Any) -> None:
    world.prepare()
    for image in list(world.cold):
        answer = world.ask(skip=image)
    assert answer["selection"]["stage"] == "cold_start" and answer["selection"]["role"] == "farthest"
    assert answer["id"] not in world.cold


def test_a_pool_of_which_the_rest_is_skipped_is_done(world: Any) -> None:
    world.prepare()
    world.label(*world.images[1:])
    assert world.ask(skip=world.images[0]) == {}
    assert world.stage == "done"
    assert world.ask(unskip=world.images[0])["id"] == world.images[0]


def test_one_who_holds_the_last_image_gets_it_back(world: Any) -> None:
    world.prepare()
    world.label(*world.images[1:])
    last = world.ask(client_id="ann")["id"]
    assert refusal(world, client_id="bob").status == 409
    assert world.ask(client_id="ann", resume=True)["id"] == last


def test_the_authenticated_user_counts_whatever_the_request_says(world: Any) -> None:
    world.prepare()
    token = current_user.set("dr-lee")
    try:
        assert world.ask(client_id="ann")["selection"]["client"] == "dr-lee"
    finally:
        current_user.reset(token)
    assert world.ask()["selection"]["client"] == "anonymous"


@pytest.mark.parametrize(
    ("request_", "code", "says"),
    [
        ({"skip": "nobody"}, 404, "no image 'nobody'"),
        ({"release": 7}, 400, "expected an image id"),
        ({"release": "i00"}, 409, "not in the hands of anonymous"),
        ({"unskip": "i00"}, 409, "not skipped"),
        ({"resume": "yes", "client_id": "ann"}, 400, "true or false"),
        ({"resume": True}, 400, "send a client_id"),
    ],
)
def test_what_cannot_be_done_is_refused_and_hands_out_nothing(
    world: Any, request_: dict[str, Any], code: int, says: str
) -> None:
    world.prepare()
    error = refusal(world, **request_)
    assert error.status == code and says in error.text
    assert world.context.state.handouts.open() == []


def test_somebody_elses_image_is_neither_skipped_nor_released(world: Any) -> None:
    world.prepare()
    image = world.ask(client_id="ann")["id"]
    for verb in ("skip", "release"):
        assert "in the hands of ann" in refusal(world, client_id="bob", **{verb: image}).text


def test_an_image_that_cannot_be_fetched_is_given_to_nobody(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(image: str) -> str:
        raise PoolError(503, "the DICOM server does not answer")

    world.prepare()
    with monkeypatch.context() as broken:
        broken.setattr(world.store, "get_image_uri", down)
        for _ in range(len(world.images)):
            assert refusal(world).status == 503
    assert world.context.state.handouts.open() == [] and world.ask()["id"] == world.cold[0]


def test_half_characters_and_nul_in_a_name_do_no_harm(world: Any) -> None:
    world.prepare()
    answer = world.ask(client_id="an\x00n\ud800", skip=world.cold[0], reason="b\ud800d\x00")
    assert answer["selection"]["client"] == "ann?" and answer["id"] == world.cold[1]
    assert world.context.state.handouts.skipped() == {world.cold[0]: "b?d"}
