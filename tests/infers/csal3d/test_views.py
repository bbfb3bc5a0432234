"""The nine observations: hand-made cases for views, rotations, their inverses and masks."""

from __future__ import annotations

import pytest
import torch

from infers.csal3d.views import ROTATIONS, VIEWS, View, draw_angles, draw_mask, observe, turn, turn_back


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def crops() -> torch.Tensor:
    """Return two crops of two channels with distinct, non-zero voxels."""
    return torch.arange(1, 2 * 2 * 8**3 + 1, dtype=torch.float32).reshape(2, 2, 8, 8, 8)


def test_axial_view_is_the_crop_itself_and_the_others_look_along_their_axis() -> None:
    x = torch.arange(8.0).reshape(2, 2, 2)  # value 4 w + 2 h + d
    assert torch.equal(turn(x, 0, 0), x)
    assert turn(x, 1, 0)[..., 0].tolist() == [[0, 1], [4, 5]], "coronal: the slice h = 0, (w, d)"
    assert turn(x, 2, 0)[..., 0].tolist() == [[0, 1], [2, 3]], "sagittal: the slice w = 0, (h, d)"


def test_a_quarter_turn_is_about_the_axis_that_is_looked_along() -> None:
    x = torch.arange(8.0).reshape(2, 2, 2)
    slices = turn(x, 0, 1)
    assert slices[..., 0].tolist() == [[2, 6], [0, 4]], "of [[0, 2], [4, 6]], 90 degrees counter-clockwise"
    assert slices[..., 1].tolist() == [[3, 7], [1, 5]], "the other slice turns alike"
    assert turn(x, 0, 2)[..., 0].tolist() == [[6, 4], [2, 0]]
    assert torch.equal(turn(x, 0, 4), x)


@pytest.mark.parametrize("view", range(len(VIEWS)))
@pytest.mark.parametrize("quarters", range(4))
def test_turning_back_is_exact(crops: torch.Tensor, view: int, quarters: int) -> None:
    turned = turn(crops, view, quarters)
    assert torch.equal(turn_back(turned, view, quarters), crops)
    assert (quarters == view == 0) == torch.equal(turned, crops)


def test_all_angles_are_drawn_alike() -> None:
    drawn = torch.stack([draw_angles(seeded(seed)) for seed in range(400)])
    assert drawn.shape == (400, 3, ROTATIONS)
    counts = torch.bincount(drawn.flatten(), minlength=4) / drawn.numel()
    assert (counts - 0.25).abs().max() < 0.03


@pytest.mark.parametrize(("side", "block", "hidden"), [(32, 4, 154), (128, 16, 154), (8, 4, 2), (4, 1, 19)])
def test_three_in_ten_blocks_are_hidden(side: int, block: int, hidden: int) -> None:
    mask = draw_mask(side, block, 0.3, seeded())
    assert mask.shape == (side,) * 3 and mask.sum() == hidden * block**3
    assert abs(mask.float().mean() - 0.3) < 0.06
    cells = mask.unfold(0, block, block).unfold(1, block, block).unfold(2, block, block).flatten(3)
    assert torch.equal(cells.all(-1), cells.any(-1)), "a block is hidden whole or not at all"


@pytest.mark.parametrize(
    ("side", "block", "ratio"), [(32, 5, 0.3), (32, 0, 0.3), (32, 4, 1.0), (32, 4, -0.1)]
)
def test_a_mask_that_cannot_be_is_refused(side: int, block: int, ratio: float) -> None:
    with pytest.raises(ValueError, match="must divide the crop"):
        draw_mask(side, block, ratio, seeded())


def test_observations_are_the_turned_crops_with_nothing_but_the_hidden_blocks_changed(
    crops: torch.Tensor,
) -> None:
    views: list[View] = list(observe(crops, 2, 0.3, seeded()))
    assert [view.index for view in views] == [0, 1, 2]
    seen = set()
    for view in views:
        for r, quarters in enumerate(view.quarters):
            assert torch.equal(view.whole[r], turn(crops, view.index, quarters))
            hidden = view.masked[r] == 0
            assert torch.equal(view.masked[r][~hidden], view.whole[r][~hidden])
            assert hidden[0].sum() == 2 * 19 * 8, "19 of 64 blocks, in both channels"
            assert torch.equal(hidden[:, 0], hidden[:, 1])
            seen.update(tuple(hidden[b, 0].flatten().tolist()) for b in range(2))
        assert torch.equal(view.align(view.whole), crops.expand(3, *crops.shape))
    assert len(seen) == 18, "each observation has a mask of its own"


def test_observations_depend_on_the_seed_alone(crops: torch.Tensor) -> None:
    torch.rand(3)  # the global generator does not matter
    one, two, other = (
        torch.stack([view.masked for view in observe(crops, 2, 0.3, seeded(s))]) for s in (5, 5, 6)
    )
    assert torch.equal(one, two) and not torch.equal(one, other)


def test_a_crop_that_is_no_cube_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \(B, C, S, S, S\)"):
        next(observe(torch.zeros(1, 1, 8, 8, 4), 2, 0.3, seeded()))
