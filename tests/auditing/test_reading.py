"""What an audit reads of a step: its parameters, the kernel in use, its calls."""

import copy
import re

import pytest
import torch
from support.comparing import (
    assert_same,
    quietly,
    snapshot,
)
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils import parametrizations, prune
from torch.nn.utils.parametrize import remove_parametrizations

import autoup
from autoup import audit


def test_convolution_before_a_shuffle_is_found_in_a_chain_and_in_a_pass():
    model = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.PixelShuffle(2))
    for size in (None, (1, 3, 8, 8)):
        (row,) = audit(model.eval(), size)
        assert (row.name, row.partner, row.stride) == ("2", "0", (2.0, 2.0))
        assert row.spread == pytest.approx(autoup.phase_spread(model))
        assert (row.in_channels, row.out_channels) == (3, 4)
        assert row.phases == ((3, 3), (3, 3))
        assert row.border == (4, 4)
    assert row.multiply_adds == 8 * 8 * 9 * 3 * 16
    norm_late = nn.Sequential(model[0], nn.ReLU(), model[1], model[2]).eval()
    assert audit(norm_late)[0].spread is None


@pytest.mark.parametrize("between", [nn.InstanceNorm2d(16), nn.Conv2d(16, 16, 1, groups=16)])
def test_spread_before_a_shuffle_is_unknown_where_something_else_stands_between(between):
    conv = nn.Conv2d(3, 16, 3) if isinstance(between, nn.InstanceNorm2d) else nn.Identity()
    model = nn.Sequential(conv, between, nn.GroupNorm(2, 16), nn.PixelShuffle(2))
    size = (1, 3, 8, 8) if isinstance(conv, nn.Conv2d) else (1, 16, 8, 8)
    assert audit(model, size)[0].spread is None


class ByHand(nn.Module):
    """A shuffle by reshape and permute, in any dimension."""

    def forward(self, x):
        n, channels, *size = x.shape
        kept, dims = channels // 2 ** len(size), len(size)
        x = x.reshape(n, kept, *[2] * dims, *size)
        x = x.permute(0, 1, *[place for a in range(dims) for place in (2 + dims + a, 2 + a)])
        return x.reshape(n, kept, *[2 * each for each in size])


class ByFunction(nn.Module):
    def forward(self, x):
        return F.pixel_shuffle(x, 3)


SHUFFLED = {
    "module": lambda: [nn.Conv2d(3, 16, 3, padding=1), nn.PixelShuffle(2)],
    "groups": lambda: [nn.Conv2d(4, 36, 3, padding=1, groups=4), nn.PixelShuffle(3)],
    "activation": lambda: [nn.Conv2d(3, 16, 1), nn.GELU(), nn.PixelShuffle(2)],
    "leaky": lambda: [nn.Conv2d(3, 16, 1), nn.LeakyReLU(), nn.PixelShuffle(2)],
    "no bias": lambda: [nn.Conv2d(3, 16, 1, bias=False), nn.PixelShuffle(2)],
    "function": lambda: [nn.Conv2d(3, 18, 3, padding=1), ByFunction()],
    "by hand, 1d": lambda: [nn.Conv1d(3, 4, 3, padding=1), ByHand()],
    "by hand, 2d": lambda: [nn.Conv2d(3, 8, 3, padding=1), ByHand()],
    "by hand, 3d": lambda: [nn.Conv3d(3, 8, 3, padding=1, bias=False), ByHand()],
    "norm": lambda: [
        nn.Conv2d(3, 16, 3, padding=1),
        trained(nn.BatchNorm2d(16)),
        nn.PixelShuffle(2),
    ],
}


def trained(norm):
    for each in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        nn.init.uniform_(each, 0.5, 1.5)
    return norm


def follow(remedy, model, row):
    """Call what the advice names, as it is written."""
    names = {"autoup": autoup, "conv": model.get_submodule(row.partner), "norm": model[1]}
    calls = re.findall(r"[a-z_.]+\([^)]*\)", remedy)
    for call in calls:
        eval(call, names)
    return len(calls)


@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize("name", SHUFFLED)
def test_the_advice_for_a_shuffle_followed_as_written_clears_it(name, sized):
    torch.manual_seed(0)
    model = nn.Sequential(*SHUFFLED[name]()).eval()
    dims = model[0].weight.ndim - 2
    size = (1, model[0].in_channels, *(24,) * dims) if sized else None
    if not sized and not isinstance(model[-1], nn.PixelShuffle):
        return
    report = audit(model, size)
    (row,) = report
    assert (row.severity, row.spread > 0.3) == ("note", True)
    assert follow(row.remedy, model, row) == 1 + (name == "norm")
    assert "is put on" not in row.remedy
    after = audit(model, size)
    assert (after[0].severity, after[0].seen, after[0].remedy) == ("clean", (), "")
    assert after[0].spread < 1e-6
    assert autoup.is_icnr(model[0], 3 if name in ("groups", "function") else 2)
    if sized:
        assert report.constants.spread > 0.01
        assert after.constants.spread < 1e-6


def test_the_advice_for_a_derived_weight_says_when_and_for_groups_that_it_cannot_be():
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.PixelShuffle(2))
    parametrizations.weight_norm(model[0])
    (row,) = audit(model)
    assert "icnr_(conv, 2)" in row.remedy
    assert "before its weight norm, pruning or the like is put on" in row.remedy
    with pytest.raises(ValueError, match="derived"):
        follow(row.remedy, model, row)
    remove_parametrizations(model[0], "weight")
    follow(row.remedy, model, row)
    parametrizations.weight_norm(model[0])
    assert audit(model)[0].severity == "clean"
    model = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.PixelShuffle(2))
    (row,) = audit(model)
    assert row.remedy == (
        "nothing; its groups give the phases of a channel different inputs: blur behind it"
    )
    with pytest.raises(ValueError, match="groups"):
        autoup.init.icnr_(model[0], 2)


def test_functions_and_sizes_passed_by_name_are_seen():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(2, 4, 3, 3))
            self.up = nn.ConvTranspose2d(8, 2, 3, 2, 1)

        def forward(self, x):
            x = F.conv_transpose2d(x, self.weight, stride=2, padding=1, groups=2)
            x = self.up(x, output_size=(2 * x.shape[2], 2 * x.shape[3]))
            return F.interpolate(x, size=(50, 60), mode="nearest")

    report = audit(Functional(), (1, 2, 7, 9))
    by_hand, up, resize = report
    assert (by_hand.name, by_hand.groups, by_hand.out_channels) == ("conv_transpose", 2, 8)
    assert by_hand.spread > 0.3
    assert "function" in by_hand.remedy
    assert up.output_padding == (1, 1)
    assert "output_size" in up.remedy
    assert resize.severity == "note"
    assert "unevenly" in resize.seen[0]


def test_a_resize_that_is_returned_too_is_no_step_of_its_convolution_alone():
    class Both(nn.Module):
        def __init__(self, both):
            super().__init__()
            self.up, self.conv = nn.Upsample(scale_factor=2), nn.Conv2d(2, 2, 3, padding=1)
            self.both = both

        def forward(self, x):
            x = self.up(x)
            return (x, self.conv(x)) if self.both else self.conv(x)

    (alone,), (both,) = (audit(Both(each), (1, 2, 8, 8)) for each in (False, True))
    assert (alone.partner, alone.remedy[:16]) == ("conv", "fold_resize=True")
    assert (both.partner, both.remedy) == (None, "")


def test_border_of_a_convolution_as_large_as_the_picture_is_all_of_it():
    model = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(1, 1, 9, padding=4))
    assert audit(model, (1, 1, 2, 20))[0].border == (4, 8)


def test_convolution_that_mirrors_its_border_sees_no_zeros():
    conv = nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect")
    (row,) = audit(nn.Sequential(nn.Upsample(scale_factor=2), conv), (1, 1, 8, 8))
    assert (row.partner, row.padding, row.border) == ("1", None, (0, 0))


def test_pooling_that_enlarges_mixes_pixels_and_repeats_none_unevenly():
    (row,) = audit(nn.AdaptiveAvgPool2d(12), (1, 1, 8, 8))
    assert (row.mode, row.stride, row.severity) == ("area", (1.5, 1.5), "clean")


def test_convolution_of_a_shared_resize_is_the_one_behind_its_first_call():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = nn.Upsample(scale_factor=2)
            self.one, self.other = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 5, 1)

        def forward(self, x):
            return self.other(self.up(self.one(self.up(x))))

    (row,) = audit(Shared(), (1, 1, 4, 4))
    assert (row.partner, row.calls, row.multiply_adds) == ("one", 2, 8 * 8 * 9 * 2)
    up, conv = nn.Upsample(scale_factor=2), nn.Conv2d(1, 1, 3, padding=1)
    (row,) = audit(nn.Sequential(up, conv, up, conv), (1, 1, 4, 4))
    assert (row.partner, row.calls, row.multiply_adds) == ("1", 2, 8 * 8 * 9 + 16 * 16 * 9)


def test_kernel_of_a_pruned_convolution_before_a_shuffle_is_the_one_in_use():
    conv = nn.Conv2d(3, 16, 3)
    prune.identity(conv, "weight")
    with torch.no_grad():
        conv.weight_orig.copy_(autoup.init.icnr_(nn.Conv2d(3, 16, 3), 2).weight)
        nn.init.zeros_(conv.bias)
    for size in None, (1, 3, 8, 8):
        assert audit(nn.Sequential(conv, nn.PixelShuffle(2)), size)[0].spread < 1e-6


def test_groups_of_a_convolution_behind_a_resize_are_counted():
    model = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(4, 8, 3, padding=1, groups=2))
    (row,) = audit(model, (1, 4, 5, 6))
    assert (row.in_channels, row.out_channels, row.groups) == (4, 8, 2)
    assert row.multiply_adds == 10 * 12 * 3 * 3 * 4 * 8 // 2


def test_each_call_of_a_shared_layer_counts():
    layer = nn.ConvTranspose2d(2, 2, 2, 2)
    (row,) = audit(nn.Sequential(layer, nn.ReLU(), layer), (1, 2, 4, 4))
    assert row.calls == 2
    assert row.multiply_adds == (16 + 64) * 4 * 4


NORMED = {
    "weight": lambda layer: parametrizations.weight_norm(layer),
    "spectral": lambda layer: parametrizations.spectral_norm(layer),
    "old weight": lambda layer: quietly(lambda: nn.utils.weight_norm(layer)),
    "old spectral": lambda layer: quietly(lambda: nn.utils.spectral_norm(layer)),
}


@pytest.mark.parametrize("norm", NORMED)
@pytest.mark.parametrize("sized", [False, True])
def test_model_is_left_as_it_was_and_the_kernel_in_use_is_measured(norm, sized):
    seen = []
    layer = NORMED[norm](nn.ConvTranspose2d(4, 4, 3, 2, 1, 1))
    model = nn.Sequential(nn.BatchNorm2d(4), layer, nn.Dropout()).train()
    model[0].register_forward_hook(lambda *_: seen.append(1))
    before, numbers = snapshot(model), torch.get_rng_state()
    (row,) = quietly(lambda: audit(model, (2, 4, 12, 12) if sized else None))
    assert_same(model, before)
    assert torch.equal(numbers, torch.get_rng_state())
    assert model.training
    assert not seen
    plain = nn.ConvTranspose2d(4, 4, 3, 2, 1, 1)
    with torch.no_grad():
        plain.weight.copy_(copied_kernel(layer))
    assert row.spread == pytest.approx(autoup.phase_spread(plain), abs=1e-6)


def copied_kernel(layer):
    twin = copy.deepcopy(layer) if hasattr(layer, "parametrizations") else layer
    return twin.eval().weight.detach()


def test_complex_models_are_read_and_repaired():
    model = nn.Sequential(nn.ConvTranspose2d(2, 2, 3, 2, 1, 1, dtype=torch.complex64))
    report = audit(model, (1, 2, 16, 16))
    assert report[0].out_size == (32, 32)
    assert report[0].spread > 0.3
    assert report.constants is None
    assert autoup.repair(model, (1, 2, 8, 8))[0].kernel_size == (4, 4)


class Own(nn.ConvTranspose2d):
    """A layer whose forward pass uses another stride and padding than it says."""

    def forward(self, x, _=None):
        return F.conv_transpose2d(x, self.weight, self.bias, 3)


class Masked(nn.ConvTranspose2d):
    """A layer whose kernel is masked in the forward pass."""

    def forward(self, x, _=None):
        weight = self.weight * torch.eye(2).repeat(2, 2)
        return F.conv_transpose2d(x, weight, self.bias, self.stride, self.padding)


class Scaled(nn.Conv2d):
    """A convolution whose kernel is scaled in the forward pass, channel by channel."""

    def forward(self, x):
        scale = torch.arange(1.0, 1 + self.out_channels).view(-1, 1, 1, 1)
        return F.conv2d(x, self.weight * scale, self.bias, padding=1)


def test_the_call_is_read_where_a_layer_has_a_forward_of_its_own():
    (row,) = audit(nn.Sequential(Own(3, 3, 4, 2, 1)), (1, 3, 24, 24))
    assert (row.stride, row.padding, row.out_size, row.severity) == (
        (3, 3),
        (0, 0),
        (73, 73),
        "severe",
    )
    masked = Masked(3, 3, 4, 2, 1)
    nn.init.ones_(masked.weight)
    (row,) = audit(nn.Sequential(masked), (1, 3, 24, 24))
    assert (row.severity, row.spread) == ("note", pytest.approx(0.5**0.5))
    conv = autoup.init.icnr_(Scaled(3, 12, 3, padding=1), 2)
    (row,) = audit(nn.Sequential(conv, nn.PixelShuffle(2)), (1, 3, 24, 24))
    assert (row.severity, row.spread > 0.1) == ("note", True)


def test_a_grid_that_no_step_accounts_for_is_told():
    class Woven(nn.Module):
        def forward(self, x):
            return F.interpolate(x, scale_factor=2) * torch.eye(2).repeat(24, 24)

    report = audit(Woven(), (1, 3, 24, 24))
    assert report.constants.spread > 0.5
    assert "No step accounts for the grid" in str(report)
    plain = audit(nn.Upsample(scale_factor=2), (1, 3, 24, 24))
    assert "No step accounts" not in str(plain)


@pytest.mark.parametrize(("build", "size", "period"), [
    (lambda: (nn.ConvTranspose2d(3, 3, (4, 1), (2, 1), (1, 0)), nn.Upsample(scale_factor=(1, 2))),
     24, (2, 1)),
    (lambda: (nn.ConvTranspose2d(3, 3, 2, 2), nn.Upsample(scale_factor=1.5, mode="bilinear")),
     40, (3, 3)),
    (lambda: (nn.ConvTranspose2d(3, 3, 2, 2), nn.ConvTranspose2d(3, 3, 4, 2, 1)), 24, (4, 4)),
])  # fmt: skip
def test_the_period_that_shows_most_is_measured(build, size, period):
    torch.manual_seed(0)
    grid = audit(nn.Sequential(*build()), (1, 3, size, size)).constants
    assert grid.period[0] == period[0]  # Along the axis that has a grid.
    assert grid.spread > 0.1
