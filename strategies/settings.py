"""The selection's settings: what `--conf` may say about it, with types, defaults, ranges and help."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from strategies.selectors.registry import METHODS


def key(
    default: Any,
    text: str,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    shown: bool = True,
    names: tuple[str, ...] = (),
) -> Any:
    """One setting: its default, a help line, what it may be, and whether logs may show it.

    :param names: what a list of names with commas between them may have
    """
    allowed = {"low": low, "high": high, "choices": choices, "names": names}
    return field(default=default, repr=shown, metadata={"help": text, **allowed})


def names_of(text: str) -> list[str]:
    """The names in a list with commas between them, each once."""
    return list(dict.fromkeys(name.strip() for name in text.split(",")))


# methods that need nothing but images
COLD_METHODS = (
    "cold_start",
    "kmeans_to_budget",
    "alps",
    "calr",
    "typiclust",
    "farthest_first",
    "probcover",
    "usl",
)
# methods for rounds with a model
ACTIVE_METHODS = ("active", "foreground_active", "clasp_pe", "foreground_random")
ALLOWED = ("reload", "model_upload")  # routes that are off unless the setting `allow` names them


@dataclass(frozen=True)
class Settings:
    """How images are selected (arXiv 2601.18532, section 3; `docs/selection.md`)."""

    encoder: str = key(
        "descriptor",
        "what turns an image into features: descriptor (needs no weights), "
        "radimagenet, transformers:<folder of a published model>, timm:<folder>, "
        "torchxrayvision:<file>, or in an app with pretraining csal3d, which is pretrained on "
        "the pool itself",
    )
    encoder_weights: str = key("", "weights file of the radimagenet encoder")
    projection: str = key("tsne", "the map that selection happens on", choices=("tsne", "pca", "none"))
    perplexity: float = key(
        30.0, "t-SNE perplexity; lowered to (images - 1) / 3 in a small pool", low=1, high=500
    )
    map_growth: float = key(
        0.25,
        "share of images placed on an existing map past which it is laid out afresh; 0 lays it out at once",
        low=0,
        high=10,
    )
    cold_start_budget: int = key(12, "labels before the first model is asked for", low=1, high=100_000)
    cold_start_method: str = key(
        "cold_start", "what `auto` picks by before the first model", choices=COLD_METHODS
    )
    active_method: str = key(
        "active",
        "what `auto` picks by once there is a model; foreground_active where many images show no structure",
        choices=ACTIVE_METHODS,
    )
    most_clusters: int = key(
        20, "clusters that the cold start tries at most; never more than its budget", low=1, high=20
    )
    batch_size: int = key(4, "picks per active round", low=1, high=10_000)
    alpha: float = key(
        0.3, "weight of diversity against entropy: 0 is entropy only, 1 diversity only", low=0, high=1
    )
    alpha_schedule: str = key(
        "fixed",
        "adaptive: alpha follows from how far successive models agree on what is uncertain; alpha is then "
        "that of the first model",
        choices=("fixed", "adaptive"),
    )
    strategies: str = key(
        "auto,cold_start,active,random",
        "what clients may select by, with commas between",
        names=("auto", *METHODS),
    )
    validation_budget: int = key(
        0,
        "images drawn at random to be labelled but never trained on, so that Dice on them is honest; at most "
        "half of the pool",
        low=0,
        high=100_000,
    )
    lease_minutes: float = key(
        60.0, "how long a handed-out image belongs to its annotator", low=0.01, high=60 * 24 * 30
    )
    max_open: int = key(
        5, "images that one annotator may hold; then the oldest is given again", low=1, high=1000
    )
    auto_train: bool = key(
        False, "train by itself: at cold_start_budget labels, then at every batch_size new ones"
    )
    max_scored: int = key(
        0, "images that a new model is applied to before its plan is complete; 0 is all of them", low=0
    )
    seed: int = key(42, "seed of the map, the clusters, random picks and training", low=0, high=2**32 - 1)
    state: str = key("", "folder of the pool's database and models; default: state/ in the app's folder")
    database: str = key(
        "",
        "PostgreSQL URL of the pool's database, postgresql://user@host/name, its password in PGPASSWORD; "
        "default: SQLite in the state folder",
        shown=False,
    )
    engine: str = key(
        "local",
        "where images are embedded and scored: in one process of the server, or on a Ray cluster of one or "
        "many machines (docs/how-to/cluster.md)",
        choices=("local", "ray"),
    )
    ray_address: str = key(
        "",
        "the Ray cluster's host:port, one of whose nodes this machine is; default: one of this machine alone",
    )
    shared_studies: str = key(
        "",
        "where the nodes find the files of the studies folder, such as s3://bucket/folder; default: at the "
        "paths that they have here",
    )
    groups: str = key(
        "",
        "which images are of one patient: a CSV file with the columns image,group, or a regular expression "
        "on the image's id with one group, as ^(patient\\d+)_; default: the PatientID of a DICOMweb server",
    )
    duplicates: str = key(
        "leave_out",
        "what is done about copies of an image: one of them is enough (leave_out), they are only named "
        "(report), or they are not looked for (off)",
        choices=("leave_out", "report", "off"),
    )
    allowed_hosts: str = key(
        "",
        "names by which browsers may reach the server beside its addresses and this machine's names, with "
        "commas between, as label.hospital.org or label.hospital.org:8443; that of a proxy, for example",
    )
    allow: str = key(
        "",
        "what is off unless it is named here, with commas between: reload (POST /reload), model_upload (an "
        "admin replaces the model by PUT /model/segmentation)",
        names=ALLOWED,
    )
    modality: str = key(
        "", "DICOM modalities of a pool on a DICOMweb server, such as CR,DX; default: those of the app"
    )

    @property
    def offered(self) -> list[str]:
        """Names of the strategies that clients may select by."""
        return names_of(self.strategies)

    @property
    def methods(self) -> list[str]:
        """Those of `offered` that are methods of the registry."""
        return [name for name in self.offered if name in METHODS]

    @property
    def used(self) -> list[str]:
        """`methods`, and those that `auto` picks by."""
        return list(dict.fromkeys([*self.methods, self.cold_start_method, self.active_method]))

    @property
    def active_alpha(self) -> float | str:
        """What `active` weighs diversity by: a number, or "adaptive"."""
        return "adaptive" if self.alpha_schedule == "adaptive" else self.alpha
