"""Models that read images: the segmentation infer task and the image encoders."""

from pool.aliases import install

# old module names, used in users' bundles and in models trained with them
MOVED = {
    "writing": "segmentation.writing",
    "volumes": "segmentation.volumes",
    "csal3d_network": "csal3d.network",
}
alias(__name__, MOVED)
