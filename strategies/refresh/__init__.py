"""Bring the pool's state up to date: features, map, plans, entropies, measurements."""
