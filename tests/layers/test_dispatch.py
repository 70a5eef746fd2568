"""Every way of computing a transposed convolution against PyTorch's own call."""

from itertools import product

import pytest
import torch
from support.oracle import AUTO, PLAIN, artifacts_allowed
from support.transforms import transformed
from support.versions import TORCH
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional as F  # noqa: N812

from autoup import AutoConvTranspose2d
from autoup.layers import dispatch, ways
from autoup.layers.depthwise import as_product, depthwise_gradients, in_float32
from autoup.layers.dispatch import conv_transpose
from autoup.layers.one_pixel import from_one_pixel, is_whole
from autoup.layers.plain import Geometry, bias_apart, transposed_gradients
from autoup.layers.subpixel import is_subpixel, subpixel, subpixel_gradients
from autoup.layers.ways import Way

TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
FORMATS = {1: [None], 2: [None, torch.channels_last], 3: [None, torch.channels_last_3d]}
DOUBLE = torch.float64


def geometry(dims, stride, padding=0, output_padding=0, groups=1, dilation=1):
    axes = [(value,) * dims for value in (stride, padding, output_padding)]
    return Geometry(*axes, groups, (dilation,) * dims)


def tensors(dims, channels, size, kernel, batch=2, form=None, dtype=DOUBLE, grad=False):
    """Return input, weight and bias of a transposed convolution."""
    torch.manual_seed(0)
    x = torch.randn(batch, channels[0], *(size,) * dims, dtype=dtype)
    if form is not None:
        x = x.contiguous(memory_format=form)
    weight = torch.randn(*channels, *(kernel,) * dims, dtype=dtype) / channels[0] ** 0.5
    made = (x, weight, torch.randn(channels[1], dtype=dtype))
    return tuple(each.requires_grad_(grad) for each in made)


def plain(x, weight, bias, sizes):
    return TRANSPOSED[len(sizes.stride)](x, weight, bias, *sizes)


SUBPIXEL = [
    (dims, s, q, p, a)
    for dims, s, q in product((1, 2, 3), (2, 3, 4), (1, 2, 3))
    for p in range(q * s)
    for a in range(min(s, p + 1))
    if dims < 3 or q * s <= 6
]


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("channels", [(3, 2), (2, 5)])
def test_subpixel_is_the_transposed_convolution_for_every_multiple_of_the_stride(dims, channels):
    for form, (_, s, q, p, a) in product(
        FORMATS[dims], [row for row in SUBPIXEL if row[0] == dims]
    ):
        sizes = geometry(dims, s, p, a)
        x, weight, bias = tensors(dims, channels, 5, q * s, form=form)
        assert is_subpixel(weight, sizes)
        for offset in (bias, None):
            made = subpixel(x, weight, offset, sizes)
            torch.testing.assert_close(made, plain(x, weight, offset, sizes), rtol=0, atol=1e-12)
            assert made.is_contiguous(memory_format=form or torch.contiguous_format)
            assert not made._is_view()


def test_subpixel_takes_axes_of_different_strides():
    sizes = Geometry((2, 3), (1, 0), (1, 0), 1, (1, 1))
    x, weight = torch.randn(2, 3, 5, 4, dtype=DOUBLE), torch.randn(3, 2, 4, 3, dtype=DOUBLE)
    made = subpixel(x, weight, None, sizes)
    torch.testing.assert_close(made, plain(x, weight, None, sizes), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("sizes", "kernel"),
    [
        (geometry(2, 2), 3),
        (geometry(2, 2, groups=2), 2),
        (geometry(2, 3, dilation=2), 3),
        (geometry(2, 1), 1),
        (geometry(2, 2, 2), 2),
        (geometry(2, 2, 0, 1), 2),
    ],
)
def test_what_subpixel_cannot_compute_is_told(sizes, kernel):
    assert not is_subpixel(torch.empty(4, 2, kernel, kernel), sizes)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 4])
def test_one_pixel_is_laid_out_as_pytorch_lays_it(dims, groups):
    for given, weights, k, s in product(FORMATS[dims], FORMATS[dims], (1, 2, 3), (1, 2, 4)):
        sizes = geometry(dims, s, groups=groups)
        assert is_whole(sizes)
        x, weight, _ = tensors(dims, (4, 4 // groups), 1, k, dtype=torch.float32)
        if given is not None:  # As pooling leaves it, and no `to` can: of one pixel, channels last.
            x = x.expand(-1, -1, *(2,) * dims).contiguous(memory_format=given)
            x = x.mean(tuple(range(2, 2 + dims)), keepdim=True)
        weight = weight if weights is None else weight.to(memory_format=weights)
        for offset in (torch.randn(4), None):
            made, wanted = from_one_pixel(x, weight, offset, sizes), plain(x, weight, offset, sizes)
            torch.testing.assert_close(made, wanted, rtol=0, atol=1e-6)
            assert made.stride() == wanted.stride() or k == 1, (given, weights)
    assert not any(map(is_whole, (geometry(dims, 2, 1), geometry(dims, 2, 0, 1))))
    assert not is_whole(geometry(dims, 2, dilation=2))


# How it can be computed, with the kernels that it can be for: k, s, p, a.
WAYS = {
    Way(gradients=transposed_gradients): [(2, 2, 0, 0), (4, 2, 1, 1), (6, 3, 2, 0)],
    Way(subpixel, transposed_gradients): [(2, 2, 0, 0), (4, 2, 1, 1), (6, 3, 2, 0)],
    Way(subpixel, subpixel_gradients): [(2, 2, 0, 0), (3, 3, 0, 0)],
    Way(gradients=subpixel_gradients): [(2, 2, 0, 0), (3, 3, 0, 0)],
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_the_gradients_of_every_way_are_those_of_pytorch(dims, way):
    for form, (k, s, p, a) in product(FORMATS[dims], WAYS[way]):
        made, wanted = [], []
        for results, call in ((made, dispatch._ConvTranspose.apply), (wanted, plain)):
            inputs = tensors(dims, (3, 2), 4, k, form=form, grad=True)
            arguments = (way,) if results is made else ()
            y = call(*inputs, geometry(dims, s, p, a), *arguments)
            torch.manual_seed(1)
            y.backward(torch.randn(y.shape, dtype=DOUBLE))
            results += [y.detach(), *(each.grad for each in inputs)]
        for ours, theirs in zip(made, wanted, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dims", [1, 2])
def test_every_way_has_second_and_forward_derivatives(dims, way, last):
    k, s, p, _ = WAYS[way][0 if way.gradients is subpixel_gradients else 1]
    inputs = tensors(dims, (2, 2), 3, k, grad=True)

    def call(x, *rest):
        x = x.movedim(1, -1).contiguous().movedim(-1, 1) if last else x
        return dispatch._ConvTranspose.apply(x, *rest, geometry(dims, s, p), way)

    assert gradcheck(
        call,
        inputs,
        check_forward_ad=True,
        check_batched_grad=True,
        check_batched_forward_grad=True,
    )
    assert gradgradcheck(call, inputs, check_fwd_over_rev=True)


@pytest.mark.parametrize("wanted", list(product([False, True], repeat=3)))
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_only_the_gradients_that_are_wanted_are_computed(wanted, last, way):
    inputs = tensors(2, (3, 2), 4, 2, form=FORMATS[2][last])
    for each, want in zip(inputs, wanted, strict=True):
        each.requires_grad_(want)
    if any(wanted):
        dispatch._ConvTranspose.apply(*inputs, geometry(2, 2), way).sum().backward()
    assert [each.grad is not None for each in inputs] == list(wanted)


# What is chosen where: the facts, then with AVX-512, and without it where that is another way.
# The sizes straddle each threshold.
PYTORCHS, HEAD, SPLIT = (
    Way(),
    Way(subpixel, transposed_gradients),
    Way(gradients=transposed_gradients),
)
BODY, LAST = Way(subpixel, subpixel_gradients), Way(gradients=subpixel_gradients)
SEEN, CAST = Way(subpixel), torch.bfloat16
ROUNDED, PAIRS = Way(in_float32, transposed_gradients), Way(bias_apart, depthwise_gradients)
LOW_PAIRS = Way(in_float32, depthwise_gradients)
PRODUCT = Way(as_product, transposed_gradients)


def deep(channels, kernel=4, stride=2):
    return {"channels": (channels, 1), "groups": channels, "kernel": kernel, "stride": stride}


CHOICES = [
    ("a head", {"channels": (32, 1)}, HEAD),
    ("a head, channels last", {"channels": (32, 3), "last": True}, HEAD),
    ("a head for inference", {"channels": (32, 1), "grad": False}, SEEN),
    ("a head of 2 taps a phase", {"channels": (32, 3), "kernel": 4, "padding": 1}, HEAD),
    ("a head in bfloat16", {"channels": (32, 1), "dtype": torch.bfloat16}, HEAD),
    ("a head of one channel", {"channels": (1, 1)}, PYTORCHS),
    ("a small head", {"channels": (32, 1), "size": 45}, PYTORCHS),
    ("a head of 5", {"channels": (32, 5)}, PYTORCHS),
    ("a head of an odd kernel", {"channels": (32, 1), "kernel": 3, "padding": 1}, PYTORCHS),
    ("a head in double precision", {"channels": (32, 1), "dtype": DOUBLE}, PYTORCHS),
    ("a body", {"channels": (32, 32), "batch": 2}, PYTORCHS, BODY),
    ("a body of 31 channels", {"channels": (31, 32), "batch": 2}, PYTORCHS),
    ("a body, small", {"channels": (32, 32), "size": 31}, PYTORCHS),
    ("a body of large inputs", {"channels": (32, 8), "size": 128, "batch": 1}, PYTORCHS),
    ("a body, wide", {"channels": (8, 32)}, HEAD),
    ("a body, wide and less", {"channels": (8, 31)}, PYTORCHS),
    ("a body, wide and deep", {"channels": (512, 32)}, PYTORCHS, LAST),
    ("a body, wide and less deep", {"channels": (511, 32)}, HEAD, BODY),
    ("a body for inference", {"channels": (8, 8), "size": 32, "grad": False}, SEEN),
    ("a body for inference, small", {"channels": (8, 7), "size": 32, "grad": False}, PYTORCHS),
    ("a body for inference, 15", {"channels": (8, 64), "size": 15, "grad": False}, PYTORCHS),
    ("a body for inference, 511", {"channels": (511, 32), "size": 16, "grad": False}, SEEN),
    ("a body for inference, deep", {"channels": (512, 32), "size": 16, "grad": False}, PYTORCHS),
    ("a body for inference, channels last",
     {"channels": (8, 32), "last": True, "grad": False}, PYTORCHS),
    ("a body for inference in bfloat16",
     {"channels": (8, 32), "size": 128, "grad": False, "dtype": torch.bfloat16}, PYTORCHS),
    ("a body for inference, k4", {"channels": (8, 32), "kernel": 4, "grad": False}, PYTORCHS),
    ("pointwise", {"channels": (8, 8), "kernel": 1, "stride": 1, "size": 32}, Way(bias_apart)),
    ("pointwise, small", {"channels": (8, 7), "kernel": 1, "stride": 1, "size": 32}, PYTORCHS),
    ("pointwise without bias",
     {"channels": (32, 32), "kernel": 1, "stride": 1, "bias": False}, PYTORCHS),
    ("pointwise to few",
     {"channels": (64, 2), "kernel": 1, "stride": 1, "size": 256}, Way(bias_apart)),
    ("pointwise, channels last", {"channels": (32, 32), "kernel": 1, "stride": 1, "last": True,
      "grad": False}, PYTORCHS),
    ("pointwise, channels last, trained",
     {"channels": (32, 32), "kernel": 1, "stride": 1, "last": True}, SPLIT),
    ("k3 s1", {"channels": (32, 32), "kernel": 3, "stride": 1, "grad": False}, Way(bias_apart)),
    ("k3 s1 in bfloat16", {"channels": (32, 32), "kernel": 3, "stride": 1, "dtype": CAST},
     Way(bias_apart)),
    ("depthwise k3 s1", {"channels": (8, 1), "kernel": 3, "stride": 1, "padding": 1, "groups": 8,
      "size": 32}, Way(bias_apart)),
    ("depthwise k3 s1, small", {"channels": (7, 1), "kernel": 3, "stride": 1, "padding": 1,
      "groups": 7, "size": 32}, PYTORCHS),
    ("depthwise k3 s1 d2, channels last", {"channels": (8, 1), "kernel": 3, "stride": 1,
      "dilation": 2, "groups": 8, "last": True}, Way(bias_apart)),
    ("depthwise k2 s2", {"channels": (8, 1), "groups": 8}, Way(bias_apart)),
    ("depthwise k2 s2 in bfloat16", {"channels": (8, 1), "groups": 8, "dtype": CAST}, PRODUCT),
    ("depthwise k2 s2 in bfloat16, small",
     {"channels": (8, 1), "groups": 8, "dtype": CAST, "size": 15}, PYTORCHS),
    ("depthwise k2 s2 in bfloat16, inference",
     {"channels": (8, 1), "groups": 8, "dtype": CAST, "grad": False}, Way(as_product)),
    ("depthwise k2 s2 in bfloat16, narrow",
     {"channels": (16, 1), "groups": 16, "dtype": CAST, "size": 31}, ROUNDED),
    ("depthwise k2 s2 in bfloat16, less narrow",
     {"channels": (16, 1), "groups": 16, "dtype": CAST, "size": 32}, PRODUCT),
    ("depthwise k2 s2 in bfloat16, narrow, channels last",
     {"channels": (16, 1), "groups": 16, "dtype": CAST, "size": 31, "last": True}, PRODUCT),
    ("depthwise k2 s2 in bfloat16, 7",
     {"channels": (7, 1), "groups": 7, "dtype": CAST, "size": 69}, PRODUCT),
    ("depthwise k2 s2 in bfloat16, 7, small",
     {"channels": (7, 1), "groups": 7, "dtype": CAST, "size": 68}, Way(bias_apart)),
    ("depthwise k4 s2 in bfloat16, 7, channels last",
     {**deep(7), "padding": 1, "size": 69, "dtype": CAST, "last": True}, ROUNDED),
    ("depthwise k4 s2 in bfloat16, 7, small, channels last",
     {**deep(7), "padding": 1, "size": 68, "dtype": CAST, "last": True}, Way(bias_apart)),
    ("depthwise k2 s2 in bfloat16, 7, narrow",
     {"channels": (7, 1), "groups": 7, "dtype": CAST, "size": 31, "batch": 8}, Way(bias_apart)),
    ("depthwise k2 s2 in bfloat16, 7, narrow, inference", {"channels": (7, 1), "groups": 7,
      "dtype": CAST, "size": 31, "batch": 8, "grad": False}, PYTORCHS),
    ("depthwise k2 s2 in bfloat16, 7, inference, channels last", {"channels": (7, 1), "groups": 7,
      "dtype": CAST, "grad": False, "last": True}, Way(in_float32)),
    ("depthwise k3 s1 in bfloat16", {"channels": (8, 1), "groups": 8, "dtype": CAST, "kernel": 3,
      "stride": 1}, Way(bias_apart)),
    ("depthwise k4 s2", {**deep(16), "padding": 1}, PAIRS),
    ("depthwise k4 s2 without bias", {**deep(16), "bias": False},
     Way(gradients=depthwise_gradients)),
    ("depthwise k4 s2, inference", {**deep(16), "grad": False}, Way(bias_apart)),
    ("depthwise k4 s2 d2", {**deep(16), "dilation": 2}, Way(bias_apart)),
    ("depthwise k4 s2, small", deep(15), Way(bias_apart)),
    ("depthwise k4 s2, narrow", {**deep(136), "size": 22}, Way(bias_apart)),
    ("depthwise k4 s2, less narrow", {**deep(124), "size": 23}, PAIRS),
    ("depthwise k5 s1, 7 channels", {**deep(7, 5, 1), "size": 128}, Way(bias_apart)),
    ("depthwise k5 s1, 8 channels", {**deep(8, 5, 1), "size": 128}, PAIRS),
    ("depthwise k4 s2, channels last", {**deep(32), "padding": 1, "last": True}, PAIRS),
    ("depthwise k4 s2, channels last, small", {**deep(31), "last": True}, Way(bias_apart)),
    ("depthwise k5 s1, channels last", {**deep(32, 5, 1), "last": True}, Way(bias_apart)),
    ("depthwise k5 s1 in bfloat16, channels last",
     {**deep(8, 5, 1), "last": True, "dtype": CAST}, PAIRS, Way(bias_apart)),
    ("depthwise k7 s1 in bfloat16, channels last",
     {**deep(32, 7, 1), "last": True, "dtype": CAST}, PAIRS, Way(bias_apart)),
    ("depthwise k7 s1 in bfloat16, channels last, small",
     {**deep(31, 7, 1), "last": True, "dtype": CAST}, Way(bias_apart)),
    ("depthwise k7 s1 in bfloat16", {**deep(8, 7, 1), "dtype": CAST}, PAIRS, Way(bias_apart)),
    ("depthwise k4 s2 in bfloat16", {**deep(8), "dtype": CAST}, LOW_PAIRS, ROUNDED),
    ("depthwise k4 s2 in bfloat16, small", {**deep(8), "size": 63, "dtype": CAST}, ROUNDED),
    ("depthwise k4 s2 in bfloat16, narrow", {**deep(68), "size": 22, "dtype": CAST}, ROUNDED),
    ("depthwise k4 s2 in bfloat16, narrow, channels last",
     {**deep(68), "size": 22, "dtype": CAST, "last": True}, LOW_PAIRS, ROUNDED),
    ("one pixel, depthwise k8 s2 in bfloat16, cut out", {**deep(512, 8), "padding": 1, "size": 1,
      "batch": 512, "dtype": CAST, "cut": True}, ROUNDED),
    ("autocast: depthwise k2 s2",
     {"channels": (8, 1), "groups": 8, "cast": True}, PRODUCT._replace(cast=CAST)),
    ("autocast: depthwise k4 s2", {"channels": (8, 1), "groups": 8, "kernel": 4, "size": 32,
      "cast": True}, ROUNDED._replace(cast=CAST)),
    ("depthwise without bias", {"channels": (32, 1), "groups": 32, "bias": False}, PYTORCHS),
    ("two groups", {"channels": (8, 32), "groups": 2, "grad": False}, PYTORCHS),
    ("one pixel", {"channels": (8, 4), "size": 1, "batch": 1, "kernel": 4}, Way(from_one_pixel)),
    ("one pixel, padded", {"channels": (8, 4), "size": 1, "kernel": 4, "padding": 1}, PYTORCHS),
    ("one pixel, depthwise", {"channels": (8, 1), "size": 1, "groups": 8}, Way(from_one_pixel)),
    ("one pixel, depthwise, inference", {"channels": (512, 1), "size": 1, "groups": 512,
      "kernel": 4, "grad": False}, Way(bias_apart)),
    ("one pixel, depthwise, inference, small", {"channels": (511, 1), "size": 1, "groups": 511,
      "kernel": 4, "grad": False}, PYTORCHS),
    ("one pixel, two groups", {"channels": (8, 4), "size": 1, "groups": 2}, PYTORCHS),
    ("autocast: one pixel",
     {"channels": (8, 4), "size": 1, "cast": True}, Way(from_one_pixel, cast=CAST)),
    ("a body, channels last", {"channels": (32, 32), "last": True}, SPLIT, LAST),
    ("a body of few, channels last", {"channels": (8, 32), "last": True}, SPLIT),
    ("a body, k3", {"channels": (32, 32), "last": True, "kernel": 3}, SPLIT),
    ("a body, k4", {"channels": (32, 32), "last": True, "kernel": 4, "padding": 1}, SPLIT),
    ("a body, small, channels last", {"channels": (32, 32), "last": True, "size": 31}, PYTORCHS),
    ("a body without bias, channels last",
     {"channels": (32, 32), "last": True, "bias": False}, PYTORCHS, LAST),
    ("a body in bfloat16", {"channels": (32, 32), "dtype": torch.bfloat16}, SPLIT),
    ("autocast: a head", {"channels": (32, 1), "cast": True}, HEAD._replace(cast=CAST)),
    ("autocast: a body", {"channels": (32, 32), "cast": True}, SPLIT._replace(cast=CAST)),
    ("autocast: a body for inference",
     {"channels": (32, 32), "cast": True, "grad": False}, PYTORCHS),
    ("autocast in bfloat16", {"channels": (32, 1), "cast": True, "dtype": CAST}, HEAD),
    ("autocast in double precision",
     {"channels": (32, 1), "cast": True, "dtype": DOUBLE}, PYTORCHS),
]  # fmt: skip


def case(
    channels,
    size=64,
    batch=4,
    kernel=2,
    padding=0,
    stride=2,
    groups=1,
    dilation=1,
    last=False,
    grad=True,
    bias=True,
    dtype=torch.float32,
    cast=False,  # noqa: ARG001 (by autocast, which is around the call)
    cut=False,
):
    form = torch.channels_last if last else None
    x, weight, _ = tensors(2, channels, size, kernel, batch, form, dtype, grad)
    x = x.repeat(1, 1, 2, 2)[:, :, :1, :1].detach().requires_grad_(grad) if cut else x
    offset = torch.randn(channels[1] * groups, dtype=dtype, requires_grad=grad)
    sizes = geometry(2, stride, padding, groups=groups, dilation=dilation)
    return x, weight, offset if bias else None, sizes


@pytest.mark.parametrize("wide", [True, False], ids=["AVX-512", "AVX2"])
@pytest.mark.parametrize("row", CHOICES, ids=[row[0] for row in CHOICES])
def test_the_way_is_chosen_by_these_facts_and_gives_the_same_numbers(row, wide, monkeypatch):
    facts, chosen = row[1], row[2 if wide else -1]
    monkeypatch.setattr(ways, "has_wide_registers", lambda: wide)
    inputs = case(**facts)
    with torch.autocast("cpu", torch.bfloat16, enabled="cast" in facts):
        assert dispatch._choose(*inputs) == chosen
        with torch.no_grad():
            alike = dispatch._choose(*inputs) == chosen
            made, wanted = conv_transpose(*inputs), plain(*inputs)
        torch.clear_autocast_cache()  # Older versions would take weights without gradients from it.
        traced, exact = conv_transpose(*inputs), plain(*inputs)
    bound = {torch.float32: 1e-5, torch.bfloat16: 3e-2, DOUBLE: 1e-13}[made.dtype]
    assert (made - wanted).abs().max() <= bound * wanted.abs().max()
    assert made.dtype == wanted.dtype
    assert made.stride() == wanted.stride() or made.shape[1] == 1
    assert torch.equal(traced.detach(), made) or not alike
    assert (traced.grad_fn is not None) == inputs[1].requires_grad
    if traced.requires_grad:
        given = [each for each in inputs[:3] if each is not None]
        cotangent = torch.randn_like(exact)
        pairs = (torch.autograd.grad(each, given, cotangent) for each in (traced, exact))
        for ours, theirs in zip(*pairs, strict=True):
            assert ours.dtype == theirs.dtype
            assert (ours - theirs).abs().max() <= 4 * bound * theirs.abs().max()


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize(
    ("facts", "chosen"),
    [
        ({"channels": (32, 3)}, SEEN),
        ({"channels": (32, 8), "size": 32}, SEEN),
        ({"channels": (8, 8), "kernel": 3, "stride": 1, "size": 32}, Way(bias_apart)),
        ({"channels": (8, 8), "kernel": 4, "size": 1}, Way(from_one_pixel)),
        ({**deep(8), "dtype": CAST}, Way(in_float32)),
        ({"channels": (8, 1), "groups": 8, "dtype": CAST}, Way(as_product)),
        ({"channels": (8, 1), "groups": 8, "dtype": CAST, "last": True}, Way(as_product)),
    ],
)
def test_transforms_of_whole_calls_give_what_they_give_for_pytorchs_call(facts, chosen):
    *inputs, sizes = case(**facts, grad=False)
    assert dispatch._choose(*inputs, sizes) == chosen
    calls = [lambda *each, way=way: way(*each, sizes) for way in (conv_transpose, plain)]
    pairs = zip(*(transformed(call, *inputs) for call in calls), strict=True)
    for (ours, name), (theirs, _) in pairs:
        bound = 3e-2 if facts.get("dtype") == CAST else 1e-4
        assert (ours - theirs).abs().max() <= bound * theirs.abs().max(), name


def strange(x):
    """Inputs that are dense in no memory format, or in both."""
    yield x[..., ::2, :]
    yield x.transpose(2, 3)
    yield x[:, :, :1, :1].contiguous()
    yield x[:1].expand(4, -1, -1, -1)


def test_inputs_dense_in_neither_memory_format_or_in_both_are_left_to_pytorch():
    x, weight, bias, sizes = case((32, 1), size=128, grad=False)
    for each in strange(x):
        chosen = dispatch._choose(each, weight, bias, sizes)
        assert chosen == (PYTORCHS if each.shape[-1] > 1 else Way(from_one_pixel))
        assert chosen != PYTORCHS or torch.equal(
            conv_transpose(each, weight, bias, sizes), plain(each, weight, bias, sizes)
        )
    assert dispatch._choose(x[0], weight, bias, sizes) == PYTORCHS, "unbatched"


def test_subclasses_and_what_pytorch_refuses_are_left_to_it():
    x, weight, bias, sizes = case((32, 1), grad=False)
    assert dispatch._choose(x, weight, bias, sizes) == SEEN
    assert dispatch._choose(nn.Parameter(x), weight, bias, sizes) == PYTORCHS
    assert dispatch._choose(x.to("meta"), weight.to("meta"), None, sizes) == PYTORCHS
    assert dispatch._choose(x, weight.to(torch.bfloat16), bias, sizes) == PYTORCHS
    assert dispatch._choose(x, weight, bias.to(torch.bfloat16), sizes) == PYTORCHS
    with torch.autocast("cpu", torch.float16):
        assert dispatch._choose(x, weight, bias, sizes) == PYTORCHS


LAYERS = [
    (1, (32, 1), 8192, {}),
    (2, (32, 1), 64, {}),
    (2, (16, 3), 64, {"kernel_size": 4}),
    (2, (16, 32), 64, {}),
    (2, (16, 32), 64, {"smoothness": 1}),
    (3, (16, 2), 16, {}),
]


@pytest.mark.parametrize(("dims", "channels", "size", "options"), LAYERS)
def test_layers_and_their_gradients_agree_with_the_plain_layer_in_double_precision(
    dims, channels, size, options
):
    for form in FORMATS[dims]:
        torch.manual_seed(0)
        layer = AUTO[dims](*channels, size, 2 * size, init="torch", **options)
        x = torch.randn(4, channels[0], *(size,) * dims)
        if form is not None:
            x = x.contiguous(memory_format=form)
        double = layer.to_plain().double()
        y = layer(x.requires_grad_())
        exact = x.detach().double().requires_grad_()
        wanted = double(exact)
        cotangent = torch.randn_like(wanted)
        y.backward(cotangent.to(y.dtype))
        wanted.backward(cotangent)
        pairs = [(y, wanted), (x.grad, exact.grad), (layer.bias.grad, double.bias.grad)]
        if not layer.smoothness:
            pairs.append((layer.weight.grad, double.weight.grad))
        for ours, theirs in pairs:
            assert (ours - theirs).abs().max() <= 2e-5 * theirs.abs().max()
        assert form is None or y.is_contiguous(memory_format=form)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "facts",
    [
        {"channels": (32, 3)},
        {"channels": (32, 32)},
        {"channels": (8, 8), "kernel": 3, "stride": 1},
        {"channels": (8, 1), "groups": 8},
        {"channels": (8, 4), "size": 1, "kernel": 4},
        {"channels": (8, 1), "size": 1, "kernel": 4, "groups": 8},
    ],
)
def test_the_output_of_every_way_can_be_changed_in_place(facts, last, training):
    x, weight, bias, sizes = case(**facts, last=last)
    if last:  # Of one pixel the weight tells it.
        weight = weight.detach().to(memory_format=torch.channels_last).requires_grad_()
    with torch.set_grad_enabled(training):
        y = conv_transpose(x, weight, bias, sizes)
    scale = torch.ones((), requires_grad=True)
    F.relu_(y.add_(scale)).sum().backward()
    assert scale.grad > 0
    assert (weight.grad is not None) == training


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("facts", "chosen"),
    [
        ({"channels": (32, 3), "size": 96}, SEEN),
        ({"channels": (16, 1), "groups": 16, "dtype": CAST}, Way(as_product)),
        ({"channels": (8, 4), "size": 1, "kernel": 4}, Way(from_one_pixel)),
    ],
)
def test_outputs_of_a_batch_of_one_tell_that_channels_lie_last(facts, chosen, training):
    *inputs, sizes = case(**facts, batch=1, last=True, grad=training)
    if facts.get("size") == 1:  # The weight tells it.
        inputs[1] = inputs[1].detach().to(memory_format=torch.channels_last)
    assert dispatch._choose(*inputs, sizes).forward == chosen.forward
    made, wanted = conv_transpose(*inputs, sizes), plain(*inputs, sizes)
    assert made.stride() == wanted.stride()
    follower = nn.Conv2d(made.shape[1], 8, 3, dtype=made.dtype)
    assert follower(made).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("size", [1, 4])
def test_a_batch_of_nothing_gives_nothing(size, groups, training):
    x, weight, bias, sizes = case((4, 4 // groups), size, 0, 4, groups=groups, grad=training)
    made, wanted = conv_transpose(x, weight, bias, sizes), plain(x, weight, bias, sizes)
    assert made.shape == wanted.shape
    if training:
        made.sum().backward()
        assert weight.grad.abs().sum() == 0


def test_autocast_around_the_backward_pass_alone_changes_no_gradient(monkeypatch):
    monkeypatch.setattr(ways, "has_wide_registers", lambda: False)
    *inputs, sizes = case((32, 32))
    assert dispatch._choose(*inputs, sizes) == BODY
    found = []
    for cast in (False, True):
        y = conv_transpose(*inputs, sizes)
        with torch.autocast("cpu", torch.bfloat16, enabled=cast):
            found.append(torch.autograd.grad(y, inputs, torch.ones_like(y)))
    assert all(map(torch.equal, *found))


def test_graphs_show_one_transposed_convolution():
    layer, x = AutoConvTranspose2d(32, 1, 64, 128), torch.randn(4, 32, 64, 64)
    assert dispatch._choose(x, layer.weight, layer.bias, geometry(2, 2)) == HEAD
    exported = torch.export.export(layer, (x,))
    calls = [str(node.target) for node in exported.graph.nodes if node.op == "call_function"]
    assert calls == ["aten.conv_transpose2d.input"]


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_traces_show_the_graph_of_the_plain_layer():
    layer, x = AutoConvTranspose2d(32, 1, 64, 128), torch.randn(4, 32, 64, 64)
    kinds = [
        [node.kind() for node in torch.jit.trace(each, x).inlined_graph.nodes()]
        for each in (layer, layer.to_plain())
    ]
    assert kinds[0] == kinds[1]


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_output_size_means_what_it_means_to_the_plain_layer(dims):
    with artifacts_allowed():
        layer = AUTO[dims](4, 2, 5, 11, kernel_size=3, dtype=DOUBLE)
    plain_layer = PLAIN[dims](4, 2, 3, 2, layer.padding, dtype=DOUBLE)
    plain_layer.load_state_dict(layer.state_dict())
    x = torch.randn(2, 4, *(5,) * dims, dtype=DOUBLE)
    for size in (layer(x).shape[-1], layer(x).shape[-1] + 1):
        wanted = plain_layer(x, output_size=[size] * dims)
        assert torch.equal(layer(x, output_size=[size] * dims), wanted)
        assert torch.equal(layer(x, output_size=[2, 2, *[size] * dims]), wanted)


@pytest.mark.slow
@pytest.mark.parametrize(("made", "compiled"), [(1, [1, 1, 2, 2, 2]), (8, [1, 1, 1, 1, 1])])
@pytest.mark.parametrize("training", [False, True])
def test_a_compiled_layer_is_compiled_anew_only_where_a_head_becomes_large(
    made, compiled, training
):
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    layer = AutoConvTranspose2d(32, made, 64, 128)
    call, found = torch.compile(layer, backend=counter, dynamic=True), []
    for batch, size in (
        (2, (20, 30)),
        (3, (50, 40)),
        (2, (120, 130)),
        (5, (90, 200)),
        (2, (30, 22)),
    ):
        with torch.set_grad_enabled(training):
            call(torch.randn(batch, 32, *size))
        found.append(counter.frame_count)
    assert found == (compiled if TORCH >= (2, 7) else [1] * 5)  # There all is PyTorch's own call.
