"""What a lead decides about single images over HTTP: next, skipped, held out, or none of these."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import HTTPException
from pydantic import BaseModel, Field

from pool.handouts import Client, HandoutError
from pool.marks import HELD_OUT, NEXT
from pool.state import State
from pool.store import PoolStore
from strategies.identity import current_user, plain_text


class MarkRequest(BaseModel):
    """Body of `POST /selection/marks`."""

    kind: Literal["next", "held_out", "skip", "none"] = Field(
        description="next: auto hands them out before anything else; held_out: labelled, never trained on; "
        "skip: handed out to nobody; none: takes all of this back"
    )
    images: list[str] = Field(min_length=1, description="image ids; next keeps their order")
    reason: str = ""
    client: str = Field("lead", description="who decides, where authentication is off")


def mark(state: State, store: PoolStore, request: MarkRequest) -> dict[str, Any]:
    """Do it for all images, or for none. Raises HTTPException 404 for an unknown image, 409 for one that
    cannot be skipped since somebody works on it."""
    images = list(dict.fromkeys(request.images))
    if unknown := [image for image in images if not store.has_image(image)]:
        raise HTTPException(
            404, f"there is no image {unknown[0]!r} in this pool ({len(unknown)} are unknown)"
        )
    client = Client(plain_text(current_user.get() or request.client or "lead"))
    reason = plain_text(request.reason)
    try:
        if request.kind == "skip":
            state.handouts.skip_all(images, client, reason)
            return {"changed": len(images)}
    except HandoutError as error:
        raise HTTPException(409, f"nothing was skipped: {error}") from error
    if request.kind == "none":
        skipped = set(state.handouts.unskip_all(images, client))
        marked = {mark.image for mark in state.marks.all()}.intersection(images)
        state.marks.remove(sorted(marked), client.name)
        return {"changed": len(skipped | marked)}
    state.marks.put(NEXT if request.kind == "next" else HELD_OUT, images, client.name, reason)
    return {"changed": len(images)}
