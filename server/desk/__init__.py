"""Labelling in the browser: images as arrays, pre-labels, labels, drafts, and who draws them."""
