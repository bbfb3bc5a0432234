"""USL-T and VAAL: their losses and training against plain NumPy, and pools whose right picks are obvious."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from strategies.selectors import usl_t, vaal
from strategies.selectors.numerics import adversary, centroids
from strategies.selectors.usl_t import MAX_TRAINED


def blobs(sizes: list[int], columns: int = 16, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw well separated blobs of rows; return the rows and the blob of each."""
    rng = np.random.default_rng(seed)
    middles = 4 * np.linalg.qr(rng.normal(size=(columns, columns)))[0][: len(sizes)]
    blob = np.repeat(np.arange(len(sizes)), sizes)
    return middles[blob] + 0.2 * rng.normal(size=(len(blob), columns)), blob


# USL-T -----------------------------------------------------------------------------------------------------


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def plain_usl_t(points: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return 40 times the cosines (n, k) to the trained centroids; gradients and Adam are written out."""
    n, k = len(points), labels.max() + 1
    units = points / np.linalg.norm(points, axis=1, keepdims=True)
    gaps = np.linalg.norm(units[:, None] - units, axis=2)
    np.fill_diagonal(gaps, np.inf)
    near = np.argsort(gaps, axis=1)[:, : min(20, n - 1)]
    centres = np.array([units[labels == c].mean(axis=0) for c in range(k)])
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    usage, first, second = np.full(k, 1 / k), np.zeros_like(centres), np.zeros_like(centres)
    for epoch in range(1, 101):
        length = np.linalg.norm(centres, axis=1, keepdims=True)
        unit_centres = centres / length
        logits = 40 * units @ unit_centres.T
        y = softmax(logits)
        target = softmax((logits - 2.5 * np.log(usage)) / 0.25)[near].mean(axis=1)
        usage = 0.5 * usage + 0.5 * y.mean(axis=0)
        sure = (y.max(axis=1) >= 0.95)[:, None]
        slope = (sure * (y - np.eye(k)[y.argmax(axis=1)]) + 0.5 * (y - target)) / n
        slope = 40 * slope.T @ units
        slope = (slope - unit_centres * (unit_centres * slope).sum(axis=1, keepdims=True)) / length
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        step = first / (1 - 0.9**epoch) / (np.sqrt(second / (1 - 0.999**epoch)) + 1e-8)
        centres = centres - 1e-3 * step
    return 40 * units @ (centres / np.linalg.norm(centres, axis=1, keepdims=True)).T


@pytest.mark.parametrize("seed", range(6))
def test_usl_t_is_the_plain_training(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, k = int(rng.integers(8, 60)), int(rng.integers(2, 5))
    points, labels = rng.normal(size=(n, 6)), np.arange(n) % k
    logits = plain_usl_t(points, labels)
    chosen = usl_t(points, k, labels=labels)
    own, confidence = logits.argmax(axis=1), softmax(logits).max(axis=1)
    doubt = np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1, where=np.arange(k) != own[:, None])
    best = {c: np.flatnonzero(own == c)[doubt[own == c].argmin()] for c in np.unique(own)}
    by_size = sorted(best, key=lambda c: (-(own == c).sum(), c))
    assert chosen.picks[: len(best)].tolist() == [best[c] for c in by_size]
    assert chosen.evidence["confidence"] == pytest.approx(confidence[chosen.picks], abs=1e-6)
    assert chosen.evidence["cluster"].tolist() == own[chosen.picks].tolist()


def test_usl_t_losses_by_hand() -> None:
    """Of three rows, the first is sure of cluster 0, the second of cluster 1, the third of none."""
    y = np.array([[0.98, 0.02], [0.03, 0.97], [0.6, 0.4]])
    logits = torch.from_numpy(np.log(y))
    assert centroids.global_loss(logits).item() == pytest.approx(-(np.log(0.98) + np.log(0.97)) / 3)
    near, usage = torch.tensor([[1, 2], [0, 2], [0, 1]]), torch.tensor([0.8, 0.2], dtype=torch.float64)
    targets, after = centroids.local_targets(logits, near, usage)
    adjusted = (y / np.array([0.8, 0.2]) ** 2.5) ** 4
    sharp = adjusted / adjusted.sum(axis=1, keepdims=True)
    wanted = (sharp[[1, 0, 0]] + sharp[[2, 2, 1]]) / 2
    assert targets.numpy() == pytest.approx(wanted)
    assert after.numpy() == pytest.approx((np.array([0.8, 0.2]) + y.mean(axis=0)) / 2)
    assert centroids.local_loss(logits, targets).item() == pytest.approx(-(wanted * np.log(y)).sum() / 3)


def test_usl_t_takes_one_of_each_blob_the_largest_first() -> None:
    points, blob = blobs([50, 40, 30, 20, 10])
    chosen = usl_t(points, 5, seed=3)
    assert blob[chosen.picks].tolist() == [0, 1, 2, 3, 4]
    assert chosen.evidence["cluster_size"].tolist() == [50, 40, 30, 20, 10]
    assert (chosen.evidence["confidence"] > 0.99).all()
    seventh = usl_t(points, 7, labels=blob)
    assert blob[seventh.picks].tolist() == [0, 1, 2, 3, 4, 0, 1]
    assert seventh.evidence["role"].tolist() == ["most confident"] * 5 + ["runner-up"] * 2


def test_usl_t_of_one_cluster_is_the_row_nearest_to_its_direction() -> None:
    points = np.array([[1.0, 0.3], [1.0, 0.0], [1.0, -0.4]])
    chosen = usl_t(points, 1)
    assert chosen.picks.tolist() == [1] and chosen.evidence["confidence"].tolist() == [1.0]


def test_usl_t_trains_on_a_sample_of_a_large_pool() -> None:
    points, blob = blobs([MAX_TRAINED, 2_000, 3])
    chosen = usl_t(points, 3, labels=blob, seed=1)
    assert blob[chosen.picks].tolist() == [0, 1, 2], "also where the sample has none of a blob"


# VAAL ------------------------------------------------------------------------------------------------------


def layers(network: torch.nn.Sequential, rows: np.ndarray) -> np.ndarray:
    """Apply two linear layers with a rectifier between them."""
    w1, b1, w2, b2 = (parameter.detach().numpy() for parameter in network.parameters())
    return np.maximum(rows @ w1.T + b1, 0) @ w2.T + b2


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def test_vaal_losses_are_those_of_the_paper() -> None:
    """Sections 3.1 and 3.2 on one batch, with the draws of the same seed."""
    torch.manual_seed(5)
    game, rng = adversary.Game(6), np.random.default_rng(5)
    labelled, unlabelled = rng.normal(size=(4, 6)), rng.normal(size=(7, 6))
    batch = torch.from_numpy(labelled), torch.from_numpy(unlabelled)
    torch.manual_seed(9)
    draws = {7: torch.randn(7, adversary.LATENT, dtype=torch.float64).numpy()}  # unlabelled rows come first
    draws[4] = torch.randn(4, adversary.LATENT, dtype=torch.float64).numpy()

    def encoded(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        both = layers(game.autoencoder.encoder, rows)
        return both[:, : adversary.LATENT], both[:, adversary.LATENT :]

    def evidence_bound(rows: np.ndarray) -> float:
        mean, log_variance = encoded(rows)
        decoded = layers(game.autoencoder.decoder, mean + np.exp(log_variance / 2) * draws[len(rows)])
        divergence = -0.5 * (1 + log_variance - mean**2 - np.exp(log_variance)).sum(axis=1)
        return float((((rows - decoded) ** 2).sum(axis=1) / 2 + divergence).mean())

    known, unknown = (
        sigmoid(layers(game.discriminator, encoded(rows)[0])) for rows in (labelled, unlabelled)
    )
    wanted = evidence_bound(labelled) + evidence_bound(unlabelled)
    wanted += -np.log(known).mean() - np.log(unknown).mean()
    torch.manual_seed(9)
    assert game.autoencoder_loss(*batch).item() == pytest.approx(wanted)
    assert game.discriminator_loss(*batch).item() == pytest.approx(
        -np.log(known).mean() - np.log(1 - unknown).mean()
    )


def test_vaal_fools_the_discriminator_with_both_batches() -> None:
    """The gradient of the encoder is that of the whole loss, by differences: nothing of it is held fixed."""
    torch.manual_seed(3)
    game, rows = adversary.Game(4), torch.randn(9, 4, dtype=torch.float64)
    bias = game.autoencoder.encoder[2].bias

    def loss() -> torch.Tensor:
        torch.manual_seed(8)
        return game.autoencoder_loss(rows[:3], rows[3:])

    slope = torch.autograd.grad(loss(), bias)[0]
    for at in (0, adversary.LATENT):  # of a mean, and of a variance
        values = []
        for shift in (1e-5, -1e-5):
            with torch.no_grad():
                bias[at] += shift
                values.append(loss().item())
                bias[at] -= shift
        assert (values[0] - values[1]) / 2e-5 == pytest.approx(slope[at].item(), rel=1e-5)


def test_vaal_trains_each_network_by_its_own_loss_alone() -> None:
    torch.manual_seed(1)
    game, rows = adversary.Game(3), torch.randn(6, 3, dtype=torch.float64)

    def weights() -> list[float]:
        networks = game.autoencoder, game.discriminator
        return [sum(p.sum().item() for p in network.parameters()) for network in networks]

    before = weights()
    game.step(game.autoencoder_loss(rows[:2], rows[2:]), 0)
    between = weights()
    assert between[0] != before[0] and between[1] == before[1]
    game.step(game.discriminator_loss(rows[:2], rows[2:]), 1)
    assert weights()[0] == between[0] and weights()[1] != between[1]


@pytest.mark.parametrize("known", [0, 1, 2])
def test_vaal_picks_from_blobs_without_labels(known: int) -> None:
    points, blob = blobs([40, 40, 40])
    labelled = np.flatnonzero(blob == known)[:20]
    chosen = vaal(points, 30, labelled=labelled, seed=known)
    assert not (blob[chosen.picks] == known).any()
    assert set(chosen.evidence["role"]) == {"unlike labelled"}
    last = vaal(points, 100, labelled=labelled, seed=known)
    assert (blob[last.picks[-10:]] == known).all() and last.picks[:30].tolist() == chosen.picks.tolist()


def test_vaal_without_labels_begins_with_what_the_autoencoder_encodes_worst() -> None:
    rng = np.random.default_rng(2)
    points = rng.normal(size=(200, 3)) @ rng.normal(size=(3, 12))  # all but two in three dimensions
    points[[17, 90]] = 12 * rng.normal(size=(2, 12))
    chosen = vaal(points, 5, seed=1)
    assert set(chosen.picks[:2]) == {17, 90}
    assert (np.diff(chosen.evidence["loss"]) <= 0).all()
    assert set(chosen.evidence["role"]) == {"hard to encode"}


def test_training_leaves_the_random_numbers_and_threads_of_others_alone() -> None:
    torch.manual_seed(4)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    vaal(blobs([20, 20])[0], 3, labelled=[0], seed=1)
    assert torch.equal(torch.get_rng_state(), before) and torch.get_num_threads() == threads


def test_iterations_are_bounded() -> None:
    assert [adversary.iterations(n) for n in (1, 128, 129, 1_000, 100_000)] == [50, 50, 100, 400, 1_000]
