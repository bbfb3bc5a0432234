"""The MONAI Label strategies: they look a pick up, hand it out and say why."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

from monailabel.interfaces.tasks.strategy import Strategy

from bundle_configs.parameters import ANYTHING, Parameter
from pool.database.handouts import Client, Handout
from pool.errors import PoolError
from pool.protocol import PoolStore
from strategies.context import Context
from strategies.identity import client_of
from strategies.ranking import rank
from strategies.ranking.held_out import marked_ranking
from strategies.ranking.verbs import AGAIN, PARAMETERS, apply_verbs, asks_to_resume
from strategies.selectors.registry import METHODS
from strategies.snapshot import PoolSnapshot, is_unlabelled
from strategies.stages import encoder_note, progress_of, stage_of

RankingOf = Callable[[Context, PoolSnapshot, Mapping[str, Any]], rank.Ranking]
_EVIDENCE = ("rank", "of", "score", "entropy", "raw_entropy", "distance", "cluster", "role")


class Select(Strategy):
    """One way of selecting, as a MONAI Label strategy.

    :param ranking: from the pool and the request to images in hand-out order
    :param parameters: what a request may set
    """

    def __init__(
        self, context: Context, description: str, ranking: RankingOf, parameters: Mapping[str, Parameter]
    ) -> None:
        super().__init__(description)
        self.context, self.ranking, self.parameters = context, ranking, parameters

    def __call__(self, request: dict[str, Any], datastore: PoolStore) -> dict[str, Any]:
        """The next image and why, or {} when all are done. Raises PoolError 400, 404, 409, 503."""
        client, moved_on = client_of(request), apply_verbs(self.context, datastore, request)
        resume = asks_to_resume(request, client)
        pool = PoolSnapshot.of(self.context, datastore)
        if not pool.images:
            raise PoolError(
                409,
                "the studies folder has no images: copy PNG, JPEG, NIfTI, NRRD or DICOM files into it; "
                "they are noticed by themselves",
            )
        refused: PoolError | None = None
        ranking = rank.Ranking("none", "none", ())
        try:
            if pool.has_free() or pool.validation_open:
                ranking = self.ranking(self.context, pool, request)
        except PoolError as error:  # nothing new, but the client may still get back what it holds
            refused = error
        given = self.context.state.handouts.give(
            client,
            ranking.source,
            ranking.images,
            lambda image: is_unlabelled(datastore, image),
            lambda image: block_of(self.context, ranking, image),
            self.context.terms,
            resume=resume,
            moved_on=moved_on,
        )
        if given is None and refused:
            raise refused
        if given:
            self._have_here(given, datastore)
        return self._answer(given) if given else self._nothing_left(datastore)

    def preview(self, store: PoolStore, count: int) -> list[dict[str, Any]]:
        """What would be handed out next, best first, as answers; nothing is leased. Raises PoolError."""
        pool = PoolSnapshot.of(self.context, store)
        if not pool.has_free() and not pool.validation_open:
            return []
        ranking = self.ranking(self.context, pool, {})
        return [
            {"id": i, "selection": block_of(self.context, ranking, i)} for i in islice(ranking.images, count)
        ]

    def _have_here(self, given: Handout, store: PoolStore) -> None:
        """Have the image's file here, or take the hand-out back: it reached nobody. Raises PoolError."""
        try:
            store.get_image_uri(given.image)
        except PoolError:
            if given.again is None:
                self.context.state.handouts.release(given.image, Client(given.client))
            raise

    def _answer(self, given: Handout) -> dict[str, Any]:
        """What the client is told: the evidence as it was, and what the lease is now."""
        state = self.context.state
        block = given.selection | {
            "client": given.client,
            "expires_in": round(max(0.0, given.expires - state.handouts.now()), 1),
            "again": given.again,
            "progress": progress_of(self.context),
        }
        if given.again:
            block["reason"] = AGAIN[given.again].format(self.context.settings.max_open) + block["reason"]
        return {"id": given.image, "selection": block}

    def _nothing_left(self, datastore: PoolStore) -> dict[str, Any]:
        pool, handouts = PoolSnapshot.of(self.context, datastore), self.context.state.handouts
        if ends := [lease.expires for lease in handouts.open() if lease.image in pool.leased]:
            raise PoolError(
                409,
                f"everything left is in somebody's hands ({len(ends)} images); the next lease runs out in "
                f"{max(1, round(min(ends) - handouts.now()))} s. Ask again then, or with your client_id and "
                "'resume': true for one of yours",
            )
        if not pool.failed:
            return {}
        named = ", ".join(sorted(pool.failed)[:5])
        raise PoolError(
            409,
            f"all readable images are done; {len(pool.failed)} cannot be read ({named}): "
            "repair or remove their files (GET /selection/status says why)",
        )


def block_of(context: Context, ranking: rank.Ranking, image: str) -> dict[str, Any]:
    """Why this image, in numbers and in words."""
    pick, settings = ranking.pick(image), context.settings
    return {
        "stage": ranking.stage,
        "round": 0,
        **{name: pick.get(name) for name in _EVIDENCE},
        **{name: value for name, value in pick.items() if name != "image"},
        "model": None,
        "encoder": context.encoder_key,
        "encoder_note": encoder_note(context),
        "projection": settings.projection,
        "seed": settings.seed,
        "provisional": False,
        **ranking.facts,
        "reason": rank.reason_of(ranking, image),
    }


def _orders(context: Context, pool: PoolSnapshot) -> Iterator[rank.Ranking]:
    """What `auto` hands out, then what it hands out when that is used up, and so on."""
    stage = stage_of(context, pool)
    if pool.wanted:
        yield marked_ranking(pool.wanted, stage, "marked")
    if pool.validation_open and (stage in ("bridging", "active") or not pool.has_free()):
        yield marked_ranking(pool.validation_open, stage, "validation")
    if stage == "preparing":
        yield rank.provisional_ranking(context, pool)
    elif stage == "cold_start":
        yield rank.first_ranking(context, pool)
    elif stage == "bridging":
        yield rank.farthest_ranking(context, pool, "bridging", "Waiting for the first model")
    else:
        yield rank.later_ranking(context, pool)


def _auto(context: Context, pool: PoolSnapshot, request: Mapping[str, Any]) -> rank.Ranking:
    return next(_orders(context, pool))


def next_picks(context: Context, store: PoolStore, count: int) -> list[dict[str, Any]]:
    """What `auto` would hand out now, best first: each image with all that its hand-out would say.

    Raises PoolError where `auto` would.
    """
    pool, picks = PoolSnapshot.of(context, store), dict[str, dict[str, Any]]()
    if not pool.has_free() and not pool.validation_open:
        return []
    try:
        for ranking in _orders(context, pool):
            for image in islice(ranking.images, count):
                picks.setdefault(image, {"image": image, **block_of(context, ranking, image)})
            if len(picks) >= count:
                break
    except PoolError:  # of an order that follows
        if not picks:
            raise
    return list(picks.values())[:count]


def upcoming(context: Context, store: PoolStore, count: int) -> list[str]:
    """The images that `auto` will hand out next, as far as that is known now."""
    try:
        return [pick["image"] for pick in next_picks(context, store, count)]
    except PoolError:  # there is no plan, so that nothing is known
        return []


def _active(context: Context, pool: PoolSnapshot, request: Mapping[str, Any]) -> rank.Ranking:
    if "alpha" not in request:
        return rank.active_ranking(context, pool, context.active_alpha)
    alpha = request["alpha"]
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 <= alpha <= 1:
        raise PoolError(400, f"alpha {alpha!r}: a number from 0 (entropy only) to 1 (diversity only)")
    return rank.active_ranking(context, pool, float(alpha))


# strategies whose plans or orders are not made by `strategies.planning.methods`
_OWN_WAY: dict[str, RankingOf] = {
    "auto": _auto,
    "random": lambda c, p, r: rank.random_ranking(c, p, stage_of(c, p)),
    "cold_start": lambda c, p, r: rank.cold_start_ranking(c, p),
    "active": _active,
    "entropy": lambda c, p, r: rank.active_ranking(c, p, 0.0),
    "diversity": lambda c, p, r: rank.active_ranking(c, p, 1.0),
}

_OWN_PARAMETERS: dict[str, dict[str, Parameter]] = {"active": {"alpha": ANYTHING}}


def _offer_of(name: str) -> RankingOf:
    return _OWN_WAY.get(name) or (lambda c, p, r: rank.method_ranking(c, p, name))


def all_strategies(context: Context) -> dict[str, Strategy]:
    """Every strategy on ranking by name, in the order of the setting: clients ranking the first one first."""
    texts = {"auto": "What helps most now: cold start, then active selection"}
    texts |= {name: method.text for name, method in METHODS.items()}
    return {
        name: Select(context, texts[name], _offer_of(name), PARAMETERS | _OWN_PARAMETERS.get(name, {}))
        for name in context.settings.offered
    }
