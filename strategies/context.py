"""What selection works with: the pool's state, the settings, and the keys that plans are kept under."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infers.csal3d.task import key_of
from infers.encoders import CSAL3D
from pool.database.duplicates import Sets, with_copies
from pool.database.handouts import LeasePolicy
from pool.database.maps import Layout
from pool.database.models import Model
from pool.database.plans import Plan
from pool.database.state import State
from pool.datastore import PoolDatastore
from pool.groups import Groups
from pool.imaging.images import image_fingerprint
from pool.protocol import PoolStore
from strategies.reach import Reach
from strategies.selectors.numerics.cluster import MAX_CLUSTERS
from strategies.settings import Settings

_SETTLE = 120.0  # seconds; a server looks for labels saved through others every 30 s or so


@dataclass(frozen=True)
class Context:
    """One pool and how it is selected from; made once per process.

    :param fixed_encoder_key: the encoder with its weights, as `check_encoder` says
    """

    state: State
    settings: Settings
    fixed_encoder_key: str
    reach: Reach = field(default_factory=Reach, compare=False)
    groups: Groups = field(default_factory=Groups)

    @property
    def terms(self) -> LeasePolicy:
        """Of the leases."""
        several = bool(self.settings.database)  # each has its own view of the labels for a while
        return LeasePolicy(
            self.settings.lease_minutes * 60, self.settings.max_open, _SETTLE if several else 0.0
        )

    @property
    def copies(self) -> Sets:
        """Images that are copies of each other, under each of their ids, where one is enough."""
        return self.state.duplicates.sets() if self.settings.duplicates == "leave_out" else {}

    def held_out(self) -> frozenset[str]:
        """Images that are never trained on: what is marked so, and copies of it."""
        return with_copies(self.state.marks.held_out(), self.copies)

    @property
    def model_file(self) -> Path:
        """Where the trainer publishes."""
        return self.state.folder / "model.pt"

    @property
    def pretrained_file(self) -> Path:
        """Where the self-supervised pretraining publishes."""
        return self.state.folder / "pretrained.pt"

    @property
    def pretrained_key(self) -> str | None:
        """What features and uncertainties of the published pretraining are kept under; None before it."""
        return key_of(self.pretrained_file)

    @property
    def is_pretrained_here(self) -> bool:
        """Whether the encoder is the one that is pretrained on the pool itself."""
        return self.settings.encoder == CSAL3D

    @property
    def encoder_key(self) -> str:
        """The encoder with its weights. That of a pretraining on the pool has none before it is published."""
        return (self.is_pretrained_here and self.pretrained_key) or self.fixed_encoder_key

    @property
    def layout_key(self) -> str:
        """The map: another encoder, projection or seed is another map."""
        s = self.settings
        return f"{self.encoder_key}|{s.projection}|{s.perplexity:g}|{s.seed}"

    @property
    def cold_key(self) -> str:
        """The cold-start plan, made once under this key."""
        settings = self.settings
        fewer = f"|k{settings.most_clusters}" if settings.most_clusters < MAX_CLUSTERS else ""
        return f"cold_start|{self.layout_key}|{settings.cold_start_budget}{fewer}"

    def active_key(self, model: str, alpha: float | str) -> str:
        """The active plan of one model and alpha, or "adaptive"."""
        weight = alpha if isinstance(alpha, str) else f"{alpha:g}"
        return f"active|{self.layout_key}|{model}|{weight}"

    @property
    def active_alpha(self) -> float | str:
        """What `active` weighs diversity by: what a lead chose since, else the setting."""
        chosen = self.state.marks.chosen_alpha()
        return self.settings.active_alpha if chosen is None else chosen

    def layout(self) -> Layout | None:
        """The newest map, or None before the first."""
        return self.state.maps.newest(self.layout_key)

    def active_plan(self, alpha: float | str) -> tuple[Model, Plan] | None:
        """The plan of the newest model that has one; an older round goes on until the new one is planned."""
        for model in self.state.models.all():
            plan = self.state.plans.newest(self.active_key(model.fingerprint, alpha))
            if plan:
                return model, plan
        return None


def marks(datastore: PoolStore, images: list[str]) -> dict[str, str]:
    """Fingerprint of each image's file; a DICOM series never changes under its UID, so it needs no look."""
    if not isinstance(datastore, PoolDatastore):
        return dict.fromkeys(images, "series")
    found: dict[str, str] = {}
    for image in images:
        try:
            found[image] = image_fingerprint(datastore.get_image_uri(image))
        except FileNotFoundError:  # removed a moment ago; the datastore will notice
            continue
    return found


def plain(value: Any) -> Any:
    """A NumPy scalar as JSON can hold it; NaN becomes None."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and value != value else value
