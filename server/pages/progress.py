"""Data of the page on progress and results: counts, running work, and the rendered results."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse
from monailabel.interfaces.utils.app import app_instance

from server.guidance import epochs_of, guidance
from server.http.selection import allowed
from server.reporting.page import as_csv, draw, render
from server.reporting.results import Results, results_of
from strategies.choosing import choosing_text

_REPORT_HEADERS = {  # style and picture are inline, and there are no scripts
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "frame-ancestors 'none'"
}


def training_work(stats: Mapping[str, Any], now: float) -> dict[str, Any]:
    """Return the epochs done and the time left of the running training.

    :param stats: as written by MONAI Label's trainers; at first still those of the previous training
    """
    epochs = epochs_of(stats, now)
    work = {"name": "training", "unit": "epochs", "error": None, "per_second": None}
    return {**work, **epochs, "total": epochs["total"] or 1}


def background_work(progress: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Return the running step of refresh, or its error; [] when everything is up to date."""
    if progress is None or (progress["step"] == "ready" and not progress["error"]):
        return []
    names = ("done", "total", "per_second", "seconds_left", "error")
    return [{"name": progress["step"], "unit": "images", **{name: progress[name] for name in names}}]


def _counts(status: Mapping[str, Any]) -> dict[str, Any]:
    validation = status["validation"]
    return {
        "stage": status["stage"].replace("_", " "),
        "round": status["round"],
        "labelled": f"{status['labelled']} of {status['images']}",
        "handed out": status["handed_out"],
        "skipped": status["skipped"],
        "held out": f"{validation['labelled']} of {validation['held_out']}",
        "cannot be read": status["failed"],
    }


def data(prefix: str) -> APIRouter:
    """Make the routes of the page's data, for signed-in users."""
    routes = APIRouter(prefix=prefix, tags=["Selection"])

    def results() -> Results:
        app = app_instance()
        with app.database_errors():
            return results_of(app.context, app.bundle)

    def report(whole: bool) -> HTMLResponse:
        app = app_instance()
        page = render(results(), app.selection_status(), app.info()["name"], whole)
        return HTMLResponse(page, headers=_REPORT_HEADERS)

    @routes.get("/progress/data", summary="Counts, running work with the time left, and a key of the results")
    def progress() -> dict[str, Any]:
        app = app_instance()
        status = app.selection_status(failures=True)  # the next step may name one
        with app.database_errors():
            added = {**guidance(app, status), "allowed": allowed()}
        work = background_work(status["progress"])
        if app.tasks.running("train"):
            work.append(training_work(app.training_stats(), time.time()))
        measured = len(app.state.validations.of(status["model"])) if status["model"] else 0
        key = f"{status['round']}-{status['labelled']}-{measured}"
        return {
            "counts": _counts(status),
            "choosing": choosing_text(app.context.settings, app.bundle),
            "measuring": status["measuring"],
            "warnings": status["warnings"],
            "work": work,
            "results": key,
            **added,
        }

    @routes.get("/results", summary="Rounds, annotators and advice, as HTML")
    def shown() -> HTMLResponse:
        return report(whole=False)

    @routes.get("/results.json", summary="Rounds, annotators and advice")
    def numbers() -> dict[str, Any]:
        return results().as_json()

    @routes.get("/results.csv", summary="One row per round")
    def table() -> Response:
        return Response(as_csv(results()), media_type="text/csv")

    @routes.get("/results.png", summary="The learning curves")
    def picture() -> Response:
        return Response(draw(results()), media_type="image/png")

    @routes.get("/report.html", summary="All results in one file that needs no server")
    def everything() -> HTMLResponse:
        return report(whole=True)

    return routes
