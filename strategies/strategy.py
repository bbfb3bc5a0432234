"""The MONAI Label strategies: look up a pick, hand it out and explain it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any

from monailabel.interfaces.tasks.strategy import Strategy

from bundle_configs.parameters import ANYTHING, Parameter
from pool.database.handouts import Client, Handout
from pool.database.reopened import REOPENED
from pool.errors import PoolError
from pool.protocol import PoolStore
from strategies.context import Context
from strategies.identity import client_of
from strategies.planning.planner import Planner
from strategies.ranking import rank
from strategies.ranking.held_out import marked_ranking
from strategies.ranking.readable import readable
from strategies.ranking.verbs import AGAIN, PARAMETERS, apply_verbs, asks_to_resume
from strategies.selectors.registry import METHODS, Method
from strategies.snapshot import PoolSnapshot
from strategies.stages import encoder_note, progress_of, stage_of

RankingOf = Callable[[Context, PoolSnapshot, Mapping[str, Any]], rank.Ranking]
_EVIDENCE = ("rank", "of", "score", "entropy", "raw_entropy", "distance", "cluster", "role")


class Select(Strategy):
    """A selection method as a MONAI Label strategy.

    :param ranking: ranks the images of a pool for a request
    :param parameters: parameters that a request may set
    """

    def __init__(
        self, context: Context, description: str, ranking: RankingOf, parameters: Mapping[str, Parameter]
    ) -> None:
        super().__init__(description)
        self.context, self.ranking, self.parameters = context, ranking, parameters

    def __call__(self, request: dict[str, Any], datastore: PoolStore) -> dict[str, Any]:
        """Return the next image and the reason, or {} when all are done.

        Raises PoolError 400, 404, 409 or 503.
        """
        client, moved_on = client_of(request), apply_verbs(self.context, datastore, request)
        resume = asks_to_resume(request, client)
        pool = PoolSnapshot.of(self.context, datastore)
        _check_usable(pool)
        refused: PoolError | None = None
        ranking = rank.Ranking("none", "none", ())
        try:
            if pool.has_any:
                ranking = self.ranking(self.context, pool, request)
        except PoolError as error:  # no new image, but the client may still resume one it holds
            refused = error
        give = partial(
            self.context.state.handouts.give,
            client,
            ranking.source,
            is_open=pool.may_be_held,
            selection_of=lambda image: block_of(self.context, ranking, image),
            policy=self.context.terms,
            resume=resume,
            moved_on=moved_on,
        )
        if ranking.is_unread:  # opened one by one, outside the transaction
            opened = readable(self.context, datastore, ranking.images)
            handout = next((given for image in opened if (given := give([image]))), None) or give([])
        else:
            handout = give(ranking.images)
        if handout is None and refused:
            raise refused
        if handout:
            self._ensure_local(handout, datastore)
        return self._answer(handout) if handout else self._answer_exhausted(datastore)

    def preview(self, store: PoolStore, count: int) -> list[dict[str, Any]]:
        """Return the answers to the next requests, best first, without leasing. Raises PoolError."""
        pool = PoolSnapshot.of(self.context, store)
        if not pool.has_any:
            return []
        ranking = self.ranking(self.context, pool, {})
        return [
            {"id": i, "selection": block_of(self.context, ranking, i)} for i in islice(ranking.images, count)
        ]

    def _ensure_local(self, handout: Handout, store: PoolStore) -> None:
        """Fetch the image's file; release the hand-out if that fails. Raises PoolError."""
        try:
            store.get_image_uri(handout.image)
        except PoolError:
            if handout.again is None:
                self.context.state.handouts.release(handout.image, Client(handout.client))
            raise

    def _answer(self, handout: Handout) -> dict[str, Any]:
        """Build the answer: the evidence at hand-out, and the present lease."""
        state = self.context.state
        block = handout.selection | {
            "client": handout.client,
            "expires_in": round(max(0.0, handout.expires - state.handouts.now()), 1),
            "again": handout.again,
            "progress": progress_of(self.context),
        }
        if handout.again:
            block["reason"] = AGAIN[handout.again].format(self.context.settings.max_open) + block["reason"]
        return {"id": handout.image, "selection": block}

    def _answer_exhausted(self, datastore: PoolStore) -> dict[str, Any]:
        if datastore.unchecked_labels:  # another server of the pool may have checked them
            datastore.take_in_checks(self.context.state.label_checks.news(datastore))
        pool, handouts = PoolSnapshot.of(self.context, datastore), self.context.state.handouts
        if ends := [lease.expires for lease in handouts.open() if lease.image in pool.leased - pool.skipped]:
            raise PoolError(
                409,
                f"all remaining images are leased to annotators ({len(ends)} images); the next lease "
                f"expires in {max(1, round(min(ends) - handouts.now()))} s. Ask again then, or send your "
                "client_id and 'resume': true to get one of yours back",
            )
        if waiting := len(datastore.unchecked_labels):
            raise PoolError(
                409,
                f"{waiting} labels that were found are still being checked; ask again in a moment",
            )
        if not pool.failed:
            return {}
        named = ", ".join(sorted(pool.failed)[:5])
        raise PoolError(
            409,
            f"all readable images are done; {len(pool.failed)} cannot be read ({named}): "
            "repair or remove their files (GET /selection/status says why)",
        )


def _check_usable(pool: PoolSnapshot) -> None:
    """Raise PoolError 409 for a pool without images, 507 for one whose labels could not be saved."""
    if pool.store.unwritable:
        raise PoolError(
            507,
            f"nothing is handed out, since labels could not be saved ({pool.store.unwritable}): make the "
            "studies folder writable for the server's user, then start the server again",
        )
    if not pool.images:
        note = f" ({pool.store.ignored_files})" if pool.store.ignored_files else ""
        raise PoolError(
            409,
            "the studies folder has no images: copy PNG, JPEG, NIfTI, NRRD or DICOM files into it; "
            f"the server picks them up automatically{note}",
        )


def block_of(context: Context, ranking: rank.Ranking, image: str) -> dict[str, Any]:
    """Explain the pick of an image, in numbers and in words."""
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
        "reason": ranking.reason_of(image),
    }


def _auto_rankings(context: Context, pool: PoolSnapshot) -> Iterator[rank.Ranking]:
    """Yield the rankings of `auto` in order; each applies once those before it are exhausted."""
    stage, first = stage_of(context, pool), context.settings.cold_start_method
    if pool.wanted:
        yield marked_ranking(pool.wanted, stage, "marked")
    if pool.reopened_open:
        yield marked_ranking(pool.reopened_open, stage, REOPENED)
    if pool.validation_open and (stage in ("bridging", "active") or not pool.has_free()):
        yield marked_ranking(pool.validation_open, stage, "validation")
    if stage == "preparing":
        yield rank.provisional_ranking(context, pool)
    elif stage == "cold_start" or (stage == "bridging" and METHODS[first].is_endless):
        yield rank.method_ranking(context, pool, first, stage)
    elif stage == "bridging":
        yield rank.farthest_ranking(context, pool, "bridging", "Waiting for the first model")
    else:
        later = context.settings.active_method
        yield rank.method_ranking(context, pool, later, stage, is_required=False)


def _auto(context: Context, pool: PoolSnapshot, request: Mapping[str, Any]) -> rank.Ranking:
    return next(_auto_rankings(context, pool))


def next_ranked(context: Context, store: PoolStore, count: int) -> list[tuple[str, rank.Ranking]]:
    """Return the next `count` images of `auto`, best first, each with the ranking that it comes from.

    Raises PoolError where `auto` would.
    """
    pool, ranking_of = PoolSnapshot.of(context, store), dict[str, rank.Ranking]()
    if not pool.has_any:
        return []
    try:
        for ranking in _auto_rankings(context, pool):
            for image in islice(ranking.images, count):
                ranking_of.setdefault(image, ranking)
            if len(ranking_of) >= count:
                break
    except PoolError:  # of a later ranking
        if not ranking_of:
            raise
    return list(ranking_of.items())[:count]


def next_picks(context: Context, store: PoolStore, count: int) -> list[dict[str, Any]]:
    """Return `next_ranked`, each image with the details of its hand-out. Raises PoolError as that does."""
    ranked = next_ranked(context, store, count)
    return [{"image": image, **block_of(context, ranking, image)} for image, ranking in ranked]


def preview(
    context: Context, store: PoolStore, strategies: Mapping[str, Any], name: str, count: int
) -> list[dict[str, Any]]:
    """Return the answers that a strategy would give next, without leasing.

    :param strategies: those offered, by name

    Raises PoolError, 404 for a strategy that is not offered.
    """
    if name not in strategies:
        raise PoolError(404, f"there is no strategy {name!r}; there are: {', '.join(strategies)}")
    if name != "auto":
        answers: list[dict[str, Any]] = strategies[name].preview(store, count)
        return answers
    picks = next_picks(context, store, count)  # joins several rankings
    return [{"id": pick["image"], "selection": pick} for pick in picks]


def upcoming(context: Context, store: PoolStore, count: int) -> list[str]:
    """Return the images that `auto` will hand out next, as far as known now."""
    try:
        return [image for image, _ in next_ranked(context, store, count)]
    except PoolError:  # no plan yet
        return []


def _by_method(method: Method) -> RankingOf:
    """Return the ranking of a strategy that a method alone makes."""

    def ranking(context: Context, pool: PoolSnapshot, request: Mapping[str, Any]) -> rank.Ranking:
        alpha = _alpha_of(request) if method.free_alpha else None
        stage = method.stage or stage_of(context, pool)
        if alpha is not None:
            Planner(context).ask(method.name, alpha, client_of(request).name)
        return rank.method_ranking(context, pool, method.name, stage, alpha)

    return ranking


def _alpha_of(request: Mapping[str, Any]) -> float | None:
    """Return the weight of diversity that a client asks for, if any. Raises PoolError 400."""
    if "alpha" not in request:
        return None
    alpha = request["alpha"]
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 <= alpha <= 1:
        raise PoolError(400, f"alpha {alpha!r}: expected 0 (entropy only) to 1 (diversity only)")
    return float(alpha)


def all_strategies(context: Context) -> dict[str, Strategy]:
    """Return the offered strategies by name, in the order of the setting, which clients keep."""
    auto = "The most useful image now: cold start, then active selection"
    strategies: dict[str, Strategy] = {"auto": Select(context, auto, _auto, PARAMETERS)}
    for name in context.settings.methods:
        method = METHODS[name]
        parameters = PARAMETERS | ({"alpha": ANYTHING} if method.free_alpha else {})
        strategies[name] = Select(context, method.text, _by_method(method), parameters)
    return {name: strategies[name] for name in context.settings.offered}
