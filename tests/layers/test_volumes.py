"""Depthwise layers of volumes, and those whose kernel is the stride."""

import warnings
from itertools import product

import pytest
import torch
from support.transforms import transformed
from support.versions import TORCH
from torch.autograd import gradcheck, gradgradcheck

from autoup import AutoConvTranspose2d, AutoConvTranspose3d
from autoup.layers import dispatch, ways
from autoup.layers.depthwise import as_product, in_float32, is_product
from autoup.layers.dispatch import conv_transpose
from autoup.layers.plain import (
    Geometry,
    bias_apart,
    transposed,
    transposed_gradients,
)
from autoup.layers.volumes import is_volume, volume, volume_gradients
from autoup.layers.ways import Way

DOUBLE, SINGLE, LOW = torch.float64, torch.float32, torch.bfloat16


def laid(x, last):
    """Return the tensor with its channels last, or not."""
    return x.movedim(1, -1).contiguous().movedim(-1, 1) if last else x


def call(kernel, stride, padding, extra=(0, 0, 0), size=(3, 4, 2), last=False, dtype=DOUBLE):
    """Return input, weight, bias, geometry, and a gradient of the output; None without output."""
    torch.manual_seed(0)
    channels, dims = 3, len(kernel)
    sizes = zip(size, stride, padding, kernel, extra, strict=True)
    made = [(n - 1) * s - 2 * p + k + a for n, s, p, k, a in sizes]
    if min(made) < 1:
        return None
    shapes = (2, channels, *size), (channels, 1, *kernel), (channels,), (2, channels, *made)
    x, weight, bias, grad = (torch.randn(shape, dtype=dtype) for shape in shapes)
    geometry = Geometry(stride, padding, extra, channels, (1,) * dims)
    return laid(x, last), weight, bias, geometry, laid(grad, last)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("size", [(3, 4, 2), (1, 2, 3), (2, 1, 1)])
@pytest.mark.parametrize("stride", [(1, 1, 1), (2, 2, 2), (1, 2, 2), (3, 2, 1), (2, 1, 3)])
def test_volumes_are_pytorchs_for_every_multiple_of_the_stride(stride, size, last):
    kernels = product((1, 3, 4, 6, 9), (2, 4), (3, 4, 6))
    paddings = [*product((0, 1, 3, 4), (0, 1), (0, 2))]
    extras = [(0, 0, 0), *([] if max(stride) == 1 else [tuple(s - 1 for s in stride)])]
    seen = 0
    for kernel, padding, extra in product(kernels, paddings, extras):
        given = call(kernel, stride, padding, extra, size, last)
        if given is None or not is_volume(given[1], given[3]):
            continue
        x, weight, bias, geometry, grad = given
        if seen % 2:  # Those of one input are worth a look, too.
            x, grad = x[:1], grad[:1]
        for offset in (bias, None):
            made, wanted = (
                volume(x, weight, offset, geometry),
                transposed(x, weight, offset, geometry),
            )
            torch.testing.assert_close(made, wanted, rtol=0, atol=1e-12)
            assert not made._is_view()
        pair = [
            gradients(grad, x, weight, geometry, (True, True))
            for gradients in (volume_gradients, transposed_gradients)
        ]
        for ours, theirs in zip(*pair, strict=True):
            assert ours.shape == theirs.shape
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-11)
        seen += 1
    assert seen > (20 if size == (3, 4, 2) else 5)


@pytest.mark.parametrize(
    ("kernel", "facts"),
    [
        ((3, 4, 4), {}),
        ((4, 4), {"stride": (2, 2), "padding": (1, 1), "output_padding": (0, 0)}),
        ((4, 4, 4), {"dilation": (1, 2, 1)}),
        ((4, 4, 4), {"padding": (1, 4, 1)}),
        ((4, 4, 4), {"padding": (0, 0, 0), "output_padding": (1, 0, 0)}),
    ],
)
def test_what_is_no_volume_is_told(kernel, facts):
    geometry = Geometry((2, 2, 2), (1, 1, 1), (1, 1, 1), 8, (1, 1, 1))
    assert is_volume(torch.empty(8, 1, 4, 4, 4), geometry)
    assert not is_volume(torch.empty(8, 1, *kernel), geometry._replace(**facts))


@pytest.mark.parametrize("wanted", list(product([False, True], repeat=2)))
@pytest.mark.parametrize("last", [False, True])
def test_only_the_gradients_that_are_wanted_are_computed(wanted, last):
    x, weight, _, geometry, grad = call((2, 2, 2), (2, 2, 2), (0, 0, 0), last=last)
    found = volume_gradients(grad, x, weight, geometry, wanted)
    assert tuple(each is not None for each in found) == wanted


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("stride", [(2,), (3,), (2, 3), (1, 2), (4, 4), (2, 2, 2), (1, 2, 3)])
def test_a_product_is_the_transposed_convolution_whose_kernel_is_the_stride(stride, batch, last):
    dims = len(stride)
    x, weight, bias, geometry, _ = call(
        stride, stride, (0,) * dims, (0,) * dims, (3, 4, 2)[:dims], last, SINGLE
    )
    assert is_product(weight, geometry)
    for offset in (bias, None):
        made = as_product(x[:batch], weight, offset, geometry)
        wanted = bias_apart(x[:batch], weight, offset, geometry)
        torch.testing.assert_close(made, wanted, rtol=1e-6, atol=1e-6)
        assert not made._is_view()
        assert made.stride() == laid(made, last).stride(), "the memory format of the input"


@pytest.mark.parametrize(
    ("kernel", "facts"),
    [
        ((3, 3), {}),
        ((2, 2), {"padding": (1, 0)}),
        ((2, 2), {"output_padding": (0, 1)}),
        ((2, 2), {"dilation": (1, 2)}),
    ],
)
def test_what_is_no_product_is_told(kernel, facts):
    geometry = Geometry((2, 2), (0, 0), (0, 0), 8, (1, 1))
    assert is_product(torch.empty(8, 1, 2, 2), geometry)
    assert not is_product(torch.empty(8, 1, *kernel), geometry._replace(**facts))


FORMS = [((2, 2, 2), (2, 2, 2), 0), ((2, 4, 4), (1, 2, 2), 1), ((3, 2, 3), (1, 1, 1), 1)]


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_volumes_have_second_forward_and_batched_derivatives(form, last):
    kernel, stride, p = form
    x, weight, bias, geometry, _ = call(kernel, stride, (p,) * 3, size=(2, 2, 1))
    way = Way(as_product if kernel == stride else volume, volume_gradients)

    def layer(x, *rest):
        return dispatch._ConvTranspose.apply(laid(x, last), *rest, geometry, way)

    inputs = [each.requires_grad_() for each in (x, weight, bias)]
    assert gradcheck(
        layer,
        inputs,
        check_forward_ad=True,
        check_batched_grad=True,
        check_batched_forward_grad=True,
    )
    assert gradgradcheck(layer, inputs, check_fwd_over_rev=True)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("form", [*FORMS, ((4, 4, 4), (2, 2, 2), 1)])
def test_in_bfloat16_the_output_is_rounded_once_and_the_gradient_little_more(form, last):
    kernel, stride, p = form
    given = call(kernel, stride, (p,) * 3, size=(12, 5, 6), last=last, dtype=LOW)
    x, weight, bias, geometry, grad = given
    way = as_product if kernel == stride else volume
    made = way(x, weight, bias, geometry)
    exact = transposed(*(each.double() for each in (x, weight, bias)), geometry)
    assert made.dtype == LOW
    assert (made.double() - exact).abs().le(2**-8 * exact.abs() + 1e-5).all()  # Half a unit.
    _, found = volume_gradients(grad, x, weight, geometry, (False, True))
    doubles = (each.double() for each in (grad, x, weight))
    _, exact = transposed_gradients(*doubles, geometry, (False, True))
    assert found.dtype == LOW
    assert (found.double() - exact).abs().max() <= 2**-7 * exact.abs().max()


def deep(channels, size, kernel=2, stride=2, padding=0, batch=1, **options):
    return {
        "shape": (batch, channels, *(size,) * 3),
        "axes": (kernel, stride, padding),
        **options,
    }


PLAIN = Way()
SOLID, PRODUCT = Way(volume, transposed_gradients), Way(as_product, transposed_gradients)
APART, ROUNDED = Way(volume, volume_gradients), Way(in_float32, transposed_gradients)
K4 = {"kernel": 4, "padding": 1}
K3 = {"kernel": 3, "stride": 1, "padding": 1}
# Of three axes, by what decides: the way in training, and without AVX-512 where another is taken.
CHOICES = [
    ("k2 s2", deep(8, 21), PRODUCT),
    ("k2 s2, small", deep(8, 20), PLAIN),
    ("k2 s2, small, inference", deep(8, 20, grad=False), Way(as_product)),
    ("k2 s2, small, bfloat16", deep(8, 9, dtype=LOW), PRODUCT),
    ("k2 s2, small, bfloat16, 7", deep(7, 20, dtype=LOW), PLAIN),
    ("k2 s2, too small", deep(8, 7, dtype=LOW), PLAIN),
    ("k2 s2, less large", deep(16, 31), PRODUCT),
    ("k2 s2, large", deep(16, 32), Way(as_product, volume_gradients)),
    ("k2 s2, large, channels last", deep(16, 32, last=True), Way(as_product, volume_gradients)),
    ("k2 s2, bfloat16", deep(16, 16, dtype=LOW), Way(as_product, volume_gradients), PRODUCT),
    ("k4 s2", deep(8, 21, **K4), SOLID),
    ("k4 s2, small", deep(8, 20, **K4), PLAIN),
    ("k4 s2, small, inference", deep(8, 11, **K4, grad=False), Way(volume)),
    ("k4 s2, smaller, inference", deep(8, 10, **K4, grad=False), PLAIN),
    ("k4 s2, channels last", deep(16, 21, **K4, last=True), SOLID),
    ("k4 s2, channels last, 15", deep(15, 21, **K4, last=True), PLAIN),
    ("k4 s2, channels last, small", deep(128, 7, **K4, last=True, grad=False), PLAIN),
    ("k4 s2, channels last, 7, bfloat16", deep(7, 21, **K4, last=True, dtype=LOW), PLAIN),
    ("k4 s2, channels last, 8, bfloat16", deep(8, 21, **K4, last=True, dtype=LOW),
     ROUNDED),
    ("k4 s2, large", deep(32, 21, **K4), APART),
    ("k4 s2, less large", deep(32, 20, **K4), SOLID),
    ("k6 s3, large", deep(64, 21, 6, 3, 1), APART),
    ("k6 s3, less large", deep(64, 20, 6, 3, 1), SOLID),
    ("k4 s2, large, channels last", deep(16, 32, **K4, last=True), SOLID),
    ("k4 s2, bfloat16", deep(64, 16, **K4, dtype=LOW), APART, SOLID),
    ("k4 s2, bfloat16, channels last", deep(32, 16, **K4, dtype=LOW, last=True), APART, SOLID),
    ("k3 s1", deep(8, 17, **K3), SOLID),
    ("k3 s1, channels last", deep(8, 17, **K3, last=True), SOLID),
    ("k3 s1, small", deep(8, 15, **K3), PLAIN),
    ("k3 s1, large", deep(32, 16, **K3), APART),
    ("k3 s1, bfloat16", deep(16, 16, **K3, dtype=LOW), APART, PLAIN),
    ("k5 s1, large", deep(8, 32, 5, 1, 2), APART),
    ("k5 s1, large, 7", deep(7, 43, 5, 1, 2), SOLID),
    ("k5 s1, large, channels last", deep(16, 32, 5, 1, 2, last=True), SOLID),
    ("k5 s1, large, channels last, bfloat16", deep(16, 32, 5, 1, 2, last=True, dtype=LOW), SOLID,
     PLAIN),
    ("k3 s2", deep(16, 32, 3, 2, 1), PLAIN),
]  # fmt: skip


@pytest.mark.parametrize("wide", [True, False], ids=["AVX-512", "AVX2"])
@pytest.mark.parametrize("row", CHOICES, ids=[row[0] for row in CHOICES])
def test_the_way_of_volumes_is_chosen_by_these_facts(row, wide, monkeypatch):
    monkeypatch.setattr(ways, "has_wide_registers", lambda: wide)
    facts, chosen = row[1], row[2 if wide else -1]
    shape, dtype = facts["shape"], facts.get("dtype", SINGLE)
    kernel, stride, padding = ((n,) * 3 for n in facts["axes"])
    torch.manual_seed(0)
    x = laid(torch.randn(shape, dtype=dtype), facts.get("last"))
    weight = torch.randn(shape[1], 1, *kernel, dtype=dtype)
    geometry = Geometry(stride, padding, (0,) * 3, shape[1], (1,) * 3)
    given = [each.requires_grad_(facts.get("grad", True)) for each in (x, weight)]
    assert dispatch._choose(*given, None, geometry) == chosen
    pair = [way(*given, None, geometry) for way in (conv_transpose, transposed)]
    bound = 3e-2 if dtype == LOW else 1e-5
    assert (pair[0] - pair[1]).abs().max() <= bound * pair[1].abs().max()
    if facts.get("grad", True):
        cotangent = torch.randn_like(pair[1])
        found, wanted = (torch.autograd.grad(each, given, cotangent) for each in pair)
        for ours, theirs in zip(found, wanted, strict=True):
            assert (ours - theirs).abs().max() <= 4 * bound * theirs.abs().max()


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(
    ("axes", "chosen"), [((2, 2, 0), as_product), ((4, 2, 1), volume), ((3, 1, 1), volume)]
)
def test_transforms_of_whole_calls_give_what_they_give_for_pytorchs_call(axes, chosen, last):
    kernel, stride, padding = ((n,) * 3 for n in axes)
    geometry = Geometry(stride, padding, (0,) * 3, 16, (1,) * 3)
    torch.manual_seed(0)
    inputs = laid(torch.randn(2, 16, 16, 16, 16), last), torch.randn(16, 1, *kernel)
    inputs = *inputs, torch.randn(16)
    assert dispatch._choose(*inputs, geometry).forward == chosen
    calls = [lambda *each, way=way: way(*each, geometry) for way in (conv_transpose, transposed)]
    pairs = zip(*(transformed(call, *inputs) for call in calls), strict=True)
    for (ours, name), (theirs, _) in pairs:
        assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max(), name


def compiled(layer, inputs):
    """Compile the layer with dynamic sizes, compare it for each input, and return its graphs."""
    torch._dynamo.reset()
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph.forward

    made, dtype = torch.compile(layer, backend=backend, dynamic=True), layer.weight.dtype
    for x in inputs:
        y, exact = made(x), layer.double()(x.double())
        layer.to(dtype)
        assert (y - exact).abs().max() <= (1e-6 if dtype == SINGLE else 2**-8) * exact.abs().max()
    return graphs


@pytest.mark.slow
@pytest.mark.skipif(TORCH < (2, 7), reason="layers are compiled as PyTorch's there")
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("kernel", [2, 4])
def test_compiled_in_float32_those_whose_kernel_is_the_stride_are_products_of_any_size(
    kernel, last
):
    layer = AutoConvTranspose2d(8, 8, 16, 32, kernel_size=kernel, stride=2, groups=8)
    sizes = (2, 16), (3, 40), (4, 64)
    (graph,) = compiled(layer, [laid(torch.randn(n, 8, m, m), last) for n, m in sizes])
    products = [node for node in graph.graph.nodes if node.target is torch.addcmul]
    assert len(products) == (kernel == 2)


@pytest.mark.slow
@pytest.mark.skipif(TORCH < (2, 7), reason="layers are compiled as PyTorch's there")
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(("channels", "dtype"), [(8, SINGLE), (8, LOW), (7, SINGLE)])
def test_compiled_volumes_of_stride_1_are_convolutions_of_any_size(channels, dtype, last):
    options = {"kernel_size": 3, "stride": 1, "groups": channels, "dtype": dtype}
    layer = AutoConvTranspose3d(channels, channels, 8, 8, **options)
    shapes = [(n, channels, m, m, m) for n, m in ((2, 10), (3, 12), (4, 6))]
    (graph,) = compiled(layer, [laid(torch.randn(shape, dtype=dtype), last) for shape in shapes])
    targets = [node.target for node in graph.graph.nodes]
    assert (torch.conv3d in targets) == (channels == 8 and dtype == SINGLE)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("axes", [(2, 2, 0), (4, 2, 1), (3, 1, 1)])
def test_volumes_of_a_single_input_tell_that_channels_lie_last(axes, training):
    kernel, stride, padding = ((n,) * 3 for n in axes)
    x, weight = laid(torch.randn(1, 16, 17, 17, 17), last=True), torch.randn(16, 1, *kernel)
    geometry = Geometry(stride, padding, (0,) * 3, 16, (1,) * 3)
    given = x, weight.requires_grad_(training), None, geometry
    assert dispatch._choose(*given).forward in (as_product, volume)
    assert conv_transpose(*given).stride() == transposed(*given).stride()


def test_vmap_over_single_inputs_warns_of_nothing():
    """It would of strides that are set anew, which it does one by one."""
    geometry = Geometry((2, 2, 2), (0, 0, 0), (0, 0, 0), 16, (1, 1, 1))
    x, weight = laid(torch.randn(1, 16, 9, 9, 9), last=True), torch.randn(2, 16, 1, 2, 2, 2)
    assert dispatch._choose(x, weight[0], None, geometry).forward == as_product
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = torch.func.vmap(lambda each: conv_transpose(x, each, None, geometry))(weight)
    for each, kernel in zip(made, weight, strict=True):
        torch.testing.assert_close(each, transposed(x, kernel, None, geometry))
