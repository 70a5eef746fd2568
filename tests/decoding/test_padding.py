"""A decoder's border behaves as the encoder's padding: around, by the last pixel, or causal."""

import random
import warnings
from itertools import product

import pytest
import torch
from support import models
from support.backbones import import_torchvision
from support.encoders import Module
from support.oracle import CONV, artifacts_allowed
from torch import nn
from torch.nn import functional as F  # noqa: N812

import autoup
from autoup import mirror_decoder
from autoup.capturing.capture import capture
from autoup.capturing.operators import name_of
from autoup.decoding.borders import continue_front
from autoup.decoding.concatenation import read_concatenation

POOL = {
    kind: dict(enumerate((getattr(nn, f"{kind}Pool{dims}d") for dims in (1, 2, 3)), 1))
    for kind in ("Avg", "Max")
}
NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
LARGEST = {1: 60, 2: 30, 3: 15}
OPTIONS = [
    {}, {"smoothness": 0}, {"smoothness": 2}, {"stages": "resolution", "refine": 1},
    {"refine": 2, "smoothness": 0},
]  # fmt: skip
DIMS = {"1d": 1, "2d": 2, "3d": 3}


def mirrored(encoder, size, **options):
    with artifacts_allowed():
        return mirror_decoder(encoder.double(), size, **options).double().eval()


class Residual(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.layers(x)


def padded(dims, i, o, k, s=1, d=1, mode="zeros", **rest):
    """Return a convolution that keeps the size, or divides it by its stride."""
    pad = tuple(each * (taps - 1) // 2 for each, taps in zip(d, k, strict=True))
    return CONV[dims](i, o, k, s, pad, d, padding_mode=mode, **rest)


def around(draw, dims):
    """Return a random circular encoder, its input's size and its stride along each axis."""
    size = [draw.choice((4, 5)) for _ in range(dims)]
    layers, strides, channels = [], [1] * dims, 3
    kinds = draw.sample(["conv", "conv", "pool", "patch", "residual"], draw.randint(1, 3))
    for kind in kinds:
        s = [draw.choice((1, 2, 3)) for _ in range(dims)]
        if max(a * b * c for a, b, c in zip(size, strides, s, strict=True)) > LARGEST[dims]:
            continue
        wide = draw.randint(1, 4)
        k, d = ([draw.choice(each) for _ in range(dims)] for each in ((1, 3, 5), (1, 2)))
        d = [each if step == 1 else 1 for each, step in zip(d, s, strict=True)]
        if kind == "conv":
            layers += [padded(dims, channels, wide, k, tuple(s), tuple(d), "circular"), nn.ELU()]
        elif kind == "patch":
            layers += [CONV[dims](channels, wide, tuple(s), tuple(s)), NORM[dims](wide)]
        elif kind == "pool":
            layers.append(draw.choice((POOL["Avg"], POOL["Max"]))[dims](tuple(s)))
            wide = channels
        else:
            ones, s, wide = (1,) * dims, [1] * dims, channels
            inner = padded(dims, wide, wide, (3,) * dims, ones, ones, "circular")
            layers += [Residual(inner, NORM[dims](wide), nn.Tanh()), nn.Tanh()]
        strides = [a * b for a, b in zip(strides, s, strict=True)]
        channels = wide
    layers.append(padded(dims, channels, 4, (3,) * dims, 1, (1,) * dims, "circular"))
    return nn.Sequential(*layers), [a * b for a, b in zip(size, strides, strict=True)], strides


def shifted(x, steps):
    return torch.roll(x, steps, tuple(range(2, x.ndim)))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("dims", DIMS.values(), ids=DIMS)
def test_decoder_of_a_circular_encoder_commutes_with_circular_shifts(dims, seed):
    draw = random.Random(f"{dims} {seed}")
    torch.manual_seed(seed)
    encoder, size, strides = around(draw, dims)
    encoder = encoder.double().eval()
    options = draw.choice([*OPTIONS, {"adjoint": True}, {"adjoint": True, "tied": True}])
    decoder = mirrored(encoder, (1, 3, *size), **options)
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    code, steps = encoder(x), [draw.randint(0, 3) for _ in range(dims)]
    far = [a * b for a, b in zip(steps, strides, strict=True)]
    torch.testing.assert_close(encoder(shifted(x, far)), shifted(code, steps), rtol=0, atol=1e-12)
    made = decoder(code)
    assert made.shape == x.shape
    torch.testing.assert_close(
        decoder(shifted(code, steps)), shifted(made, far), rtol=0, atol=1e-10
    )


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("dims", DIMS.values(), ids=DIMS)
def test_tied_mirror_of_a_circular_convolution_is_its_adjoint(dims, seed):
    draw = random.Random(f"{dims} {seed}")
    torch.manual_seed(seed)
    s = tuple(draw.choice((1, 2, 3)) for _ in range(dims))
    k, d = (tuple(draw.choice(each) for _ in range(dims)) for each in ((1, 3, 5), (1, 2)))
    size = [each * draw.randint(4, 5) for each in s]
    conv = padded(dims, 2, 3, k, s, d, "circular", bias=False).double()
    if max(s) == 1 and draw.random() < 0.5:  # An even kernel too, which is padded unevenly.
        k = (4,) * dims
        conv = CONV[dims](2, 3, k, padding="same", padding_mode="circular", bias=False).double()
    decoder = mirrored(conv, (1, 2, *size), adjoint=True, tied=True)
    x = torch.randn(1, 2, *size, dtype=torch.float64)
    y = torch.randn_like(conv(x))
    torch.testing.assert_close((conv(x) * y).sum(), (x * decoder(y)).sum())
    assert sum(each is conv.weight for each in decoder.parameters()) == 1


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("dims", DIMS.values(), ids=DIMS)
def test_a_constant_code_stays_constant_up_to_the_border(dims, mode):
    draw = random.Random(f"{dims} {mode}")
    torch.manual_seed(0)
    for _ in range(8):
        s = tuple(draw.choice((1, 2, 3)) for _ in range(dims))
        k, d = (tuple(draw.choice(each) for _ in range(dims)) for each in ((3, 5, 7), (1, 2)))
        conv = padded(dims, 2, 3, k, s, d, mode, bias=False)
        least = max(*s, *conv.padding) + 1  # More than one pixel of code, and of reflection.
        size = [least + draw.randint(0, 9) for _ in range(dims)]
        decoder = mirrored(conv, (1, 2, *size))
        code = conv(torch.ones(1, 2, *size, dtype=torch.float64))
        made = decoder(torch.ones_like(code))
        assert made.shape == (1, 2, *size)
        flat = made.mean([*range(2, 2 + dims)], keepdim=True).expand_as(made)
        torch.testing.assert_close(made, flat, rtol=0, atol=1e-12)
        assert made.abs().max() > 1e-3


def test_zeros_stay_zeros_and_modes_differ_by_axis():
    zeros = mirrored(nn.Conv2d(2, 3, 3, 2, 1), (1, 2, 16, 16))
    assert [type(each) for each in zeros] == [autoup.AutoConvTranspose2d]
    cylinder = nn.Sequential(
        nn.CircularPad2d((1, 1, 0, 0)), nn.ReplicationPad2d((0, 0, 1, 1)), nn.Conv2d(2, 3, 3, 2)
    )
    (stage,) = mirrored(cylinder, (1, 2, 16, 16))
    assert [*map(str, stage[:2])] == [
        "ReplicationPad2d((0, 0, 1, 1))", "CircularPad2d((1, 1, 0, 0))"
    ]  # fmt: skip
    mixed = mirrored(nn.Sequential(nn.CircularPad2d((1, 1, 0, 0)), nn.Conv2d(2, 3, 3, 2, (1, 0))),
                     (1, 2, 16, 16))  # fmt: skip
    assert str(mixed[0].pad) == "CircularPad2d((1, 1, 0, 0))"


def test_what_pads_otherwise_than_the_rest_keeps_its_own_border():
    def around(i, o):
        return nn.Conv2d(i, o, 3, 1, 1, padding_mode="circular")

    encoder = nn.Sequential(
        around(2, 3), around(3, 3), nn.Conv2d(3, 3, 3, 1, 1), nn.Conv2d(3, 3, 3),
        nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 2, 2), nn.Conv2d(3, 3, 6),
    )  # fmt: skip
    decoder = mirrored(encoder, (1, 2, 16, 16))
    continued = {name for name, each in decoder.named_children() if isinstance(each, nn.Sequential)}
    assert continued == {"layer_5", "layer_1", "layer_0"}
    assert {str(getattr(decoder, name).pad) for name in continued} == {
        "CircularPad2d((1, 1, 1, 1))"
    }


def test_a_block_that_cuts_somewhere_keeps_the_border_of_the_rest():
    def around(i, o):
        return nn.Conv2d(i, o, 3, 1, 1, padding_mode="circular")

    def inner(m, x):
        return torch.cat([m.a(x), m.b(x)[..., 1:-1, 1:-1]], 1)

    block = Module(inner, a=nn.Conv2d(4, 4, 3), b=around(4, 4))
    decoder = mirrored(nn.Sequential(around(2, 4), block), (1, 2, 16, 16))
    assert isinstance(decoder[0].pad, nn.CircularPad2d)


def test_a_map_too_small_to_reflect_is_replicated():
    conv = nn.Conv1d(1, 2, 7, 4, 3, padding_mode="reflect")
    small, large = (mirrored(conv, (1, 1, size), adjoint=True)[0] for size in (4, 8))
    assert [str(small.pad), str(large.pad)] == [
        "ReplicationPad1d((1, 1))",
        "ReflectionPad1d((1, 1))",
    ]
    assert small(torch.ones(1, 2, 1, dtype=torch.float64)).shape == (1, 1, 4)


def test_a_continued_map_counts_as_no_flaw():
    def encoder(mode):
        return nn.Sequential(
            nn.Conv2d(2, 4, 7, 1, 3, padding_mode=mode), nn.Conv2d(4, 4, 3, 2, 1, padding_mode=mode)
        )

    zeros, circular = (mirrored(encoder(mode), (1, 2, 16, 16)) for mode in ("zeros", "circular"))
    last = circular[-1].up
    assert last.in_size == (22, 22)
    assert {each.margin for each in last.solutions} == {6}
    assert not any(each.wrong_scale or each.uncovered for each in last.solutions)
    assert last.round_trip_shift == zeros[-1].round_trip_shift
    reports = [autoup.audit(each, (1, 4, 8, 8)) for each in (zeros, circular)]
    verdicts = [[row.severity for row in report.rows] for report in reports]
    assert verdicts[0] == verdicts[1] == ["clean"] * 2
    for report in reports:
        assert (report.drift, report.displaced, report.stretched) == (
            (0, 0), ((0, 0), (0, 0)), (0, 0)
        )  # fmt: skip


class Causal(nn.Module):
    """A convolution padded in front along the first axis, and evenly along the others."""

    def __init__(self, dims, i, o, k, s=1, d=1, mode="constant", side="constant"):
        super().__init__()
        rest = (1,) * (dims - 1)
        self.mode, self.side, self.front = mode, side, d * (k - 1) + 1 - s
        kernel = (k, *[3 * each for each in rest])
        self.conv = CONV[dims](i, o, kernel, (s, *rest), dilation=(d, *rest))

    def forward(self, x):
        flat = (0, 0) * (x.ndim - 3)
        last = -x.shape[2] % self.conv.stride[0]  # Completes the last window.
        x = F.pad(x, (*flat, self.front, last), self.mode)
        return self.conv(F.pad(x, ((1, 1) * (x.ndim - 3) + (0, 0)), self.side) if flat else x)


def late(draw, dims):
    """Return a random encoder that is causal along its first axis, and its stride there."""
    mode = draw.choice(("constant", "replicate", "reflect"))
    side = draw.choice(("constant", "circular", "replicate"))
    layers, stride, channels = [Causal(dims, 2, 3, 3, mode=mode, side=side), nn.ELU()], 1, 3
    kinds = draw.sample(["conv", "conv", "long", "pool", "patch", "residual"], draw.randint(1, 3))
    for kind in kinds:
        s, wide = draw.choice((2, 3)), draw.randint(1, 4)
        if kind == "conv":
            layers += [Causal(dims, channels, wide, s * draw.choice((1, 2)), s, 1, mode, side)]
        elif kind == "long":
            s = 1
            layers += [Causal(dims, channels, wide, 3, 1, 2, mode, side), NORM[dims](wide)]
        elif kind == "patch":
            ones = (1,) * (dims - 1)
            layers += [CONV[dims](channels, wide, (s, *ones), (s, *ones)), nn.ELU()]
        elif kind == "pool":
            layers.append(POOL["Avg"][dims]((s, *[1] * (dims - 1))))
            wide = channels
        else:
            s, wide = 1, channels
            inner = Causal(dims, wide, wide, 3, 1, 1, mode, side)
            layers += [Residual(inner, NORM[dims](wide), nn.Tanh(), CONV[dims](wide, wide, 1))]
        stride, channels = stride * s, wide
    return nn.Sequential(*layers, Causal(dims, channels, 2, 3, mode=mode, side=side)), stride


def first_changes(decoder, code):
    """Return for each step of a code along its first axis the first output that it changes."""
    made, first = decoder(code), []
    for step in range(code.shape[2]):
        other = code.clone()
        other[:, :, step] += torch.randn_like(other[:, :, step])
        changed = (decoder(other) != made).transpose(0, 2).flatten(1).any(1)
        first.append(int(changed.nonzero()[0]) if changed.any() else None)
    return first


def assert_causal(decoder, code, stride, size):
    assert decoder(code).shape == size
    first = first_changes(decoder, code)
    assert None not in first
    assert all(each >= step * stride for step, each in enumerate(first)), first
    assert first[-1] < size[2]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("dims", DIMS.values(), ids=DIMS)
def test_decoder_of_a_causal_encoder_does_not_look_ahead(dims, seed):
    draw = random.Random(f"{dims} {seed}")
    torch.manual_seed(seed)
    encoder, stride = late(draw, dims)
    rest = [draw.randint(3, 5) for _ in range(dims - 1)]
    size = (1, 2, stride * draw.randint(4, 6) + draw.randint(0, 2 * stride), *rest)
    options = draw.choice(OPTIONS)
    decoder = mirrored(encoder, size, **options)
    code = encoder.eval()(torch.randn(size, dtype=torch.float64))
    assert_causal(decoder, code, stride, size)


@pytest.mark.parametrize("mode", ["replicate", "reflect"])
@pytest.mark.parametrize("size", [12, 13, 14, 15])
def test_a_constant_code_stays_constant_from_its_first_sample_on(mode, size):
    torch.manual_seed(0)
    wide, strided = Causal(1, 1, 2, 7, 1, 1, mode), Causal(1, 2, 2, 6, 3, 1, mode)
    wide.conv.bias = strided.conv.bias = None
    patches = nn.Conv1d(2, 2, 3, 3, bias=False)  # Cuts off what completes no patch.
    for encoder in (wide, nn.Sequential(wide, strided), nn.Sequential(wide, patches)):
        decoder = mirrored(encoder, (1, 1, size))
        steps = encoder(torch.ones(1, 1, size, dtype=torch.float64)).shape[2]
        made = decoder(torch.ones(1, 2, steps, dtype=torch.float64))
        torch.testing.assert_close(made, made.mean().expand_as(made), rtol=0, atol=1e-12)
        assert made.abs().max() > 1e-3


class Cropped(nn.Module):
    """A causal convolution as it is written too: padded evenly, and cut behind."""

    def __init__(self, i, o, k, d=1):
        super().__init__()
        self.conv, self.cut = nn.Conv1d(i, o, k, padding=d * (k - 1), dilation=d), d * (k - 1)

    def forward(self, x):
        return self.conv(x)[..., : -self.cut]


@pytest.mark.parametrize("options", [{}, {"stages": "resolution", "refine": 1}], ids=str)
def test_convolutions_that_are_cut_behind_are_causal(options):
    torch.manual_seed(0)
    encoder = nn.Sequential(
        Cropped(1, 4, 3), nn.ELU(), Residual(Cropped(4, 4, 3, 4), nn.ELU()), nn.MaxPool1d(2),
        Cropped(4, 3, 2),
    )  # fmt: skip
    decoder = mirrored(encoder, (1, 1, 31), **options)
    assert_causal(decoder, torch.randn(1, 3, 15, dtype=torch.float64), 2, (1, 1, 31))


class Twice(nn.Module):
    """A block of two ways that divides the size by 9."""

    def __init__(self):
        super().__init__()
        one, other = ([Causal(1, 3, 3, 3, 3), nn.ELU(), Causal(1, 3, 3, 6, 3)] for _ in range(2))
        self.one, self.other = nn.Sequential(*one), nn.Sequential(*other)

    def forward(self, x):
        return self.one(x) + self.other(x)


@pytest.mark.parametrize("size", range(10, 28))
def test_a_step_of_code_is_as_long_as_the_stride_of_its_block(size):
    torch.manual_seed(0)
    encoder = nn.Sequential(Causal(1, 1, 3, 3), Twice())
    code = torch.randn(1, 3, -(-size // 9), dtype=torch.float64)
    for options in ({}, {"smoothness": 2}):
        assert_causal(mirrored(encoder, (1, 1, size), **options), code, 9, (1, 1, size))


def test_sizes_without_a_whole_ratio_are_made_by_repetition():
    torch.manual_seed(0)
    decoder = mirrored(nn.Sequential(Causal(1, 1, 3, 3), nn.AdaptiveAvgPool1d(20)), (1, 1, 30))
    code = torch.randn(1, 3, 20, dtype=torch.float64)
    assert str(decoder[0]) == "Upsample(size=(30,), mode='nearest')"
    first = first_changes(decoder, code)
    assert decoder(code).shape == (1, 1, 30)
    assert all(each >= step * 1.5 for step, each in enumerate(first))


def test_what_continues_in_front_has_as_many_taps_for_each_place():
    for i, s, m, extra in product(range(1, 7), range(2, 6), range(3), range(-4, 5)):
        o = s * i + extra
        if abs(extra) < s:
            axis = continue_front(i, o, s, m, "zeros")
            up = axis.solution
            assert up.kernel_size % s == 0
            assert up.out_size - axis.crop == o
            assert up.stride * axis.pads[0] == up.padding


def test_a_single_step_needs_no_more_taps_than_its_promise_takes():
    kernels = [continue_front(1, 4, 4, m, "zeros").solution.kernel_size for m in (0, 1, 2)]
    assert kernels == [4, 4, 8]


def test_a_head_that_sees_all_of_an_axis_does_not_make_it_centred():
    decoder = mirrored(nn.Sequential(Causal(1, 1, 4, 3), nn.Conv1d(4, 5, 16)), (1, 1, 16))
    assert decoder(torch.randn(1, 5, 1, dtype=torch.float64)).shape == (1, 1, 16)
    assert str(decoder[-1].pad) == "ZeroPad1d((2, 0))"


def test_what_looks_ahead_anywhere_is_mirrored_as_before():
    """One centred layer, a padding behind, or an adjoint: no mirror is causal."""
    ahead = [
        nn.Sequential(Causal(1, 1, 4, 3), nn.Conv1d(4, 4, 3, 1, 1)),
        nn.Sequential(Causal(1, 1, 4, 3), nn.AvgPool1d(3, 1, 1)),
        nn.Sequential(Causal(1, 1, 4, 3), Residual(nn.Conv1d(4, 4, 5, padding="same"))),
        nn.Sequential(Causal(1, 1, 4, 3, mode="circular"), nn.Conv1d(4, 4, 2, 2)),
        nn.Sequential(Causal(1, 1, 4, 3), nn.ConvTranspose1d(4, 4, 4, 2, 1), nn.AvgPool1d(2)),
        nn.Sequential(Causal(1, 1, 4, 3), nn.ZeroPad1d((2, 0)), nn.ReLU(), nn.Conv1d(4, 4, 1)),
        nn.Sequential(nn.ZeroPad1d((0, 1)), nn.Conv1d(1, 4, 3, 2)),
        nn.Conv1d(1, 4, 3, 2, 1),
    ]
    for encoder in ahead:
        with warnings.catch_warnings(action="ignore", category=autoup.MirrorWarning):
            decoder = mirrored(encoder, (1, 1, 16))  # The pooling has no mirror.
        code = encoder(torch.randn(1, 1, 16, dtype=torch.float64))
        stride = max(1, 16 // code.shape[2])
        first = first_changes(decoder, code)
        assert decoder(code).shape == (1, 1, 16)
        reached = [(step, each) for step, each in enumerate(first) if each is not None]
        assert any(each < step * stride for step, each in reached), encoder
        assert not any(isinstance(each, nn.ZeroPad1d) for each in decoder.modules())
    adjoint = mirrored(nn.Sequential(Causal(1, 1, 4, 3)), (1, 1, 16), adjoint=True)
    assert [*map(type, adjoint)] == [autoup.AutoConvTranspose1d, nn.ConstantPad1d]


def test_adjoint_of_a_convolution_that_is_cut_behind_looks_ahead():
    encoder = Cropped(1, 4, 3, 2).double()
    decoder = mirrored(encoder, (1, 1, 16), adjoint=True, tied=True)
    x, y = torch.randn(1, 1, 16, dtype=torch.float64), torch.randn(1, 4, 16, dtype=torch.float64)
    linear = encoder(x) - encoder(torch.zeros_like(x))
    made = decoder(y) - decoder(torch.zeros_like(y))
    torch.testing.assert_close((linear * y).sum(), (x * made).sum())


def test_causal_mirrors_start_from_repetition_and_norms_of_channels_stay_in_their_step():
    class Channels(nn.LayerNorm):
        def forward(self, x):
            return super().forward(x.transpose(1, 2)).transpose(1, 2)

    encoder = nn.Sequential(
        Causal(1, 1, 4, 3), Channels(4), nn.AvgPool1d(2), Channels(4), Causal(1, 4, 4, 3)
    )
    decoder = mirrored(encoder, (1, 1, 14))
    pool = next(each for each in decoder.modules() if getattr(each, "groups", 1) == 4)
    x = torch.randn(1, 4, 7, dtype=torch.float64)
    torch.testing.assert_close(pool(F.pad(x, (1, 0))), F.interpolate(x, scale_factor=2.0))
    assert_causal(decoder, torch.randn(1, 4, 7, dtype=torch.float64), 2, (1, 1, 14))


def test_no_shift_is_told_of_what_is_late_by_design():
    def caught(encoder, size):
        with warnings.catch_warnings(record=True, action="always") as found:
            mirror_decoder(encoder, size)
        return [str(each.message) for each in found]

    audio = nn.Sequential(Causal(1, 1, 4, 7), nn.ELU(), Causal(1, 4, 4, 6, 3), nn.AvgPool1d(2))
    assert [caught(audio, (1, 1, size)) for size in range(20, 26)] == [[]] * 6
    video = nn.Sequential(Causal(3, 1, 2, 3), nn.Conv3d(2, 2, (1, 3, 3), (1, 2, 2), (0, 1, 1)))
    (text,) = caught(video, (1, 1, 5, 15, 15))
    assert "5x8x8 -> 5x15x15" in text
    assert (
        "Together they shift the picture 0.5 px toward the top and 0.5 px toward the left" in text
    )
    assert "by autoup.ladder: 8 -> 14 -> 15. " in text
    assert text.endswith("input_size=(1, 1, 5, 16, 16) is clean.")
    assert caught(video, (1, 1, 5, 16, 16)) == []
    around = nn.Conv2d(1, 4, 3, 2, 1, padding_mode="circular")
    (text,) = caught(around, (1, 1, 15, 16))
    assert "8x8 -> 15x16" in text
    assert text.endswith("input_size=(1, 1, 16, 16) is clean.")
    assert caught(around, (1, 1, 16, 16)) == []


def first_kept(x, n):
    return torch.cat([x[:, :, :1]] * n + [x], 2)


def first_repeated(x, n):
    return torch.cat([x[:, :, :1].repeat(1, 1, n, *[1] * (x.ndim - 3)), x], 2)


def first_expanded(x, n):
    return torch.cat([x[:, :, :1].expand(-1, -1, n, *x.shape[3:]), x], 2)


def zeros_before(x, n):
    return torch.cat([x.new_zeros(*x.shape[:2], n, *x.shape[3:]), x], 2)


def closed(x, n):
    return torch.cat([x[:, :, -n:], x, x[:, :, :n]], 2)


def reflected(x, n):
    return torch.cat([x[:, :, 1 : n + 1].flip(2), x, x[:, :, -n - 1 : -1].flip(2)], 2)


JOINED = {
    first_kept: (2, 0, "replicate"), first_repeated: (2, 0, "replicate"),
    first_expanded: (2, 0, "replicate"), zeros_before: (2, 0, "constant"),
    closed: (1, 1, "circular"), reflected: (1, 1, "reflect"),
}  # fmt: skip


class Joined(nn.Module):
    """Convolutions of 3 taps that are padded along the first axis by a function."""

    def __init__(self, dims, pad):
        super().__init__()
        self.pad, self.side = pad, (1, 1) * (dims - 1)
        self.first = CONV[dims](2, 4, 3, (2, *[1] * (dims - 1)))
        self.second, self.third = CONV[dims](4, 4, 3), CONV[dims](4, 4, 3)

    def forward(self, x):
        x = F.elu(self.first(F.pad(self.pad(x), (*self.side, 0, 0))))
        x = x + self.second(F.pad(self.pad(x), (*self.side, 0, 0)))
        return self.third(F.pad(self.pad(F.elu(x)), (*self.side, 0, 0)))


@pytest.mark.parametrize("dims", DIMS.values(), ids=DIMS)
@pytest.mark.parametrize("join", JOINED, ids=lambda each: each.__name__)
def test_a_padding_written_as_a_concatenation_is_one(join, dims):
    *amounts, mode = JOINED[join]
    encoder = Joined(dims, lambda x: join(x, max(amounts)))
    plain = Joined(dims, lambda x: F.pad(x, (0, 0) * (dims - 1) + tuple(amounts), mode))
    plain.load_state_dict(encoder.state_dict())
    x = torch.randn(2, 2, 12, *[5] * (dims - 1), dtype=torch.float64)
    decoder, other = mirrored(encoder, x.shape), mirrored(plain, x.shape)
    torch.testing.assert_close(encoder(x), plain(x))
    found = [str(each) for each in decoder.modules() if not [*each.children()]]
    assert found == [str(each) for each in other.modules() if not [*each.children()]]
    assert decoder(encoder(x)).shape == x.shape


@pytest.mark.parametrize(
    "join",
    [lambda x: torch.cat([x[:, :, 2:4], x], 2),
     lambda x: torch.cat([x[:, :, :1] * 2, x], 2),
     lambda x: torch.cat([x[:, :, :1], x, x[:, :, :1]], 2),
     lambda x: torch.cat([x[:, :, :2].repeat(1, 1, 2), x], 2),
     lambda x: torch.cat([x[:, :, :3].flip(2), x], 2),
     lambda x: torch.cat([torch.ones(2, 4, 2), x], 2)],
)  # fmt: skip
def test_a_concatenation_of_other_tensors_is_no_padding(join):
    encoder = nn.Sequential(nn.Conv1d(2, 4, 3), Joining(join), nn.Conv1d(4, 4, 3))
    nodes = capture(encoder, (2, 2, 12), None).graph.nodes
    (node,) = [each for each in nodes if name_of(each) == "cat"]
    assert read_concatenation(node) is None


class Joining(nn.Module):
    def __init__(self, join):
        super().__init__()
        self.join = join

    def forward(self, x):
        return self.join(x)


@pytest.mark.parametrize("m", [0, 1, 2])
def test_a_promise_holds_behind_an_uneven_padding(m):
    encoder = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(3, 8, 3, 2))
    (up,) = mirrored(encoder, (1, 3, 32, 32), smoothness=m)
    assert (up.kernel_size[0], up.smoothness) == ((2, 4, 4)[m], m)


def encodec(**options):
    from transformers import EncodecConfig
    from transformers.models.encodec.modeling_encodec import EncodecModel

    config = EncodecConfig(
        num_filters=8, hidden_size=32, codebook_dim=32, upsampling_ratios=[5, 4, 2], **options
    )
    return EncodecModel(config).encoder


def mimi():
    from transformers import MimiConfig
    from transformers.models.mimi.modeling_mimi import MimiEncoder

    return MimiEncoder(MimiConfig(num_filters=8, hidden_size=32, upsampling_ratios=[5, 4, 2]))


def with_plain_sizes(encoder):
    """Let it pad by integers: where it keeps them as tensors, no path can be captured."""
    for each in encoder.modules():
        if hasattr(each, "_get_extra_padding_for_conv1d"):
            (k,), (s,), (d,) = each.conv.kernel_size, each.conv.stride, each.conv.dilation
            for name, value in {"stride": s, "padding_total": d * (k - 1) + 1 - s}.items():
                delattr(each, name)
                setattr(each, name, value)
            each._get_extra_padding_for_conv1d = lambda x, s=s: -x.shape[-1] % s
    return encoder


@models.taken_from("transformers")
@pytest.mark.parametrize("size", [800, 813])
@pytest.mark.parametrize(
    "build", [encodec, lambda: encodec(pad_mode="constant"), mimi], ids=["encodec", "zeros", "mimi"]
)
def test_decoders_of_streaming_codecs_are_causal(build, size):
    import_torchvision()
    torch.manual_seed(0)
    encoder = with_plain_sizes(build()).double().eval()
    code = encoder(torch.randn(1, 1, size, dtype=torch.float64)).detach()
    for options in ({}, {"stages": "resolution", "refine": 1}):
        decoder = mirrored(encoder, (1, 1, size), **options)
        assert_causal(decoder, code, 40, (1, 1, size))


@models.taken_from("transformers")
def test_decoder_of_a_centred_codec_restores_the_size():
    import_torchvision()
    from transformers import DacConfig
    from transformers.models.dac.modeling_dac import DacModel

    config = DacConfig(encoder_hidden_size=8, downsampling_ratios=[2, 4, 5], hidden_size=32)
    encoder = DacModel(config).encoder.double().eval()
    decoder = mirrored(encoder, (1, 1, 813))
    assert decoder(encoder(torch.zeros(2, 1, 813, dtype=torch.float64))).shape == (2, 1, 813)
    assert not any(isinstance(each, nn.ZeroPad1d) for each in decoder.modules())


@models.taken_from("diffusers")
@pytest.mark.parametrize("kind", ["wan", "hunyuan"])
def test_decoders_of_causal_video_layers_are_causal_in_time_alone(kind):
    import_torchvision()
    from diffusers.models.autoencoders import autoencoder_kl_hunyuan_video as hunyuan
    from diffusers.models.autoencoders import autoencoder_kl_wan as wan

    torch.manual_seed(0)
    if kind == "wan":
        build, rest = wan.WanCausalConv3d, {"padding": 1}
    else:
        build, rest = hunyuan.HunyuanVideoCausalConv3d, {}
    encoder = nn.Sequential(
        build(3, 4, 3, **rest), nn.SiLU(), build(4, 4, 3, stride=2, **rest), nn.SiLU(),
        Residual(build(4, 4, 3, **rest), nn.SiLU()), build(4, 2, 3, stride=(2, 1, 1), **rest),
    ).double()  # fmt: skip
    size = (1, 3, 9, 12, 12)
    decoder = mirrored(encoder, size)
    code = encoder(torch.randn(size, dtype=torch.float64)).detach()
    assert_causal(decoder, code, 4, size)
    first = first_changes(
        lambda x: decoder(x.transpose(2, 3)).transpose(2, 3), code.transpose(2, 3)
    )
    assert any(each < step * 2 for step, each in enumerate(first))
