"""Run passes over images: in this process, or on a Ray cluster."""
