"""What selection works on: the pool's state, the settings, and what the datastore says now."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import Datastore

from pool.datastore import PoolDatastore
from pool.images import fingerprint
from pool.journal import Plan
from pool.state import Layout, Model, State
from strategies.settings import Settings


@dataclass(frozen=True)
class Context:
    """One pool and how it is selected from; made once per process."""

    state: State
    settings: Settings
    encoder_key: str  # the encoder with its weights

    @property
    def model_file(self) -> Path:
        """Where the trainer publishes."""
        return self.state.folder / "model.pt"

    @property
    def layout_key(self) -> str:
        """The map: another encoder, projection or seed is another map."""
        s = self.settings
        return f"{self.encoder_key}|{s.projection}|{s.perplexity:g}|{s.seed}"

    @property
    def cold_key(self) -> str:
        """The cold-start plan, made once under this key."""
        return f"cold_start|{self.layout_key}|{self.settings.cold_start_budget}"

    def active_key(self, model: str, alpha: float) -> str:
        """The active plan of one model and alpha."""
        return f"active|{self.layout_key}|{model}|{alpha:g}"

    def layout(self) -> Layout | None:
        """The newest map, or None before the first."""
        return self.state.newest_layout(self.layout_key)

    def active_plan(self, alpha: float) -> tuple[Model, Plan] | None:
        """The plan of the newest model that has one; an older round goes on until the new one is planned."""
        for model in self.state.models():
            plan = self.state.journal.plan(self.active_key(model.fingerprint, alpha))
            if plan:
                return model, plan
        return None


@dataclass(frozen=True)
class Pool:
    """The datastore at one moment. All lists are sorted."""

    images: list[str]
    labelled: list[str]
    unlabelled: list[str]  # without those that cannot be read
    failed: dict[str, str]  # image: reason

    @staticmethod
    def of(context: Context, datastore: Datastore) -> Pool:
        images, labelled = sorted(datastore.list_images()), sorted(datastore.get_labeled_images())
        known, done = set(images), set(labelled)
        failed = {i: reason for i, (_, reason) in context.state.failures().items() if i in known}
        unlabelled = [i for i in images if i not in done and i not in failed]
        return Pool(images, labelled, unlabelled, failed)


def marks(datastore: Datastore, images: list[str]) -> dict[str, str]:
    """Fingerprint of each image's file; a DICOM series never changes under its UID, so it needs no look."""
    if not isinstance(datastore, PoolDatastore):
        return dict.fromkeys(images, "series")
    found: dict[str, str] = {}
    for image in images:
        try:
            found[image] = fingerprint(datastore.get_image_uri(image))
        except FileNotFoundError:  # removed a moment ago; the datastore will notice
            continue
    return found


def plain(value: Any) -> Any:
    """A NumPy scalar as JSON can hold it; NaN becomes None."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and value != value else value
