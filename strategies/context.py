"""Context of selection: the pool's state, the settings, and the keys that plans are stored under."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infers.encoders.factory import CSAL3D
from infers.fingerprints import pretrained_key
from pool.database.duplicates import Sets, with_copies
from pool.database.handouts import LeasePolicy
from pool.database.maps import Layout
from pool.database.models import Model
from pool.database.plans import Plan
from pool.database.state import State
from pool.groups import Groups
from strategies.components import Components
from strategies.reach import Reach
from strategies.selectors.numerics.cluster import MAX_CLUSTERS
from strategies.selectors.registry import METHODS, Method
from strategies.settings import Settings

# the stages follow from the plans of these, whatever `auto` picks by
FIRST, LATER = METHODS["cold_start"], METHODS["active"]
OTSU = "otsu"  # source of foreground shares computed without a model
_SETTLE_SECONDS = 120.0  # a server checks for labels saved through other servers about every 30 s


@dataclass(frozen=True)
class Context:
    """One pool and the settings for selecting from it; created once per process.

    :param fixed_encoder_key: key of the encoder and its weights, from `check_encoder`
    :param read: reads an image file as the encoder does, raises ImageError; in the server, which opens an
        image that the worker has not read yet before it hands it out
    """

    state: State
    settings: Settings
    fixed_encoder_key: str
    reach: Reach = field(default_factory=Reach, compare=False)
    components: Components = field(default_factory=Components, compare=False)
    groups: Groups = field(default_factory=Groups)
    read: Callable[[str], Any] | None = field(default=None, compare=False)

    @property
    def terms(self) -> LeasePolicy:
        """Lease policy."""
        several = bool(self.settings.database)  # servers see each other's labels with a delay
        return LeasePolicy(
            self.settings.lease_minutes * 60, self.settings.max_open, _SETTLE_SECONDS if several else 0.0
        )

    @property
    def copies(self) -> Sets:
        """Sets of duplicates, keyed by each member's id; empty unless one image per set is enough."""
        return self.state.duplicates.sets() if self.settings.duplicates == "leave_out" else {}

    def held_out(self) -> frozenset[str]:
        """Return the images never trained on: those marked as held out, and their duplicates."""
        return with_copies(self.state.marks.held_out(), self.copies)

    @property
    def model_file(self) -> Path:
        """Path of the model that the trainer publishes."""
        return self.state.folder / "model.pt"

    @property
    def pretrained_file(self) -> Path:
        """Path of the network that the self-supervised pretraining publishes."""
        return self.state.folder / "pretrained.pt"

    @property
    def pretrained_key(self) -> str | None:
        """Key of the published pretraining's features and uncertainties; None before it is published."""
        return pretrained_key(self.pretrained_file)

    @property
    def is_pretrained_here(self) -> bool:
        """True if the encoder is the one pretrained on the pool itself."""
        return self.settings.encoder == CSAL3D

    @property
    def encoder_key(self) -> str:
        """Key of the encoder and its weights; before a pretraining is published, of the encoder alone."""
        return (self.is_pretrained_here and self.pretrained_key) or self.fixed_encoder_key

    @property
    def layout_key(self) -> str:
        """Key of the map, which depends on encoder, projection, perplexity and seed."""
        s = self.settings
        return f"{self.encoder_key}|{s.projection}|{s.perplexity:g}|{s.seed}"

    def plan_key(self, method: Method, source: str = "", alpha: float | str = 0.0) -> str:
        """Return the key that plans of a method are stored under, by the template that it declares.

        :param source: what its scores come from: a model, a pretraining, a threshold; empty for none
        :param alpha: a number or "adaptive"
        """
        settings = self.settings
        fewer = f"|k{settings.most_clusters}" if settings.most_clusters < MAX_CLUSTERS else ""
        return method.key.format(
            name=method.name,
            layout=self.layout_key,
            budget=settings.cold_start_budget,
            fewer_clusters=fewer,
            source=source,
            alpha=alpha if isinstance(alpha, str) else f"{alpha:g}",
        )

    def alpha_of(self, method: Method) -> float | str:
        """Return the alpha that a method is planned with: a number, or "adaptive" if the method allows it."""
        return self._allowed_alpha(method, self.active_alpha)

    def _allowed_alpha(self, method: Method, chosen: float | str) -> float | str:
        declared = method.parameters.get("alpha", 0.0)
        if not callable(declared):
            return declared
        return chosen if method.free_alpha or not isinstance(chosen, str) else self.settings.alpha

    def newest_plan(
        self, method: Method, alpha: float | str | None = None
    ) -> tuple[Model | None, Plan] | None:
        """Return a method's plan of the newest model, head or other source that has one; with its model.

        An older round continues until the new one is planned, and the former alpha until the one that a lead
        chose is.

        :param alpha: a number or "adaptive"; None for that of the pool
        """
        by_model = method.each_model or (method.needs & {"model", "foreground"} and not method.from_head)
        models = self.state.models.all() if by_model else []
        sources: list[tuple[Model | None, str]] = [(model, model.fingerprint) for model in models]
        if method.from_head:
            sources += [(None, source) for source in (*self.state.heads.sources(), "")]
        elif method.cold:
            sources.append((None, self.source_without_model(method) or ""))
        for model, source in sources:
            if plan := self._plan_of(method, source, alpha):
                return model, plan
        return None

    def _plan_of(self, method: Method, source: str, alpha: float | str | None) -> Plan | None:
        plans, wanted = self.state.plans, self.alpha_of(method) if alpha is None else alpha
        plan = plans.newest(self.plan_key(method, source, wanted))
        if plan or alpha is not None:
            return plan
        former = self.state.marks.former_alpha()
        former_of = self._allowed_alpha(method, self.configured_alpha if former is None else former)
        return None if former_of == wanted else plans.newest(self.plan_key(method, source, former_of))

    def source_without_model(self, method: Method) -> str | None:
        """Return what a method's scores come from before there is a model: a pretraining or a threshold.

        Empty if it needs no scores, None if that is not there yet.
        """
        if "foreground" in method.needs:
            return OTSU
        return self.pretrained_key if "uncertainty" in method.needs else ""

    @property
    def cold_key(self) -> str:
        """Key of the cold-start plan, which is made once."""
        return self.plan_key(FIRST)

    @property
    def active_alpha(self) -> float | str:
        """Diversity weight of `active`: the lead's choice if there is one, else the setting."""
        chosen = self.state.marks.chosen_alpha()
        return self.configured_alpha if chosen is None else chosen

    @property
    def configured_alpha(self) -> float | str:
        """Diversity weight by the settings: a number, or "adaptive"."""
        return "adaptive" if self.settings.alpha_schedule == "adaptive" else self.settings.alpha

    def layout(self) -> Layout | None:
        """Return the newest map, or None before the first."""
        return self.state.maps.newest(self.layout_key)


def plain(value: Any) -> Any:
    """Convert a NumPy scalar to a JSON value; NaN becomes None."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and value != value else value
