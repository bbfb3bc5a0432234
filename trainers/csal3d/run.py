"""One pretraining run, from the start or from a checkpoint.

An iteration depends only on the seed and its number, so a run resumed from a checkpoint ends with the same
weights, to the last bit, on the same processor and thread count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from bundle_configs import Bundle
from infers.csal3d.views import observe
from trainers.csal3d.data import Crops, batches, generator
from trainers.csal3d.losses import parse_losses, view_losses
from trainers.publishing import write_checkpoint

_CURVE_POINTS = 200


class Run:
    """State of a pretraining run: network, optimiser, schedule and iteration.

    :param identity: identifies the run; only a checkpoint with the same identity is resumed
    """

    def __init__(self, bundle: Bundle, identity: Mapping[str, Any], device: torch.device) -> None:
        self.bundle, self.identity, self.device = bundle, dict(identity), device
        self.iterations: int = bundle.get("pretrain_iterations")
        self.terms = parse_losses(bundle.get("pretrain_losses"))
        self.network = bundle.new("pretrain_network").to(device)
        self.optimizer = bundle.new("pretrain_optimizer")(params=self.network.parameters())
        self.scheduler = bundle.new("pretrain_scheduler")(optimizer=self.optimizer)
        self.scaler = torch.amp.GradScaler(device.type, enabled=device.type == "cuda")
        self.iteration = 0
        self.seen: set[str] = set()  # ids of images trained on
        self.curve: list[dict[str, float]] = []
        self._sums = dict.fromkeys(self.terms, 0.0)  # since the last point of the curve

    # checkpoints --------------------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Write a checkpoint atomically."""
        cuda = torch.cuda.get_rng_state_all() if self.device.type == "cuda" else []
        content = {
            "identity": self.identity,
            "model": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random": {"torch": torch.get_rng_state(), "cuda": cuda},
            "iteration": self.iteration,
            "seen": sorted(self.seen),
            "curve": self.curve,
            "sums": self._sums,
        }
        write_checkpoint(path, content)

    def load(self, checkpoint: Mapping[str, Any]) -> None:
        """Resume from a checkpoint of `save`."""
        self.network.load_state_dict(checkpoint["model"])
        self.optimizer.load_state_dict(checkpoint["optimizer"])
        self.scheduler.load_state_dict(checkpoint["scheduler"])
        self.scaler.load_state_dict(checkpoint["scaler"])
        torch.set_rng_state(checkpoint["random"]["torch"].cpu())
        if self.device.type == "cuda" and checkpoint["random"]["cuda"]:
            torch.cuda.set_rng_state_all([state.cpu() for state in checkpoint["random"]["cuda"]])
        self.iteration = checkpoint["iteration"]
        self.seen, self.curve = set(checkpoint["seen"]), list(checkpoint["curve"])
        self._sums = dict(checkpoint["sums"])

    # training -----------------------------------------------------------------------------------------

    def train(self, crops: Crops, every: int, checkpoint: Path, report: Callable[[], None]) -> None:
        """Run the remaining iterations, with a checkpoint every `every` iterations.

        :param report: called at each point of the loss curve

        Raises RuntimeError if training diverges or no volume can be read.
        """
        size, workers = self.bundle.get("pretrain_batch_size"), self.bundle.get("pretrain_workers")
        spacing = max(1, self.iterations // _CURVE_POINTS)
        self.network.train()
        for batch, rows in batches(crops, size, self.iteration, self.iterations, workers):
            self._step(batch.to(self.device), crops.seed)
            self.seen.update(crops.images[row] for row in rows.tolist())
            self.iteration += 1
            if self.iteration % spacing == 0 or self.iteration == self.iterations:
                self._add_point()
                report()
            if self.iteration % every == 0 and self.iteration < self.iterations:
                self.save(checkpoint)

    def _step(self, batch: torch.Tensor, seed: int) -> None:
        """Run one iteration; gradients accumulate over views, with one view in memory at a time."""
        block, ratio = self.bundle.get("pretrain_mask_block"), self.bundle.get("pretrain_mask_ratio")
        self.optimizer.zero_grad()
        for view in observe(batch, block, ratio, generator(seed, self.iteration)):
            with torch.autocast(self.device.type, enabled=self.scaler.is_enabled()):
                parts = view_losses(self.network, view, self.terms)
            self.scaler.scale(torch.stack([*parts.values()]).sum()).backward()
            for name, part in parts.items():
                self._sums[name] += part.item()
        if not all(map(math.isfinite, self._sums.values())):
            raise RuntimeError(
                f"the pretraining diverged at iteration {self.iteration + 1} (its losses are not finite); "
                "lower pretrain_learning_rate"
            )
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.scheduler.step()

    def _add_point(self) -> None:
        """Add the mean losses since the last point to the curve; `total` is Eq. 4."""
        count = self.iteration - (int(self.curve[-1]["iteration"]) if self.curve else 0)
        means = {name: value / count for name, value in self._sums.items()}
        self.curve.append({"iteration": self.iteration, **means, "total": sum(means.values())})
        self._sums = dict.fromkeys(self.terms, 0.0)
