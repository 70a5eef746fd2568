"""Which way a transposed convolution is computed: PyTorch's, or another where that is faster.

Several things are slow in oneDNN, which computes it on the CPU:

- The bias, of depthwise layers, and at stride 1 where channels lie first: several times as long as
  the rest. ``bias_apart`` adds it behind.
- Depthwise layers in bfloat16 and of volumes, and the gradients of their larger kernels: see
  ``depthwise`` and ``volumes``.
- The bias' gradient, where channels lie last, and in bfloat16: as long as the rest of the backward
  pass. The Function below leaves that sum to PyTorch.
- One to four output channels, which leave most of a vector register empty, and the copies between
  memory formats where channels lie first. ``subpixel`` fills the registers, and copies once.
- The weight's gradient without AVX-512: up to three times as long as the product that it is.
- One pixel, for which ``one_pixel`` is a product.
"""

from inspect import signature
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from autoup.layers import ways
from autoup.layers.depthwise import in_float32, is_depthwise
from autoup.layers.depthwise_ways import of_compiled_depthwise, of_depthwise
from autoup.layers.one_pixel import from_one_pixel, is_whole
from autoup.layers.plain import Geometry, bias_apart, transposed, transposed_gradients
from autoup.layers.subpixel import FEW, is_subpixel, lies_last, subpixel, subpixel_gradients
from autoup.layers.ways import APART, PLAIN, VALUES, Call, Way
from autoup.versions import is_exporting

# From where on another way wins, by what benchmarks/growth.py and speed.py measure.
_PIXELS = 2**15  # of the output, over the batch: below, the set-up costs what is won
_BODY = 2**17  # values of the output, for inference: below, oneDNN's copies cost less than ours
_LARGE = 2**21  # values of the output, in training: below, what is won is lost to the caches
_PLANE = 2**8  # pixels of one input: below, a product for each is too narrow
_WIDE = 2**14  # pixels of one input: above, BLAS reads the weight's gradient from too far apart
_DEEP = 2**9  # channels of the input: from here on all but the product is small
_SHALLOW = 2**5  # channels of the input: below, no gradient is slower than the product
_EXACT = Tensor, nn.Parameter  # Subclasses may mean something else by the same calls.


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


def _choose(input: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Way:
    if not _is_plain_call(input, weight, geometry):
        return PLAIN
    if torch.compiler.is_compiling():
        return _of_compiled(input, weight, bias, geometry)
    plane = prod(input.shape[2:])
    pixels = input.shape[0] * plane * prod(weight.shape[2:] if plane == 1 else geometry.stride)
    values = pixels * weight.shape[1] * geometry.groups
    if plane > 1 and values < APART:  # Most calls end here; _PIXELS is no smaller.
        return PLAIN
    trained = torch.is_grad_enabled() and any(
        each is not None and each.requires_grad for each in (input, weight, bias)
    )
    call = Call(pixels, values, plane, input.is_contiguous(), trained)
    if plane > 1 and not _may_pay(input, weight, bias, geometry, call):
        return PLAIN
    dtype = _precision(input, weight, bias)
    if dtype is None or (plane > 1 and _has_no_memory_format(input, weight)):
        return PLAIN
    way = (_of_one_pixel if plane == 1 else _of_picture)(weight, bias, geometry, call, dtype)
    if not trained:
        way = Way(way.forward)
    if way != PLAIN and not (dtype == input.dtype == weight.dtype):
        way = way._replace(cast=dtype)
    return way


def _of_compiled(input: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Way:
    """Heads and some depthwise layers go another way; what is large is put channels last.

    No size is asked for but that of a head, for each binds what is compiled: depthwise layers go
    their way at every size.
    """
    if is_depthwise(weight, geometry):
        dtype = _precision(input, weight, bias)
        way = PLAIN if dtype is None else of_compiled_depthwise(weight, geometry, dtype)
        any_format = way.forward is in_float32
        return way if any_format or not _has_no_memory_format(input, weight) else PLAIN
    if not _has_few_channels(weight, geometry):
        return PLAIN
    plane = prod(input.shape[2:])
    if plane == 1 or input.shape[0] * plane * prod(geometry.stride) < _PIXELS:
        return PLAIN
    if _precision(input, weight, bias) is None or _has_no_memory_format(input, weight):
        return PLAIN
    return Way(subpixel) if is_subpixel(weight, geometry) else PLAIN


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


def _has_slow_bias(bias: Tensor | None, geometry: Geometry, call: Call) -> bool:
    """Whether it takes as long as the rest, besides those of depthwise layers."""
    return bias is not None and call.values >= APART and call.first and max(geometry.stride) == 1


def _may_pay(
    input: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry, call: Call
) -> bool:
    """Whether it is worth to look closer, which takes microseconds."""
    if call.trained and call.values >= VALUES:
        return True
    if is_depthwise(weight, geometry):  # Else the bias alone, or from here on a gradient, is slow.
        slow = bias is not None or len(geometry.stride) == 3 or input.dtype != torch.float32
        learns = call.trained and call.values >= VALUES // 2
        return slow or learns or torch.is_autocast_enabled("cpu")
    if call.first and not call.trained and call.values >= _BODY and call.plane >= _PLANE:
        return True
    few = call.pixels >= _PIXELS and _has_few_channels(weight, geometry)
    return few or _has_slow_bias(bias, geometry, call)


def _has_no_memory_format(input: Tensor, weight: Tensor) -> bool:
    """Whether the input is dense in none, or PyTorch would change it for that of the weight."""
    if input.shape[1] == 1:  # In both.
        return True
    if input.is_contiguous():
        return lies_last(input, weight)
    return not input.movedim(1, -1).is_contiguous()


def _of_one_pixel(
    weight: Tensor, bias: Tensor | None, geometry: Geometry, call: Call, dtype: torch.dtype
) -> Way:
    depthwise = is_depthwise(weight, geometry)
    if is_whole(geometry) and (geometry.groups == 1 or (depthwise and call.trained)):
        return Way(from_one_pixel)
    if depthwise and call.values >= APART:
        return of_depthwise(weight, bias, geometry, call, dtype)
    return Way(bias_apart) if _has_slow_bias(bias, geometry, call) else PLAIN


def _of_picture(
    weight: Tensor, bias: Tensor | None, geometry: Geometry, call: Call, dtype: torch.dtype
) -> Way:
    if is_depthwise(weight, geometry):
        return of_depthwise(weight, bias, geometry, call, dtype)
    if _has_slow_bias(bias, geometry, call):
        return Way(bias_apart)
    learns = bias is not None and bias.requires_grad
    split = learns and call.values >= VALUES and (not call.first or dtype == torch.bfloat16)
    low = products = False
    if is_subpixel(weight, geometry):
        if weight.shape[1] <= FEW:
            low = call.pixels >= _PIXELS
        elif tuple(weight.shape[2:]) == geometry.stride and not any(geometry.padding):
            low, products = _of_body(len(weight), call, dtype)
    gradients = subpixel_gradients if products else transposed_gradients if low or split else None
    return Way(subpixel if low else transposed, gradients)


def _of_body(channels: int, call: Call, dtype: torch.dtype) -> tuple[bool, bool]:
    """Return whether by ``subpixel``, and whether the gradients are products."""
    if dtype == torch.bfloat16 or call.plane < _PLANE:
        return False, False
    products = call.trained and call.values >= VALUES and not ways.has_wide_registers()
    products = products and channels >= _SHALLOW and not (call.first and call.plane >= _WIDE)
    large = call.values >= _LARGE or not call.trained or products
    return call.first and channels < _DEEP and large, products


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
        input: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry, way: Way
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
