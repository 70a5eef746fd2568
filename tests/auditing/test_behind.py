"""What follows a step counts: a filter without response at the grid frequencies evens it out."""

import random

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from autoup import audit

CONV = nn.Conv1d, nn.Conv2d, nn.Conv3d
TRANSPOSED = nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d


def blur(taps, dims=2, channels=4, axes=None, dilation=1):
    """Return a fixed filter of each channel by itself, along some axes."""
    axes = range(dims) if axes is None else axes
    taps = torch.tensor(taps, dtype=torch.float32)
    kernel, shape = torch.ones((1,) * dims), [1] * dims
    for axis in axes:
        shape = [1] * dims
        shape[axis] = len(taps)
        kernel = kernel * (taps / taps.sum()).view(shape)
    conv = CONV[dims - 1](channels, channels, kernel.shape, groups=channels, bias=False,
                          dilation=dilation)  # fmt: skip
    conv.weight.data = kernel.expand(channels, 1, *kernel.shape).clone()
    return conv


def step(k=3, s=2, dims=2, **options):
    return TRANSPOSED[dims - 1](3, 4, k, s, **options)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("taps", [[1, 2, 1], [1, 1], [1, 3, 3, 1]])
def test_binomial_evens_out_a_stride_of_two(taps, dims):
    report = audit(nn.Sequential(step(dims=dims), blur(taps, dims)), (1, 3, *(24,) * dims))
    (row,) = report
    assert (row.severity, row.even) == ("clean", False)
    assert "evened out by 1 behind it" in row.seen[0]
    assert report.constants.spread < 1e-5


class ByFunction(nn.Module):
    """A binomial whose taps are made in the forward pass, as in many generators."""

    def __init__(self, pad="reflect"):
        super().__init__()
        self.up, self.pad = step(padding=1, output_padding=1), pad

    def forward(self, x):
        taps = torch.tensor([1.0, 2.0, 1.0])
        taps = (taps[:, None] * taps)[None, None].repeat(4, 1, 1, 1) / 16
        x = self.up(x)
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode=self.pad), taps, groups=4)


@pytest.mark.parametrize("pad", ["reflect", "constant", "replicate"])
def test_taps_made_in_the_forward_pass_are_looked_at_and_the_shift_stays(pad):
    report = audit(ByFunction(pad), (1, 3, 24, 24))
    (row,) = report
    assert row.severity == "warning"
    assert "evened out by conv behind it" in row.seen[0]
    assert "shifts the picture 0.5 px" in row.seen[1]
    assert report.constants.spread < 1e-5


NOT_ENOUGH = {
    "a mean over three": lambda: [step(), nn.AvgPool2d(3, 1)],
    "a stride that is no multiple": lambda: [step(), nn.AvgPool2d(3, 3)],
    "a maximum over less": lambda: [step(5, 4), nn.MaxPool2d(3, 1)],
    "one axis": lambda: [step(), blur([1, 2, 1], axes=[0])],
    "every second pixel": lambda: [step(), blur([1, 2, 1], dilation=2)],
    "half of a stride of four": lambda: [step(6, 4), blur([1, 2, 1])],
    "a maximum over every second pixel": lambda: [step(), nn.MaxPool2d(2, 1, dilation=2)],
    "halves on either side of a rectifier": lambda: [
        step(6, 4),
        blur([1, 1]),
        nn.ReLU(),
        blur([1, 0, 1]),
    ],
    "learnt taps": lambda: [step(), nn.Conv2d(4, 4, 3)],
}


@pytest.mark.parametrize("name", NOT_ENOUGH)
def test_a_filter_with_response_at_the_grid_is_not_enough(name):
    torch.manual_seed(0)
    report = audit(nn.Sequential(*NOT_ENOUGH[name]()), (1, 3, 40, 40))
    assert report[0].severity == "severe"
    assert report.constants.spread > 1e-3


class Crop(nn.Module):
    def forward(self, x):
        return x[..., 1:-2, 3:]


def test_pixels_in_other_rows_are_not_evened_out():
    class Rows(nn.Module):
        def forward(self, x):
            return x.reshape(*x.shape[:2], -1, 11)

    model = nn.Sequential(step(), Rows(), blur([1, 2, 1]))
    with torch.no_grad():
        assert model(torch.ones(1, 3, 16, 16))[0, :, 12:84, 5].std(1).max() > 1e-3
    assert audit(model, (1, 3, 16, 16))[0].severity == "severe"


def test_filters_of_more_axes_are_not_read():
    class Deep(nn.Module):
        def forward(self, x):
            return F.avg_pool3d(x.unsqueeze(1), (1, 2, 2), 1)

    model = nn.Sequential(step(), Deep())
    assert audit(model, (1, 3, 16, 16))[0].severity == "severe"


ENOUGH = {
    "behind a rectifier": lambda: [step(), nn.BatchNorm2d(4), nn.ReLU(), blur([1, 2, 1])],
    "behind a crop": lambda: [step(), Crop(), blur([1, 2, 1])],
    "a stride that is a multiple": lambda: [step(), nn.Conv2d(4, 4, 3, 2)],
    "a maximum of that stride": lambda: [step(), nn.MaxPool2d(2)],
    "a maximum over all phases": lambda: [step(), nn.MaxPool2d(3, 1)],
    "a mean over all phases, strided": lambda: [step(), nn.AvgPool2d(4, 3)],
    "holes": lambda: [step(2, 3), nn.AvgPool2d(3, 1)],
}


@pytest.mark.parametrize("name", ENOUGH)
def test_what_keeps_the_period_may_stand_between(name):
    report = audit(nn.Sequential(*ENOUGH[name]()), (1, 3, 40, 40))
    assert (report[0].severity, report[0].even) == ("clean", False)
    assert report.constants.spread < 1e-4


def test_filters_are_as_silent_as_their_precision_allows():
    for middle, severity in (3, "clean"), (3.02, "severe"):
        rounded = blur([1, 2, middle, 2, 1]).half().float()
        assert audit(nn.Sequential(step(4, 3), rounded), (1, 3, 16, 16))[0].severity == severity


def test_filters_share_the_frequencies_out():
    parts = [step(6, 4, dims=1), blur([1, 1], 1), blur([1, 1], 1, dilation=2)]
    (row,) = audit(nn.Sequential(*parts), (1, 3, 40))
    assert row.severity == "clean"
    assert "evened out by 1 and 2 behind it" in row.seen[0]
    (row,) = audit(nn.Sequential(*parts[:2], blur([1, 1], 1), parts[2]), (1, 3, 40))
    assert "evened out by 1 and 3 behind it" in row.seen[0]
    (row,) = audit(nn.Sequential(step(), blur([1, 1], axes=[0]), blur([1, 1], axes=[1])),
                   (1, 3, 16, 16))  # fmt: skip
    assert "evened out by 1 and 2 behind it" in row.seen[0]


def test_filter_may_even_out_what_the_phases_of_the_step_leave():
    """Phases that repeat every two differ at one frequency of a stride of four alone."""
    up = step(4, 4, dims=1)
    with torch.no_grad():
        up.weight[..., 2:] = up.weight[..., :2]
    report = audit(nn.Sequential(up, blur([1, 1], 1)), (1, 3, 40))
    assert report[0].severity == "clean"
    assert "evened out by 1 behind it" in report[0].seen[0]
    assert report.constants.spread < 1e-5


def test_a_step_read_by_others_too_is_not_evened_out():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.blur = step(), blur([1, 2, 1])

        def forward(self, x):
            x = self.up(x)
            return self.blur(x), x

    assert audit(Two(), (1, 3, 16, 16))[0].severity == "severe"


def test_a_step_evened_out_after_one_call_of_two_is_not():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.blur = step(), blur([1, 2, 1])

        def forward(self, x):
            return self.blur(self.up(x)), self.up(2 * x)

    assert audit(Twice(), (1, 3, 16, 16))[0].severity == "severe"


@pytest.mark.parametrize("seed", range(30))
def test_verdict_is_what_runs_on_constants_say(seed):
    chance = random.Random(seed)
    s, k = chance.choice([2, 3, 4]), chance.choice([3, 4, 5, 6])
    parts = [step(k, s, dims=1)]
    for _ in range(chance.randrange(3)):
        taps = [1] * chance.choice([2, 3, 4]) if chance.random() < 0.7 else [1, 2, 1]
        parts.append(blur(taps, 1, dilation=chance.choice([1, 1, 2, 3])))
    report = audit(nn.Sequential(*parts).double(), (1, 3, 96))
    evened = "evened out" in " ".join(report[0].seen)
    assert evened == (report.constants.spread < 1e-7)
    assert evened == (report[0].severity == "clean")


def test_a_mean_behind_a_shuffle():
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.PixelShuffle(2), nn.AvgPool2d(2, 1))
    (row,) = audit(model, (1, 3, 24, 24))
    assert (row.spread, row.severity, row.seen) == (0.0, "clean", ("evened out by 2",))
