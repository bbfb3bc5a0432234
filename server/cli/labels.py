"""Commands on labels that other programs wrote: `scan-selection labels fix`."""

from __future__ import annotations

from typing import Annotated

import typer
from tqdm import tqdm

from pool.datastore.store import PoolDatastore
from pool.errors import PoolError
from pool.imaging.names import LabelError
from server.cli.named import NamedPool
from server.cli.opened import opened
from server.cli.options import pool_command

app = typer.Typer(help="Repair labels that do not count.", no_args_is_help=True)


@app.callback()
def _labels() -> None:
    """Keep `fix` a command of its own, though there is only one."""


@pool_command(app)
def fix(
    pool: NamedPool,
    values: Annotated[
        list[str], typer.Option("--map", help="VALUE=MEANING, such as 255=1; may be repeated.")
    ],
) -> None:
    """Write final labels with unknown values anew, with the app's values; the former files are kept.

    Only labels whose unknown values are all named are written. A running server checks them again.
    """
    with opened(pool) as opened_app:
        known, mapping = set(opened_app.bundle.get("labels").values()), _mapping(values)
        if strange := sorted(set(mapping.values()) - known - {0}):
            raise ValueError(f"--map: {strange[0]} is no value of this app; it has {sorted(known)}")
        store = opened_app.datastore()
        if not isinstance(store, PoolDatastore):
            raise ValueError("--studies: labels on a DICOM server are changed there")
        images, written = sorted({*store.refused_labels, *store.unchecked_labels}), 0
        for image in tqdm(filter(store.has_image, images), unit="label"):
            try:
                written += store.rewrite_label(image, mapping)
            except (LabelError, PoolError) as error:
                typer.echo(f"Not written: {image}: {error}", err=True)
        typer.echo(f"Labels written anew: {written}; former files are in versions/final")


def _mapping(pairs: list[str]) -> dict[int, int]:
    """Parse VALUE=MEANING pairs. Raises ValueError."""
    try:
        return {int(value): int(meaning) for value, meaning in (pair.split("=") for pair in pairs)}
    except ValueError:
        raise ValueError(f"--map {' '.join(pairs)}: expected VALUE=MEANING, such as 255=1") from None
