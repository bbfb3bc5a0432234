"""Draw phantoms: pools whose true labels are known."""
