"""Run `python -m benchmarks.phantoms`."""

import typer

from benchmarks.phantoms.generate import main

typer.run(main)
