"""Learnable centroids, trained by a global and a local loss (USL-T).

Imported at the first call of `usl_t`: PyTorch is slow to import.
"""

from __future__ import annotations

import torch
from torch.nn.functional import log_softmax, normalize, softmax

from strategies.selectors.numerics.distances import unit_rows
from strategies.selectors.numerics.neighbours import nearest_rows
from strategies.selectors.numerics.torch_thread import one_thread
from strategies.selectors.rules.checks import FloatArray

SCALE = 40.0  # of the cosines, as published
THRESHOLD = 0.95  # tau: confidence from which on a row trains its own cluster
NEIGHBOURS = 20
ADJUSTMENT = 2.5  # alpha
MOMENTUM = 0.5  # mu, as published
TEMPERATURE = 0.25  # t
LOCAL_WEIGHT = 0.5  # lambda
RATE = 1e-3
EPOCHS = 100


def learn_centroids(points: FloatArray, begin: FloatArray) -> FloatArray:
    """Return unit centroids (k, D) trained on the rows of `points` (n, D), begun at the rows of `begin`.

    Each epoch is one step of Adam on all rows.
    """
    units = unit_rows(points)
    features = torch.from_numpy(units)
    near = torch.from_numpy(nearest_rows(units, NEIGHBOURS))
    usage = torch.full((len(begin),), 1 / len(begin), dtype=torch.float64)
    centroids = torch.from_numpy(unit_rows(begin)).requires_grad_()
    optimiser = torch.optim.Adam([centroids], lr=RATE)
    with one_thread():
        for _ in range(EPOCHS):
            logits = SCALE * features @ normalize(centroids).T
            targets, usage = local_targets(logits.detach(), near, usage)
            loss = global_loss(logits) + LOCAL_WEIGHT * local_loss(logits, targets)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return unit_rows(centroids.detach().numpy())


def global_loss(logits: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy of confident rows with their own cluster, summed over these, divided by n.

    It is the divergence of y from the one-hot cluster, with y = softmax(logits), where max(y) >= tau.

    :param logits: (n, k)
    """
    confidence, cluster = softmax(logits.detach(), dim=1).max(dim=1)
    own = log_softmax(logits, dim=1).gather(1, cluster[:, None])[:, 0]
    return -(own * (confidence >= THRESHOLD)).mean()


def local_targets(
    logits: torch.Tensor, near: torch.Tensor, usage: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the targets (n, m, k) as their mean over m neighbours (n, k), and the updated usage (k,).

    The target of a neighbour is softmax((logits - alpha log usage) / t): sharpened, and adjusted against
    clusters that take over. Usage is the moving average of the mean assignment.

    :param logits: (n, k), without gradient
    :param near: (n, m) row numbers of the neighbours
    """
    sharpened = softmax((logits - ADJUSTMENT * usage.log()) / TEMPERATURE, dim=1)
    targets = torch.zeros_like(sharpened)
    for column in near.T:
        targets += sharpened[column]
    mean = softmax(logits, dim=1).mean(dim=0)
    return targets / max(1, near.shape[1]), MOMENTUM * usage + (1 - MOMENTUM) * mean


def local_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy of rows with the targets of their neighbours, both (n, k).

    Its gradient is that of the mean divergence from each neighbour's target.
    """
    return -(targets * log_softmax(logits, dim=1)).sum(dim=1).mean()
