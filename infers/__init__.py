"""Models that read images: the segmentation infer task and the image encoders."""

from pool.aliases import install

install()
