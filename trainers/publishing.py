"""Atomic publishing of a trained model as one file."""

from __future__ import annotations

import logging
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import monai
import numpy as np
import torch
from monailabel.tasks.train.basic_train import Context
from torch.nn.parallel import DistributedDataParallel

from bundle_configs import Bundle
from pool.files import replacing

logger = logging.getLogger(__name__)


def publish(
    folder: Path, bundle: Bundle, context: Context, labelled: Sequence[str], id_of: Mapping[str, str]
) -> None:
    """Write `model.pt` with weights, configuration, images, seed, metrics and versions.

    :param labelled: all images with a final label when the training began
    :param id_of: ids of these images by path

    Raises RuntimeError if the training diverged; the earlier model stays.
    """
    parallel = isinstance(context.network, DistributedDataParallel)
    weights = (context.network.module if parallel else context.network).state_dict()
    if not all(torch.isfinite(value).all() for value in weights.values()):
        raise RuntimeError("the training diverged (its weights are not finite); lower learning_rate")
    details = details_of(bundle, context, id_of) | {"labelled": list(labelled)}
    write_checkpoint(folder / "model.pt", {"model": weights, "details": details})
    images, metrics = details["images"], details["metrics"]
    logger.info("Published %s: %d images, %s", folder / "model.pt", len(images), metrics)


def write_checkpoint(target: Path, content: Mapping[str, Any]) -> None:
    """Write what `torch.load` reads back: the former file or the new one is there, whole. Raises OSError."""
    with replacing(target) as part, open(part, "wb") as file:
        torch.save(content, file)  # to a file object: with a path, its random name would be in the bytes


def details_of(bundle: Bundle, context: Context, id_of: Mapping[str, str]) -> dict[str, Any]:
    """Return the details of a training: configuration, data, results and environment."""
    states = [context.trainer.state] + ([context.evaluator.state] if context.evaluator else [])
    return {
        "bundle": bundle.name,
        "overrides": bundle.values,
        "labels": bundle.get("labels"),
        "seed": int(context.request["seed"]),
        "epochs": context.max_epochs,
        "run": context.run_id,
        "images": [id_of[pair["image"]] for pair in context.train_datalist],
        "validated": [id_of[pair["image"]] for pair in context.val_datalist],
        "metrics": {name: float(value) for state in states for name, value in state.metrics.items()},
        "world_size": context.world_size if context.multi_gpu else 1,
        "threads": torch.get_num_threads(),
        "device": str(context.device),
        "versions": {
            "torch": str(torch.__version__),
            "monai": monai.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }
