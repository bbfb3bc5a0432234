"""Settings of selection: the keys of `--conf`, with types, defaults, ranges and help."""

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
    """Declare a setting: default, help line, allowed values, and whether logs may show it.

    :param names: names allowed in a comma-separated list
    """
    allowed = {"low": low, "high": high, "choices": choices, "names": names}
    return field(default=default, repr=shown, metadata={"help": text, **allowed})


def names_of(text: str) -> list[str]:
    """Split a comma-separated list; drop repeated names."""
    return list(dict.fromkeys(name.strip() for name in text.split(",")))


# Defaults of selection that are not a setting's own. An app's own defaults come after those of `product`, the
# one place for what was measured to be best; `paper` comes after both.
PRODUCT: dict[str, Any] = {"cold_start_method": "random", "active_method": "random", "hold_out": 20}
PAPER: dict[str, Any] = {  # arXiv 2601.18532, as it trains and measures
    "cold_start_method": "cold_start",
    "cold_start_budget": 12,
    "active_method": "active",
    "alpha": 0.3,
    "alpha_schedule": "fixed",
    "hold_out": 0,
}
PRESETS: dict[str, dict[str, Any]] = {"product": {}, "paper": PAPER}
COLD_METHODS = tuple(sorted(name for name, method in METHODS.items() if method.begins_auto))
ACTIVE_METHODS = tuple(sorted(name for name, method in METHODS.items() if method.continues_auto))
ALLOWED = ("reload", "model_upload")  # routes that are off unless the setting `allow` names them


@dataclass(frozen=True)
class Settings:
    """Settings of selection (arXiv 2601.18532, section 3; `docs/selection.md`)."""

    preset: str = key(
        "product",
        "defaults of the other settings: product, or paper, as published and with nothing held out",
        choices=tuple(PRESETS),
    )
    encoder: str = key(
        "descriptor",
        "the network that turns an image into features: descriptor (needs no weights), "
        "radimagenet, transformers:<folder of a published model>, timm:<folder>, "
        "torchxrayvision:<file>, or in an app with pretraining csal3d, which is pretrained on "
        "the pool itself",
    )
    encoder_weights: str = key("", "weights file of the radimagenet encoder")
    projection: str = key(
        "tsne", "projection of the features to the map that selection uses", choices=("tsne", "pca", "none")
    )
    perplexity: float = key(
        30.0, "t-SNE perplexity; lowered to (images - 1) / 3 in a small pool", low=1, high=500
    )
    map_growth: float = key(
        0.25,
        "share of images added to a map above which it is computed anew; 0 recomputes it at once",
        low=0,
        high=10,
    )
    cold_start_budget: int = key(
        12, "labels to collect before the first model is trained", low=1, high=100_000
    )
    cold_start_method: str = key(
        "cold_start", "method of `auto` before the first model", choices=COLD_METHODS
    )
    active_method: str = key(
        "active",
        "method of `auto` once there is a model; foreground_active if many images show no structure",
        choices=ACTIVE_METHODS,
    )
    most_clusters: int = key(
        20, "maximum number of clusters in the cold start; never more than its budget", low=1, high=20
    )
    batch_size: int = key(4, "picks per active round", low=1, high=10_000)
    alpha: float = key(
        0.3, "weight of diversity against entropy: 0 is entropy only, 1 diversity only", low=0, high=1
    )
    alpha_schedule: str = key(
        "fixed",
        "adaptive: alpha is derived from how far successive models agree on which images are uncertain; "
        "the setting alpha then applies to the first model",
        choices=("fixed", "adaptive"),
    )
    strategies: str = key(
        "auto,cold_start,active,random",
        "strategies offered to clients, separated by commas",
        names=("auto", *sorted(METHODS)),
    )
    validation_budget: int = key(
        0,
        "images drawn at random to be labelled but never trained on, for unbiased Dice scores; at most half "
        "of the pool",
        low=0,
        high=100_000,
    )
    hold_out: int = key(
        0,
        "images of a new pool held out one by one to measure models on, every fifth from 20 labels on; until "
        "then Dice is cross-validated on the labels",
        low=0,
        high=100_000,
    )
    lease_minutes: float = key(
        60.0, "minutes that a handed-out image is reserved for its annotator", low=0.01, high=60 * 24 * 30
    )
    max_open: int = key(
        5, "images that one annotator may hold; at the limit the oldest is handed out again", low=1, high=1000
    )
    auto_train: bool = key(
        False,
        "start trainings automatically: at cold_start_budget labels, then after every batch_size new ones",
    )
    train_on_unedited: bool = key(
        False,
        "count and train on final labels that equal a prediction of this server or another image's label, "
        "confirmed or not",
    )
    empty_labels: str = key(
        "ask",
        "final labels without a voxel: refused the first time, and kept when they are sent again within ten "
        "minutes or with the parameter empty (ask), or kept at once (accept)",
        choices=("ask", "accept"),
    )
    instant: bool = key(
        True, "fit a small model within seconds of each label: predictions and plans from the first one on"
    )
    instant_gigabytes: float = key(
        4.0, "disk space for the features of the instant model, in GiB", low=0.01, high=10_000
    )
    prelabels: int = key(
        3,
        "next images that get a prediction before anybody asks, stored as a label with the tag original; "
        "0: none",
        low=0,
        high=100,
    )
    max_scored: int = key(0, "images scored with a new model before its plan is complete; 0 means all", low=0)
    seed: int = key(42, "seed of the map, the clusters, random picks and training", low=0, high=2**32 - 1)
    backup_every: str = key(
        "24h", "time between backups that the server makes of the pool by itself, such as 12h or 7d; 0: none"
    )
    backups_kept: int = key(5, "backups that are kept, in the folder backups of the state", low=1, high=1000)
    state: str = key(
        "",
        "folder of the pool's database and models; default: one in the user's data folder, named after "
        "the app and the studies",
    )
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
    worker_memory: float = key(
        4.0,
        "GiB of memory past which the process that embeds, scores and plans is replaced, between two steps",
        low=0.5,
        high=4096,
    )
    ray_address: str = key(
        "",
        "host:port of the Ray cluster, which this machine must be a node of; default: this machine alone",
    )
    shared_studies: str = key(
        "",
        "location where the nodes find the files of the studies folder, such as s3://bucket/folder; default: "
        "the same paths as here",
    )
    groups: str = key(
        "",
        "images of the same patient: a CSV file with the columns image,group, or a regular expression for "
        "the image id with one group, such as ^(patient\\d+)_; default: the PatientID of a DICOMweb server",
    )
    duplicates: str = key(
        "leave_out",
        "handling of duplicate images: hand out one per set (leave_out), only list them (report), or do not "
        "look for them (off)",
        choices=("leave_out", "report", "off"),
    )
    guideline: str = key(
        "", "Markdown file with the lead's instructions, shown beside the image that is being labelled"
    )
    log_opened: str = key(
        "auto",
        "record in the ledger who was sent which image, once an hour; auto: where users sign in",
        choices=("auto", "true", "false"),
    )
    allowed_hosts: str = key(
        "",
        "further host names by which browsers may reach the server, such as that of a proxy, besides this "
        "machine's addresses and names; separated by commas: label.hospital.org or label.hospital.org:8443",
    )
    allow: str = key(
        "",
        "routes that are off by default, separated by commas: reload (POST /reload), model_upload (an admin "
        "replaces the model by PUT /model/segmentation)",
        names=ALLOWED,
    )
    recursive: bool = key(
        False, "read the images in subfolders of the studies folder too; their ids keep the folder, as in a/b"
    )
    dicomweb_token_env: str = key(
        "", "name of the environment variable that holds a bearer token for the DICOMweb server"
    )
    dicomweb_token_command: str = key(
        "",
        "command that prints a bearer token for the DICOMweb server; it runs again when the server refuses a "
        "token; put no secret into it, since it is logged",
        shown=False,
    )
    modality: str = key(
        "", "DICOM modalities of a pool on a DICOMweb server, such as CR,DX; default: those of the app"
    )

    @property
    def offered(self) -> list[str]:
        """Names of the strategies offered to clients."""
        return names_of(self.strategies)

    @property
    def methods(self) -> list[str]:
        """Offered strategies that are methods of the registry."""
        return [name for name in self.offered if name in METHODS]

    @property
    def of_auto(self) -> tuple[str, str]:
        """Methods of `auto`: before the first model, and after it."""
        return self.cold_start_method, self.active_method

    @property
    def used(self) -> list[str]:
        """Methods in use: `methods`, and those of `auto`."""
        return list(dict.fromkeys([*self.methods, *self.of_auto]))
