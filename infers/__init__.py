"""Models that read images: segmentation, image encoders, and CSAL-3D's network."""

from pool.aliases import install

install()
