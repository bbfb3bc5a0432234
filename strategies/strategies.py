"""The MONAI Label strategies: they look a pick up, hand it out and say why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import HTTPException
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.strategy import Strategy

from strategies import offers
from strategies.context import Context, Pool
from strategies.stages import encoder_note, progress_of, stage_of

OfferOf = Callable[[Context, Pool, Mapping[str, Any]], offers.Offer]
_EVIDENCE = ("rank", "of", "score", "entropy", "raw_entropy", "distance", "cluster", "role")


class Select(Strategy):
    """One way of selecting, as a MONAI Label strategy.

    :param offer: from the pool and the request to images in hand-out order
    """

    def __init__(self, context: Context, description: str, offer: OfferOf) -> None:
        super().__init__(description)
        self.context, self.offer = context, offer

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any]:
        """The next image and why, or {} when all are labelled. Raises HTTPException 400, 409, 503."""
        pool = Pool.of(self.context, datastore)
        if not pool.images:
            raise HTTPException(
                409,
                "the studies folder has no images: copy PNG, JPEG, NIfTI, NRRD or DICOM "
                "files into it; they are noticed by themselves",
            )
        if not pool.unlabelled:
            return self._nothing_left(pool)
        offer = self.offer(self.context, pool, request)
        client = str(request.get("client_id") or "anonymous")
        image = self.context.state.journal.hand_out(
            offer.source, offer.images, client, {"strategy": request.get("strategy"), "stage": offer.stage}
        )
        if image is None:
            return self._nothing_left(pool)
        return {"id": image, "selection": self._block(offer, image)}

    def _nothing_left(self, pool: Pool) -> dict[str, Any]:
        if not pool.failed:
            return {}
        named = ", ".join(sorted(pool.failed)[:5])
        raise HTTPException(
            409,
            f"all readable images are labelled; {len(pool.failed)} cannot be read ({named}): "
            "repair or remove their files (GET /selection/status says why)",
        )

    def _block(self, offer: offers.Offer, image: str) -> dict[str, Any]:
        """Why this image, in numbers and in words."""
        pick, settings = offer.evidence.get(image, {}), self.context.settings
        return {
            "stage": offer.stage,
            "round": 0,
            **{name: pick.get(name) for name in _EVIDENCE},
            "model": None,
            "encoder": self.context.encoder_key,
            "encoder_note": encoder_note(self.context),
            "projection": settings.projection,
            "seed": settings.seed,
            "provisional": False,
            **offer.facts,
            "progress": progress_of(self.context),
            "reason": offers.reason_of(offer, image),
        }


def _auto(context: Context, pool: Pool, request: Mapping[str, Any]) -> offers.Offer:
    stage = stage_of(context, pool)
    if stage == "preparing":
        return offers.provisional_offer(context, pool)
    if stage == "cold_start":
        return offers.cold_start_offer(context, pool)
    if stage == "bridging":
        return offers.farthest_offer(context, pool, "bridging", "Waiting for the first model")
    return offers.active_offer(context, pool, context.settings.alpha)


def _active(context: Context, pool: Pool, request: Mapping[str, Any]) -> offers.Offer:
    alpha = request.get("alpha", context.settings.alpha)
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 <= alpha <= 1:
        raise HTTPException(400, f"alpha {alpha!r}: a number from 0 (entropy only) to 1 (diversity only)")
    return offers.active_offer(context, pool, float(alpha))


def all_strategies(context: Context) -> dict[str, Strategy]:
    """Every strategy of an app by name; `auto` comes first, so that clients offer it first."""
    return {
        "auto": Select(context, "What helps most now: cold start, then active selection", _auto),
        "cold_start": Select(
            context,
            "The cold-start plan: typical and diverse images of every cluster",
            lambda c, p, r: offers.cold_start_offer(c, p),
        ),
        "active": Select(context, "Entropy of the newest model combined with distance on the map", _active),
        "entropy": Select(
            context,
            "The most uncertain images of the newest model",
            lambda c, p, r: offers.active_offer(c, p, 0.0),
        ),
        "diversity": Select(
            context,
            "The most uncertain image, then the farthest on the map",
            lambda c, p, r: offers.active_offer(c, p, 1.0),
        ),
        "random": Select(
            context, "Random images, seeded", lambda c, p, r: offers.random_offer(c, p, stage_of(c, p))
        ),
    }
