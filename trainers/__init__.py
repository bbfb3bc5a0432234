"""Models that learn: segmentation, and the pretraining of CSAL-3D."""
