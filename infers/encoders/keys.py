"""Keys of a pool's embeddings: the encoder, its weights, and the images it is shown. Imports no PyTorch."""

from __future__ import annotations

from bundle_configs import Bundle
from infers.encoders.factory import CSAL3D, check_encoder

CONTENT = 0.05  # minimum share of a slice's voxels above Otsu's threshold of the volume
MAX_SLICES = 16  # per volume, evenly spaced over those with content
_SLICES = f"slices:1:{CONTENT:g}:{MAX_SLICES}"


def pool_encoder_key(name: str, weights: str | None, bundle: Bundle) -> str:
    """Return the key of `make_pool_encoder`, cheaply; raises what that would raise about names."""
    key = check_encoder(name, weights)
    if name == CSAL3D or bundle.get("dimensions") != 3:
        return key
    return f"{key}|{_SLICES}|{bundle.get('modality_rule')}"
