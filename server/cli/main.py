"""What a lead does without a browser: `scan-selection status | prepare | plan | skip | report | ...`.

Every command opens the pool as a child process of the server does: safe beside a running server, and before
the first one.
"""

from __future__ import annotations

import csv
import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy.exc import SQLAlchemyError
from tqdm import tqdm

from pool.errors import PoolError
from server.cli import pool as pool_commands

app = typer.Typer(
    help="Look at a pool and steer it, without a browser; safe beside a running server.", no_args_is_help=True
)
app.add_typer(pool_commands.app, name="pool")

App = Annotated[Path, typer.Option("--app", help="Folder of the app, such as apps/cxr_lungs.")]
Studies = Annotated[str, typer.Option(help="The studies folder, or the DICOMweb URL, as the server's.")]
Conf = Annotated[list[str] | None, typer.Option(help="The server's settings, as KEY=VALUE; may be repeated.")]
Images = Annotated[list[str], typer.Argument(help="Ids of images.")]
Reason = Annotated[str, typer.Option(help="Why; it is kept in the ledger.")]
Who = Annotated[str, typer.Option("--as", help="Who decides; it is kept in the ledger.")]


@contextmanager
def opened(folder: Path, studies: str, conf: list[str] | None) -> Iterator[Any]:
    """The app of a pool. What goes wrong, in it or in the block, is said in one line; exit code 1."""
    logging.basicConfig(level=logging.WARNING)
    from monailabel.interfaces.utils.app import app_instance  # slow: it brings torch

    from pool.database.state import State

    pairs = {key: value for key, _, value in (pair.partition("=") for pair in conf or [])}
    local = not studies.startswith(("http://", "https://"))
    try:
        if not (folder / "main.py").is_file():
            raise ValueError(f"--app {folder}: there is no app, which has a main.py; try apps/cxr_lungs")
        if local and not os.path.isdir(studies):
            raise ValueError(f"--studies {studies}: there is no such folder")
        found = app_instance(
            os.path.realpath(folder),
            os.path.realpath(studies) if local else studies,
            pairs or {"server_mode": "false"},  # MONAI Label takes an empty one for none given
        )
        State(found.state.folder, migrate=True, url=found.context.settings.database)
        yield found
    except PoolError as error:
        said = error.text
    except SQLAlchemyError as error:
        said = found.state.trouble(error)
    except (OSError, ValueError) as error:
        said = str(error)
    else:
        return
    typer.echo(said, err=True)
    raise typer.Exit(1)


@app.command()
def status(
    app: App, studies: Studies, conf: Conf = None, as_json: Annotated[bool, typer.Option("--json")] = False
) -> None:
    """Where the pool stands: stage, labels, background work, images that cannot be read."""
    with opened(app, studies, conf) as found:
        said = found.selection_status(failures=True)
        if as_json:
            typer.echo(json.dumps(said, indent=1))
            return
        for key, value in said.items():
            if key != "failures":
                typer.echo(f"{key:<18} {json.dumps(value) if isinstance(value, dict | list) else value}")
        for image, reason in said["failures"].items():
            typer.echo(f"cannot be read     {image}: {reason}")


@app.command()
def prepare(app: App, studies: Studies, conf: Conf = None) -> None:
    """Embed, lay out the map and plan, before the server starts or beside it; a stopped one goes on."""
    with opened(app, studies, conf) as found:
        failed: list[Exception] = []

        def work() -> None:
            try:
                found.scoring({"method": "refresh"})
            except Exception as error:
                failed.append(error)

        worker = threading.Thread(target=work, daemon=True)
        worker.start()
        with tqdm(unit="image") as bar:
            while worker.is_alive():
                _show(bar, found.state.progress.get())
                worker.join(0.5)
        if failed:
            raise ValueError(f"preparing failed: {type(failed[0]).__name__}: {failed[0]}")
        said = found.selection_status()
        typer.echo(
            f"{said['map']['images']} of {said['images']} images are on the map; stage {said['stage']}"
        )


@app.command()
def retry(app: App, studies: Studies, conf: Conf = None) -> None:
    """Have images that could not be read tried again, by a running server or by `prepare`."""
    with opened(app, studies, conf) as found:
        count = len(found.state.failures.all())
        found.state.failures.forget()
        typer.echo(f"Images that are tried again: {count}")


def _show(bar: Any, progress: dict[str, Any] | None) -> None:
    if progress:
        bar.set_description(progress["step"], refresh=False)
        bar.total, bar.n = progress["total"] or None, progress["done"]
        bar.refresh()


@app.command()
def plan(
    app: App,
    studies: Studies,
    conf: Conf = None,
    count: Annotated[int, typer.Option(help="How many.", min=1)] = 12,
    strategy: Annotated[str, typer.Option(help="By which strategy.")] = "auto",
) -> None:
    """Print what would be handed out next, and why; nothing is handed out."""
    with opened(app, studies, conf) as found:
        picks = found.preview(strategy, count)
        for number, pick in enumerate(picks, 1):
            typer.echo(f"{number:>3}  {pick['id']}  {pick['selection']['reason']}")
        if not picks:
            typer.echo("Nothing is left to hand out.")


@app.command()
def skip(
    images: Images, app: App, studies: Studies, conf: Conf = None, reason: Reason = "", who: Who = "lead"
) -> None:
    """Hand images out to nobody; `unmark` takes it back."""
    _mark("skip", images, app, studies, conf, reason, who)


@app.command()
def unmark(images: Images, app: App, studies: Studies, conf: Conf = None, who: Who = "lead") -> None:
    """Take skips, hold-outs and wishes for the next plan back."""
    _mark("none", images, app, studies, conf, "", who)


@app.command()
def hold_out(
    images: Images, app: App, studies: Studies, conf: Conf = None, reason: Reason = "", who: Who = "lead"
) -> None:
    """Have images labelled but never trained on, to measure models by."""
    _mark("held_out", images, app, studies, conf, reason, who)


@app.command("next")
def come_next(
    images: Images, app: App, studies: Studies, conf: Conf = None, reason: Reason = "", who: Who = "lead"
) -> None:
    """Have images handed out before anything else, in this order."""
    _mark("next", images, app, studies, conf, reason, who)


def _mark(
    kind: Any, images: list[str], app: Path, studies: str, conf: list[str] | None, reason: str, who: str
) -> None:
    from server.marks import MarkRequest, mark

    with opened(app, studies, conf) as found:
        request = MarkRequest(kind=kind, images=images, reason=reason, client=who)
        done = mark(found.state, found.datastore(), request)
        typer.echo(f"{done['changed']} images changed")


@app.command()
def report(
    app: App,
    studies: Studies,
    out: Annotated[Path, typer.Option(help="Folder for report.html, rounds.csv and curves.png.")],
    conf: Conf = None,
) -> None:
    """Write the results as files that need no server."""
    from server.reporting.page import as_csv, draw, render
    from server.reporting.results import results_of

    with opened(app, studies, conf) as found:
        results, said = results_of(found.context, found.bundle), found.selection_status()
        out.mkdir(parents=True, exist_ok=True)
        (out / "report.html").write_text(render(results, said, found.info()["name"]))
        (out / "rounds.csv").write_text(as_csv(results))
        (out / "curves.png").write_bytes(draw(results))
        typer.echo(f"Written: {out / 'report.html'}, {out / 'rounds.csv'}, {out / 'curves.png'}")


@app.command()
def ledger(
    app: App,
    studies: Studies,
    out: Annotated[Path, typer.Option(help="File to write: .csv, or .jsonl with one entry per line.")],
    conf: Conf = None,
) -> None:
    """Export the ledger: every plan, hand-out, label, model and failure, with its evidence."""
    if out.suffix not in (".csv", ".jsonl"):
        raise typer.BadParameter(f"{out}: a name that ends in .csv or .jsonl", param_hint="--out")
    with opened(app, studies, conf) as found:
        rows = found.state.ledger.entries()
        with open(out, "w", newline="") as file:
            if out.suffix == ".jsonl":
                file.writelines(json.dumps(row) + "\n" for row in rows)
            else:
                writer = csv.writer(file)
                writer.writerow(["id", "time", "event", "image", "details"])
                for row in rows:
                    when = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(row["created"]))
                    writer.writerow([row["id"], when, row["event"], row["image"], json.dumps(row["details"])])
        typer.echo(f"Written: {out}, {len(rows)} entries")


if __name__ == "__main__":
    app()
