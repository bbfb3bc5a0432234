"""Run `python -m benchmarks.speed`."""

import typer

from benchmarks.speed.table import main

if __name__ == "__main__":
    typer.run(main)
