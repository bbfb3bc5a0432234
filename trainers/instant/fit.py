"""Fitting of the instant head on the labelled images, from the first label on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as functional

from infers.instant.head import INPUTS, Head, inputs
from trainers.instant.labelled import Labelled
from trainers.instant.quality import SHOWN, cross_validate

UNITS = 128
MEMBERS = 1  # perceptrons that are averaged: two add 0.001 of Dice in twice the time
STEPS = 150
BATCH = 1024  # places per step
RATE, DECAY = 2e-2, 1e-3
NOISE = 0.3  # standard deviation of the noise on inputs, divided by the root of the number of labels
BALANCE = 0.5  # 0 draws places as they come, 1 draws from each class alike
MAX_PLACES = 1 << 19  # kept of all labelled images, 70 MB


def fit(
    labelled: Sequence[Labelled],
    features_key: str,
    classes: Sequence[int],
    seed: int = 42,
    validate: bool = True,
) -> Head:
    """Fit a head; the same input and seed give the same head on one machine.

    :param features_key: key of the reduction that made the features
    :param classes: values of the app's structures, in the order of the labels' shares
    :param validate: measure Dice and calibrate presence by cross-validation, which takes three more fits

    Raises ValueError without labels, or for features and labels of different grids.
    """
    if not labelled:
        raise ValueError("the instant head needs at least one label")
    _check(labelled, classes)
    shown = {value: _shown(labelled, i) for i, value in enumerate(classes, start=1)}
    members = fit_members(labelled, seed, MEMBERS)
    head = Head(features_key, tuple(classes), shown, len(labelled), members, seed=seed)
    if not validate:
        return head
    quality, presence = cross_validate(labelled, head, lambda part: fit_members(part, seed, 1))
    return replace(head, quality=quality, presence=presence)


def _check(labelled: Sequence[Labelled], classes: Sequence[int]) -> None:
    for item in labelled:
        expected = (*item.features.grids.shape[:3], 1 + len(classes))
        if item.shares.shape != expected:
            raise ValueError(f"a label grid has shape {item.shares.shape}; its features need {expected}")


def _shown(labelled: Sequence[Labelled], index: int) -> int:
    return sum(bool((item.shares[..., index] >= SHOWN).any()) for item in labelled)


Member = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def fit_members(labelled: Sequence[Labelled], seed: int, count: int) -> tuple[Member, ...]:
    """Fit `count` perceptrons that differ in their seed."""
    most, random = MAX_PLACES // len(labelled), np.random.default_rng(seed)
    places = [_places(item, most, random) for item in labelled]
    x, y = (torch.from_numpy(np.concatenate(part)) for part in zip(*places, strict=True))
    per_image = np.concatenate([np.full(len(part), 1 / len(part)) for _, part in places])
    cumulative = _drawing(y, torch.from_numpy(per_image))
    noise = NOISE / len(labelled) ** 0.5
    return tuple(_fit_one(x, y, cumulative, noise, seed * 1000 + member) for member in range(count))


def _places(item: Labelled, most: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs and shares of all places of an image, or of `most` that are drawn."""
    x, y = inputs(item.features), item.shares.reshape(-1, item.shares.shape[-1]).astype(np.float32)
    if len(x) > most:
        chosen = random.choice(len(x), max(most, 1), replace=False)
        return x[chosen], y[chosen]
    return x, y


def _drawing(y: torch.Tensor, per_image: torch.Tensor) -> torch.Tensor:
    """Return the cumulative probabilities of drawing each place: images alike, rare classes more often."""
    largest = y.argmax(dim=1)
    mass = torch.zeros(y.shape[1], dtype=torch.float64).index_add_(0, largest, per_image)
    weights = per_image * mass.clamp(min=1e-9).pow(-BALANCE)[largest]
    return (weights / weights.sum()).cumsum(0)


def _fit_one(x: torch.Tensor, y: torch.Tensor, cumulative: torch.Tensor, noise: float, seed: int) -> Member:
    random = torch.Generator().manual_seed(seed)
    absent = y.sum(dim=0) == 0
    w1 = torch.randn((INPUTS, UNITS), generator=random) * (2 / INPUTS) ** 0.5
    w2 = torch.randn((UNITS, y.shape[1]), generator=random) * UNITS**-0.5
    weights = [w1, torch.zeros(UNITS), w2, torch.zeros(y.shape[1])]
    for tensor in weights:
        tensor.requires_grad_(True)
    optimiser = torch.optim.AdamW(weights, lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=STEPS)
    for _ in range(STEPS):
        places = torch.searchsorted(cumulative, torch.rand(BATCH, generator=random, dtype=torch.float64))
        places = places.clamp(max=len(x) - 1)
        rows = x[places] + noise * torch.randn((BATCH, INPUTS), generator=random)
        logits = (rows @ weights[0] + weights[1]).relu() @ weights[2] + weights[3]
        loss = functional.cross_entropy(logits.masked_fill(absent, -1e4), y[places])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    fitted = [tensor.detach().numpy() for tensor in weights]
    fitted[3][absent.numpy()] = -1e4  # a structure that no label shows is never predicted
    fitted[2][:, absent.numpy()] = 0
    return fitted[0], fitted[1], fitted[2], fitted[3]
