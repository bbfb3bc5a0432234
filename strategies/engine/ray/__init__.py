"""Run passes over images on a Ray cluster."""
