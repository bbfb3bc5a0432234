"""Prepare published data sets as pools: `python -m benchmarks.datasets.<name> --source ... --out ...`.

Each module writes `studies/`, `labels/` (files of the same names) and `manifest.json` into `--out`;
see docs/how-to/data-sets.md.
"""
