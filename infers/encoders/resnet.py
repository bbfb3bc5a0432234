"""ResNet-50 without a classifier, in the two variants that RadImageNet weights were published for.

He et al., "Deep residual learning for image recognition", CVPR 2016, Table 1 (50-layer). The variants
differ in the position of the stride and in convolution biases, so weights of one are wrong in the other;
transformers' ResNet has no convolution bias and cannot represent the port.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

DIM = 2048


@dataclass(frozen=True)
class Variant:
    """Differences between the two published ResNet-50.

    Attributes:
        bias: True if every convolution has a bias (Keras), False if none has (torchvision).
        stride_first: the stride of a stage is in the first 1x1 convolution of its first block (Keras, and
            the paper), not in the 3x3 one (torchvision).
        eps: epsilon of batch normalisation.
    """

    bias: bool
    stride_first: bool
    eps: float


KERAS = Variant(bias=True, stride_first=True, eps=1.001e-5)
TORCHVISION = Variant(bias=False, stride_first=False, eps=1e-5)


class Bottleneck(nn.Module):
    """Convolutions 1x1, 3x3, 1x1 and a shortcut: (B, inputs, H, W) -> (B, 4 width, H/stride, W/stride)."""

    def __init__(self, inputs: int, width: int, stride: int, project: bool, variant: Variant) -> None:
        super().__init__()
        first, second = (stride, 1) if variant.stride_first else (1, stride)
        self.conv1 = nn.Conv2d(inputs, width, 1, stride=first, bias=variant.bias)
        self.bn1 = nn.BatchNorm2d(width, eps=variant.eps)
        self.conv2 = nn.Conv2d(width, width, 3, stride=second, padding=1, bias=variant.bias)
        self.bn2 = nn.BatchNorm2d(width, eps=variant.eps)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=variant.bias)
        self.bn3 = nn.BatchNorm2d(4 * width, eps=variant.eps)
        self.downsample: nn.Module = nn.Identity()
        if project:
            shortcut = nn.Conv2d(inputs, 4 * width, 1, stride=stride, bias=variant.bias)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(4 * width, eps=variant.eps))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.bn1(self.conv1(x)).relu()
        out = self.bn2(self.conv2(out)).relu()
        return (self.bn3(self.conv3(out)) + self.downsample(x)).relu()


class ResNet50(nn.Module):
    """(B, 3, H, W) -> (B, 2048): the last feature map averaged over its positions.

    Parameters are named as in torchvision: conv1, bn1, layer1 ... layer4.
    """

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=variant.bias)
        self.bn1 = nn.BatchNorm2d(64, eps=variant.eps)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(64, 64, 3, 1, variant)
        self.layer2 = _stage(256, 128, 4, 2, variant)
        self.layer3 = _stage(512, 256, 6, 2, variant)
        self.layer4 = _stage(1024, 512, 3, 2, variant)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.maxpool(self.bn1(self.conv1(x)).relu())
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return x.mean(dim=(2, 3))


class Stages(nn.Module):
    """(B, 3, H, W) -> the outputs of a ResNet-50's four stages, at strides 4, 8, 16 and 32."""

    def __init__(self, network: ResNet50) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        net, maps = self.network, []
        x = net.maxpool(net.bn1(net.conv1(x)).relu())
        for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
            x = stage(x)
            maps.append(x)
        return maps


def _stage(inputs: int, width: int, blocks: int, stride: int, variant: Variant) -> nn.Sequential:
    first = Bottleneck(inputs, width, stride, True, variant)
    rest = [Bottleneck(4 * width, width, 1, False, variant) for _ in range(blocks - 1)]
    return nn.Sequential(first, *rest)
