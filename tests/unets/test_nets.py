"""A U-Net is made of what was asked for, and joins its maps as its table says."""

from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch
from support.encoders import Module
from support.oracle import CONV
from torch import nn
from torch.nn import functional as F  # noqa: N812

from autoup import unet

SIZE = (2, 3, 33, 47)


def chain(*strides, channels=3):
    layers = nn.Sequential()
    for number, stride in enumerate(strides):
        made = 4 << number
        layers.add_module(f"conv{number}", nn.Conv2d(channels, made, 3, stride, 1))
        channels = made
    return layers


def record(net, size=SIZE):
    """Run a net once; return the input, what it made, and what went in and out of each module."""
    passed = {}
    hooks = [
        module.register_forward_hook(
            lambda _, x, y, path=path: passed.update({path: (x[0] if x else None, y)})
        )
        for path, module in net.named_modules()
    ]
    x = torch.rand(size)
    made = net(x)
    for hook in hooks:
        hook.remove()
    return x, made, passed


@pytest.mark.parametrize("size", [SIZE, (1, 3, 32, 50)])
def test_the_enlarged_map_comes_before_the_skip_and_the_skip_before_the_image(size):
    net = unet(chain(1, 2, 4), SIZE, 2, image_skip=True)
    x, _, passed = record(net, size)
    below = passed["encoder.conv2"][1]
    joined = {1: [passed["encoder.conv1"][1]], 2: [passed["encoder.conv0"][1], x]}
    for number in range(len(net.decoder)):
        enlarged = passed[f"decoder.{number}.up"][1]
        given, made = passed[f"decoder.{number}.block"]
        others = joined.get(number, [])
        parts = given.split([each.shape[1] for each in (enlarged, *others)], 1)
        front = 1 if number == 1 else 0  # Of a stride of 4, half of what lies off.
        rows, columns = (slice(front, front + n) for n in given.shape[2:])
        assert torch.equal(parts[0], enlarged[:, :, rows, columns])
        for part, other in zip(parts[1:], others, strict=True):
            assert torch.equal(part, other)
        assert passed[f"decoder.{number}"][1] is made
        below = made
    assert passed["head"][0] is below
    assert below.shape[2:] == x.shape[2:]


def test_a_way_of_several_stages_takes_pixels_at_its_first_and_cuts_at_its_last():
    seen = []
    net = unet(chain(1, 4), (1, 3, 33, 34), 2)
    for stage in net.decoder:
        stage.up.register_forward_hook(lambda _, x, y: seen.append((x[0].shape[2:], y.shape[2:])))
    net(torch.rand(1, 3, 37, 34))
    assert seen == [((10, 9), (20, 18)), ((20, 18), (40, 36))]


@pytest.mark.parametrize(("widths", "wanted"), [
    (None, [16, 32, 64]), ([5, 9, 7], [5, 9, 7]), ((8, 8, 8), [8, 8, 8]),
])  # fmt: skip
def test_widths_are_those_of_the_levels_from_the_full_size(widths, wanted):
    net = unet(chain(1, 2, 4), SIZE, 2, widths=widths, deep_supervision=2)
    assert [stage.channels for stage in reversed(net.decoder)] == wanted
    _, _, passed = record(net)
    made = [passed[f"decoder.{number}"][1].shape[1] for number in (2, 1, 0)]
    assert made == wanted
    assert [each.in_channels for each in (net.head, *net.heads)] == wanted
    assert {each.out_channels for each in (net.head, *net.heads)} == {2}


@pytest.mark.parametrize("widths", [[8, 8], [8, 8, 8, 8], []])
def test_more_or_fewer_widths_than_levels_are_refused(widths):
    match = rf"of 3 levels, .* got {len(widths)}: .*usual ones are \(16, 32, 64\)"
    with pytest.raises(ValueError, match=match):
        unet(chain(1, 2, 4), SIZE, 2, widths=widths)


# Deep supervision.


@pytest.mark.parametrize("count", [0, 1, 2])
def test_in_training_each_level_asked_for_has_its_head_on_what_its_stage_made(count):
    net = unet(
        chain(1, 2, 4), SIZE, 5, widths=[6, 7, 8], deep_supervision=count,
        output_activation=nn.Sigmoid(),
    )  # fmt: skip
    _, made, passed = record(net)
    wanted = [net.head(passed["decoder.2"][1])]
    wanted += [net.heads[n](passed[f"decoder.{1 - n}"][1]) for n in range(count)]
    assert len(net.heads) == count
    assert isinstance(made, list) == (count > 0)
    assert made[0].shape == (2, 5, 33, 47) if count else made.shape == (2, 5, 33, 47)
    for one, other in zip(made if count else [made], wanted, strict=True):
        assert torch.equal(one, other.sigmoid())
    x = torch.rand(SIZE)
    trained = net(x)
    evaluated = net.eval()(x)
    assert torch.equal(evaluated, trained[0] if count else trained)


def test_the_coarser_outputs_have_the_sizes_of_the_skips():
    net = unet(chain(2, 2, 2), SIZE, 2, deep_supervision=2)
    assert [tuple(each.shape[2:]) for each in net(torch.rand(SIZE))] == [
        (33, 47),
        (17, 24),
        (9, 12),
    ]


@pytest.mark.parametrize(("count", "match"), [
    (3, "deep_supervision must be at most 2, .* got 3"), (-1, r"deep_supervision must be .* -1"),
    (1.5, "deep_supervision must be"),
])  # fmt: skip
def test_supervision_of_more_levels_than_there_are_is_refused(count, match):
    with pytest.raises((ValueError, TypeError), match=match):
        unet(chain(2, 2, 2), SIZE, 2, deep_supervision=count)


@pytest.mark.parametrize(("options", "match"), [
    ({"image_skip": "yes"}, "image_skip"), ({"init": "he"}, "init must be"),
    ({"smoothness": -1}, "smoothness must be"), ({"out_channels": 0}, "out_channels must be"),
])  # fmt: skip
def test_options_out_of_range_are_refused_by_name(options, match):
    with pytest.raises((ValueError, TypeError), match=match):
        unet(chain(2, 2), SIZE, **{"out_channels": 2, **options})


# What the decoder is made of.


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_convolutions_start_as_he_and_heads_as_glorot_or_all_as_pytorch(dims):
    encoder = nn.Sequential(CONV[dims](3, 16, 3, 2, 1), CONV[dims](16, 16, 3, 2, 1))
    size = (1, 3, 33, 12, 12)[: dims + 2]
    taps = 3**dims

    def largest(init):
        net = unet(encoder, size, 32, widths=[32, 32], deep_supervision=1, init=init)
        convs = [net.decoder[0].block.conv2, net.decoder[1].block.conv2]
        return [(float(each.weight.detach().abs().max()), each.bias.detach())
                for each in (*convs, net.head, *net.heads)]  # fmt: skip

    ours, torchs = largest(None), largest("torch")
    he, glorot, usual = ((n / (32 * taps)) ** 0.5 for n in (6, 3, 1))
    for (most, bias), bound in zip(ours, [he, he, glorot, glorot], strict=True):
        assert 0.98 * bound < most <= bound
        assert not bias.any()
    for most, bias in torchs:
        assert 0.98 * usual < most <= usual
        assert bias.any()


@pytest.mark.parametrize(("dtype", "device"), [
    (torch.float64, "cpu"), (torch.bfloat16, "cpu"), (torch.float32, "meta"),
])  # fmt: skip
def test_the_decoder_lives_where_the_encoder_does(dtype, device):
    encoder = nn.Sequential(
        nn.Conv2d(3, 4, 3, 1, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 8, 3, 2, 1)
    ).to(device, dtype)
    x = torch.zeros(SIZE, device=device, dtype=dtype)
    for block in (None, lambda i, o: nn.Conv2d(i, o, 3, 1, 1)):
        net = unet(encoder, SIZE, 2, block=block)
        assert {(each.dtype, each.device.type) for each in net.parameters()} == {(dtype, device)}
        assert net(x).dtype == dtype


@pytest.mark.parametrize("smoothness", [0, 1, 2])
@pytest.mark.parametrize("strides", [(2,), (5,), (2, 3), (1, 2, 2)])
def test_what_enlarges_keeps_all_channels_and_starts_as_interpolation(strides, smoothness):
    """At the border a smooth one lets zeros in, as every convolution that is padded."""
    dims, size = len(strides), tuple(6 * s for s in strides)
    encoder = nn.Sequential(CONV[dims](1, 2, 1), CONV[dims](2, 3, strides, strides)).double()
    net = unet(encoder, (1, 1, *size), 1, smoothness=smoothness)
    ((up, block),) = [(each.up, each.block) for each in net.decoder]
    assert (up.stride, block.conv1.in_channels) == (strides, 3 + 2)
    x = torch.randn(2, 3, *(6,) * dims, dtype=torch.double)
    modes = ("linear", "bilinear", "trilinear") if smoothness else ("nearest",) * 3
    wanted = F.interpolate(x, scale_factor=strides, mode=modes[dims - 1])
    inside = (..., *(slice(s, -s) for s in strides)) if smoothness else ...
    torch.testing.assert_close(up(x)[inside], wanted[inside])


class Flat(nn.Module):
    """Takes down what it is given, and makes ones."""

    def __init__(self, _, channels):
        super().__init__()
        self.channels = channels

    def forward(self, x):
        self.given = x
        return torch.ones_like(x[:, :1]).repeat(1, self.channels, *(1,) * (x.ndim - 2))


@pytest.mark.parametrize("smoothness", [0, 1, 2])
@pytest.mark.parametrize("strides", [(2,), (3,), (1, 2), (2, 4)])
@pytest.mark.parametrize("more", [0, 1, 3])
def test_a_flat_map_is_enlarged_to_a_flat_one_up_to_its_ends(strides, smoothness, more):
    """At sizes that the stride divides and at others, by one stage and by two."""
    dims = len(strides)
    encoder = nn.Sequential(CONV[dims](1, 2, 1), CONV[dims](2, 3, 3, strides, 1))
    nn.init.zeros_(encoder[1].weight)
    nn.init.ones_(encoder[1].bias)
    net = unet(encoder, (1, 1, *(24,) * dims), 1, smoothness=smoothness, block=Flat)
    net(torch.rand(1, 1, *(24 + more,) * dims))
    for stage in net.decoder:
        enlarged = stage.block.given[:, : stage.up.out_channels]
        torch.testing.assert_close(enlarged, torch.ones_like(enlarged))


def test_a_block_that_does_not_keep_every_size_is_told_at_the_call():
    def block(i, o):
        return nn.Sequential(nn.Conv2d(i, o, 2, 2), nn.Upsample(scale_factor=2))

    net = unet(chain(1, 2), (1, 3, 32, 32), 2, block=block)
    assert net(torch.zeros(1, 3, 34, 38)).shape == (1, 2, 34, 38)
    with pytest.raises(ValueError, match="a map of 60x44 of one of 61x45; it must keep any size"):
        net(torch.zeros(1, 3, 61, 45))


@pytest.mark.parametrize("init", ["phase_equal", "torch"])
def test_what_enlarges_is_made_as_asked_for(init):
    net = unet(chain(1, 2, 4), SIZE, 2, smoothness=int(init == "phase_equal"), init=init)
    for stage in net.decoder:
        assert stage.up.smoothness == (init == "phase_equal")
        assert stage.up.init == init


def layers_of(encoder, size=SIZE):
    """Return the kinds of the layers in each block, once the net has run."""
    net = unet(encoder, size, 2)
    assert net(torch.rand(size)).shape == (size[0], 2, *size[2:])
    return [[type(each) for each in stage.block] for stage in net.decoder], net


def mixed(*others):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8, eps=1e-3, momentum=0.3), nn.LeakyReLU(0.3),
        nn.Conv2d(8, 8, 3, 2, 1), nn.BatchNorm2d(8, eps=1e-3, momentum=0.3), nn.LeakyReLU(0.3),
        *others,
    )  # fmt: skip


@pytest.mark.parametrize("others", [
    [], [nn.InstanceNorm2d(8), nn.ReLU()], [nn.ReLU(), nn.GroupNorm(2, 8)],
    [nn.Sigmoid(), nn.Conv2d(8, 8, 1), nn.Sigmoid(), nn.Conv2d(8, 8, 1), nn.Sigmoid()],
    [nn.AdaptiveAvgPool2d(1), *(nn.GELU(), nn.Conv2d(8, 8, 1)) * 4],
])  # fmt: skip
def test_blocks_have_the_most_frequent_normalisation_and_activation(others):
    (first, *more), net = layers_of(mixed(*others))
    assert first == [nn.Conv2d, nn.BatchNorm2d, nn.LeakyReLU] * 2
    assert more == [first]
    for stage in net.decoder:
        block = stage.block
        assert (block.norm1.eps, block.norm1.momentum) == (1e-3, 0.3)
        assert block.activation2.negative_slope == 0.3
        assert block.conv1.bias is block.conv2.bias is None
        assert block.activation1 is not block.activation2
        assert block.activation1 is not net.encoder[2]


def test_blocks_on_an_encoder_without_normalisation_have_a_bias():
    (first, *_), net = layers_of(chain(1, 2))
    assert first == [nn.Conv2d, nn.ReLU] * 2
    assert net.decoder[0].block.conv1.bias is not None


class Last(nn.Module):
    """A layer normalisation over channels, as ConvNeXt has it."""

    def __init__(self, channels):
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=1e-6)

    def forward(self, x):
        return self.norm(x.movedim(1, -1)).movedim(-1, 1)


def test_normalisations_over_channels_are_counted_together_and_become_one_group():
    encoder = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.GELU(), Last(8), nn.Conv2d(8, 16, 3, 2, 1),
        nn.BatchNorm2d(16), nn.GELU(), Last(16), nn.Conv2d(16, 32, 3, 2, 1), Last(32),
    )  # fmt: skip
    (first, *_), net = layers_of(encoder)
    assert first == [nn.Conv2d, nn.GroupNorm, nn.GELU] * 2
    assert (net.decoder[0].block.norm1.num_groups, net.decoder[0].block.norm1.eps) == (1, 1e-6)


def test_a_learnt_activation_is_learnt_anew_in_each_place():
    encoder = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.PReLU(8), nn.Conv2d(8, 8, 3, 2, 1), nn.PReLU(8)
    )
    nn.init.constant_(encoder[1].weight, 0.7)
    (first, *_), net = layers_of(encoder)
    assert first == [nn.Conv2d, nn.PReLU] * 2
    slopes = [each.weight for each in net.decoder.modules() if isinstance(each, nn.PReLU)]
    assert len({id(each) for each in slopes}) == 4
    assert [each.tolist() for each in slopes] == [[0.25]] * 4


@pytest.mark.parametrize("act", [
    F.elu, lambda y: y * torch.sigmoid(y), lambda y: y * torch.tanh(F.softplus(y)),
])  # fmt: skip
def test_activations_written_as_functions_are_known(act):
    encoder = Module(
        lambda m, x: m.b(act(m.a(x))), a=nn.Conv2d(3, 4, 3, 1, 1), b=nn.Conv2d(4, 8, 3, 2, 1)
    )
    net = unet(encoder, SIZE, 2)
    y = torch.linspace(-4, 4, 99).view(1, 1, 9, 11)
    torch.testing.assert_close(net.decoder[0].block.activation1(y), act(y))


# Blocks of the user's own.


class Block(nn.Module):
    """Takes down the sizes of what it is given."""

    def __init__(self, i, o):
        super().__init__()
        self.conv = nn.Conv2d(i, o, 1)
        self.channels, self.sizes = (i, o), []

    def forward(self, x):
        self.sizes.append(tuple(x.shape[1:]))
        return self.conv(x)


def test_an_own_block_is_tried_on_what_it_is_given_later():
    net = unet(chain(1, 2, 4), SIZE, 2, block=Block, widths=[5, 6, 7])
    assert [stage.block.channels for stage in net.decoder] == [(16, 7), (7 + 8, 6), (6 + 4, 5)]
    tried = [{*stage.block.sizes} for stage in net.decoder]
    net(torch.rand(SIZE))
    assert [{*stage.block.sizes} for stage in net.decoder] == tried
    assert [len(each) for each in tried] == [1, 1, 1]


@pytest.mark.parametrize(("block", "error", "match"), [
    (lambda *_: lambda x: x, TypeError, "block must return an nn.Module, got <function"),
    (lambda _, o: nn.Conv2d(8, o, 1), ValueError, r"block\(16, 16\) does not run .* \(2, 16, 33"),
    (lambda i, o: nn.Conv2d(i, o + 1, 1), ValueError, r"makes \(2, 17, 33, 47\) .* \(2, 16, 33"),
    (lambda i, o: nn.Conv2d(i, o, 3), ValueError, r"makes \(2, 16, 31, 45\) .* \(2, 16, 33, 47\)"),
])  # fmt: skip
def test_an_own_block_that_does_not_fit_is_refused(block, error, match):
    encoder = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1), nn.Conv2d(8, 8, 3, 2, 1))
    with pytest.raises(error, match=match):
        unet(encoder, SIZE, 2, block=block)


# What the encoder returns.


def test_numbers_beside_the_map_are_passed_over():
    def forward(m, x):
        y = m.b(m.a(x))
        return {"classes": y.argmax(1), "map": y}

    encoder = Module(forward, a=nn.Conv2d(3, 4, 3, 1, 1), b=nn.Conv2d(4, 8, 3, 2, 1))
    net = unet(encoder, SIZE, 2)
    assert [each.path for each in (*net.skips, net.deepest)] == ["a", "b"]
    assert net(torch.rand(SIZE)).shape == (2, 2, 33, 47)


@dataclass
class Maps:
    first: torch.Tensor
    second: torch.Tensor


@dataclass(slots=True)
class Slotted:
    first: torch.Tensor
    second: torch.Tensor


class Named(NamedTuple):
    first: torch.Tensor
    second: torch.Tensor


@pytest.mark.parametrize("kind", [Maps, Slotted, Named, dict])
def test_maps_made_by_functions_are_heard_in_what_a_module_returns(kind):
    def inner(m, x):
        first = F.conv2d(x, m.weights[0], padding=1)
        return kind(first=first, second=F.conv2d(first, m.weights[1], stride=2))

    def forward(m, x):
        made = m.inner(x)
        return m.last(made["second"] if isinstance(made, dict) else made.second)

    weights = nn.ParameterList([torch.rand(4, 3, 3, 3), torch.rand(6, 4, 2, 2)])
    last = nn.Conv2d(6, 8, 2, 2)
    net = unet(Module(forward, inner=Module(inner, weights=weights), last=last), SIZE, 2)
    assert [(each.path, each.channels) for each in net.skips] == [("inner", 4), ("inner", 6)]
    x = torch.rand(2, 3, 36, 45)
    seen = []
    net.decoder[0].register_forward_pre_hook(lambda _, args: seen.append(args[2]))
    assert net(x).shape == (2, 2, 36, 45)
    first = F.conv2d(x, weights[0], padding=1)
    assert torch.equal(seen[0], F.conv2d(first, weights[1], stride=2))


def test_an_encoder_that_returns_no_numbers_is_refused():
    encoder = Module(lambda m, x: m.a(x).argmax(1), a=nn.Conv2d(3, 4, 3, 2, 1))
    with pytest.raises((ValueError, TypeError), match="encoder returns no tensor of numbers"):
        unet(encoder, SIZE, 2)


@pytest.mark.parametrize(("smoothness", "far"), [(0, 0.5), (1, 0.0)])
def test_each_skip_tells_the_shift_of_the_stage_that_joins_it(smoothness, far):
    net = unet(chain(1, 2, 4), SIZE, 2, smoothness=smoothness)
    ends = {stage.joined[0]: stage.shift for stage in net.decoder if stage.joined}
    assert {n: skip.shift for n, skip in enumerate(net.skips)} == ends
    assert ends == {0: (far, far), 1: (far, far)}
    assert net.deepest.shift is None
