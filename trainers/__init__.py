"""Training of models: segmentation, and the pretraining of CSAL-3D."""
