"""Selection of the next image to label: the MONAI Label strategies and the `refresh` scoring method."""
