"""What stands between a convolution and its shuffle, and how products are counted."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

import autoup
from autoup import audit


@pytest.mark.parametrize("act", [F.leaky_relu, F.hardswish, F.relu6, F.softplus, torch.tanh])
def test_what_acts_on_each_pixel_alike_may_stand_before_a_shuffle(act):
    class Upsampler(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 16, 3)

        def forward(self, x):
            return F.pixel_shuffle(act(self.conv(x)), 2)

    model = Upsampler()
    wanted = autoup.phase_spread(nn.Sequential(model.conv, nn.PixelShuffle(2)))
    assert audit(model, (1, 3, 8, 8))[0].spread == pytest.approx(wanted)


@pytest.mark.parametrize(("between", "known"), [
    (nn.PReLU(), True), (nn.PReLU(16), False),
    (nn.BatchNorm2d(16, track_running_stats=False), False),
])  # fmt: skip
def test_what_tells_channels_apart_makes_their_spread_unknown(between, known):
    model = nn.Sequential(nn.Conv2d(3, 16, 3), between, nn.PixelShuffle(2)).eval()
    for size in None, (1, 3, 8, 8):
        assert (audit(model, size)[0].spread is not None) == known


@pytest.mark.parametrize("batch", [(), (1,), (3,)])
def test_products_are_counted_for_each_picture(batch):
    layer = nn.ConvTranspose2d(4, 6, 3, 2, groups=2)
    (row,) = audit(layer, (*batch, 4, 5, 7))
    assert row.multiply_adds == sum(batch or (1,)) * 5 * 7 * 3 * 3 * 4 * 6 // 2
