"""Fitting the instant head, within a second or two of each saved label."""
