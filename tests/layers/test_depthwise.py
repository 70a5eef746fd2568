"""Depthwise layers: what is computed in float32, and gradients by pairs of taps."""

from itertools import product

import pytest
import torch
from support.versions import TORCH
from torch.autograd import gradcheck, gradgradcheck
from torch.utils._python_dispatch import TorchDispatchMode

from autoup import AutoConvTranspose2d
from autoup.layers import dispatch, ways
from autoup.layers.depthwise import depthwise_gradients, has_slow_gradient, in_float32
from autoup.layers.plain import Geometry, transposed, transposed_gradients

DOUBLE, LOW = torch.float64, torch.bfloat16


def call(kernel, stride, padding, extra=(0, 0), size=(5, 6), dtype=DOUBLE, channels=3):
    """Return input, weight, geometry, and a gradient of the output; None where there is none."""
    torch.manual_seed(0)
    geometry = Geometry(stride, padding, extra, channels, (1, 1))
    made = [
        (n - 1) * s - 2 * p + k + a
        for n, s, p, k, a in zip(size, stride, padding, kernel, extra, strict=True)
    ]
    if min(made) < 1:
        return None
    x, weight = torch.randn(2, channels, *size, dtype=dtype), torch.randn(channels, 1, *kernel)
    return x, weight.to(dtype), geometry, torch.randn(2, channels, *made, dtype=dtype)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("size", [(5, 6), (1, 2)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (3, 3), (1, 2), (4, 2), (9, 9)])
def test_pairs_of_taps_give_pytorchs_gradients_for_every_kernel_and_padding(stride, size, last):
    kernels = [*product((4, 5, 6), (4, 7, 8)), (2, 3), (8, 8)]
    paddings = [(p, q) for p, q in product(range(5), repeat=2) if abs(p - q) < 2]
    extras = [tuple(min(a, s - 1) for s in stride) for a in (0, 1, 3)]
    seen = 0
    for kernel, padding, extra in product(kernels, paddings, sorted(set(extras))):
        if (given := call(kernel, stride, padding, extra, size)) is None:
            continue
        x, weight, geometry, grad = given
        if last:
            x = x.contiguous(memory_format=torch.channels_last)
        pair = [
            gradients(grad, x, weight, geometry, (True, True))
            for gradients in (depthwise_gradients, transposed_gradients)
        ]
        for ours, theirs in zip(*pair, strict=True):
            assert ours.shape == theirs.shape
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
        seen += 1
    assert seen > (100 if size == (5, 6) else 30)


@pytest.mark.parametrize("wanted", list(product([False, True], repeat=2)))
def test_only_the_gradients_that_are_wanted_are_computed(wanted):
    x, weight, geometry, grad = call((4, 4), (2, 2), (1, 1))
    found = depthwise_gradients(grad, x, weight, geometry, wanted)
    assert tuple(each is not None for each in found) == wanted


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize(("kernel", "stride"), [(4, 2), (5, 1)])
@pytest.mark.parametrize("last", [False, True])
def test_pairs_of_taps_have_second_forward_and_batched_derivatives(kernel, stride, last):
    given = call((kernel, kernel), (stride, stride), (1, 1), size=(3, 3), channels=2)
    x, weight, geometry, _ = given
    way = ways.Way(gradients=depthwise_gradients)

    def layer(x, *rest):
        x = x.movedim(1, -1).contiguous().movedim(-1, 1) if last else x
        return dispatch._ConvTranspose.apply(x, *rest, geometry, way)

    inputs = [each.requires_grad_() for each in (x, weight, torch.randn(2, dtype=DOUBLE))]
    assert gradcheck(
        layer,
        inputs,
        check_forward_ad=True,
        check_batched_grad=True,
        check_batched_forward_grad=True,
    )
    assert gradgradcheck(layer, inputs, check_fwd_over_rev=True)


def test_what_has_no_slow_gradient_is_told():
    geometry = Geometry((2, 2), (1, 1), (0, 0), 8, (1, 1))
    kernels = [(3, 3), (4, 4), (3, 4), (5, 5), (1, 8)]
    slow = [has_slow_gradient(torch.empty(8, 1, *kernel), geometry) for kernel in kernels]
    assert slow == [False, True, False, True, False]
    assert not has_slow_gradient(torch.empty(8, 1, 4), geometry), "signals"
    assert not has_slow_gradient(torch.empty(8, 1, 4, 4, 4), geometry), "volumes"
    assert not has_slow_gradient(torch.empty(8, 1, 4, 4), geometry._replace(dilation=(1, 2)))


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_what_is_computed_in_float32_is_rounded_once(bias, last):
    x, weight, geometry, _ = call((4, 4), (2, 2), (1, 1), dtype=LOW)
    x = x.contiguous(memory_format=torch.channels_last) if last else x
    offset = torch.randn(3, dtype=LOW) if bias else None
    made = in_float32(x, weight, offset, geometry)
    tensors = [None if each is None else each.double() for each in (x, weight, offset)]
    exact = transposed(*tensors, geometry)
    assert made.dtype == LOW
    assert made.stride() == transposed(x, weight, offset, geometry).stride()
    assert (made.double() - exact).abs().le(2**-8 * exact.abs() + 1e-5).all()  # Half a unit.


class Convolved(TorchDispatchMode):
    """Takes down in which precision is convolved."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.convolution.default:
            self.dtypes.append(args[0].dtype)
        return func(*args, **kwargs or {})


@pytest.mark.parametrize("given", [LOW, torch.float32])
@pytest.mark.parametrize("trained", [False, True])
def test_autocast_does_not_take_them_back_to_bfloat16(given, trained):
    layer = AutoConvTranspose2d(8, 8, 64, 128, kernel_size=4, stride=2, groups=8)
    x = torch.randn(1, 8, 64, 64, dtype=given)
    with Convolved() as seen, torch.autocast("cpu", LOW), torch.set_grad_enabled(trained):
        seen.dtypes = []
        made = layer(x)
    assert made.dtype == LOW
    assert seen.dtypes == [torch.float32]


def test_a_kernel_that_is_not_trained_gets_no_gradient_of_its_own():
    x = torch.randn(4, 16, 64, 64, requires_grad=True)
    weight, geometry = torch.randn(16, 1, 4, 4), Geometry((2, 2), (1, 1), (0, 0), 16, (1, 1))
    assert dispatch._choose(x, weight, None, geometry) == ways.Way()
    chosen = dispatch._choose(x, weight.requires_grad_(), None, geometry)
    assert chosen == ways.Way(gradients=depthwise_gradients)


@pytest.mark.slow
@pytest.mark.skipif(TORCH < (2, 7), reason="layers are compiled as PyTorch's there")
@pytest.mark.parametrize(("dtype", "casts"), [(LOW, 3), (torch.float32, 0)])
def test_compiled_in_bfloat16_they_are_computed_in_float32_for_every_size(dtype, casts):
    torch._dynamo.reset()
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph.forward

    layer = AutoConvTranspose2d(8, 8, 16, 32, kernel_size=4, stride=2, groups=8).to(dtype)
    made = torch.compile(layer, backend=backend, dynamic=True)
    for batch, size in ((2, 16), (3, 40), (4, 64)):
        x = torch.randn(batch, 8, size, size, dtype=dtype)
        y, exact = made(x), layer.double()(x.double())
        layer.to(dtype)
        assert y.dtype == dtype
        assert (y - exact).abs().max() <= 2**-7 * exact.abs().max()
    (graph,) = graphs
    assert sum(node.target == "float" for node in graph.graph.nodes) == casts
