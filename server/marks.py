"""Decisions of a lead over HTTP: images that come next, are skipped or held out, and alpha."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field

from pool.database.handouts import Client, HandoutError
from pool.database.marks import HELD_OUT, NEXT
from pool.database.state import State
from pool.errors import PoolError
from pool.protocol import PoolStore
from server.reopening import reopen
from strategies.context import LATER, Context
from strategies.identity import current_user, plain_text
from strategies.snapshot import is_unlabelled


class MarkRequest(BaseModel):
    """Body of `POST /selection/marks`."""

    kind: Literal["next", "held_out", "skip", "reopen", "none"] = Field(
        description="next: auto hands them out before anything else; held_out: labelled, never trained on; "
        "skip: not handed out; reopen: labelled ones, handed out once more; none: undoes all of this"
    )
    images: list[str] = Field(
        min_length=1, max_length=20_000, description="image ids; next keeps their order"
    )
    reason: str = Field("", max_length=2_000)
    client: str = Field("lead", description="who decides; used where authentication is off")
    tell_before: bool = Field(
        default=False, description="add `before` to the answer: requests that undo this one, after `none`"
    )


class AlphaRequest(BaseModel):
    """Body of `POST /selection/alpha`."""

    alpha: float | None = Field(
        ge=0, le=1, description="weight of diversity from now on; null restores the setting"
    )
    client: str = Field("lead", description="who decides; used where authentication is off")


def choose_alpha(context: Context, request: AlphaRequest) -> dict[str, Any]:
    """Choose the alpha of this round and later ones; the former holds until a refresh has planned it."""
    client = plain_text(current_user.get() or request.client or "lead")
    in_use, own = context.newest_plan(LATER), context.newest_plan(LATER, context.alpha_of(LATER))
    is_planned = in_use is not None and own is not None and in_use[1].id == own[1].id
    context.state.marks.choose_alpha(request.alpha, client, is_planned)
    return {"alpha": context.active_alpha}


def mark(state: State, store: PoolStore, request: MarkRequest, labels: Mapping[str, int]) -> dict[str, Any]:
    """Apply a mark to all images, or to none; raises as `_apply`.

    :param labels: {name: value} of the app
    """
    before = {"before": _marks_of(state, request.images)} if request.tell_before else {}
    return _apply(state, store, request, labels) | before


def _apply(state: State, store: PoolStore, request: MarkRequest, labels: Mapping[str, int]) -> dict[str, Any]:
    """Apply a mark to all images, or to none.

    Raises PoolError 404 for an unknown image, 409 for one that cannot be skipped because somebody holds it,
    for an unlabelled one that is to be reopened, and when all images that are to come next are labelled; of
    several, the labelled ones are left out.
    """
    images = list(dict.fromkeys(request.images))
    if unknown := [image for image in images if not store.has_image(image)]:
        raise PoolError(404, f"there is no image {unknown[0]!r} in this pool ({len(unknown)} are unknown)")
    client = Client(plain_text(current_user.get() or request.client or "lead"))
    reason = plain_text(request.reason)
    try:
        if request.kind == "skip":
            state.handouts.skip_all(images, client, reason)
            return {"changed": len(images)}
    except HandoutError as error:
        raise PoolError(409, f"nothing was skipped: {error}") from error
    if request.kind == "none":
        skipped = set(state.handouts.unskip_all(images, client))
        marked = {mark.image for mark in state.marks.all()}.intersection(images)
        state.marks.remove(sorted(marked), client.name)
        return {"changed": len(skipped.union(marked, state.reopened.close(images, client.name)))}
    if request.kind == "reopen":
        reopen(state, store, images, labels, client, reason)
        return {"changed": len(images)}
    if request.kind == "next":
        return _mark_next(state, store, images, client, reason)
    state.handouts.unskip_all(images, client)  # the newest decision counts
    state.marks.put(HELD_OUT, images, client.name, reason)
    return {"changed": len(images)}


def _marks_of(state: State, images: list[str]) -> list[dict[str, Any]]:
    """Return the marks and skips of images, as requests that set them again."""
    chosen, skipped = set(images), state.handouts.skipped()
    groups: dict[tuple[str, str], list[str]] = {}
    for image in images:
        if image in skipped:
            groups.setdefault(("skip", skipped[image]), []).append(image)
    for mark in state.marks.all():
        if mark.image in chosen and mark.image not in skipped:
            groups.setdefault((mark.kind, mark.reason), []).append(mark.image)
    for mark in state.reopened.all():
        if mark.image in chosen:
            groups.setdefault(("reopen", mark.reason), []).append(mark.image)
    return [{"kind": kind, "reason": reason, "images": of} for (kind, reason), of in groups.items()]


def _mark_next(
    state: State, store: PoolStore, images: list[str], client: Client, reason: str
) -> dict[str, Any]:
    """Mark the unlabelled ones of the images to come next. Raises PoolError 409 when all are labelled."""
    labelled = [image for image in images if not is_unlabelled(store, image)]
    if to_mark := [image for image in images if is_unlabelled(store, image)]:
        state.handouts.unskip_all(to_mark, client)
        state.marks.put(NEXT, to_mark, client.name, reason)
        return {"changed": len(to_mark)} | ({"labelled": labelled} if labelled else {})
    raise PoolError(
        409,
        f"{labelled[0]} is labelled, so it is not handed out again ({len(labelled)} images): reopen it (kind "
        "'reopen', scan-selection reopen), or open it at /selection/label",
    )
