"""Which way a transposed convolution is computed: PyTorch's, or another where that is faster.

Several things are slow in oneDNN, which computes it on the CPU:

- The bias, of depthwise layers, and at stride 1 where channels lie first: several times as long as
  the rest. ``bias_apart`` adds it behind.
- Depthwise layers in bfloat16, and the gradients of their larger kernels: see ``depthwise``.
- The bias' gradient, where channels lie last, and in bfloat16: as long as the rest of the backward
  pass. The Function below leaves that sum to PyTorch.
- One to four output channels, which leave most of a vector register empty, and the copies between
  memory formats where channels lie first. ``subpixel`` fills the registers, and copies once.
- The weight's gradient without AVX-512: up to three times as long as the product that it is.
- One pixel, for which ``one_pixel`` is a product.
"""

from collections.abc import Callable
from functools import cache
from inspect import signature
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from autoup.layers.depthwise import (
    depthwise_gradients,
    has_slow_gradient,
    in_float32,
    is_depthwise,
)
from autoup.layers.one_pixel import from_one_pixel, is_whole
from autoup.layers.plain import (
    Geometry,
    Gradients,
    bias_apart,
    transposed,
    transposed_gradients,
)
from autoup.layers.subpixel import FEW, is_subpixel, lies_last, subpixel, subpixel_gradients
from autoup.versions import is_exporting

# From where on another way wins, by what benchmarks/growth.py and speed.py measure.
_PIXELS = 2**15  # of the output, over the batch: below, the set-up costs what is won
_VALUES = 2**19  # values of the output: below, so does a backward pass called from Python
_BODY = 2**17  # values of the output, for inference: below, oneDNN's copies cost less than ours
_LARGE = 2**21  # values of the output, in training: below, what is won is lost to the caches
_PLANE = 2**8  # pixels of one input: below, a product for each is too narrow
_WIDE = 2**14  # pixels of one input: above, BLAS reads the weight's gradient from too far apart
_DEEP = 2**9  # channels of the input: from here on all but the product is small
_APART = 2**15  # values of the output: below, adding the bias apart costs what is won
_SHALLOW = 2**5  # channels of the input: below, no gradient is slower than the product
_VECTOR = 2**3  # channels of a depthwise layer: below, registers stay empty in most of its ways
_PAIRS = 2**17  # values of the input: below, taking a gradient apart always costs what is won


def conv_transpose(
    input: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry
) -> Tensor:
    """Return the transposed convolution, computed in the fastest way known for it.

    The numbers are the same up to rounding, in the memory format of the input. Sizes, memory
    format and dtype decide, and whether gradients are wanted. Traced, exported, off the CPU and in
    other precisions than float32 and bfloat16 it is PyTorch's call.

    Example:
        >>> x, weight = torch.ones(1, 2, 3), torch.ones(2, 1, 2)
        >>> conv_transpose(x, weight, None, Geometry((2,), (0,), (0,), 1, (1,)))
        tensor([[[2., 2., 2., 2., 2., 2.]]])
    """
    way = _choose(input, weight, bias, geometry)
    if way.cast is not None:  # As autocast does.
        input, weight = input.to(way.cast), weight.to(way.cast)
        bias = None if bias is None else bias.to(way.cast)
    if way.gradients is not None:
        return _ConvTranspose.apply(input, weight, bias, geometry, way)  # pyright: ignore
    return way.forward(input, weight, bias, geometry)


class _Way(NamedTuple):
    """How it is computed.

    Attributes:
        forward: By what.
        gradients: By what those of input and weight are, in the Function below, which leaves the
            bias out of it; None where PyTorch's derivative of ``forward`` is as fast.
        cast: To what the tensors are cast first.
    """

    forward: Callable[[Tensor, Tensor, Tensor | None, Geometry], Tensor] = transposed
    gradients: Callable[..., Gradients] | None = None
    cast: torch.dtype | None = None


_PLAIN = _Way()
_EXACT = Tensor, nn.Parameter  # Subclasses may mean something else by the same calls.


class _Call(NamedTuple):
    """What decides besides the geometry; sizes are those of the output, over the batch."""

    pixels: int
    values: int
    plane: int  # Pixels of one input.
    first: bool  # Whether channels lie first.
    trained: bool


def _choose(input: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> _Way:
    if not _is_plain_call(input, weight, geometry):
        return _PLAIN
    if torch.compiler.is_compiling():
        return _of_compiled(input, weight, bias, geometry)
    plane = prod(input.shape[2:])
    pixels = input.shape[0] * plane * prod(weight.shape[2:] if plane == 1 else geometry.stride)
    values = pixels * weight.shape[1] * geometry.groups
    if plane > 1 and values < _APART:  # Most calls end here; _PIXELS is no smaller.
        return _PLAIN
    trained = torch.is_grad_enabled() and any(
        each is not None and each.requires_grad for each in (input, weight, bias)
    )
    call = _Call(pixels, values, plane, input.is_contiguous(), trained)
    if plane > 1 and not _may_pay(weight, bias, geometry, call):
        return _PLAIN
    dtype = _precision(input, weight, bias)
    if dtype is None or (plane > 1 and _has_no_memory_format(input, weight)):
        return _PLAIN
    way = (_of_one_pixel if plane == 1 else _of_picture)(weight, bias, geometry, call, dtype)
    if not trained:
        way = _Way(way.forward)
    if way != _PLAIN and not (dtype == input.dtype == weight.dtype):
        way = way._replace(cast=dtype)
    return way


def _of_compiled(input: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> _Way:
    """Heads and depthwise bfloat16 alone go another way; what is large is put channels last.

    No size is asked for but that of a head, for each binds what is compiled: bfloat16 goes its way
    at every size.
    """
    if is_depthwise(weight, geometry) and len(weight) >= _VECTOR and max(geometry.stride) > 1:
        low = _precision(input, weight, bias) == torch.bfloat16
        return _Way(in_float32) if low else _PLAIN
    if not _has_few_channels(weight, geometry):
        return _PLAIN
    plane = prod(input.shape[2:])
    if plane == 1 or input.shape[0] * plane * prod(geometry.stride) < _PIXELS:
        return _PLAIN
    if _precision(input, weight, bias) is None or _has_no_memory_format(input, weight):
        return _PLAIN
    return _Way(subpixel) if is_subpixel(weight, geometry) else _PLAIN


def _is_plain_call(input: Tensor, weight: Tensor, geometry: Geometry) -> bool:
    """Whether numbers are computed, of a batch that fits; sizes are asked for last.

    A graph that is exported would be bound to them.
    """
    return (
        type(input) is Tensor
        and not torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]
        and not is_exporting()
        and input.ndim == len(geometry.stride) + 2
        and input.shape[1] == weight.shape[0]
    )


def _has_few_channels(weight: Tensor, geometry: Geometry) -> bool:
    return weight.shape[1] * geometry.groups <= FEW and max(geometry.stride) > 1


def _has_slow_bias(bias: Tensor | None, geometry: Geometry, call: _Call) -> bool:
    """Whether it takes as long as the rest, besides those of depthwise layers."""
    return bias is not None and call.values >= _APART and call.first and max(geometry.stride) == 1


def _may_pay(weight: Tensor, bias: Tensor | None, geometry: Geometry, call: _Call) -> bool:
    """Whether it is worth to look closer, which takes microseconds."""
    if call.trained and call.values >= _VALUES:
        return True
    if call.first and not call.trained and call.values >= _BODY and call.plane >= _PLANE:
        return True
    few = call.pixels >= _PIXELS and _has_few_channels(weight, geometry)
    return few or is_depthwise(weight, geometry) or _has_slow_bias(bias, geometry, call)


def _has_no_memory_format(input: Tensor, weight: Tensor) -> bool:
    """Whether the input is dense in none, or PyTorch would change it for that of the weight."""
    if input.shape[1] == 1:  # In both.
        return True
    if input.is_contiguous():
        return lies_last(input, weight)
    return not input.movedim(1, -1).is_contiguous()


def _of_one_pixel(
    weight: Tensor, bias: Tensor | None, geometry: Geometry, call: _Call, dtype: torch.dtype
) -> _Way:
    depthwise = is_depthwise(weight, geometry)
    if is_whole(geometry) and (geometry.groups == 1 or (depthwise and call.trained)):
        return _Way(from_one_pixel)
    if depthwise and call.values >= _APART:
        return _of_depthwise(weight, bias, geometry, call, dtype)
    return _Way(bias_apart) if _has_slow_bias(bias, geometry, call) else _PLAIN


def _of_depthwise(
    weight: Tensor, bias: Tensor | None, geometry: Geometry, call: _Call, dtype: torch.dtype
) -> _Way:
    forward, gradients = transposed, None
    slow = dtype == torch.bfloat16 and max(geometry.stride) > 1
    if slow and (len(weight) >= _VECTOR or not call.first):
        forward, gradients = in_float32, transposed_gradients  # Which keep no copies in float32.
    elif bias is not None and (call.trained or not slow):
        forward = bias_apart
    if call.trained and weight.requires_grad and _pays_by_pairs(weight, geometry, call, dtype):
        gradients = depthwise_gradients
    return _Way(forward, gradients)


def _pays_by_pairs(weight: Tensor, geometry: Geometry, call: _Call, dtype: torch.dtype) -> bool:
    """Whether the weight's gradient is taken apart, by the values of the input."""
    if call.plane == 1 or len(weight) < _VECTOR or not has_slow_gradient(weight, geometry):
        return False
    values = call.pixels // prod(geometry.stride) * len(weight)
    low = dtype == torch.bfloat16
    if low and not has_wide_registers():
        return False
    if call.first:
        return values >= (_PAIRS if low else 2 * _PAIRS) and call.plane >= 2 * _PLANE
    if low:
        many = max(k // s for k, s in zip(weight.shape[2:], geometry.stride, strict=True)) > 5
        return values >= (4 * _PAIRS if many else _PAIRS)
    return values >= 4 * _PAIRS and max(geometry.stride) > 1


def _of_picture(
    weight: Tensor, bias: Tensor | None, geometry: Geometry, call: _Call, dtype: torch.dtype
) -> _Way:
    if is_depthwise(weight, geometry):
        return _of_depthwise(weight, bias, geometry, call, dtype)
    if _has_slow_bias(bias, geometry, call):
        return _Way(bias_apart)
    learns = bias is not None and bias.requires_grad
    split = learns and call.values >= _VALUES and (not call.first or dtype == torch.bfloat16)
    low = products = False
    if is_subpixel(weight, geometry):
        if weight.shape[1] <= FEW:
            low = call.pixels >= _PIXELS
        elif tuple(weight.shape[2:]) == geometry.stride and not any(geometry.padding):
            low, products = _of_body(len(weight), call, dtype)
    gradients = subpixel_gradients if products else transposed_gradients if low or split else None
    return _Way(subpixel if low else transposed, gradients)


def _of_body(channels: int, call: _Call, dtype: torch.dtype) -> tuple[bool, bool]:
    """Return whether by ``subpixel``, and whether the gradients are products."""
    if dtype == torch.bfloat16 or call.plane < _PLANE:
        return False, False
    products = call.trained and call.values >= _VALUES and not has_wide_registers()
    products = products and channels >= _SHALLOW and not (call.first and call.plane >= _WIDE)
    large = call.values >= _LARGE or not call.trained or products
    return call.first and channels < _DEEP and large, products


@cache
def has_wide_registers() -> bool:
    """Whether the processor has AVX-512, whose gradients oneDNN computes as fast as products.

    Others than x86 processors, where nothing was measured, count as having it.

    Example:
        >>> has_wide_registers() == (torch.backends.cpu.get_cpu_capability() != "AVX2")
        True
    """
    return torch.backends.cpu.get_cpu_capability() != "AVX2"


def _precision(input: Tensor, weight: Tensor, bias: Tensor | None) -> torch.dtype | None:
    """Return in which precision it is computed; None where the ways were not measured."""
    dtypes, offset = (torch.float32, torch.bfloat16), weight if bias is None else bias
    if not input.is_cpu or type(weight) not in _EXACT or type(offset) not in _EXACT:
        return None
    if not {input.dtype, weight.dtype, offset.dtype}.issubset(dtypes):
        return None
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        return None if dtype not in dtypes or torch.compiler.is_compiling() else dtype
    return input.dtype if input.dtype == weight.dtype == offset.dtype else None


class _ConvTranspose(torch.autograd.Function):
    """The transposed convolution; the bias' gradient is a sum of its own."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        input: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry, way: _Way
    ) -> Tensor:
        return way.forward(input, weight, bias, geometry)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:  # noqa: ARG004
        input, weight, _, ctx.geometry, ctx.way = inputs
        ctx.save_for_backward(input, weight)
        ctx.save_for_forward(input, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        *wanted, to_bias, _, _ = ctx.needs_input_grad
        with torch.autocast("cpu", enabled=False):  # As of PyTorch's own backward pass.
            dinput, dweight = ctx.way.gradients(grad, *ctx.saved_tensors, ctx.geometry, wanted)
        dbias = grad.sum((0, *range(2, grad.ndim))) if to_bias else None
        return dinput, dweight, dbias, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        dinput, dweight, dbias, *_ = tangents
        input, weight = ctx.saved_tensors
        made = transposed(dinput, weight, dbias, ctx.geometry)
        return made + transposed(input, dweight, None, ctx.geometry)


# What inspect looks for first: without it `apply` works it out anew at every call, in 40 µs.
_ConvTranspose.forward.__signature__ = signature(_ConvTranspose.forward)
