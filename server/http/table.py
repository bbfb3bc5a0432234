"""The table of all routes: the role each needs, the size limit of its body, and whether it is off.

The gate lets nothing else through, so a route added by MONAI Label or a package stays closed until it is
listed here. `python -m server.http.table` prints the table of docs/security.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from starlette.routing import compile_path

OPEN, SIGNED_IN = "open", "signed in"  # everybody; every user with a valid token
READER, ANNOTATOR, REVIEWER, ADMIN = "reader", "annotator", "reviewer", "admin"
KiB, MiB, GiB = 2**10, 2**20, 2**30


@dataclass(frozen=True)
class Row:
    """One route.

    :param path: same as in the route itself
    :param role: one of OPEN, SIGNED_IN, READER, ANNOTATOR, REVIEWER, ADMIN
    :param limit: maximum bytes of the request's body
    :param json: whether the body is JSON rather than a form
    :param off: the name in `--conf allow` that turns the route on; "" for a route that is always on
    :param any_query: whether the query is passed on unchecked
    :param cached: whether browsers may cache the answer, as it holds no patient data
    """

    method: str
    path: str
    role: str
    limit: int = 0
    json: bool = False
    off: str = ""
    any_query: bool = False
    cached: bool = False


def _json(method: str, path: str, role: str, limit: int = 64 * KiB, off: str = "") -> Row:
    return Row(method, path, role, limit, json=True, off=off)


TABLE = (
    # sign-in, and pages without data
    Row("GET", "/", OPEN),
    Row("GET", "/favicon.ico", OPEN, cached=True),
    Row("GET", "/openapi.json", OPEN),
    Row("GET", "/auth/", OPEN),
    Row("POST", "/auth/token", OPEN, 64 * KiB),
    Row("GET", "/auth/token/valid", SIGNED_IN),
    Row("GET", "/selection/map", OPEN, cached=True),
    Row("GET", "/selection/progress", OPEN, cached=True),
    Row("GET", "/selection/label", OPEN, cached=True),
    Row("GET", "/selection/static/{name}", OPEN, cached=True),
    # the pool
    Row("GET", "/info/", READER),
    _json("POST", "/activelearning/{strategy}", READER),  # release, skip and unskip need an annotator
    Row("GET", "/datastore/", READER),
    Row("GET", "/datastore/image", READER),
    Row("HEAD", "/datastore/image", READER),
    Row("GET", "/datastore/image/info", READER),
    Row("GET", "/datastore/label", READER),
    Row("HEAD", "/datastore/label", READER),
    Row("GET", "/datastore/label/info", READER),
    Row("PUT", "/datastore/", ANNOTATOR, 4 * GiB),
    Row("PUT", "/datastore/image", ANNOTATOR, 4 * GiB),
    Row("PUT", "/datastore/image/info", ANNOTATOR, 2 * MiB),
    Row("PUT", "/datastore/label", ANNOTATOR, 1 * GiB),
    Row("PUT", "/datastore/label/info", ANNOTATOR, 2 * MiB),
    Row("PUT", "/datastore/updatelabelinfo", ANNOTATOR, 2 * MiB),
    Row("DELETE", "/datastore/", ADMIN),
    Row("DELETE", "/datastore/image", ADMIN),
    Row("DELETE", "/datastore/label", ADMIN),
    Row("GET", "/datastore/dataset", READER),
    # models
    Row("POST", "/infer/{model}", READER, 4 * GiB),  # save_label needs an annotator
    Row("PUT", "/session/", READER, 4 * GiB),
    Row("GET", "/session/{session_id}", READER),
    Row("DELETE", "/session/{session_id}", READER),
    Row("GET", "/model/{model}", ADMIN),
    Row("GET", "/model/info/{model}", ADMIN),
    Row("PUT", "/model/{model}", ADMIN, 4 * GiB, off="model_upload"),
    Row("DELETE", "/model/{model}", ADMIN),
    # background work
    Row("GET", "/train/", READER),
    _json("POST", "/train/", ADMIN),
    _json("POST", "/train/{model}", ADMIN),
    Row("DELETE", "/train/", ADMIN),
    Row("GET", "/scoring/", READER),
    _json("POST", "/scoring/", ANNOTATOR),
    _json("POST", "/scoring/{method}", ANNOTATOR),
    Row("DELETE", "/scoring/", ADMIN),
    Row("GET", "/batch/infer", READER),
    _json("POST", "/batch/infer/{model}", ADMIN),
    Row("DELETE", "/batch/infer", ADMIN),
    # selection
    Row("GET", "/selection/status", READER),
    Row("GET", "/selection/ledger", READER),
    Row("GET", "/selection/handouts", READER),
    _json("POST", "/selection/marks", REVIEWER, 8 * MiB),
    _json("POST", "/selection/alpha", REVIEWER),
    Row("GET", "/selection/map/data", READER),
    Row("GET", "/selection/plan", READER),
    Row("GET", "/selection/uncertainty", READER),
    Row("GET", "/selection/preview", READER),
    Row("GET", "/selection/images/history", READER),
    Row("GET", "/selection/images/thumbnail", READER),
    Row("GET", "/selection/images/picture", READER),
    Row("GET", "/selection/images/overlay", READER),
    Row("GET", "/selection/progress/data", READER),
    Row("GET", "/selection/results", READER),
    Row("GET", "/selection/results.json", READER),
    Row("GET", "/selection/results.csv", READER),
    Row("GET", "/selection/results.png", READER),
    Row("GET", "/selection/report.html", READER),
    # labelling in the browser
    Row("GET", "/selection/reader", READER),
    _json("POST", "/selection/reader", READER),
    Row("GET", "/selection/image/{image:path}/voxels", READER),
    Row("GET", "/selection/image/{image:path}/prelabel", READER),
    Row("GET", "/selection/image/{image:path}/label", READER),
    Row("PUT", "/selection/image/{image:path}/label", ANNOTATOR, 1 * GiB),
    _json("POST", "/selection/image/{image:path}/confirm", ANNOTATOR),
    Row("GET", "/selection/image/{image:path}/draft", READER),
    Row("PUT", "/selection/image/{image:path}/draft", ANNOTATOR, 65 * MiB),
    Row("DELETE", "/selection/image/{image:path}/draft", ANNOTATOR),
    _json("POST", "/selection/lease/{image:path}", ANNOTATOR),
    _json("DELETE", "/selection/lease/{image:path}", ANNOTATOR),
    _json("DELETE", "/selection/leases", ANNOTATOR),
    # OHIF and its access to the DICOM server
    Row("GET", "/ohif/{path:path}", READER, any_query=True, cached=True),
    Row("GET", "/proxy/dicom/{path:path}", READER, any_query=True),
    Row("POST", "/proxy/dicom/{path:path}", ADMIN, 1 * GiB, any_query=True),
    # the server
    Row("GET", "/logs/", ADMIN),
    Row("GET", "/logs/gpu", ADMIN),
    _json("POST", "/reload", ADMIN, off="reload"),
)

_PATTERNS: tuple[tuple[re.Pattern[str], Row], ...] = tuple((compile_path(row.path)[0], row) for row in TABLE)


def rows_of(path: str) -> list[Row]:
    """Return the rows of a path, with any method; of several matching paths, the first counts."""
    matching = [row for pattern, row in _PATTERNS if pattern.match(path)]
    return [row for row in matching if row.path == matching[0].path]


def uncovered(routes: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return (method, path) of the routes that have no row."""
    covered = {(row.method, row.path) for row in TABLE}
    return [route for route in routes if route not in covered]


def size_text(limit: int) -> str:
    """Format bytes for people: 64 KiB, 1 GiB."""
    for unit, size in (("GiB", GiB), ("MiB", MiB), ("KiB", KiB)):
        if limit >= size:
            return f"{limit / size:g} {unit}"
    return f"{limit} bytes"


def as_markdown() -> str:
    """Return the table of docs/security.md."""
    lines = ["| route | role | body at most | |", "|---|---|---|---|"]
    for row in TABLE:
        note = f"off without `--conf allow {row.off}`" if row.off else ""
        size = size_text(row.limit) if row.limit else "–"
        lines.append(f"| `{row.method} {row.path}` | {row.role} | {size} | {note} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(as_markdown())
