"""The network: maps the log-mel image of one second to a unit vector of 128 dimensions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.nn import functional

from monitor.detect.spectrum import BANDS, SPECTRA
from monitor.training.errors import TrainingError


@dataclass(frozen=True, slots=True)
class Shape:
    """The size of a network. With equal work, wide layers on small images are faster than narrow ones on large images.

    widths: the channels of the stem, which reduces bands by 4 and time by 2, and of each stage, which halves both.
    blocks: the residual blocks of each stage.
    dimensions: of a vector.
    hidden: the hidden units of each slice of the head.
    """

    widths: tuple[int, ...] = (64, 128, 256, 256)
    blocks: tuple[int, ...] = (2, 2, 1)
    dimensions: int = 128
    hidden: int = 32


# A run with fewer blocks can initialize one with more: `medium` learns faster, `large` ends better.
SIZES = {
    "small": Shape((48, 96, 192, 256), (1, 1, 0)),
    "medium": Shape(blocks=(1, 1, 0)),
    "large": Shape(),
}


class Bottleneck(nn.Module):
    """A residual block whose 3x3 convolution has half of the channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_convolution(width, width // 2, 1),
            *_convolution(width // 2, width // 2, 3),
            *_convolution(width // 2, width, 1)[:2],
        )
        nn.init.zeros_(self.body[-1].weight)  # starts as the identity

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(x + self.body(x))


class Head(nn.Module):
    """Divide-and-encode (Lai et al., CVPR 2015): each output depends only on its own slice of the features."""

    def __init__(self, features: int, dimensions: int, hidden: int) -> None:
        super().__init__()
        part = features // dimensions
        self.dimensions = dimensions
        self.first = nn.Parameter(torch.randn(dimensions, part, hidden) / part**0.5)
        self.first_bias = nn.Parameter(torch.zeros(dimensions, 1, hidden))
        self.second = nn.Parameter(torch.randn(dimensions, hidden, 1) / hidden**0.5)
        self.second_bias = nn.Parameter(torch.zeros(dimensions, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = x.reshape(x.shape[0], self.dimensions, -1).transpose(0, 1)  # (dimensions, batch, part)
        hidden = functional.elu(torch.bmm(parts, self.first) + self.first_bias)
        out = torch.bmm(hidden, self.second) + self.second_bias
        return functional.normalize(out.squeeze(-1).transpose(0, 1), dim=1)


class Encoder(nn.Module):
    """Maps images, (batch, BANDS, SPECTRA), to unit vectors, (batch, dimensions)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        stem, *stages = shape.widths
        layers: list[nn.Module] = [*_convolution(1, stem, 7, stride=(4, 2))]
        before = stem
        for width, blocks in zip(stages, shape.blocks, strict=True):
            layers += _convolution(before, width, 3, stride=(2, 2))
            layers += [Bottleneck(width) for _ in range(blocks)]
            before = width
        self.body = nn.Sequential(*layers)
        with torch.no_grad():
            features = self.body.eval()(torch.zeros(1, 1, BANDS, SPECTRA)).numel()
        self.train()
        self.head = Head(features, shape.dimensions, shape.hidden)

    def take_over(self, kept: Mapping[str, torch.Tensor], shape: Shape) -> None:
        """Loads the weights `kept` of a network of another `shape`, with fewer or as many blocks.

        The additional blocks are identities until they are trained (Chen et al., Net2Net, ICLR 2016, section 2.2).

        Raises:
            TrainingError: the shapes differ in more than the number of blocks.
        """
        if replace(shape, blocks=self.shape.blocks) != self.shape:
            raise TrainingError(f"the network to start from has another shape: {shape}")
        for name, parameter in _renamed(kept, shape, self.shape).items():
            self.state_dict()[name].copy_(parameter)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = images.unsqueeze(1).contiguous(memory_format=torch.channels_last)
        x = self.body(x).flatten(1)
        with torch.autocast(images.device.type, enabled=False):
            embedded: torch.Tensor = self.head(x.float())
        return embedded


def _renamed(kept: Mapping[str, torch.Tensor], shape: Shape, to: Shape) -> dict[str, torch.Tensor]:
    """The weights that both networks have, by their names in the second one."""
    layers = {name: i for i, name in enumerate(_layers(to))}
    moved = {f"body.{i}.": layers.get(name) for i, name in enumerate(_layers(shape))}
    renamed = {}
    for name, parameter in kept.items():
        head, number, rest = name.split(".", 2) if name.startswith("body.") else (name, "", "")
        if head != "body":
            renamed[name] = parameter
        elif (layer := moved[f"body.{number}."]) is not None:
            renamed[f"body.{layer}.{rest}"] = parameter
    return renamed


def _layers(shape: Shape) -> list[str]:
    """A name for each module of a network's body, the same in networks of other sizes."""
    names = [f"stem {i}" for i in range(3)]
    for stage, blocks in enumerate(shape.blocks):
        names += [f"stage {stage} {i}" for i in range(3)] + [f"stage {stage} block {i}" for i in range(blocks)]
    return names


def _convolution(inputs: int, outputs: int, size: int, stride: tuple[int, int] = (1, 1)) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    ]
