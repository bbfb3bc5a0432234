"""One pretraining from its first iteration, or the one that a kill interrupted, to its last.

What it does in an iteration depends on the seed and the iteration's number only, so that a run that was
resumed from a checkpoint ends with the same weights, to the last bit, on the same processor and thread count.
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

_POINTS = 200  # of the loss curve


class Run:
    """The state of one pretraining: network, optimiser, schedule, and how far it is.

    :param identity: what makes it this run and no other; a checkpoint of another one is not gone on from
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
        self.seen: set[str] = set()  # images that it was trained on
        self.curve: list[dict[str, float]] = []
        self._sums = dict.fromkeys(self.terms, 0.0)  # since the last point of the curve

    # checkpoints --------------------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Write a checkpoint: the old one or the new one is there, whole."""
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
        """Go on from what `save` wrote."""
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
        """All iterations that are left, with a checkpoint after each `every`.

        :param report: called at each point of the curve

        Raises RuntimeError when it diverges or no volume can be read.
        """
        size, workers = self.bundle.get("pretrain_batch_size"), self.bundle.get("pretrain_workers")
        spacing = max(1, self.iterations // _POINTS)
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
        """One iteration; the gradients of the views add up, one view is in memory at a time."""
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
        """Mean losses since the last point; Eq. 4 is `total`."""
        count = self.iteration - (int(self.curve[-1]["iteration"]) if self.curve else 0)
        means = {name: value / count for name, value in self._sums.items()}
        self.curve.append({"iteration": self.iteration, **means, "total": sum(means.values())})
        self._sums = dict.fromkeys(self.terms, 0.0)
