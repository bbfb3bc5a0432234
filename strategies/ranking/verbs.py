"""Verbs of a request for the next image: resume, release, release_all, skip, unskip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bundle_configs.parameters import ANYTHING
from pool.database.handouts import Client, HandoutError
from pool.errors import PoolError
from pool.protocol import PoolStore
from strategies.context import Context
from strategies.identity import client_of, is_reviewer, plain_text

_OF_ONE = ("release", "skip", "unskip")  # with the image's id
VERBS = ("release_all", *_OF_ONE)
# parameters of a request for the next image, besides the client; values are checked where they are used
PARAMETERS = {name: ANYTHING for name in (*VERBS, "resume", "reason")}

AGAIN = {  # prefix of the reason when an image is handed out a second time
    "double click": "The same as a moment ago. ",
    "resumed": "Resumed: your oldest open image. ",
    "max_open": "You hold {} images, so you get your oldest open one again: label, release or skip one. ",
}


def apply_verbs(context: Context, store: PoolStore, request: Mapping[str, Any]) -> bool:
    """Apply the request's verbs before it is answered; return True if an image was released or skipped.

    Raises PoolError: 400 for a value that is not an image id, 404 for an unknown image, 409 for a verb
    that does not apply (the image is held by somebody else, not skipped, or skipped by somebody else).
    """
    client, handouts = client_of(request), context.state.handouts
    reason = plain_text(request.get("reason") or "")
    own, done = not is_reviewer.get(), _release_all(context, client, request.get("release_all", False))
    for verb in _OF_ONE:
        image = request.get(verb)
        if image is None:
            continue
        _check_image(store, verb, image)
        try:
            if verb == "release":
                handouts.release(image, client)
            elif verb == "skip":
                handouts.skip(image, client, reason, own)
            else:
                handouts.unskip(image, client, own)
        except HandoutError as error:
            raise PoolError(409, str(error)) from error
        done = done or verb != "unskip"
    return done


def _release_all(context: Context, client: Client, asked: Any) -> bool:
    """Give back all images of the client, if the request says so. Raises PoolError 400, 409."""
    if not isinstance(asked, bool):
        raise PoolError(400, f"release_all {asked!r}: expected true or false")
    try:
        return asked and bool(context.state.handouts.release_all(client))
    except HandoutError as error:
        raise PoolError(409, str(error)) from error


def _check_image(store: PoolStore, verb: str, image: Any) -> None:
    if not isinstance(image, str):
        raise PoolError(400, f"{verb} {image!r}: expected an image id, the 'id' of an answer")
    if not store.has_image(image):
        raise PoolError(404, f"{verb}: there is no image {image!r} in this pool")


def asks_to_resume(request: Mapping[str, Any], client: Client) -> bool:
    """Return True if the client asks for its oldest open image. Raises PoolError 400 if invalid."""
    resume = request.get("resume", False)
    if not isinstance(resume, bool):
        raise PoolError(400, f"resume {resume!r}: expected true or false")
    if resume and not client.named:
        raise PoolError(400, "resume needs to know the client: send a client_id as well")
    return resume
