"""Backing up and restoring a pool, from either database to either."""
