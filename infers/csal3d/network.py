"""The network of CSAL-3D's self-supervised pretraining: a Swin-UNETR with a second head for the rotation.

Swin-UNETR is Hatamizadeh et al., arXiv 2201.01266; it is assembled here from MONAI's blocks, because MONAI's
`SwinUNETR` rejects a feature size of 16, which gives the paper's 256 features (Zhu et al., "Experimental
Details").
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.blocks import UnetOutBlock, UnetrBasicBlock, UnetrUpBlock
from monai.networks.nets.swin_unetr import SwinTransformer
from torch import nn

from infers.csal3d.views import ANGLES

STRIDE = 32  # a crop's side must be a multiple: patch size 2, halved four times


class Csal3dNetwork(nn.Module):
    """Encoder, inpainting decoder (with Swin-UNETR's skip connections) and rotation classifier.

    :param channels: number of channels of the images
    :param feature_size: width of the first stage; the features are 16 times as wide
    :param window: side of the attention windows, in tokens of two voxels in the first stage
    :param groups: groups of the decoder's group normalisation, must divide `feature_size`; Swin-UNETR's
        instance normalisation does not work on the single token that a crop of 32 is reduced to
    """

    def __init__(
        self,
        channels: int = 1,
        feature_size: int = 16,
        window: int = 7,
        depths: Sequence[int] = (2, 2, 2, 2),
        heads: Sequence[int] = (1, 2, 4, 8),
        groups: int = 8,
    ) -> None:
        super().__init__()
        f, norm = feature_size, ("group", {"num_groups": groups})
        self.features = 16 * f
        self.encoder = SwinTransformer(
            in_chans=channels,
            embed_dim=f,
            window_size=(window,) * 3,
            patch_size=(2,) * 3,
            depths=depths,
            num_heads=heads,
            spatial_dims=3,
            downsample="mergingv2",
        )

        def same(inputs: int, outputs: int) -> UnetrBasicBlock:
            return UnetrBasicBlock(3, inputs, outputs, 3, 1, norm, res_block=True)

        self.skips = nn.ModuleList(
            [same(channels, f), same(f, f), same(2 * f, 2 * f), same(4 * f, 4 * f), nn.Identity()]
        )
        self.deepest = same(16 * f, 16 * f)
        widths = [(16 * f, 8 * f), (8 * f, 4 * f), (4 * f, 2 * f), (2 * f, f), (f, f)]
        self.ups = nn.ModuleList([UnetrUpBlock(3, i, o, 3, 2, norm, res_block=True) for i, o in widths])
        self.out = UnetOutBlock(3, f, channels)
        self.rotation = nn.Linear(16 * f, ANGLES)

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """Return features (B, 16 * feature_size): the global average of the deepest stage."""
        return self.encoder(x)[-1].mean(dim=(2, 3, 4))

    def reconstruct(self, x: torch.Tensor) -> torch.Tensor:
        """Reconstruct masked crops (B, C, S, S, S)."""
        return self._decode(x, self.encoder(x))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Map masked crops (B, C, S, S, S) to reconstructions of the same shape and angle logits (B, 4)."""
        stages = self.encoder(x)
        return self._decode(x, stages), self.rotation(stages[-1].mean(dim=(2, 3, 4)))

    def _decode(self, x: torch.Tensor, stages: list[torch.Tensor]) -> torch.Tensor:
        skips = [skip(y) for skip, y in zip(self.skips, [x, *stages[:-1]], strict=True)]
        y = self.deepest(stages[-1])
        for up, skip in zip(self.ups, reversed(skips), strict=True):
            y = up(y, skip)
        return self.out(y)
