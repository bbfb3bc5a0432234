"""Sources of the published weights listed in `docs/encoders.md`. Makes no network requests.

Every source is a repository of a hub that serves `<endpoint>/<repository>/resolve/main/<file>`, like
huggingface.co and its mirrors; the variable HF_ENDPOINT names a mirror.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from infers.encoders.model_folder import WEIGHTS

_OPEN_CLIP = ("open_clip_config.json", "open_clip_pytorch_model.bin")
_SETTINGS = ("config.json", "preprocessor_config.json")


@dataclass(frozen=True)
class Source:
    """One encoder's files.

    Attributes:
        repository: owner and name on the hub.
        licence: licence of the weights according to their page.
        size: size of the download, for people.
        weights: possible names of the weights file; the first that exists is used.
        settings: names of the other files; empty for RadImageNet, which is one file.
        sha256: hash of the weights; empty if only the hub provides it.
    """

    repository: str
    licence: str
    size: str
    weights: tuple[str, ...] = WEIGHTS
    settings: tuple[str, ...] = _SETTINGS
    sha256: str = ""

    @property
    def page(self) -> str:
        """Address of the page with description, terms and manual download."""
        return f"{endpoint()}/{self.repository}"

    @property
    def is_open_clip(self) -> bool:
        """True if the files are in open_clip's format and need conversion (`open_clip.convert`)."""
        return self.weights == _OPEN_CLIP[1:]

    def url(self, file: str) -> str:
        """Return the address of one of its files."""
        return f"{self.page}/resolve/main/{file}"


# The sha256 are from the pages of the two files (<page>/blob/main/<file>, "Large File Pointer Details").
# MONAI publishes the port for its perceptual loss (github Project-MONAI/perceptual-models). The official file
# is on its authors' Google Drive (github BMEII-AI/RadImageNet), which asks for a browser; Lab-Rasool has a
# copy of it.
SOURCES = {
    "radimagenet": Source(
        "MONAI/checkpoints",
        "Apache-2.0",
        "95 MB",
        ("RadImageNet-ResNet50_notop.pth",),
        (),
        "2457479b254569e5a81ba48fee6c5b2b84b7a729e507aaa2466101aedb8e5c37",
    ),
    "radimagenet-official": Source(
        "Lab-Rasool/RadImageNet",
        "MIT",
        "94 MB",
        ("ResNet50.pt",),
        (),
        "08629f7e7bd3e29b8ee9522ca3f65ce4d010a7ddf74f0ea3c7e3f3d0bbab0734",
    ),
    "resnet-50": Source("microsoft/resnet-50", "Apache-2.0", "102 MB"),
    "mobilenet-v2": Source("google/mobilenet_v2_1.0_224", "its page says 'other'", "14 MB"),
    "dinov2-base": Source("facebook/dinov2-base", "Apache-2.0", "346 MB"),
    "dinov3-base": Source(
        "facebook/dinov3-vitb16-pretrain-lvd1689m", "DINOv3 License, to be accepted on its page", "343 MB"
    ),
    "biomedclip": Source(
        "microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
        "MIT",
        "784 MB",
        _OPEN_CLIP[1:],
        _OPEN_CLIP[:1],
    ),
    "rad-dino": Source("microsoft/rad-dino", "MIT; not meant for clinical practice", "346 MB"),
}


def endpoint() -> str:
    """Return the hub's address: HF_ENDPOINT, as in huggingface's own tools, or huggingface.co."""
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def source_of(name: str) -> Source:
    """Return the source called `name`, or for `owner/model` the transformers model of that name on the hub.

    Raises:
        ValueError: neither; the text lists the names.
    """
    if name in SOURCES:
        return SOURCES[name]
    parts = name.split("/")
    if len(parts) == 2 and all(part and not part.startswith(".") for part in parts):
        return Source(name, "see its page", "unknown")
    raise ValueError(
        f"unknown weights {name!r}: expected one of {', '.join(SOURCES)}, or owner/model, the name of a "
        "transformers model on the hub"
    )
