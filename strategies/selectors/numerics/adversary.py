"""A variational autoencoder and a discriminator of its latent space, trained against each other (VAAL).

Imported at the first call of `vaal`: PyTorch is slow to import.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn.functional import softplus

from strategies.selectors.numerics.torch_thread import one_thread
from strategies.selectors.rules.checks import FloatArray, IntArray

LATENT = 32
HIDDEN = 128
BATCH = 128
EPOCHS = 50
ITERATIONS = (50, 1_000)  # least and most, whatever the number of rows
VAE_STEPS = 2  # of the autoencoder for each of the discriminator
RATE = 1e-3
_CHUNK = 4_096  # rows judged at once


class Autoencoder(nn.Module):
    """Encode rows (n, D) as normal distributions of LATENT dimensions, and decode draws from them."""

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.encoder = _network(columns, 2 * LATENT)
        self.decoder = _network(LATENT, columns)

    def forward(self, rows: torch.Tensor, draws: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss of each row (n,), and the means of its latent distribution (n, LATENT).

        The loss is the negative evidence bound, up to a constant: half the squared error of a decoded draw,
        or of the decoded mean without `draws`, and the divergence from the standard normal distribution.
        """
        mean, log_variance = self.encoder(rows).chunk(2, dim=1)
        latent = mean + torch.exp(log_variance / 2) * torch.randn_like(mean) if draws else mean
        error = (rows - self.decoder(latent)).square().sum(dim=1) / 2
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1) / 2
        return error + divergence, mean


class Game:
    """The two networks, and their steps on a batch of labelled and one of unlabelled rows."""

    def __init__(self, columns: int) -> None:
        self.autoencoder = Autoencoder(columns).double()
        self.discriminator = _network(LATENT, 1).double()  # logit of being labelled
        self._optimisers = [
            torch.optim.Adam(network.parameters(), lr=RATE)
            for network in (self.autoencoder, self.discriminator)
        ]

    def autoencoder_loss(self, labelled: torch.Tensor, unlabelled: torch.Tensor) -> torch.Tensor:
        """Return the loss of both batches, and of a discriminator that is to take both for labelled.

        Sections 3.1 and 3.2 of the paper, with both weights 1. Without labelled rows, it is the loss of the
        autoencoder.
        """
        loss, mean = self.autoencoder(unlabelled, draws=True)
        if not len(labelled):
            return loss.mean()
        loss_labelled, mean_labelled = self.autoencoder(labelled, draws=True)
        fooled = softplus(-self.discriminator(mean)).mean()
        fooled = fooled + softplus(-self.discriminator(mean_labelled)).mean()
        return loss.mean() + loss_labelled.mean() + fooled

    def discriminator_loss(self, labelled: torch.Tensor, unlabelled: torch.Tensor) -> torch.Tensor:
        """Return the cross-entropy of telling labelled from unlabelled rows."""
        with torch.no_grad():
            means = [self.autoencoder(rows, draws=False)[1] for rows in (labelled, unlabelled)]
        return softplus(-self.discriminator(means[0])).mean() + softplus(self.discriminator(means[1])).mean()

    def step(self, loss: torch.Tensor, number: int) -> None:
        """Take a step of the autoencoder (0) or of the discriminator (1)."""
        optimiser = self._optimisers[number]
        for other in self._optimisers:
            other.zero_grad()
        loss.backward()
        optimiser.step()


def play(
    points: FloatArray, labelled: IntArray, unlabelled: IntArray, seed: int
) -> tuple[FloatArray, FloatArray]:
    """Train on the rows of `points` (N, D), and judge all of them.

    Returns:
        The logit of being unlabelled by the discriminator (N,), 0 without labelled rows, and the
        autoencoder's loss (N,).
    """
    rows = torch.from_numpy(_scaled(points))
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        game = Game(points.shape[1])
        for _ in range(iterations(len(unlabelled))):
            for _ in range(VAE_STEPS):
                batches = _draw(rows, labelled), _draw(rows, unlabelled)
                game.step(game.autoencoder_loss(*batches), 0)
            if len(labelled):
                game.step(game.discriminator_loss(*batches), 1)
        return _judge(game, rows, bool(len(labelled)))


def iterations(n_rows: int) -> int:
    """Return the number of iterations for a number of unlabelled rows: EPOCHS, within ITERATIONS."""
    return int(np.clip(EPOCHS * -(-n_rows // BATCH), *ITERATIONS))


def _network(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, outputs))


def _scaled(points: FloatArray) -> FloatArray:
    """Return the points with mean 0 and mean variance of the columns 1; zeros if all are identical."""
    centred = points - points.mean(axis=0)
    spread = np.sqrt(np.einsum("ij,ij->", centred, centred) / centred.size)
    return np.divide(centred, spread, out=centred) if spread > 0 else np.zeros_like(points)


def _draw(rows: torch.Tensor, among: IntArray) -> torch.Tensor:
    """Draw a batch of the rows `among`, with replacement; empty if there are none."""
    if not len(among):
        return rows[:0]
    return rows[torch.from_numpy(among)[torch.randint(len(among), (min(BATCH, len(among)),))]]


@torch.no_grad()
def _judge(game: Game, rows: torch.Tensor, has_labels: bool) -> tuple[FloatArray, FloatArray]:
    logit, loss = np.zeros(len(rows)), np.zeros(len(rows))
    for start in range(0, len(rows), _CHUNK):
        part = slice(start, start + _CHUNK)
        losses, means = game.autoencoder(rows[part], draws=False)
        loss[part] = losses.numpy()
        if has_labels:
            logit[part] = -game.discriminator(means)[:, 0].numpy()
    return logit, loss
