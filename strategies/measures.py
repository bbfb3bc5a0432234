"""Names of the measures that the pool's database keeps of an image, beside the entropy."""

FOREGROUND = "foreground"  # share of pixels or voxels not predicted as background
CLASS = "class "  # entropy of a class; followed by the number of a foreground class, from 1
