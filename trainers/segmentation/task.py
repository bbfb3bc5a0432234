"""MONAI Label's train task for an app's segmentation network, built from its bundle.

Trains from scratch each round with the run's seed (arXiv 2601.18532, section 4.1.2), so rounds differ only in
their labels: the same labels, seed, processor and thread count give the same weights.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from ignite.engine import Engine, Events
from ignite.metrics import Average
from monai.data import CacheDataset, DataLoader, DistributedSampler
from monai.handlers import StatsHandler, TensorBoardStatsHandler, ValidationHandler, from_engine
from monai.inferers import Inferer
from monai.transforms import AsDiscreted, Compose
from monai.utils import set_determinism
from monailabel.interfaces.datastore import Datastore
from monailabel.tasks.train.basic_train import BasicTrainTask, Context
from torch.multiprocessing.spawn import ProcessException
from torch.nn.parallel import DistributedDataParallel

from bundle_configs import Bundle
from bundle_configs.parameters import Parameter, device_parameters
from pool.groups import Groups
from pool.imaging.errors import own_error
from pool.imaging.names import image_id
from trainers.publishing import publish
from trainers.segmentation.feeding import Item, pair_reader, placed
from trainers.segmentation.splitting import split_groups

logger = logging.getLogger(__name__)


class SegmentationTrain(BasicTrainTask):
    """Trains the bundle's network on all final labels and publishes it atomically as one file.

    With `multi_gpu` in the request, MONAI Label starts one process (rank) per GPU. They average their
    gradients; each trains on its share of the images, and only rank 0 writes.

    :param folder: the pool's state folder; the model is published there as `model.pt`
    :param held_out: returns the images never to train on, when a training begins
    :param groups: groups of images (patients); a validation split never divides one
    """

    def __init__(
        self,
        folder: Path,
        bundle: Bundle,
        seed: int,
        held_out: Callable[[], Collection[str]] = frozenset,
        groups: Groups | None = None,
    ) -> None:
        self.bundle, self.folder, self._held_out = bundle, folder, held_out
        self.groups = groups or Groups()
        self._group_of: dict[str, str] = {}  # by image path
        self._id_of: dict[str, str] = {}  # by image path
        self._labelled: list[str] = []  # images with a final label when the training began
        self._items: dict[str, Item] = {}  # loaded data by image path
        self._stats: dict[str, Any] = {}
        super().__init__(
            model_dir=str(folder),
            description="Trains the segmentation network from scratch on all final labels",
            labels=bundle.get("labels"),
            amp=False,
            disable_meta_tracking=True,  # see feeding.py
            config={
                "name": "training",
                "pretrained": False,
                "seed": seed,
                "max_epochs": bundle.get("epochs"),
                "train_batch_size": bundle.get("train_batch_size"),
                "val_split": 0.0,
                "multi_gpu": False,
                "dataset": "CacheDataset",
                "dataloader": "DataLoader",
                "tracking": "None",
            },
        )

    def parameters(self) -> dict[str, Parameter]:
        """Return the parameters of a request; folders, data loaders and tracking are fixed by the server."""
        own = ("name", "pretrained", "dataset", "dataloader", "tracking", "tracking_uri")
        fixed = {name: self._config[name] for name in (*own, "tracking_experiment_name")}
        return {
            **{name: Parameter(type(value), choices=(value,)) for name, value in fixed.items()},
            **device_parameters(),
            "seed": Parameter(int, 0, 2**32 - 1),
            "max_epochs": Parameter(int, 1, 100_000),
            "early_stop_patience": Parameter(int, -1, 100_000),
            "val_split": Parameter(float, 0, 0.9),
            "train_batch_size": Parameter(int, 1, 1024),
            "val_batch_size": Parameter(int, 1, 1024),
        }

    # network and loss ---------------------------------------------------------------------------------

    def network(self, context: Context) -> torch.nn.Module:
        """Build the network; channels-last for 2-D: a quarter less work on two threads, none less on one."""
        network: torch.nn.Module = self.bundle.new("network_def")
        pays = context.device.type == "cuda" or torch.get_num_threads() > 1
        if pays and self.bundle.get("dimensions") == 2:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network

    def _create_network_and_optimizer(
        self, context: Context
    ) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        """Initialise the same weights in all processes, then seed each differently, e.g. for dropout."""
        if context.multi_gpu and context.device.type == "cpu":
            context.network = self.network(context)
            network, optimizer = DistributedDataParallel(context.network), self.optimizer(context)
        else:
            network, optimizer = super()._create_network_and_optimizer(context)
        if context.multi_gpu:
            torch.manual_seed(self._seed_of_rank(context))
        return network, optimizer

    def _seed_of_rank(self, context: Context) -> int:
        return int(context.request["seed"]) + context.local_rank

    def optimizer(self, context: Context) -> torch.optim.Optimizer:
        return self.bundle.new("optimizer")(params=context.network.parameters())

    def loss_function(self, context: Context) -> torch.nn.Module:
        return self.bundle.new("loss")

    def lr_scheduler_handler(self, context: Context) -> None:
        return None

    def load_path(self, output_dir: str, pretrained: bool = True) -> None:
        return None  # never start from an earlier round's weights

    def train_pre_transforms(self, context: Context) -> list[Any]:
        """Return the transforms applied to a loaded image each time it is trained on."""
        return self.bundle.new("train_transforms")

    def train_post_transforms(self, context: Context) -> Compose:
        classes = len(self.bundle.get("labels")) + 1
        return Compose([AsDiscreted(keys=("pred", "label"), argmax=(True, False), to_onehot=classes)])

    def val_inferer(self, context: Context) -> Inferer:
        return self.bundle.new("inferer")

    # data and handlers --------------------------------------------------------------------------------

    def _dataset(
        self, context: Context, datalist: list[dict[str, Any]], is_train: bool, replace_rate: float = 0.25
    ) -> tuple[CacheDataset, list[dict[str, Any]]]:
        """Hold all images in memory, transformed up to the first random transform (a volume's crops).

        `pre_process` loaded them; processes other than the one it ran in load them again.
        """
        read = pair_reader(self.bundle)
        items = placed([self._items.get(pair["image"]) or read(pair) for pair in datalist], context.device)
        steps = self.train_pre_transforms(context) if is_train else []
        return CacheDataset(items, Compose(steps), progress=False, copy_cache=False), datalist

    def _dataloader(
        self,
        context: Context,
        dataset: CacheDataset,
        batch_size: int,
        num_workers: int,
        shuffle: bool = False,
    ) -> DataLoader:
        """Shuffle with a separate generator, so that dropout cannot change the order of images.

        MONAI's loader seeds random transforms from it too. With several processes, each trains on its share
        of a common order, with short shares filled up from others; for validation each sees all images, so
        none counts twice.
        """
        generator = torch.Generator().manual_seed(self._seed_of_rank(context))
        if not (context.multi_gpu and shuffle):
            return DataLoader(dataset, batch_size=batch_size, shuffle=shuffle, generator=generator)
        sampler = DistributedSampler(dataset, seed=int(context.request["seed"]))
        return DataLoader(dataset, batch_size=batch_size, sampler=sampler, generator=generator)

    def train_additional_metrics(self, context: Context) -> dict[str, Average]:
        return {"train_loss": Average(output_transform=from_engine(["loss"], first=True))}

    def train_handlers(self, context: Context) -> list[Any]:
        """Report loss and Dice once per epoch, in the log and as TensorBoard events."""
        quiet: dict[str, Any] = {"iteration_log": False, "output_transform": lambda output: None}
        handlers: list[Any] = []
        if context.local_rank == 0:
            handlers = [StatsHandler(**quiet), TensorBoardStatsHandler(log_dir=context.events_dir, **quiet)]
        if context.evaluator:
            handlers.append(
                ValidationHandler(self._val_interval, validator=context.evaluator, epoch_level=True)
            )
        return handlers

    def pre_process(self, request: Mapping[str, Any], datastore: Datastore) -> list[dict[str, Any]]:
        """Return the labelled images in sorted order; log and skip unreadable pairs.

        Raises RuntimeError if nothing is left to train on.
        """
        read, pairs, held_out = pair_reader(self.bundle), [], set(self._held_out())
        self._items = {}
        pairs_of_all = datastore.datalist()
        self._id_of = {pair["image"]: image_id(pair["image"]) for pair in pairs_of_all}
        if isinstance(datastore, Datastore):  # its ids may have folders; a plain list of pairs has none
            self._id_of |= {datastore.get_image_uri(i): i for i in datastore.get_labeled_images()}
        listed = [pair for pair in pairs_of_all if self._id_of[pair["image"]] not in held_out]
        self._labelled = sorted(self._id_of[pair["image"]] for pair in listed)
        for pair in sorted(listed, key=lambda p: p["image"]):
            try:
                item = read(pair)
                if not request.get("multi_gpu"):
                    self._items[pair["image"]] = item
                pairs.append({"image": pair["image"], "label": pair["label"]})
            except Exception as error:
                name, reason = self._id_of[pair["image"]], own_error(error, pair["image"])
                logger.error("Not trained on: %s: %s", name, reason)
        paths = [pair["image"] for pair in pairs]
        rows = self.groups.rows([self._id_of[path] for path in paths], datastore)
        self._group_of = dict(zip(paths, rows or paths, strict=True))
        if not pairs:
            raise RuntimeError(
                "there is no usable final label to train on; save labels first (held-out images do not count)"
            )
        return pairs

    def partition_datalist(
        self, context: Context, shuffle: bool = False
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Split pairs into training and validation: `val_split` of the patients, drawn with the run's seed.

        Raises RuntimeError if either would be empty.
        """
        share, request = float(context.request.get("val_split") or 0), context.request
        if share == 0 or request.get("val_ds") or request.get("train_ds"):
            return super().partition_datalist(context, shuffle)
        groups = [self._group_of[pair["image"]] for pair in context.datalist]
        return split_groups(context.datalist, groups, share, int(request["seed"]))

    def stats(self) -> dict[str, Any]:
        """Return MONAI Label's statistics of the last epoch; NaN, which JSON cannot hold, becomes None."""
        try:
            text = Path(self._stats_path).read_text()
            self._stats = json.loads(text, parse_constant=lambda name: None)
        except FileNotFoundError:
            self._stats = {}
        except ValueError:  # the trainer is writing it: keep the previous ones
            logger.debug("%s is being written", self._stats_path)
        return self._stats

    # running ------------------------------------------------------------------------------------------

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Train and publish.

        Raises RuntimeError if another training of this pool is running, or one of several processes failed.
        """
        try:
            with (
                FileLock(self.folder / "training.lock", timeout=0),
                tempfile.TemporaryDirectory() as rendezvous,
            ):
                request = {
                    **request,
                    "distributed_url": f"file://{rendezvous}/ranks",
                }  # a port may be taken
                return super().__call__(request, datastore)
        except Timeout:
            raise RuntimeError("another training of this pool is running; wait for it or stop it") from None
        except ProcessException as error:
            raise RuntimeError(
                f"one of the training's processes failed, and all were stopped; the last model stays: {error}"
            ) from error

    def __getstate__(self) -> dict[str, Any]:
        """Pickle for the training processes without database and images; `pre_process` has already run."""
        return {**self.__dict__, "_held_out": frozenset, "_items": {}}

    def train(
        self, rank: int, world_size: int, request: dict[str, Any], datalist: list[dict[str, Any]]
    ) -> dict[str, Any]:
        set_determinism(int(request["seed"]))
        self._amp = torch.cuda.is_available() and request["device"] != "cpu"  # half precision
        if request["device"] == "cpu":
            request = {**request, "distributed_backend": "gloo"}  # the default, nccl, is for GPUs only
        result = super().train(rank, world_size, request, datalist)
        if request["multi_gpu"]:
            # gloo's threads outlive its process group and sometimes abort the process while Python exits,
            # which would turn a finished training into a failure
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)
        return result

    def _device(self, context: Context) -> torch.device:
        if context.multi_gpu and context.request["device"] == "cpu":
            return torch.device("cpu")
        return super()._device(context)

    def finalize(self, context: Context) -> None:
        super().finalize(context)
        if context.local_rank == 0:
            context.trainer.add_event_handler(Events.COMPLETED, self._publish, context)

    def _publish(self, engine: Engine, context: Context) -> None:
        publish(self.folder, self.bundle, context, self._labelled, self._id_of)
