"""A child process of the server: `python -m server.child KIND`, one of `KINDS`, with its requests on stdin.

Nothing of a request goes into the environment or the command line, which every user of the machine can read.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import sys
import time
from typing import Any

import psutil

_NICE = 5  # children yield to the server, for which somebody waits
KINDS = ("train", "batch_infer", "backup", "worker")
_FORMAT = "[%(asctime)s] [%(process)s] [%(threadName)s] [%(levelname)s] (%(name)s:%(lineno)d) - %(message)s"
logger = logging.getLogger(__name__)


def main() -> None:
    """Build the app named by the environment and do what is asked on stdin."""
    logging.basicConfig(level=logging.INFO, format=_FORMAT)
    kind = sys.argv[1]
    if kind not in KINDS:
        raise SystemExit(f"{kind!r}: choose one of {', '.join(KINDS)}")
    os.nice(_NICE)
    try:
        if kind == "worker":
            serve()
        elif kind == "backup":
            back_up()
        else:
            run_once(kind)
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def back_up() -> None:
    """Make the backup that stdin names, without the app."""
    from server.backups import run

    run(json.load(sys.stdin))


def run_once(kind: str) -> None:
    """Run the one task that stdin names."""
    request = json.load(sys.stdin)
    gpus = request.pop("gpus", "all")  # the server has checked that these GPUs exist
    if gpus != "all":
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus  # must be set before torch is imported
    from monailabel.interfaces.utils.app import app_instance

    from pool.errors import PoolError
    from server.open_pool import take_in_checks

    app = app_instance()
    app.state.remember_pool()
    take_in_checks(app.state, app.datastore())
    try:
        result = getattr(app, kind)({**request, "gpus": "all"})
    except PoolError as error:  # the text says what to do
        raise SystemExit(error.text) from None
    logger.info("Result: %s", json.dumps(result, default=str))


def serve() -> None:
    """Answer scoring requests until the server closes the pipe or this process has grown too large.

    A request is one line of JSON: the `method`; `if_due` to run only if there is work; `max_bytes` of memory
    past which to end. The replies are {"steps": [...]} when a run starts, then {"result": ...} or
    {"error": ...}; {"idle": true} when nothing was due. `seconds` tells how long the look for work took.
    """
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print belongs in the log
    from monailabel.interfaces.utils.app import app_instance

    app = app_instance()
    app.state.remember_pool()
    for line in sys.stdin:
        request = json.loads(line)
        for reply in answer(app, request):
            replies.write(json.dumps(reply, default=str) + "\n")
        gc.collect()
        if "idle" not in reply and psutil.Process().memory_info().rss > request["max_bytes"]:
            logger.info("This process uses more than %d MiB: another takes over", request["max_bytes"] >> 20)
            return


def answer(app: Any, request: dict[str, Any]) -> Any:
    """Run one scoring request on the pool as it is now; yield the replies."""
    from server.open_pool import take_in_checks
    from strategies.refresh.each_label import warm_up
    from strategies.refresh.pipeline import make_room, missing

    try:
        store, started = app.datastore(), time.monotonic()
        store.refresh()
        take_in_checks(app.state, store)
        make_room(app.context)
        steps = missing(app.context, store) if request["method"] == "refresh" else []
        seconds = time.monotonic() - started
        if request.pop("if_due", False) and not steps:
            warm_up(app.context)
            yield {"idle": True, "seconds": seconds}
            return
        yield {"steps": steps, "seconds": seconds}
        yield {"result": app.scoring(request)}
    except Exception as error:  # the next request may succeed
        logger.exception("The refresh failed")
        yield {"error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    main()
