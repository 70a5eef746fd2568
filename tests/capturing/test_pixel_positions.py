"""Positions read from a graph against what pixels really read, measured by gradients.

With positive kernels that are equal to their mirror images each layer looks at its middle, and the
middle of what a pixel reads is where it lies.
"""

import random
from copy import deepcopy
from unittest.mock import patch

import pytest
import torch
from support.backbones import build, import_timm, import_torchvision
from torch import nn
from torch.nn import functional as F  # noqa: N812

from autoup.capturing.capture import capture
from autoup.capturing.layouts import map_order
from autoup.capturing.positions import positions
from autoup.capturing.steps import read_graph


class Of(nn.Module):
    """A module that calls a function, with layers that it may use."""

    def __init__(self, function, *layers):
        super().__init__()
        self.function, self.layers = function, nn.ModuleList(layers)

    def forward(self, x):
        return self.function(x, *self.layers)


def read(encoder, size):
    """Return the graph of an encoder and where the pixels of its output lie."""
    graph = read_graph(capture(encoder, size, None), encoder)
    return graph, positions(graph)[graph.target]


def found(encoder, size):
    """Return scale, first and last offset along each axis."""
    return {
        axis: (each.scale, each.first, each.last)
        for axis, each in sorted(read(encoder, size)[1].items())
    }


def smoothed(module):
    """Return a copy with symmetric positive kernels, and without norms and activations."""
    twin = deepcopy(module).double().eval()
    kinds = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose1d | nn.ConvTranspose2d
    for path, layer in [*twin.named_modules()]:
        parent, _, name = path.rpartition(".")
        if isinstance(layer, kinds):
            dims = [*range(2, layer.weight.ndim)]
            weight = layer.weight.data.abs() + 0.01
            layer.weight.data = weight + weight.flip(dims)
        elif isinstance(layer, nn.Linear):
            layer.weight.data = layer.weight.data.abs() + 0.01
        elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.ReLU):
            setattr(twin.get_submodule(parent), name, nn.Identity())
    return twin


def averaged(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, **_):
    assert dilation == 1
    return F.avg_pool2d(x, kernel_size, stride, padding, ceil_mode)


def centre(y, at, x, axis):
    """Return the middle of what a pixel reads, along an axis of the input."""
    (grad,) = torch.autograd.grad(y[(0, slice(None), *at)].sum(), x, retain_graph=True)
    grad = grad[0].movedim(1 + axis, 0).flatten(1).sum(1)
    assert grad.min() >= 0
    assert grad[0] == grad[-1] == 0, "The pixel reads beyond the border."
    return float((grad * torch.arange(len(grad))).sum() / grad.sum())


def measured(encoder, size, order):
    """Return distance and offset of two pixels in the middle, along each axis."""
    x = torch.ones(size, dtype=torch.float64, requires_grad=True)
    with patch.object(F, "max_pool2d", averaged):
        y = smoothed(encoder)(x).permute(order)
    places = []
    for axis in range(y.ndim - 2):
        at = [each // 2 for each in y.shape[2:]]
        here = centre(y, at, x, axis)
        at[axis] += 1
        scale = centre(y, at, x, axis) - here
        places.append((scale, here - scale * (at[axis] - 1)))
    return places


def check(encoder, size):
    """Compare what is read with what is measured."""
    graph, known = read(encoder, size)
    order = map_order(graph.layouts[graph.target])
    axes = [graph.layouts[graph.target][dim][0][0] for dim in order[2:]]
    assert sorted(known) == sorted(axes)
    for axis, (scale, offset) in zip(axes, measured(encoder, size, order), strict=True):
        assert known[axis].scale == pytest.approx(scale, abs=1e-6)
        assert known[axis].size == size[2 + int(axis)]
        if known[axis].first == known[axis].last:
            assert known[axis].first == pytest.approx(offset, abs=1e-6)
        else:
            assert known[axis].first < offset < known[axis].last
    return known


def merge(x, reduction):
    """Merge patches as Swin does, in maps whose channels come last."""
    x = x.permute(0, 2, 3, 1)
    x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
    parts = [x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
    return reduction(torch.cat(parts, -1))


def merge_at_once(x, reduction):
    n, c, h, w = x.shape
    x = x.permute(0, 2, 3, 1).reshape(n, h // 2, 2, w // 2, 2, c)
    return reduction(x.permute(0, 1, 3, 4, 2, 5).flatten(3)).permute(0, 3, 1, 2)


def blocks(x):
    n, c, h, w = x.shape
    x = x.reshape(n, c, h // 2, 2, w // 3, 3).permute(0, 1, 3, 5, 2, 4)
    return x.reshape(n, c * 6, h // 2, w // 3)


def windows(x, linear):
    """Cut into windows, shifted, and put them back together."""
    x = torch.roll(x, (-1, -2), (2, 3)).permute(0, 2, 3, 1)
    n, h, w, c = x.shape
    cut = x.view(n, h // 4, 4, w // 4, 4, c).transpose(2, 3)
    cut = linear(cut.reshape(-1, 16, c))
    cut = cut.view(n, h // 4, w // 4, 4, 4, c).transpose(2, 3).reshape(n, h, w, c)
    return torch.roll(cut, (1, 2), (1, 2)).permute(0, 3, 1, 2)


def attend(x):
    tokens = x.flatten(2).transpose(1, 2)
    weight = (tokens @ tokens.transpose(1, 2)).softmax(-1)
    return (weight @ tokens).transpose(1, 2).reshape(x.shape)


def written(x):
    out = torch.zeros_like(x)
    out[:, :, 1:] = x[:, :, :-1]
    return out


def halves(x):
    one, two = x[:, :2], x[:, 2:]
    one.add_(1)
    return x + torch.cat([two, one], 1)


def in_place(x, conv):
    x = conv(x)
    x.add_(1).mul_(2)
    return x[..., 1:]


def overwritten(x):
    y = x * 2
    y[:, :, 1:] = x[:, :, :-1]
    return y


CASES = {
    "even kernel": nn.Conv2d(1, 2, (2, 5), (2, 3), (0, 1), dilation=(3, 1)),
    "same": nn.Conv2d(1, 2, (4, 3), padding="same", dilation=(1, 2)),
    "valid": nn.Conv2d(1, 2, 3, 2, padding="valid"),
    "transposed": nn.Sequential(nn.Conv2d(1, 2, 3, 4, 1), nn.ConvTranspose2d(2, 1, (3, 5), 2, 1)),
    "ceil pool": nn.AvgPool2d(3, 2, 1, ceil_mode=True),
    "lp pool": nn.LPPool2d(2.0, (2, 4), 2),
    "reflect": nn.Sequential(nn.ReflectionPad2d((3, 0, 1, 2)), nn.Conv2d(1, 1, 3, 2)),
    "replicate": nn.ReplicationPad2d((2, 1, 0, 5)),
    "circular": Of(lambda x: F.pad(x, (3, 2, 1, 0), mode="circular")),
    "crop": Of(lambda x: F.pad(x, (-3, 2, 1, -4))),
    "adaptive": nn.AdaptiveAvgPool2d((12, 8)),
    "patches": Of(merge, nn.Linear(4, 3)),
    "patches at once": Of(merge_at_once, nn.Linear(4, 3)),
    "strided slice": Of(lambda x: x[..., 1::2, -19::3]),
    "narrow": Of(lambda x: x.narrow(2, 5, 15)),
    "unshuffle": nn.PixelUnshuffle(3),
    "unshuffle by hand, mixed": Of(
        lambda x, conv: conv(blocks(x)), nn.Conv2d(6, 2, 3, 2, 1)
    ),
    "blocks averaged": Of(lambda x: x.unflatten(2, (12, 2)).unflatten(4, (6, 4)).mean((3, 5))),
    "picked": Of(lambda x: x.unflatten(2, (8, 3))[:, :, :, 2].unflatten(3, (6, 4)).unbind(-1)[1]),
    "shuffle": nn.Sequential(nn.Conv2d(1, 9, 3, 2, 1), nn.PixelShuffle(3), nn.AvgPool2d(3)),
    "smaller": Of(lambda x: F.interpolate(x, scale_factor=0.5, mode="bilinear")),
    "smaller to a size": Of(lambda x: F.interpolate(x, (12, 8), mode="bilinear", antialias=True)),
    "split": Of(lambda x: x.split(9, dim=2)[1]),
    "rolled": Of(lambda x: torch.roll(x, (3, -2), (2, 3))),
    "windows": Of(
        lambda x, conv, linear: windows(conv(x), linear), nn.Conv2d(1, 4, 1), nn.Linear(4, 4)
    ),
    "channels last": Of(lambda x, norm: norm(x.permute(0, 2, 3, 1)), nn.Identity()),
    "shortcut": Of(
        lambda x, conv: conv(x) + x[..., ::2, ::2], nn.Conv2d(1, 1, 3, 2, 1)
    ),
    "two ways": Of(
        lambda x, one, two: torch.cat([one(x), two(x)], 1),
        nn.Conv2d(1, 2, 3, 2, 1), nn.Conv2d(1, 2, 2, 2),
    ),
    "gate": Of(lambda x, conv: conv(x) * x.mean((2, 3), keepdim=True).detach(),
               nn.Conv2d(1, 2, 3, 2)),
    "einsum": Of(lambda x, one: torch.einsum("nchw,oc->nohw", x[:, :, 2:], one.weight),
                 nn.Linear(1, 3)),
    "matmul": Of(
        lambda x, one: (one.weight @ x[..., 1:].flatten(2)).unflatten(2, (24, 23)),
        nn.Linear(1, 3),
    ),
    "stack": Of(lambda x: torch.stack([x, x + 1], 2).flatten(1, 2)[:, :, 1:]),
    "in place": Of(in_place, nn.Conv2d(1, 2, 3, 2)),
    "half in place": Of(
        lambda x, conv: halves(conv(x))[:, :, 3:], nn.Conv2d(1, 4, 3, 2)
    ),
    "copies in front": Of(lambda x: torch.cat([x[:, :, :2], x, x[:, :, -1:]], 2)),
    "zeros in front": Of(
        lambda x: torch.cat([x.new_zeros(*x.shape[:3], 3), x], 3)
    ),
}  # fmt: skip


BIG = ("crop", "unshuffle by hand, mixed")  # Of which the middle reads far.


@pytest.mark.parametrize("name", CASES)
def test_pixels_lie_in_the_middle_of_what_they_read(name):
    torch.manual_seed(0)
    check(CASES[name], (2, 1, 48, 48) if name in BIG else (2, 1, 24, 24))


def rolled(chance):
    shift = chance.randrange(-3, 3)
    return Of(lambda x: torch.roll(x, shift, -1))


def sliced(chance):
    start, step = chance.choice([0, 1, 2, -500, -431, -350]), chance.choice([1, 2])
    return Of(lambda x: x[..., start::step])


LAYERS = [
    lambda c: nn.Conv1d(2, 2, c.choice([2, 3, 5]), c.choice([1, 2, 3]), c.choice([0, 1])),
    lambda c: nn.Conv1d(2, 2, c.choice([2, 3, 4]), padding="same"),
    lambda c: nn.AvgPool1d(c.choice([2, 3]), c.choice([1, 2]), c.choice([0, 1])),
    lambda c: nn.ConstantPad1d((c.randrange(-2, 4), c.randrange(-2, 4)), 0.0),
    rolled,
    sliced,
]


@pytest.mark.parametrize("seed", range(40))
def test_what_layers_do_one_after_the_other_adds_up(seed):
    torch.manual_seed(seed)
    chance = random.Random(seed)
    layers = [layer(chance) for layer in chance.choices(LAYERS, k=4)]
    check(nn.Sequential(*layers), (1, 2, 1440))


def test_strides_of_audio():
    layers = [nn.Conv1d(1, 4, 8, 4, 2), nn.Conv1d(4, 4, 7, 5), nn.ReLU(), nn.Conv1d(4, 4, 4, 2, 1)]
    known = check(nn.Sequential(*layers), (1, 1, 1001))
    assert (known["0"].scale, known["0"].size) == (40, 1001)


def test_strides_that_differ_between_axes():
    layers = [
        nn.Conv3d(1, 2, (1, 4, 3), (1, 2, 2), (0, 1, 0)),
        nn.Conv3d(2, 2, 3, (1, 2, 2), 1),
        nn.AvgPool3d((2, 1, 2), (2, 1, 1)),
    ]
    known = check(nn.Sequential(*layers), (1, 1, 13, 41, 37))
    assert [known[axis].scale for axis in "012"] == [2, 4, 4]


def test_the_scale_is_that_of_the_strides_and_not_of_the_sizes():
    assert found(nn.Conv2d(1, 1, 3, 2, 1), (1, 1, 97, 131)) == {"0": (2, 0, 0), "1": (2, 0, 0)}


@pytest.mark.parametrize("function", [merge, merge_at_once])
def test_merged_patches_lie_between_their_pixels(function):
    assert found(Of(function, nn.Linear(4, 3)), (1, 1, 24, 24)) == {"0": (2, 0, 1), "1": (2, 0, 1)}
    assert found(nn.PixelUnshuffle(2), (1, 1, 24, 24)) == {"0": (2, 0, 1), "1": (2, 0, 1)}


def test_ways_of_different_offsets_keep_the_smallest_and_the_largest():
    assert found(CASES["two ways"], (1, 1, 24, 24))["0"] == (2, 0, 0.5)


def test_nearest_lies_off_by_the_mean_of_what_rounding_takes():
    kinds = [("nearest", -0.25), ("nearest-exact", -0.25)]
    for mode, offset in kinds:
        larger = Of(lambda x, mode=mode: F.interpolate(x, scale_factor=2, mode=mode))
        assert found(larger, (1, 1, 9))["0"] == (0.5, offset, offset)
    smaller = Of(lambda x: F.interpolate(x, 5))
    assert found(smaller, (1, 1, 10))["0"] == (2, 0, 0)
    exact = Of(lambda x: F.interpolate(x, 5, mode="nearest-exact"))
    assert found(exact, (1, 1, 10))["0"] == (2, 1, 1)


def test_aligned_corners_and_factors_that_do_not_fit():
    aligned = Of(lambda x: F.interpolate(x, 5, mode="linear", align_corners=True))
    assert found(aligned, (1, 1, 9))["0"] == (2, 0, 0)
    given = Of(lambda x: F.interpolate(x, scale_factor=0.5, mode="linear"))
    assert found(given, (1, 1, 9))["0"] == (2, 0.5, 0.5)
    taken = Of(
        lambda x: F.interpolate(x, scale_factor=0.5, mode="linear", recompute_scale_factor=True)
    )
    assert found(taken, (1, 1, 9))["0"] == (2.25, 0.625, 0.625)


def test_attention_stays_where_its_questions_are():
    assert found(Of(lambda x: attend(x[..., 1:])), (1, 4, 6, 6)) == {"0": (1, 0, 0), "1": (1, 1, 1)}

    def coarser(x, conv):
        question, answer = x.flatten(2).transpose(1, 2), conv(x).flatten(2).transpose(1, 2)
        weight = question @ answer.transpose(1, 2)
        return (weight @ answer).transpose(1, 2).unflatten(2, (6, 6))

    expected = {"0": (1, 0, 0), "1": (1, 0, 0)}
    assert found(Of(coarser, nn.Conv2d(4, 4, 2, 2)), (1, 4, 6, 6)) == expected

    def einsum(x, conv):
        question, answer = x.flatten(2).transpose(1, 2), conv(x).flatten(2).transpose(1, 2)
        weight = torch.einsum("b i d, b j d -> b i j", question, answer)
        tokens = torch.einsum("b i j, b j d -> b i d", weight, answer)
        return tokens.transpose(1, 2).reshape(x.shape)

    assert found(Of(einsum, nn.Conv2d(4, 4, 2, 2)), (1, 4, 6, 6)) == expected


def test_an_axis_that_is_cut_into_windows_has_the_position_of_the_whole():
    encoder = CASES["windows"]
    graph = read_graph(capture(encoder, (1, 1, 24, 24), None), encoder)
    places = positions(graph)
    cut = next(node for node in graph.edges if node.name.startswith("linear"))
    assert [places[cut][axis].first for axis in "01"] == [1, 2]  # Where it was rolled to.
    assert [places[graph.target][axis].first for axis in "01"] == [0, 0]


def test_windows_of_other_sizes_come_back_only_in_their_order():
    def turned(x):
        return x.unflatten(2, (6, 4)).transpose(2, 3).flatten(2)

    assert found(Of(turned), (1, 1, 24)) == {}
    assert found(
        Of(lambda x: turned(x).unflatten(2, (4, 6)).transpose(2, 3).flatten(2)), (1, 1, 24)
    )


LOST = {
    "flipped": lambda x: x.flip(2),
    "summed up": lambda x: x.cumsum(2),
    "halves swapped": lambda x: torch.cat([x[:, :, 12:], x[:, :, :12]], 2),
    "in frequencies": lambda x: torch.fft.ifft(torch.fft.fft(x, dim=2), dim=2).real,
    "repeated": lambda x: x.repeat_interleave(2, 2),
    "gathered": lambda x: x[:, :, torch.arange(23, -1, -1)],
    "scales that differ": lambda x: (
        x + F.interpolate(x[:, :, ::3], (24, 24)) + x[:, :, :8].repeat(1, 1, 3, 1)
    ),
    "coarser beside finer": lambda x: x[:, :, :12] + x[:, :, ::2],
    "mixed": lambda x: (x.transpose(2, 3) @ torch.ones(24, 24)).transpose(2, 3),
    "shifted in place": written,
    "overwritten in part": overwritten,
    "beside what is lost": lambda x: x[:, :, :12] + (x[:, :, :12] + x[:, :, ::2]),
    "shortcut around the unknown": lambda x: x + x.flip(2),
    "of learned questions": lambda x: F.scaled_dot_product_attention(
        torch.ones(1, 1, 24, 24), x, x
    ),
}


@pytest.mark.parametrize("name", LOST)
def test_what_is_lost_has_no_position(name):
    assert "0" not in found(Of(LOST[name]), (1, 1, 24, 24))


def test_what_is_lost_along_one_axis_is_known_along_the_other():
    for name in ("flipped", "summed up", "shifted in place", "gathered", "halves swapped"):
        assert found(Of(LOST[name]), (1, 1, 24, 24)) == {"1": (1, 0, 0)}, name


# Worked out by hand from strides, kernels and paddings: scale and offsets of the last map.
EXPECTED = {
    "resnet18": (32, 0, 0),
    "resnet50": (32, 0, 0),
    "vgg11_bn": (32, 15.5, 15.5),  # Five pools of two.
    "densenet121": (32, 14, 14),  # Stem of 4, then pools of two: 4/2 + 8/2 + 16/2.
    "squeezenet1_1": (16, 15, 15),  # Nothing is padded: 1 + 2 + 4 + 8.
    "googlenet": (32, 22, 22),  # Pools without padding: 2 + 4 + 8, and one of two: 8.
    "inception_v3": (32, 37, 37),  # 1 + 2 + 0 + 2 + 0 + 4 + 4 + 8 + 16.
    "convnext_tiny": (32, 15.5, 15.5),
    "swin_t": (32, 1.5, 29.5),  # Patches of four, then pairs: 4, 8 and 16.
    "efficientnet_b0": (32, 0, 0),
    "regnet_y_400mf": (32, 0, 0),
    "mobilenet_v3_small": (32, 0, 0),
}


def last_map(encoder, size):
    """Return where pixels of the last map lie that has as many axes as the input."""
    graph = read_graph(capture(encoder, size, None), encoder)
    places = positions(graph)
    for node in reversed(graph.edges):
        order = map_order(graph.layouts.get(node))
        shape = getattr(node.meta.get("val"), "shape", ())
        if order and len(order) == len(size) and max(shape[dim] for dim in order[2:]) > 1:
            return {axis: (p.scale, p.first, p.last) for axis, p in sorted(places[node].items())}
    return None


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPECTED)
def test_last_map_of_torchvision_model(name):
    net = build(name)
    assert last_map(getattr(net, "features", net), (1, 3, 131, 193)) == {
        "0": EXPECTED[name],
        "1": EXPECTED[name],
    }


@pytest.mark.slow
def test_last_map_of_videos():
    models = import_torchvision().models.video
    net = models.r3d_18(weights=None).eval()
    expected = {"0": (8, 0, 0), "1": (16, 0, 0), "2": (16, 0, 0)}
    assert last_map(net, (1, 3, 9, 57, 61)) == expected
    swin = models.swin3d_t(weights=None).eval()
    expected = {"0": (2, 0.5, 0.5), "1": (32, 1.5, 29.5), "2": (32, 1.5, 29.5)}
    assert last_map(swin, (1, 3, 8, 64, 64)) == expected


TIMM = {
    "resnetv2_50": ((1, 3, 97, 131), (32, 0, 0)),
    "resnet26d": ((1, 3, 97, 131), (32, 0, 14)),  # A shortcut pools by two: 4/2 + 8/2 + 16/2.
    "convnextv2_atto": ((1, 3, 97, 131), (32, 15.5, 15.5)),
    "hrnet_w18_small": ((1, 3, 96, 128), (32, -16, 0)),  # It enlarges by nearest pixels.
    "swin_tiny_patch4_window7_224": ((1, 3, 224, 224), (32, 1.5, 29.5)),
    "pvt_v2_b0": ((1, 3, 97, 131), (32, 0, 0)),
    "maxvit_rmlp_pico_rw_256": (
        (1, 3, 256, 256),
        (32, 0, 15),
    ),  # As of resnet26d, from a stem of 2.
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TIMM)
def test_last_map_of_timm_model(name):
    size, expected = TIMM[name]
    net = import_timm().create_model(name, pretrained=False, num_classes=0, global_pool="").eval()
    assert last_map(net, size) == {"0": expected, "1": expected}


@pytest.mark.slow
def test_last_map_of_segformer():
    import_torchvision()
    transformers = pytest.importorskip("transformers")
    net = transformers.SegformerModel(transformers.SegformerConfig()).eval()
    encoder = Of(lambda x, net: net(x).last_hidden_state, net)
    assert last_map(encoder, (1, 3, 97, 131)) == {"0": (32, 0, 0), "1": (32, 0, 0)}


MEASURED = {
    "resnet18": (lambda x, net: net.layer2(net.layer1(net.maxpool(net.bn1(net.conv1(x))))), 217),
    "squeezenet1_1": (lambda x, net: net.features[:9](x), 151),
    "inception_v3": (
        lambda x, net: nn.Sequential(*[*net.children()][:7], net.Mixed_5b, net.Mixed_5c)(x), 207
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", MEASURED)
def test_maps_of_torchvision_lie_in_the_middle_of_what_they_read(name):
    of, size = MEASURED[name]
    known = check(Of(of, build(name)), (1, 3, size, size + 10))
    assert known["0"].first == known["0"].last
