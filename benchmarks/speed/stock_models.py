"""MONAI Label's own training and prediction, with an app's network, loss, optimiser and images.

The baseline of `benchmarks.speed.models` and `benchmarks.speed.training`: what its radiology apps do, with
everything else at its default.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Events
from monai.inferers import Inferer
from monai.transforms import Activationsd, AsDiscreted, ToNumpyd
from monailabel.tasks.train.basic_train import BasicTrainTask, Context

from bundle_configs import Bundle
from infers.segmentation.task import SegmentationInfer

# the defaults of a client such as 3D Slicer, but without a validation split
REQUEST = {"dataset": "SmartCacheDataset", "dataloader": "ThreadDataLoader", "val_split": 0.0}


class StockTrain(BasicTrainTask):
    """BasicTrainTask configured from a bundle.

    :param folder: folder for its checkpoints
    """

    def __init__(self, folder: Path, bundle: Bundle) -> None:
        self.bundle = bundle
        super().__init__(
            str(folder), labels=bundle.get("labels"), config={"multi_gpu": False, "tracking": "None"}
        )

    def network(self, context: Context) -> torch.nn.Module:
        network: torch.nn.Module = self.bundle.new("network_def")
        return network

    def optimizer(self, context: Context) -> torch.optim.Optimizer:
        optimizer: torch.optim.Optimizer = self.bundle.new("optimizer")(params=context.network.parameters())
        return optimizer

    def loss_function(self, context: Context) -> torch.nn.Module:
        loss: torch.nn.Module = self.bundle.new("loss")
        return loss

    def train_pre_transforms(self, context: Context) -> list[Any]:
        names = ("label_transforms", "image_transforms", "train_transforms")
        return [step for name in names for step in self.bundle.new(name)]

    def train_post_transforms(self, context: Context) -> list[Any]:
        classes = len(self.bundle.get("labels")) + 1
        return [
            Activationsd(keys="pred", softmax=True),
            AsDiscreted(keys=("pred", "label"), argmax=(True, False), to_onehot=classes),
        ]

    def val_inferer(self, context: Context) -> Inferer:
        inferer: Inferer = self.bundle.new("inferer")
        return inferer


def watched(task: type[BasicTrainTask], clock: Callable[[], float]) -> type[Any]:
    """Subclass a train task to record the seconds (`epochs`) and mean loss (`losses`) of each epoch."""

    class Watched(task):
        def finalize(self, context: Context) -> None:
            super().finalize(context)
            self.epochs: list[float] = []
            self.losses: list[float] = []
            began, of_epoch = [0.0], list[float]()
            engine = context.trainer

            def end(_: Any) -> None:
                self.epochs.append(clock() - began[0])
                self.losses.append(float(np.mean(of_epoch)))
                of_epoch.clear()

            engine.add_event_handler(Events.EPOCH_STARTED, lambda _: began.__setitem__(0, clock()))
            engine.add_event_handler(
                Events.ITERATION_COMPLETED, lambda _: of_epoch.append(float(engine.state.output[0]["loss"]))
            )
            engine.add_event_handler(Events.EPOCH_COMPLETED, end)

    return Watched


class StockInfer(SegmentationInfer):
    """BasicInferTask up to probabilities on the network's grid, as scoring methods request it."""

    def post_transforms(self, data: Any = None) -> Sequence[Callable[..., Any]]:
        return [Activationsd(keys="pred", softmax=True), ToNumpyd(keys="pred")]

    def probabilities(self, image: str) -> np.ndarray:
        """Return the probabilities (C, ...) of one image, by one call of the task."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        _, data = self({"image": image, "device": device, "skip_writer": "true", "logging": "ERROR"})
        return np.asarray(data["pred"])
