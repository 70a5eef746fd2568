"""Which way a transposed convolution is computed: PyTorch's, or another where that is faster.

Several things are slow in oneDNN, which computes it on the CPU:

- The bias, of depthwise layers, and at stride 1 where channels lie first: several times as long as
  the rest. ``_apart`` adds it behind.
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
from torch.nn import functional as F  # noqa: N812

from autoup.layers.one_pixel import from_one_pixel, is_whole
from autoup.layers.subpixel import FEW, Geometry, gradients, is_subpixel, lies_last, subpixel
from autoup.versions import is_exporting

_TRANSPOSED: Any = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}

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
    if way.own:
        return _ConvTranspose.apply(input, weight, bias, geometry, way)  # pyright: ignore
    return way.forward(input, weight, bias, geometry)


def _transposed(input: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    made: Tensor = _TRANSPOSED[len(geometry.stride)](input, weight, bias, *geometry)
    return made


def _apart(input: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """Return the transposed convolution, its bias added behind it."""
    made = _transposed(input, weight, None, geometry)
    return made if bias is None else made + bias.view(-1, *(1,) * len(geometry.stride))


class _Way(NamedTuple):
    """How it is computed: by what; with the Function below; its gradients as products; cast."""

    forward: Callable[[Tensor, Tensor, Tensor | None, Geometry], Tensor] = _transposed
    own: bool = False
    gradients: bool = False
    cast: torch.dtype | None = None


_PLAIN = _Way()
_EXACT = Tensor, nn.Parameter  # Subclasses may mean something else by the same calls.


def _choose(input: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> _Way:
    if not _is_plain_call(input, weight, geometry):
        return _PLAIN
    channels, even = weight.shape[1] * geometry.groups, max(geometry.stride) == 1
    few = channels <= FEW and not even
    compiled = torch.compiler.is_compiling()  # Then only heads; what is large lies channels last.
    if compiled and not few:  # Before a size is asked for, as above.
        return _PLAIN
    plane = prod(input.shape[2:])
    each = weight.shape[2:] if plane == 1 else geometry.stride
    pixels = input.shape[0] * plane * prod(each)
    values, few = pixels * channels, few and pixels >= _PIXELS
    if not few and plane > 1 and (compiled or values < _APART):
        return _PLAIN
    first, trained = input.is_contiguous(), torch.is_grad_enabled()
    learns = trained and bias is not None and bias.requires_grad
    trained = learns or (trained and (input.requires_grad or weight.requires_grad))
    apart = not compiled and bias is not None and values >= _APART
    apart = apart and ((even and first) or _is_depthwise(weight, geometry))
    wide = not few and _is_large(values, plane, first, trained)
    if not (few or apart or wide or plane == 1):
        return _PLAIN
    dtype = _precision(input, weight, bias)
    if dtype is None:
        return _PLAIN
    if plane == 1:
        way = _PLAIN if compiled else _of_one_pixel(weight, geometry, trained, apart)
    elif _has_no_memory_format(input, weight):
        return _PLAIN
    elif apart and not few:
        way = _Way(_apart if even or trained or dtype != torch.bfloat16 else _transposed)
    elif compiled:
        way = _Way(subpixel if is_subpixel(weight, geometry) else _transposed)
    else:
        way = _of_picture(input, weight, learns, geometry, dtype, pixels, trained)
    if not trained:
        way = _Way(way.forward)
    if dtype != input.dtype or dtype != weight.dtype:
        way = way._replace(cast=dtype)
    return way if way.own or way.forward is not _transposed else _PLAIN


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


def _is_large(values: int, plane: int, first: bool, trained: bool) -> bool:
    if trained:
        return values >= _VALUES
    return first and values >= _BODY and plane >= _PLANE


def _is_depthwise(weight: Tensor, geometry: Geometry) -> bool:
    return weight.shape[1] == 1 and weight.shape[0] == geometry.groups > 1


def _has_no_memory_format(input: Tensor, weight: Tensor) -> bool:
    """Whether the input is dense in none, or PyTorch would change it for that of the weight."""
    if input.shape[1] == 1:  # In both.
        return True
    if input.is_contiguous():
        return lies_last(input, weight)
    return not input.movedim(1, -1).is_contiguous()


def _of_one_pixel(weight: Tensor, geometry: Geometry, trained: bool, apart: bool) -> _Way:
    alone = _is_depthwise(weight, geometry)
    if is_whole(geometry) and (geometry.groups == 1 or (alone and trained)):
        return _Way(from_one_pixel)
    return _Way(_apart) if apart else _PLAIN


def _of_picture(
    input: Tensor,
    weight: Tensor,
    learns: bool,  # The bias.
    geometry: Geometry,
    dtype: torch.dtype,
    pixels: int,
    trained: bool,
) -> _Way:
    """Return how a call is computed that is large enough for some way."""
    first, plane, channels = input.is_contiguous(), prod(input.shape[2:]), input.shape[1]
    values = pixels * weight.shape[1] * geometry.groups
    able = max(geometry.stride) > 1 and is_subpixel(weight, geometry)
    split = learns and values >= _VALUES and (not first or dtype == torch.bfloat16)
    if weight.shape[1] <= FEW:
        low = able and pixels >= _PIXELS
        return _Way(subpixel if low else _transposed, low or split)
    body = able and tuple(weight.shape[2:]) == geometry.stride and not any(geometry.padding)
    body = body and dtype != torch.bfloat16 and plane >= _PLANE
    gradients = body and values >= _VALUES and not has_wide_registers()
    gradients = gradients and channels >= _SHALLOW and not (first and plane >= _WIDE)
    low = body and first and channels < _DEEP
    low = low and (not trained or gradients or values >= _LARGE)
    return _Way(subpixel if low else _transposed, low or gradients or split, gradients)


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
        to_input, to_weight, to_bias, *_ = ctx.needs_input_grad
        stride, padding, output_padding, groups, dilation = ctx.geometry
        if ctx.way.gradients:
            input, weight = ctx.saved_tensors
            with torch.autocast("cpu", enabled=False):  # As of PyTorch's own backward pass.
                dinput, dweight = gradients(grad, input, weight, stride, (to_input, to_weight))
        else:
            dinput, dweight, _ = torch.ops.aten.convolution_backward.default(
                grad, *ctx.saved_tensors, None, stride, padding, dilation, True, output_padding,
                groups, (to_input, to_weight, False),
            )  # fmt: skip
        dbias = grad.sum((0, *range(2, grad.ndim))) if to_bias else None
        return dinput, dweight, dbias, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        dinput, dweight, dbias, *_ = tangents
        input, weight = ctx.saved_tensors
        made = _transposed(dinput, weight, dbias, ctx.geometry)
        return made + _transposed(input, dweight, None, ctx.geometry)


# What inspect looks for first: without it `apply` works it out anew at every call, in 40 µs.
_ConvTranspose.forward.__signature__ = signature(_ConvTranspose.forward)
