"""Run `python -m benchmarks.speed`."""

import typer

from benchmarks.speed.table import main

typer.run(main)
