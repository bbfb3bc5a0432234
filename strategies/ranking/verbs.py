"""What a request for the next image may ask besides: resume, release, skip, unskip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bundle_configs.parameters import ANYTHING
from pool.database.handouts import Client, HandoutError
from pool.errors import PoolError
from pool.protocol import PoolStore
from strategies.context import Context
from strategies.identity import client_of, is_reviewer, plain_text

VERBS = ("release", "skip", "unskip")
# what a request for the next image may set beside its client; values are checked where they are used
PARAMETERS = {name: ANYTHING for name in (*VERBS, "resume", "reason")}

AGAIN = {  # said before the reason when an image is given a second time
    "double click": "The same as a moment ago. ",
    "resumed": "Resumed: your oldest open image. ",
    "max_open": "You hold {} images, so your oldest open one is given again: label, release or skip one. ",
}


def apply_verbs(context: Context, store: PoolStore, request: Mapping[str, Any]) -> bool:
    """Do what the request says before it is answered; True when it released or skipped an image.

    Raises PoolError: 400 for a value that is no image id, 404 for an unknown image, 409 for what cannot
    be done (somebody else holds the image, it is not skipped, or by somebody else).
    """
    client, handouts = client_of(request), context.state.handouts
    reason = plain_text(request.get("reason") or "")
    own, done = not is_reviewer.get(), False
    for verb in VERBS:
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


def _check_image(store: PoolStore, verb: str, image: Any) -> None:
    if not isinstance(image, str):
        raise PoolError(400, f"{verb} {image!r}: an image id is expected, as the answer's 'id'")
    if not store.has_image(image):
        raise PoolError(404, f"{verb}: there is no image {image!r} in this pool")


def asks_to_resume(request: Mapping[str, Any], client: Client) -> bool:
    """Whether the client wants its oldest open image. Raises PoolError 400 when that cannot be known."""
    resume = request.get("resume", False)
    if not isinstance(resume, bool):
        raise PoolError(400, f"resume {resume!r}: true or false")
    if resume and not client.named:
        raise PoolError(400, "resume needs to know whose images: send a client_id as well")
    return resume
