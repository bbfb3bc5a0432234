"""MONAI Label's train task for the self-supervised pretraining of CSAL-3D on all volumes of the pool.

Zhu et al., "CSAL-3D: Cold-start Active Learning for 3D Medical Image Segmentation via SSL-driven
Uncertainty-Reinforced Diversity Sampling", section 2; `docs/selection.md` lists what is ours. It needs no
labels. A stopped or killed run resumes from its last checkpoint when started again.
"""

from __future__ import annotations

import datetime
import json
import logging
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import monai
import numpy as np
import torch
from filelock import FileLock, Timeout
from monai.transforms import Compose
from monai.utils import set_determinism
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.train import TrainTask
from monailabel.utils.others.generic import device_list, name_to_device

from bundle_configs import Bundle
from bundle_configs.parameters import Parameter, device_parameters
from pool.files import make_folder, remove_leftovers, write_atomically
from trainers.csal3d.checks import check_pretraining
from trainers.csal3d.data import Crops
from trainers.csal3d.run import Run
from trainers.publishing import write_checkpoint

logger = logging.getLogger(__name__)


class Pretraining(TrainTask):
    """Pretrains the bundle's self-supervised network and publishes it atomically as one file.

    :param folder: the pool's state folder; the network is published there as `pretrained.pt`, checkpoint and
        statistics are in its subfolder `pretraining`
    """

    def __init__(self, folder: Path, bundle: Bundle, seed: int) -> None:
        super().__init__("Pretrains the encoder on all volumes, without labels (CSAL-3D)")
        self.folder, self.bundle, self.seed = folder, bundle, seed
        self._work = folder / "pretraining"
        self._checkpoint, self._stats = self._work / "checkpoint.pt", self._work / "stats.json"

    def config(self) -> dict[str, Any]:
        """Return the parameters of a request, with defaults."""
        return {
            "iterations": self.bundle.get("pretrain_iterations"),
            "losses": self.bundle.get("pretrain_losses"),
            "seed": self.seed,
            "device": device_list(),
        }

    def parameters(self) -> dict[str, Parameter]:
        """Return the parameters of a request, with types and ranges."""
        return {
            "iterations": Parameter(int, 1, 10_000_000),
            "losses": Parameter(str, pattern="[a-z]+(,[a-z]+)*"),
            "seed": Parameter(int, 0, 2**32 - 1),
            "device": device_parameters()["device"],
        }

    def stats(self) -> dict[str, Any]:
        """Return the progress of the newest run: `epoch` of `total_epochs` iterations, and its losses."""
        try:
            return json.loads(self._stats.read_text())
        except FileNotFoundError:
            return {}

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Pretrain and publish; return the statistics.

        Raises ValueError for an invalid request, RuntimeError if another training of this pool is running,
        there is nothing to train on, or training diverges.
        """
        try:
            with FileLock(self.folder / "training.lock", timeout=0):
                return self._run({**self.config(), **request}, datastore)
        except Timeout:
            raise RuntimeError("another training of this pool is running; wait for it or stop it") from None

    def _run(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        bundle = self._requested_bundle(request)
        make_folder(self._work)
        remove_leftovers(self._work)
        images = sorted(datastore.list_images())
        if not images:
            raise RuntimeError("there is no image to train on; add volumes to the studies folder first")
        seed = int(request["seed"])
        set_determinism(seed)
        device = torch.device(name_to_device(request["device"]))
        identity = {"bundle": bundle.name, "overrides": bundle.values, "seed": seed, "device": device.type}
        run = Run(bundle, identity, device)
        run.identity["images"] = self._resume(run, set(images)) or images
        crops = Crops(
            run.identity["images"],
            datastore.get_image_uri,
            Compose(bundle.new("image_transforms")),
            bundle.get("pretrain_crop"),
            seed,
        )
        started, first = time.time(), run.iteration

        def report() -> None:
            self._report(run, started, first)

        run.train(crops, bundle.get("pretrain_checkpoint_every"), self._checkpoint, report)
        self._publish(run)
        return self.stats()

    def _requested_bundle(self, request: Mapping[str, Any]) -> Bundle:
        """Return the bundle with the request's settings. Raises ValueError."""
        values = {**self.bundle.values, "pretrain_iterations": request["iterations"]}
        bundle = Bundle(self.bundle.name, {**values, "pretrain_losses": request["losses"]})
        check_pretraining(bundle)
        return bundle

    def _resume(self, run: Run, images: set[str]) -> list[str] | None:
        """Resume an interrupted run with the same settings and return its images; else return None.

        Newer images are left to the next run; if one of the run's images is gone, training starts over.
        """
        if not self._checkpoint.exists():
            return None
        checkpoint = torch.load(self._checkpoint, map_location=run.device, weights_only=True)
        identity = dict(checkpoint["identity"])
        run_images: list[str] = identity.pop("images")
        if identity != run.identity or not images.issuperset(run_images):
            why = "an image of it is gone" if identity == run.identity else "it had other settings"
            logger.warning("The interrupted pretraining is not resumed, %s; starting over", why)
            return None
        run.load(checkpoint)
        logger.info("Resuming at iteration %d of %d", run.iteration, run.iterations)
        return run_images

    def _report(self, run: Run, started: float, first: int) -> None:
        """Write the statistics that clients see, and log a line."""
        point, spent = run.curve[-1], time.time() - started
        left = spent / (run.iteration - first) * (run.iterations - run.iteration)
        losses = {name: point[name] for name in (*run.terms, "total")}
        stats = {
            "epoch": run.iteration,
            "total_epochs": run.iterations,
            "start_ts": int(started),
            "current_time": str(datetime.timedelta(seconds=int(spent))),
            "seconds_left": round(left, 1),
            "train": {"metrics": losses},
            "curve": run.curve,
        }
        write_atomically(self._stats, json.dumps(stats).encode())
        text = ", ".join(f"{name} {value:.4f}" for name, value in losses.items())
        logger.info("Pretraining: iteration %d of %d: %s", run.iteration, run.iterations, text)

    def _publish(self, run: Run) -> None:
        """Write `pretrained.pt` with weights and details of the training; delete the checkpoint.

        Raises RuntimeError if the weights are not finite; an earlier network stays.
        """
        weights = run.network.state_dict()
        if not all(torch.isfinite(value).all() for value in weights.values() if value.is_floating_point()):
            raise RuntimeError(
                "the pretraining diverged (its weights are not finite); lower pretrain_learning_rate"
            )
        details = {
            **run.identity,
            "iterations": run.iterations,
            "losses": list(run.terms),
            "trained_on": sorted(run.seen),
            "curve": run.curve,
            "threads": torch.get_num_threads(),
            "versions": {
                "torch": str(torch.__version__),
                "monai": monai.__version__,
                "numpy": np.__version__,
                "python": platform.python_version(),
            },
        }
        target = self.folder / "pretrained.pt"
        on_cpu = {name: value.cpu() for name, value in weights.items()}
        write_checkpoint(target, {"model": on_cpu, "details": details})
        self._checkpoint.unlink(missing_ok=True)
        logger.info("Published %s: %d images", target, len(run.seen))
