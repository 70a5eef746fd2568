"""Positions followed through a model against the centres of what its pixels really read."""

import random

import numpy as np
import pytest
import torch
from support import models
from torch import nn
from torch.nn import functional as F  # noqa: N812

import autoup
from autoup import audit
from autoup.inspecting.position import Position
from autoup.inspecting.recording import record


def layer(kind, chance):
    k, s = chance.choice([2, 3, 4, 5]), chance.choice([1, 2, 3])
    p = chance.randrange(k // 2 + 1)
    if kind == "conv":
        return nn.Conv1d(1, 1, k, s, p, dilation=chance.choice([1, 2]), bias=False)
    if kind == "pool":
        return nn.AvgPool1d(k, s, p, count_include_pad=True)
    if kind == "transposed":
        return nn.ConvTranspose1d(1, 1, k, s, p, chance.randrange(s), bias=False)
    if kind == "resize":
        return nn.Upsample(
            scale_factor=chance.choice([2, 3]), mode=chance.choice(["nearest", "linear"])
        )
    return nn.ConstantPad1d((chance.randrange(4), chance.randrange(4)), 0.0)


def reads(model, size):
    """Return how much each output pixel reads of each input pixel, ``(out, in)``."""
    eye = torch.eye(size, dtype=torch.float64)[:, None]
    with torch.no_grad():
        return model(eye)[:, 0].T


@pytest.mark.parametrize("seed", range(60))
def test_output_lies_where_the_mean_of_what_it_reads_says(seed):
    chance = random.Random(seed)
    # Down before up: a stride behind an enlargement may read one phase of it alone.
    kinds = ["conv", "pool", "pad", "transposed", "resize"]
    chosen = sorted((chance.choice(kinds) for _ in range(3)), key=lambda kind: kind in kinds[3:])
    model = nn.Sequential(*(layer(kind, chance) for kind in chosen)).double()
    model.append(nn.ConvTranspose1d(1, 1, 3, 2, 1, 1, bias=False).double())
    for each in model.parameters():
        nn.init.ones_(each)
    size = 432  # Its middle half holds whole periods of 8 and of 27.
    report = audit(model, (1, 1, size))
    matrix = reads(model, size)
    inside = matrix.clone()
    inside[:, : size // 4] = inside[:, -size // 4 :] = 0
    m = torch.arange(size, dtype=torch.float64)
    y = torch.arange(len(matrix), dtype=torch.float64)
    centre_in = (inside.sum(0) * m).sum() / inside.sum()
    centre_out = (inside.sum(1) * y).sum() / inside.sum()
    ((low, high),) = report.displaced
    assert low == high
    scale, middle = expected_scale(model), (size - 1) / 2
    centred = (centre_in - middle) / scale + (len(matrix) - 1) / 2
    assert float(centre_out - centred) == pytest.approx(low, abs=0.02)
    ends = (1 / scale - len(matrix) / size) * middle
    assert report.stretched[0] == pytest.approx(ends, abs=1e-6)


def expected_scale(model):
    scale = 1.0
    for each in model:
        if isinstance(each, nn.ConvTranspose1d):
            scale /= each.stride[0]
        elif isinstance(each, nn.Conv1d | nn.AvgPool1d):
            scale *= each.stride[0]
        elif isinstance(each, nn.Upsample):
            scale /= each.scale_factor
    return scale


@models.taken_from("monai")
def test_u_net_with_its_adjoint_geometry_lies_in_its_place():
    model, (size, *_) = models.build("monai UNet 2d")
    report = audit(model, size)
    assert report.drift == (-1.5, -1.5)
    assert report.displaced == ((0.0, 0.0), (0.0, 0.0))
    assert "it lies in its place" in str(report)


@pytest.mark.parametrize("padding", range(25))
def test_scale_is_off_where_that_of_one_layer_is(padding):
    layer = autoup.Solution(30, 68 - 2 * padding, 10, 2, padding=padding)
    place = Position(1 / 2, 0.0, 0.0, size=30)
    assert abs(place.stretch(layer.out_size)) == pytest.approx(layer.displacement)
    assert place.is_off_scale(layer.out_size) == layer.wrong_scale


def test_ways_of_different_shifts_are_both_told():
    class Ways(nn.Module):
        def __init__(self, k=3, output_padding=1):
            super().__init__()
            self.down = nn.Conv2d(1, 1, 4, 2, 1)
            self.up = nn.ConvTranspose2d(1, 1, k, 2, 1, output_padding)

        def forward(self, x):
            return torch.cat([x, self.up(self.down(x))], 1)

    report = audit(Ways(), (1, 1, 16, 16))
    assert report.displaced == ((-0.5, 0.0), (-0.5, 0.0))
    assert "different shifts meet: -0.5 to 0, -0.5 to 0 px" in str(report)
    report = audit(Ways((4, 3), (0, 1)), (1, 1, 16, 16))
    assert "different shifts meet: 0 to 0, -0.5 to 0 px" in str(report)


class Joined(nn.Module):
    """Two maps of one size, added up."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x, *more):
        inputs = (x, *more) if more else (x,) * len(self.layers)
        first, second = (each(x) for each, x in zip(self.layers, inputs, strict=True))
        return F.interpolate(first + second, scale_factor=2)


def test_ways_of_different_scales_or_inputs_are_not_called_one():
    wide, down, cut = nn.Conv2d(1, 1, 9), nn.Conv2d(1, 1, 2, 2), nn.Conv2d(1, 1, 3)
    assert audit(Joined(wide, down), (1, 1, 16, 16)).displaced is None
    assert audit(Joined(down, down), (1, 1, 16, 16)).displaced == ((0.0, 0.0),) * 2
    lost = nn.Sequential(nn.Flatten(), nn.Linear(1, 1), nn.Unflatten(1, (1, 1, 1)))
    assert audit(Joined(nn.Conv2d(1, 1, 1), lost), (1, 1, 1, 1)).displaced is None
    sizes = (1, 1, 10, 10), (1, 1, 8, 8)
    assert audit(Joined(cut, nn.Identity()), sizes).displaced is None
    assert audit(Joined(cut, cut), sizes[:1] * 2).displaced == ((0.0, 0.0),) * 2


@pytest.mark.parametrize("kernel_size", [3, 4, (5, 2)])
def test_padding_to_the_same_size_is_where_pytorch_puts_it(kernel_size):
    conv = nn.Conv2d(1, 1, kernel_size, padding="same")
    pads = nn.ConstantPad2d(conv._reversed_padding_repeated_twice, 0.0)
    by_hand = nn.Sequential(pads, nn.Conv2d(1, 1, kernel_size))
    found, wanted = (
        audit(nn.Sequential(each, nn.ConvTranspose2d(1, 1, 4, 2, 1)), (1, 1, 9, 9))
        for each in (conv, by_hand)
    )
    assert found.displaced == wanted.displaced
    assert found.displaced[0] == ((-1.0, -1.0) if kernel_size == 4 else (0.0, 0.0))


@pytest.mark.parametrize("act", [
    lambda x: x[..., :4].mul_(2), lambda x: x[..., :4].__imul__(2), lambda x: x[..., 4:].relu_(),
    lambda x: torch.ops.aten.mul_.Scalar(x[..., :4], 2),
])  # fmt: skip
def test_pictures_that_are_written_into_stay_where_they_are(act):
    class Writes(nn.Module):
        def __init__(self):
            super().__init__()
            self.before, self.up = nn.Conv2d(1, 1, 2), nn.ConvTranspose2d(1, 1, 4, 2, 1)

        def forward(self, x):
            x = self.before(x)
            act(x)
            return self.up(x)

    assert audit(Writes(), (1, 1, 9, 9)).displaced == ((0.0, 0.0), (0.0, 0.0))
    names = [call.name for call in record(Writes(), ((1, 1, 9, 9),)).calls]
    assert names[-2:] == ["write", "conv_transpose"]


def test_what_cannot_be_followed_is_unknown():
    up = nn.ConvTranspose2d(1, 1, 3, 2, 1, 1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 16), nn.Unflatten(1, (1, 4, 4)), up)
    report = audit(model, (1, 1, 4, 4))
    assert report.displaced is None
    assert "may undo it" in str(report)


RESIZES = [
    lambda x: F.interpolate(x, scale_factor=1.5, mode="linear"),
    lambda x: F.interpolate(x, scale_factor=1.5, mode="linear", recompute_scale_factor=True),
    lambda x: F.interpolate(F.interpolate(x, scale_factor=0.5), scale_factor=2),
    lambda x: F.interpolate(
        F.interpolate(x, scale_factor=0.5, mode="nearest-exact"), scale_factor=2
    ),
    lambda x: F.interpolate(F.interpolate(x, scale_factor=0.5, mode="linear"), scale_factor=2),
    lambda x: F.interpolate(x, size=3 * x.shape[2] // 2),
    lambda x: F.interpolate(x, size=3 * x.shape[2] // 2, mode="nearest-exact"),
    lambda x: F.interpolate(x, scale_factor=3)[:, :, 4:],
]


@pytest.mark.parametrize("size", [121, 144])
@pytest.mark.parametrize("act", RESIZES)
def test_resizes_lie_where_a_ramp_says(act, size):
    class Acts(nn.Module):
        def forward(self, x):
            return act(x)

    report = audit(Acts(), (1, 1, size))
    ramp = torch.arange(size, dtype=torch.float64)[None, None]
    made = act(ramp)[0, 0]
    n = len(made)
    y = torch.arange(n, dtype=torch.float64)
    # The line through the middle half: at which pixel of the output the middle of the input lies.
    half = slice(n // 4, n - n // 4)
    slope, start = np.polyfit(y[half], made[half], 1)
    middle = ((size - 1) / 2 - start) / slope
    ((low, high),) = report.displaced
    assert low == high
    assert low == pytest.approx(middle - (n - 1) / 2, abs=0.02)
    assert report.stretched[0] == pytest.approx((1 / slope - n / size) * (size - 1) / 2, abs=0.3)


@pytest.mark.parametrize("act", [
    lambda m, x: (m(x) + m(x.flip(3)).flip(3)) / 2,
    lambda m, x: torch.cat([m(each) for each in x.chunk(3, 3)], 3),
])  # fmt: skip
def test_nothing_is_claimed_of_places_and_shifts_that_were_lost(act):
    class Acts(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = nn.ConvTranspose2d(1, 1, 3, 2, 1, 1)

        def forward(self, x):
            return act(self.up, x)

    report = audit(Acts(), (1, 1, 24, 24))
    assert (report.displaced, report.drift) == (None, None)
    assert report[0].shift == (-0.5, -0.5)


def test_what_is_rolled_is_not_placed():
    class Rolls(nn.Module):
        def forward(self, x):
            return F.interpolate(x.roll(3, 2), scale_factor=2)

    assert audit(Rolls(), (1, 1, 24, 24)).displaced is None


def test_a_crop_is_followed():
    class Crops(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = nn.ConvTranspose2d(1, 1, 3, 2, 1, 1)

        def forward(self, x):
            return self.up(x)[:, :, 2:-2, 3:-1]

    report = audit(Crops(), (1, 1, 24, 24))
    assert report.drift == (-0.5, -0.5)
    assert report.displaced == ((-0.5, -0.5), (-1.5, -1.5))
