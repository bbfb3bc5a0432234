"""What to label next: the MONAI Label strategies and the `refresh` scoring method."""
