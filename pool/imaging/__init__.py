"""Image and label files: reading, checking and writing pictures and volumes."""
