"""Image encoders: grey images in, vectors out. See `docs/` for which one to choose."""

from infers.encoders.base import Encoder
from infers.encoders.factory import CSAL3D, check_encoder, dense_encoder, make_encoder

__all__ = ["CSAL3D", "Encoder", "check_encoder", "dense_encoder", "make_encoder"]
