"""Losses of CSAL-3D's pretraining (Zhu et al., section 2, Eq. 1 to 4).

The norms of Eq. 1 and 3 are means over voxels here, not sums, so the balance of the three terms does not
depend on the crop size. All terms split into one part per view; the three parts add up to the paper's sums.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch.nn import functional

from infers.csal3d.network import Csal3dNetwork
from infers.csal3d.views import ROTATIONS, VIEWS, View

LOSSES = ("inpainting", "rotation", "consistency")
_OBSERVATIONS = len(VIEWS) * ROTATIONS


def parse_losses(text: str) -> tuple[str, ...]:
    """Parse terms such as "inpainting,rotation"; return them in the order of LOSSES. Raises ValueError."""
    names = {name.strip() for name in text.split(",")}
    if not names <= {*LOSSES} or not names:
        raise ValueError(f"losses {text!r}: expected one or more of {', '.join(LOSSES)}, separated by commas")
    return tuple(name for name in LOSSES if name in names)


def inpainting(rebuilt: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    """Return a view's part of Eq. 1; both (3, B, C, S, S, S), as observed."""
    return functional.mse_loss(rebuilt, whole) * ROTATIONS / _OBSERVATIONS


def rotation(logits: torch.Tensor, quarters: torch.Tensor) -> torch.Tensor:
    """Return a view's part of Eq. 2: logits (3, B, 4), true quarter turns (3,)."""
    truth = quarters[:, None].expand(logits.shape[:2])
    return functional.cross_entropy(logits.flatten(0, 1), truth.flatten()) * ROTATIONS / _OBSERVATIONS


def consistency(aligned: torch.Tensor) -> torch.Tensor:
    """Return a view's part of Eq. 3: aligned reconstructions (3, B, C, S, S, S), over ordered pairs."""
    pairs = [(r, s) for r in range(ROTATIONS) for s in range(ROTATIONS) if r != s]
    gaps = torch.stack([functional.l1_loss(aligned[r], aligned[s]) for r, s in pairs])
    return gaps.sum() / (len(VIEWS) * len(pairs))


def view_losses(network: Csal3dNetwork, view: View, terms: Collection[str]) -> dict[str, torch.Tensor]:
    """Return one view's parts of the losses in `terms`; Eq. 4 is the sum over terms and views."""
    rotations, batch = view.masked.shape[:2]
    rebuilt, logits = network(view.masked.flatten(0, 1))
    rebuilt = rebuilt.unflatten(0, (rotations, batch)).float()
    logits = logits.unflatten(0, (rotations, batch)).float()
    parts: dict[str, torch.Tensor] = {}
    if "inpainting" in terms:
        parts["inpainting"] = inpainting(rebuilt, view.whole)
    if "rotation" in terms:
        parts["rotation"] = rotation(logits, torch.tensor(view.quarters, device=logits.device))
    if "consistency" in terms:
        parts["consistency"] = consistency(view.align(rebuilt))
    return parts
