"""Download and check of an encoder's weights: `python -m infers.encoders.weights NAME --out FOLDER`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from filelock import FileLock, Timeout
from tqdm import tqdm

from infers.encoders.download import DownloadError, NotThereError, fetch
from infers.encoders.factory import make_encoder
from infers.encoders.files import sha256_of
from infers.encoders.sources import SOURCES, Source, source_of
from pool.files import sync_file, sync_folder

SUMS = "SHA256SUMS"  # file in the folder, for `sha256sum -c`


def main(
    name: Annotated[str, typer.Argument(help=f"{', '.join(SOURCES)}, or owner/model on the hub.")],
    out: Annotated[Path, typer.Option(help="Folder in which the encoder's folder is created.")] = Path(
        "weights"
    ),
    sha256: Annotated[str, typer.Option(help="Expected sha256 of the weights file, 64 hex digits.")] = "",
) -> None:
    """Download an encoder's weights into a folder of its own, which appears once complete.

    Run it again to resume an interrupted download. Files are checked against the hub's sha256, or yours, and
    the encoder is tried out. HF_ENDPOINT names a mirror; HF_TOKEN is for models with terms to accept.
    """
    try:
        source = source_of(name)
        sha256 = sha256.lower() or source.sha256
        folder = out.expanduser().resolve() / name.rpartition("/")[2]
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / f".{folder.name}.lock", timeout=0):
            if folder.exists():
                _check_existing(folder, sha256)
            else:
                _download(source, folder, sha256)
    except Timeout:
        _fail(f"another process is downloading {name} to {out}; wait for it")
    except (DownloadError, OSError, ValueError) as error:
        _fail(str(error))
    typer.echo(f"{folder} is ready. Start the server with {_conf_options(source, folder)}")


def _fail(text: str) -> None:
    typer.echo(text, err=True)
    raise typer.Exit(1)


def _download(source: Source, folder: Path, sha256: str) -> None:
    """Fill a hidden folder, try the encoder out, and rename the folder to `folder`."""
    typer.echo(f"{source.page}: {source.size}; licence: {source.licence}")
    part = folder.parent / f".{folder.name}.part"
    part.mkdir(exist_ok=True)
    try:
        for file in source.settings:
            _fetch(source, file, part, "")
        _fetch_first(source, part, sha256)
    except DownloadError as error:
        raise DownloadError(f"{error}\n{_manual_steps(source, folder)}") from error
    if source.is_open_clip:
        _convert(source, part)
    names = sorted(file.name for file in part.iterdir() if file.name != SUMS)
    (part / SUMS).write_text("".join(f"{sha256_of([part / name])}  {name}\n" for name in names))
    _try_out(source, part)
    for name in (*names, SUMS):
        sync_file(part / name)
    part.rename(folder)
    sync_folder(folder.parent)


def _fetch_first(source: Source, part: Path, sha256: str) -> str:
    """Fetch the first of `source.weights` that exists; return its name."""
    for file in source.weights[:-1]:
        try:
            return _fetch(source, file, part, sha256)
        except NotThereError:
            continue
    return _fetch(source, source.weights[-1], part, sha256)


def _fetch(source: Source, file: str, part: Path, sha256: str) -> str:
    if (part / file).is_file() and (not sha256 or sha256_of([part / file]) == sha256):
        return file  # fetched by an earlier run
    with tqdm(desc=file, unit="B", unit_scale=True) as bar:

        def progress(count: int, total: int | None) -> None:
            bar.total = total
            bar.update(count)

        actual, compared = fetch(
            source.url(file), part / file, sha256 or None, progress, os.environ.get("HF_TOKEN")
        )
    if file in source.weights:
        comparison = "as expected" if compared else f"not verified; to pin it: --sha256 {actual}"
        typer.echo(f"{file}: sha256 {actual} ({comparison})")
    return file


def _convert(source: Source, part: Path) -> None:
    from infers.encoders.open_clip import convert

    with _discarding_on_failure(source, part):
        convert(part)


def _try_out(source: Source, part: Path) -> None:
    """Create the encoder once."""
    with _discarding_on_failure(source, part):
        make_encoder(*_encoder_arguments(source, part))


@contextmanager
def _discarding_on_failure(source: Source, part: Path) -> Iterator[None]:
    """Delete `part` if the block fails, so that the next run starts over."""
    try:
        yield
    except (OSError, ValueError) as error:
        shutil.rmtree(part)
        raise DownloadError(
            f"what {source.page} sent is not the expected encoder, nothing was kept: {error}\nIs there a "
            "proxy that asks for a password?"
        ) from error


def _check_existing(folder: Path, sha256: str) -> None:
    """Check a folder from an earlier run against its own sums; raise DownloadError if it differs."""
    sums = folder / SUMS
    if not sums.is_file():
        raise DownloadError(
            f"{folder} exists but was not made by this command; move it away, or choose another --out"
        )
    for line in sums.read_text().splitlines():
        expected, _, name = line.partition("  ")
        if not (folder / name).is_file() or sha256_of([folder / name]) != expected:
            raise DownloadError(f"{folder / name} is damaged or missing; delete {folder} and run it again")
    if sha256 and sha256 not in sums.read_text():
        raise DownloadError(f"no file of {folder} has sha256 {sha256}; delete it and run it again")


def _encoder_arguments(source: Source, folder: Path) -> tuple[str, str | None]:
    """Return the arguments for `make_encoder`."""
    if source.settings:
        return f"transformers:{folder}", None
    return "radimagenet", str(folder / source.weights[0])


def _conf_options(source: Source, folder: Path) -> str:
    name, weights = _encoder_arguments(source, folder)
    return f"--conf encoder {name}" + (f" --conf encoder_weights {weights}" if weights else "")


def _manual_steps(source: Source, folder: Path) -> str:
    files = [*source.settings, " or ".join(source.weights)]
    convert = f"run python -m infers.encoders.open_clip {folder}, " if source.is_open_clip else ""
    return (
        f"By hand: on a machine with internet open {source.page}/tree/main, download {', '.join(files)} into "
        f"a folder {folder.name}, copy that here, {convert}and start the server with "
        f"{_conf_options(source, folder)}"
    )


if __name__ == "__main__":
    typer.run(main)
