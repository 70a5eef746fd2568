"""Models that go from maps of one number of axes to maps of another."""

from itertools import permutations

import pytest
import torch
from support.oracle import CONV, PLAIN
from torch import nn

from autoup import audit

SIZE = {1: (64,), 2: (8, 8), 3: (4, 4, 4)}
POOL = {1: nn.AvgPool1d, 2: nn.MaxPool2d, 3: nn.AvgPool3d}
FIRST = {
    "convolution": lambda dims: CONV[dims](4, 4, 3, padding=1),
    "pooling": lambda dims: POOL[dims](3, 1, 1),
    "transposed": lambda dims: PLAIN[dims](4, 4, 3, 2, 1, 1),
    "resize": lambda _: nn.Upsample(scale_factor=2),
}
LAST = {
    "transposed": lambda dims: PLAIN[dims](4, 2, 3, 2, 1, 1),
    "resize": lambda _: nn.Upsample(scale_factor=2),
}


class Reshape(nn.Module):
    """Four channels of 64 values become maps of this number of axes."""

    def __init__(self, dims):
        super().__init__()
        self.dims = dims

    def forward(self, x):
        return x.flatten(2)[..., :64].unflatten(2, SIZE[self.dims])


@pytest.mark.parametrize("first", FIRST)
@pytest.mark.parametrize("last", LAST)
@pytest.mark.parametrize(("one", "other"), [*permutations((1, 2, 3), 2)])
def test_each_step_is_read_in_its_own_dimensions(first, last, one, other):
    torch.manual_seed(0)
    parts = FIRST[first](one), Reshape(other), LAST[last](other)
    size = (1, 4, *SIZE[one])
    report = audit(nn.Sequential(*parts), size)
    alone = [
        row
        for part, start in ((parts[0], one), (parts[2], other))
        for row in audit(part, (1, 4, *SIZE[start]))
    ]
    assert [len(row.stride) for row in report] == [len(row.stride) for row in alone]
    for row, expected in zip(report, alone, strict=True):
        facts = ("kernel_size", "stride", "in_size", "out_size", "phases", "shift", "spread")
        for name in facts:
            assert getattr(row, name) == getattr(expected, name), name
    assert report.multiply_adds == sum(row.multiply_adds for row in alone)
    assert report.displaced is None, "the reshape mixes the axes"
    said = "not followed to the output, which has other axes: 0." in " ".join(report.notes)
    assert said == any(any(row.shift) for row in alone[:-1])
    assert report.drift == alone[-1].shift, (
        "what was shifted before the reshape is no shift any more"
    )


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_the_output_has_the_axes_of_its_own_last_step(dims):
    """The other branch has more axes or fewer, and a step of its own."""

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.reshape = PLAIN[dims](4, 4, 4, 2, 1, 1), Reshape(dims)
            self.other, self.elsewhere = PLAIN[4 - dims](4, 1, 2, 2), Reshape(4 - dims)

        def forward(self, x):
            side = self.other(self.elsewhere(x)).mean()
            return self.up(self.reshape(x)) + side

    report = audit(Two(), (1, 4, *SIZE[1]))
    assert {row.name: len(row.stride) for row in report} == {"up": dims, "other": 4 - dims}
    assert report.drift == (-0.5,) * dims


def test_a_resize_has_no_partner_of_other_axes():
    model = nn.Sequential(nn.Upsample(scale_factor=2), Reshape(2), nn.Conv2d(4, 2, 3, padding=1))
    (row,) = audit(model, (1, 4, 32))
    assert (row.partner, row.stride, row.in_size, row.out_size) == (None, (2,), (32,), (64,))


def test_a_shuffle_has_no_partner_of_other_axes():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.shuffle = nn.Conv3d(1, 4, 3, padding=1), nn.PixelShuffle(2)

        def forward(self, x):
            return self.shuffle(self.conv(x).flatten(1, 2))

    (row,) = audit(Net(), (1, 1, 4, 8, 8))
    assert (row.partner, row.stride, row.in_size, row.out_size) == (None, (2, 2), (8, 8), (16, 16))
