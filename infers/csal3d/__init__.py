"""The self-supervised network of CSAL-3D and its use on a pool of volumes."""
