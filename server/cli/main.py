"""The command `scan-selection`: `serve` runs a server, the others show and steer a pool without a browser.

Every command opens the pool like a child process of the server, so it is safe while a server runs, and also
before the first start. Only `prepare` and `report` build the app, with PyTorch and MONAI.
"""

from __future__ import annotations

import csv
import importlib
import json
import threading
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from tqdm import tqdm

from server.cli import labels as label_commands
from server.cli import pool as pool_commands
from server.cli import privacy as privacy_commands
from server.cli import serve as serve_command
from server.cli.named import NamedPool
from server.cli.opened import opened
from server.cli.options import Images, Reason, Who, pool_command

app = typer.Typer(
    help="Run a server; look at a pool and steer it without a browser, beside a server or before the first. "
    "While one server of yours runs, a command finds its pool by itself; else give --app and --studies.",
    no_args_is_help=True,
)
_LOOK, _STEER, _KEEP = "Look at a pool", "Steer a pool", "Keep, move and make"
serve_command.add_to(app)
app.add_typer(pool_commands.app, name="pool", rich_help_panel=_KEEP)
app.add_typer(privacy_commands.app, name="privacy", rich_help_panel=_KEEP)
app.add_typer(label_commands.app, name="labels", rich_help_panel=_STEER)


@pool_command(app, panel=_LOOK)
def status(pool: NamedPool, as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Show the status of the pool: stage, labels, background work, unreadable images."""
    with opened(pool) as opened_app:
        summary = opened_app.selection_status(failures=True)
        if as_json:
            typer.echo(json.dumps(summary, indent=1))
            return
        for key, value in summary.items():
            if key != "failures":
                typer.echo(f"{key:<18} {json.dumps(value) if isinstance(value, dict | list) else value}")
        for image, reason in summary["failures"].items():
            typer.echo(f"cannot be read     {image}: {reason}")


@pool_command(app, panel="Run")
def prepare(pool: NamedPool) -> None:
    """Embed, lay out the map and plan, with or without a running server; an interrupted run resumes."""
    with opened(pool, build=True) as opened_app:
        failed: list[Exception] = []

        def work() -> None:
            try:
                opened_app.scoring({"method": "refresh"})
            except Exception as error:
                failed.append(error)

        worker = threading.Thread(target=work, daemon=True)
        worker.start()
        with tqdm(unit="image") as bar:
            while worker.is_alive():
                _show_progress(bar, opened_app.state.progress.get())
                worker.join(0.5)
        if failed:
            raise ValueError(f"preparing failed: {type(failed[0]).__name__}: {failed[0]}")
        answer = opened_app.selection_status()
        typer.echo(
            f"{answer['map']['images']} of {answer['images']} images are on the map; stage {answer['stage']}"
        )


@pool_command(app, panel=_STEER)
def retry(pool: NamedPool) -> None:
    """Retry images that could not be read, in a running server or with `prepare`."""
    with opened(pool) as opened_app:
        count = len(opened_app.state.failures.all())
        opened_app.state.failures.forget()
        typer.echo(f"Images to be tried again: {count}")


def _show_progress(bar: Any, progress: dict[str, Any] | None) -> None:
    if progress:
        bar.set_description(progress["step"], refresh=False)
        bar.total, bar.n = progress["total"] or None, progress["done"]
        bar.refresh()


@pool_command(app, panel=_LOOK)
def plan(
    pool: NamedPool,
    count: Annotated[int, typer.Option(help="Number of images.", min=1)] = 12,
    strategy: Annotated[str, typer.Option(help="The strategy to use.")] = "auto",
) -> None:
    """Print the images to be handed out next, with reasons; nothing is handed out."""
    with opened(pool) as opened_app:
        picks = opened_app.preview(strategy, count)
        for number, pick in enumerate(picks, 1):
            typer.echo(f"{number:>3}  {pick['id']}  {pick['selection']['reason']}")
        if not picks:
            typer.echo("Nothing is left to hand out.")


@pool_command(app, panel=_STEER)
def skip(pool: NamedPool, images: Images, reason: Reason = "", who: Who = "lead") -> None:
    """Exclude images from hand-out (undo with `unmark`)."""
    _mark("skip", pool, images, reason, who)


@pool_command(app, panel=_STEER)
def unmark(pool: NamedPool, images: Images, who: Who = "lead") -> None:
    """Undo `skip`, `hold-out` and `next`."""
    _mark("none", pool, images, "", who)


@pool_command(app, panel=_STEER)
def hold_out(pool: NamedPool, images: Images, reason: Reason = "", who: Who = "lead") -> None:
    """Hold images out: they are labelled but never trained on, and models are measured on them."""
    _mark("held_out", pool, images, reason, who)


@pool_command(app, "next", panel=_STEER)
def come_next(pool: NamedPool, images: Images, reason: Reason = "", who: Who = "lead") -> None:
    """Hand out these images before all others, in this order."""
    _mark("next", pool, images, reason, who)


@pool_command(app, panel=_STEER)
def reopen(pool: NamedPool, images: Images, reason: Reason = "", who: Who = "lead") -> None:
    """Hand out labelled images once more, with their label to start from (undo with `unmark`)."""
    _mark("reopen", pool, images, reason, who)


@pool_command(app, panel=_STEER)
def confirm(pool: NamedPool, images: Images, who: Who = "lead") -> None:
    """Let labels count that equal a prediction or another label, once somebody has looked at them."""
    from server.desk.confirm import confirm as confirm_label

    with opened(pool) as opened_app:
        for image in images:
            confirm_label(opened_app.state, opened_app.datastore(), image, who)
        typer.echo(f"{len(images)} labels confirmed")


def _mark(kind: Any, pool: NamedPool, images: list[str], reason: str, who: str) -> None:
    from server.marks import MarkRequest, mark

    with opened(pool) as opened_app:
        request = MarkRequest(kind=kind, images=images, reason=reason, client=who)
        result = mark(opened_app.state, opened_app.datastore(), request, opened_app.bundle.get("labels"))
        typer.echo(f"{result['changed']} images changed")


@pool_command(app, panel=_LOOK)
def report(
    pool: NamedPool,
    out: Annotated[Path, typer.Option(help="Folder for report.html, rounds.csv and curves.png.")],
) -> None:
    """Write the results to files that can be read without a server."""
    from server.reporting.page import as_csv, draw, render
    from server.reporting.results import results_of

    with opened(pool, build=True) as opened_app:
        results, summary = results_of(opened_app.context, opened_app.bundle), opened_app.selection_status()
        out.mkdir(parents=True, exist_ok=True)
        (out / "report.html").write_text(render(results, summary, opened_app.info()["name"]))
        (out / "rounds.csv").write_text(as_csv(results))
        (out / "curves.png").write_bytes(draw(results))
        typer.echo(f"Written: {out / 'report.html'}, {out / 'rounds.csv'}, {out / 'curves.png'}")


@pool_command(app, panel=_LOOK)
def ledger(
    pool: NamedPool,
    out: Annotated[Path, typer.Option(help="File to write: .csv, or .jsonl with one entry per line.")],
) -> None:
    """Export the ledger: every plan, hand-out, label, model and failure, with its evidence."""
    if out.suffix not in (".csv", ".jsonl"):
        raise typer.BadParameter(f"{out}: give a name that ends in .csv or .jsonl", param_hint="--out")
    with opened(pool) as opened_app:
        rows = opened_app.state.ledger.entries()
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


_PASS_ON = {"ignore_unknown_options": True, "allow_extra_args": True}  # its own options and --help


@app.command("new-app", rich_help_panel=_KEEP, add_help_option=False, context_settings=_PASS_ON)
def new_app(context: typer.Context) -> None:
    """Make a new MONAI Label app for other structures."""
    _run("server.cli.new_app", context)


@app.command("dicom-in", rich_help_panel=_KEEP, add_help_option=False, context_settings=_PASS_ON)
def dicom_in(context: typer.Context) -> None:
    """Make DICOM images from files and store them on a DICOMweb server."""
    _run("server.cli.dicom_in", context)


def _run(module: str, context: typer.Context) -> None:
    """Run the `main` of a module, imported now: it takes seconds, which other commands need not wait."""
    command = typer.Typer(add_completion=False)
    command.command()(importlib.import_module(module).main)
    command(context.args, prog_name=context.command_path)
