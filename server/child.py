"""A child process of the server: `python -m server.child train|scoring|batch_infer`, the request on stdin.

Nothing of a request goes into the environment or the command line, which every user of the machine can read.
"""

from __future__ import annotations

import json
import logging
import os
import sys

KINDS = ("train", "scoring", "batch_infer")
_FORMAT = "[%(asctime)s] [%(process)s] [%(threadName)s] [%(levelname)s] (%(name)s:%(lineno)d) - %(message)s"


def main() -> None:
    """Build the app named by the environment and run one task."""
    logging.basicConfig(level=logging.INFO, format=_FORMAT)
    kind, request = sys.argv[1], json.load(sys.stdin)
    if kind not in KINDS:
        raise SystemExit(f"{kind!r}: choose one of {', '.join(KINDS)}")
    gpus = request.pop("gpus", "all")  # the server has checked that these GPUs exist
    if gpus != "all":
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus  # must be set before torch is imported
    from monailabel.interfaces.utils.app import app_instance

    result = getattr(app_instance(), kind)({**request, "gpus": "all"} if kind != "scoring" else request)
    logging.getLogger(__name__).info("Result: %s", json.dumps(result, default=str))


if __name__ == "__main__":
    main()
