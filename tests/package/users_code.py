"""What a user may write, and pyright and mypy, both strict, find nothing to say of."""

# PyTorch 2.6 leaves the constructor of nn.Module without types.
# pyright: reportUnknownMemberType=false

from typing import assert_type

import torch
from torch import Tensor, nn

import autoup
from autoup import AutoConvTranspose1d, AutoConvTranspose2d, AutoConvTranspose3d


class Decoder(nn.Module):
    """A decoder as one writes it by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.up = AutoConvTranspose2d(32, 16, (7, 6), (14, 13), smoothness=1)
        self.head = AutoConvTranspose2d(16, 1, 14, 28, kernel_size=4, init="damped")
        self.act: nn.Module = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.head.forward(self.act(self.up(x)))


def use() -> None:
    """Go through the names that are public."""
    encoder = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1))
    conv = nn.Conv2d(3, 16, 3, 2, 1)
    signal: nn.ConvTranspose1d = AutoConvTranspose1d(4, 2, 100, 400)
    picture: nn.ConvTranspose2d = assert_type(
        AutoConvTranspose2d.mirror(conv, 32, smoothness=1), AutoConvTranspose2d
    )
    volume: nn.ConvTranspose3d = AutoConvTranspose3d(4, 2, 7, (14, 14, 14))
    for layer in (signal, picture, volume):
        assert_type(autoup.phase_spread(layer), float)
        autoup.init.phase_equal_(layer.weight, layer.stride)
    solution = assert_type(autoup.solve(7, 15), autoup.Solution)
    assert_type(autoup.candidates(7, 15, limit=3), list[autoup.Solution])
    assert_type(solution.kernel_size, int)
    assert_type(solution.displacement, float)
    assert_type(autoup.ladder(7, 218), autoup.Ladder)
    generator: nn.Module = autoup.decoder(128, 3, (7, 6), (218, 178), latent=64)
    inverse = assert_type(autoup.mirror_decoder(encoder, (1, 3, 33, 47)), nn.Sequential)
    assert_type(autoup.unet(encoder, (1, 3, 33, 47), 2), autoup.UNet)
    report = assert_type(autoup.audit(generator, (1, 64)), autoup.AuditReport)
    for row in report:
        assert_type(row, autoup.Upsampling)
    assert_type(autoup.repair(inverse), nn.Module)
    image = torch.rand(1, 1, 32, 32)
    measured = assert_type(autoup.measure_grid(image, stride=2), autoup.GridMeasurement)
    assert_type(measured.found(), bool)
