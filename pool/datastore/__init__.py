"""A studies folder as MONAI Label's datastore: its images, labels and their versions."""

from pool.datastore.store import InUse, PoolDatastore

__all__ = ["InUse", "PoolDatastore"]
