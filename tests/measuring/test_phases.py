"""phase_spread against a constant pushed through the layer, and mistakes of others it catches."""

from itertools import product

import pytest
import torch
from support.oracle import CONV, PLAIN, artifacts_allowed, phase_sums
from torch import nn
from torch.nn.utils import parametrizations

import autoup
from autoup import AutoConvTranspose2d, is_icnr, phase_spread
from autoup.init import phase_equal_
from autoup.measuring.phases import fold_norm

DOUBLE = {"dtype": torch.float64}


def spread_by_constants(layer, channels, dims, period):
    """Push a constant through for every input channel, and compare the phases of the interior."""
    size = 24
    with torch.no_grad():
        x = torch.eye(channels, **DOUBLE).view(channels, channels, *(1,) * dims)
        x = x.expand(channels, channels, *(size,) * dims)
        made = layer(x) - layer(torch.zeros_like(x))
    for axis in range(dims):
        places = torch.arange(12 * period[axis], 13 * period[axis])
        made = made.index_select(axis + 2, places)
    phases = made.flatten(2)
    varied = phases.var(-1, correction=0).mean()
    return float((varied / phases.square().mean()).sqrt())


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("groups", [1, 2])
def test_equals_what_a_constant_shows(dims, groups):
    for s, k, d in product((2, 3, 4), (1, 2, 3, 4, 5, 7), (1, 2, 3)):
        layer = PLAIN[dims](4, 2, k, s, dilation=d, groups=groups, **DOUBLE)
        expected = spread_by_constants(layer, 4, dims, (s,) * dims)
        assert phase_spread(layer) == pytest.approx(expected, abs=1e-12)


def test_equals_what_a_constant_shows_in_3d_and_with_strides_per_axis():
    layer = nn.ConvTranspose3d(2, 2, (2, 3, 4), (1, 2, 3), **DOUBLE)
    assert phase_spread(layer) == pytest.approx(spread_by_constants(layer, 2, 3, (1, 2, 3)))
    assert phase_spread(nn.ConvTranspose2d(2, 2, 3, 1)) == 0


def test_pytorchs_start_is_as_unequal_for_any_kernel():
    torch.manual_seed(0)
    for k, s in ((3, 2), (2, 2), (4, 2), (3, 3), (6, 3)):
        found = phase_spread(nn.ConvTranspose2d(64, 32, k, s))
        assert found == pytest.approx((1 - 1 / s**2) ** 0.5, abs=0.04)


def test_phase_sums_are_those_of_the_slow_definition():
    weight = torch.randn(4, 3, 5, 4, **DOUBLE)
    layer = nn.ConvTranspose2d(4, 3, (5, 4), (3, 2), **DOUBLE)
    layer.weight.data.copy_(weight)
    sums = phase_sums(weight, (3, 2))
    expected = (sums.var(0, correction=0).mean() / sums.square().mean()).sqrt()
    assert phase_spread(layer) == pytest.approx(float(expected))


def test_changes_nothing_and_reads_the_kernel_in_use():
    layer = nn.ConvTranspose2d(8, 4, 2, 2)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    phase_spread(layer)
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())
    smooth = AutoConvTranspose2d(8, 4, 7, 14, smoothness=1, init="torch")
    assert phase_spread(smooth) <= 1e-6
    with artifacts_allowed():
        assert phase_spread(AutoConvTranspose2d(8, 4, 7, 14, kernel_size=3, init="torch")) > 0.5
    nn.init.zeros_(layer.weight)
    assert phase_spread(layer) == 0


def subpixel(r=2, bias=True, out=4):
    return nn.Sequential(nn.Conv2d(8, out * r**2, 3, padding=1, bias=bias), nn.PixelShuffle(r))


def icnr_(conv, r, repeat=torch.repeat_interleave):
    """Write ICNR: one kernel for the r*r channels that a shuffle puts into one."""
    with torch.no_grad():
        conv.weight.copy_(repeat(conv.weight[: len(conv.weight) // r**2], r**2, 0))
        if conv.bias is not None:
            nn.init.zeros_(conv.bias)


@pytest.mark.parametrize("r", [2, 3, 4])
def test_a_shuffled_convolution_equals_what_a_constant_shows(r):
    layer = subpixel(r, bias=False).double()
    assert phase_spread(layer) == pytest.approx(spread_by_constants(layer, 8, 2, (r, r)))
    icnr_(layer[0], r)
    assert phase_spread(layer) <= 1e-12


@pytest.mark.parametrize("groups", [2, 4, 8])
def test_groups_whose_inputs_differ_count_as_a_constant_shows_them(groups):
    conv = nn.Conv2d(8, 16, 3, padding=1, groups=groups, bias=False, **DOUBLE)
    layer = nn.Sequential(conv, nn.PixelShuffle(2))
    assert phase_spread(layer) == pytest.approx(spread_by_constants(layer, 8, 2, (2, 2)))
    icnr_(conv, 2)
    assert phase_spread(layer) == pytest.approx(spread_by_constants(layer, 8, 2, (2, 2)))
    assert (phase_spread(layer) < 1e-12) == (groups < 8)


def test_icnr_whose_result_is_dropped_is_caught():
    layer = subpixel(bias=False)
    layer[0].weight[::4].repeat_interleave(4, 0)  # Returned, and never written.
    assert phase_spread(layer) > 0.5


@pytest.mark.parametrize("wrong", [1, 3, 4])
def test_icnr_with_the_wrong_scale_is_caught(wrong):
    """A scale that is ignored, or 2**scale in the place of scale."""
    layer = nn.Sequential(nn.Conv2d(8, 144, 3, bias=False), nn.PixelShuffle(2))
    icnr_(layer[0], wrong)
    assert phase_spread(layer) > 0.3 if wrong != 4 else phase_spread(layer) <= 1e-6
    layer = nn.Sequential(nn.Conv2d(8, 144, 3, bias=False), nn.PixelShuffle(3))
    icnr_(layer[0], wrong)
    assert phase_spread(layer) > 0.3 if wrong != 3 else phase_spread(layer) <= 1e-6


def test_icnr_that_tiles_instead_of_repeating_is_caught():
    layer = subpixel(bias=False)
    icnr_(layer[0], 2, lambda weight, count, _: weight.repeat(count, 1, 1, 1))
    assert phase_spread(layer) > 0.5


def test_icnr_written_to_a_weight_that_weight_norm_derives_is_caught():
    layer = subpixel(bias=False)
    nn.utils.parametrizations.weight_norm(layer[0])
    icnr_(layer[0], 2)
    assert phase_spread(layer) > 0.5
    up = nn.utils.parametrizations.weight_norm(nn.ConvTranspose2d(8, 4, 2, 2))
    phase_equal_(up.weight, 2)
    assert phase_spread(up) > 0.5


def test_a_bias_per_phase_is_caught():
    layer = subpixel()
    icnr_(layer[0], 2)
    assert phase_spread(layer) <= 1e-6
    layer[0].reset_parameters()
    weight, bias = layer[0].weight, layer[0].bias.clone()
    icnr_(layer[0], 2)
    layer[0].bias.data.copy_(bias)
    assert layer[0].weight is weight
    assert phase_spread(layer) > 1e-3
    nn.init.zeros_(weight)
    assert phase_spread(layer) == 1
    nn.init.constant_(layer[0].bias, 3)
    assert phase_spread(layer) == 0


def test_a_norm_between_convolution_and_shuffle_is_caught():
    layer = nn.Sequential(nn.Conv2d(8, 16, 3), nn.BatchNorm2d(16), nn.PixelShuffle(2))
    icnr_(layer[0], 2)
    assert phase_spread(layer) <= 1e-6
    nn.init.normal_(layer[1].weight)
    assert phase_spread(layer) > 0.5
    folded = nn.utils.fusion.fuse_conv_bn_eval(layer[0].eval(), layer[1].eval())
    assert phase_spread(nn.Sequential(folded, layer[2])) == pytest.approx(phase_spread(layer), 1e-5)
    bare = nn.BatchNorm2d(16, affine=False, track_running_stats=False)
    with pytest.raises(TypeError, match="without running statistics"):
        phase_spread(nn.Sequential(layer[0], bare, layer[2]))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
def test_norm_is_folded_as_pytorch_fuses_it(bias, affine):
    conv, norm = nn.Conv2d(2, 4, 3, bias=bias, **DOUBLE), nn.BatchNorm2d(4, 0.5, affine=affine)
    for each in [*norm.parameters(), norm.running_mean, norm.running_var]:
        nn.init.uniform_(each, 0.5, 1.5)
    fused = nn.utils.fusion.fuse_conv_bn_eval(conv.eval(), norm.double().eval())
    weight, shift = fold_norm(conv.weight, conv.bias, norm)
    assert torch.allclose(weight, fused.weight)
    assert torch.allclose(shift, fused.bias)


@pytest.mark.parametrize(
    ("layer", "error", "words"),
    [
        (nn.Conv2d(1, 1, 3), TypeError, "got Conv2d"),
        (nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.PixelShuffle(2)), TypeError, "Sequential"),
        (
            nn.Sequential(nn.Conv2d(1, 6, 3), nn.PixelShuffle(2)),
            ValueError,
            r"out_channels \(6\) must be a multiple of 4, the phases of each",
        ),
        (nn.LazyConvTranspose2d(4, 2), ValueError, "lazy"),
    ],
)
def test_other_layers_are_refused(layer, error, words):
    with pytest.raises(error, match=words):
        phase_spread(layer)


def test_something_that_is_no_layer_is_refused():
    with pytest.raises(TypeError, match="got list"):
        phase_spread([1, 2])


def holds_by_definition(conv, phases):
    """Compare every tap of every phase with the first phase's, one by one."""
    for c, weight in enumerate(conv.weight.tolist()):
        first = c // phases * phases
        if weight != conv.weight[first].tolist():
            return False
        if conv.bias is not None and conv.bias[c].item() != conv.bias[first].item():
            return False
    return True


@pytest.mark.parametrize("factors", [(2,), (2, 2), (2, 3), (1, 2, 3), (1, 1)])
@pytest.mark.parametrize("bias", [False, True])
def test_is_icnr_is_what_the_definition_says(factors, bias):
    phases = int(torch.tensor(factors).prod())
    conv = CONV[len(factors)](2, 3 * phases, 3, bias=bias)
    assert is_icnr(conv, factors) == holds_by_definition(conv, phases) == (phases == 1)
    autoup.init.icnr_(conv, factors)
    assert is_icnr(conv, factors)
    assert holds_by_definition(conv, phases)
    for parameter in conv.parameters():
        for place in (0, -1):
            with torch.no_grad():
                parameter[place] += 1e-4
            assert is_icnr(conv, factors) == holds_by_definition(conv, phases) == (phases == 1)
            autoup.init.icnr_(conv, factors)


def test_is_icnr_asks_for_more_than_equal_sums():
    conv = autoup.init.icnr_(nn.Conv2d(2, 8, 3, **DOUBLE), 2)
    layer = nn.Sequential(conv, nn.PixelShuffle(2))
    nn.init.constant_(conv.bias, 3)
    assert is_icnr(conv, 2)
    conv.weight.data[0] = conv.weight.data[0].flip(1, 2)
    assert phase_spread(layer) <= 1e-12
    assert not is_icnr(conv, 2)


def test_is_icnr_reads_the_kernel_in_use():
    conv = autoup.init.icnr_(nn.Conv2d(2, 8, 3), 2)
    parametrizations.weight_norm(conv)
    assert is_icnr(conv, 2)
    conv.parametrizations.weight.original0.data[1] *= 1.001
    assert not is_icnr(conv, 2)
    conv = parametrizations.spectral_norm(autoup.init.icnr_(nn.Conv2d(2, 8, 3), 2))
    before = conv.parametrizations.weight[0]._u.clone()
    assert is_icnr(conv, 2)
    assert torch.equal(before, conv.parametrizations.weight[0]._u)


def test_is_icnr_says_no_after_a_step_and_to_numbers_that_are_none():
    conv = autoup.init.icnr_(nn.Conv2d(2, 8, 3, padding=1), 2)
    optimiser = torch.optim.SGD(conv.parameters(), lr=1e-3)
    nn.PixelShuffle(2)(conv(torch.randn(1, 2, 8, 8))).mul(torch.rand(16, 16)).sum().backward()
    optimiser.step()
    assert not is_icnr(conv, 2)
    nn.init.constant_(conv.weight, torch.nan)
    assert not is_icnr(conv, 2)


@pytest.mark.parametrize(
    ("conv", "factor", "error", "words"),
    [
        (nn.Linear(2, 8), 2, TypeError, "got Linear"),
        (nn.Conv2d(2, 6, 3), 2, ValueError, r"out_channels \(6\) must be a multiple of 4"),
        (nn.Conv2d(4, 4, 3, groups=4), 2, ValueError, r"multiple of 16 \(4 phases \* 4 groups\)"),
        (nn.Conv2d(2, 8, 3), "2", TypeError, "upscale_factor must be an int"),
        (nn.LazyConv2d(8, 3), 2, ValueError, "conv is lazy"),
        (nn.Conv2d(2, 8, 3, device="meta"), 2, ValueError, "meta device"),
    ],
)
def test_is_icnr_refuses_what_it_cannot_tell(conv, factor, error, words):
    with pytest.raises(error, match=words):
        is_icnr(conv, factor)
