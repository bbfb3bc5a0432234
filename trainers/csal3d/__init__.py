"""Pretrain CSAL-3D's network on all volumes of the pool."""
