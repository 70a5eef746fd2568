"""Small U-Nets that meet the sizes of their skips as U-Nets in the field do."""

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from support.oracle import PLAIN

CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
POOL = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}


class UNet(nn.Module):
    """Takes odd sizes where it goes down by convolutions, and even ones alone where it pools.

    Of pooled maps ``k3 s2 p1`` makes no odd size of a skip, whatever ``output_size`` asks for.
    """

    def __init__(self, dims=3, down="pool", meet="output_size", levels=2, **up):
        super().__init__()
        up = {"kernel_size": 3, "stride": 2, "padding": 1} | up
        s = up["stride"]
        self.encoders = nn.ModuleList(block(dims, 3 if n else 1) for n in range(levels + 1))
        self.downs = nn.ModuleList(
            POOL[dims](s) if down == "pool" else CONV[dims](3, 3, 3, s, 1) for _ in range(levels)
        )
        self.ups = nn.ModuleList(PLAIN[dims](3, 3, **up) for _ in range(levels))
        self.decoders = nn.ModuleList(block(dims, 6) for _ in range(levels))
        self.meet = MEET[meet]

    def forward(self, x):
        skips = []
        for encode, down in zip(self.encoders, self.downs, strict=False):
            skips.append(encode(x))
            x = down(skips[-1])
        x = self.encoders[-1](x)
        for up, decode in zip(self.ups, self.decoders, strict=True):
            skip = skips.pop()
            x = decode(torch.cat([self.meet(up, x, skip.shape[2:]), skip], 1))
        return x


def block(dims, channels):
    return nn.Sequential(CONV[dims](channels, 3, 3, padding=1), nn.ReLU())


def crop(made, size):
    return made[(..., *(slice(n) for n in size))]


MEET = {
    "output_size": lambda up, x, size: up(x, output_size=size),
    "crop": lambda up, x, size: crop(up(x), size),
    "interpolate": lambda up, x, size: F.interpolate(up(x), size=size, mode="nearest"),
    "crop and interpolate": lambda up, x, size: F.interpolate(crop(up(x), size), size=size),
}
