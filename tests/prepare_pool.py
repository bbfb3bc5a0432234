"""Bring a pool to a stage without a server: `python -m tests.prepare_pool refresh|label|train POOL`.

POOL is JSON: the arguments of `app_instance`, and for `label` the folder of masks and the number of images.
"""

from __future__ import annotations

import glob
import importlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def main(kind: str, pool: Mapping[str, Any]) -> None:
    from pool.database.state import State

    conf = pool["conf"]
    State(Path(conf["state"]), migrate=True, url=conf.get("database", ""))
    if kind == "label":
        importlib.import_module("monailabel.app")  # the app as the server has it, which saves labels
    from monailabel.interfaces.utils.app import app_instance

    app: Any = app_instance(pool["app"], pool["studies"], conf)
    if kind == "label":
        _label(app, pool["masks"], pool["count"])
    elif kind == "train":
        print(app.train({"model": "segmentation"}))
    print(app.scoring({"method": "refresh"}))


def _label(app: Any, masks: str, count: int) -> None:
    """Label the images that are handed out next."""
    for _ in range(count):
        image = app.next_sample({"strategy": "auto", "client_id": "ada"})["id"]
        (mask,) = Path(masks).glob(f"{glob.escape(image)}.*")
        app.datastore().save_label(image, str(mask), "final", {"client_id": "ada"})


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
