"""Models that learn: the segmentation train task."""
