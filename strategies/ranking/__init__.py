"""Rank the images that may be handed out, each with its reason."""
