"""Models that read images: the segmentation infer task and the image encoders."""
