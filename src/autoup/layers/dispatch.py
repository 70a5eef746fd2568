"""Which way a transposed convolution is computed: PyTorch's, or another where that is faster.

Two things are slow in oneDNN, which computes it on the CPU. A vector register holds output
channels, so a transposed convolution to one or three of them leaves most lanes empty; ``subpixel``
fills them. And the bias' gradient takes as long as the rest of the backward pass where channels
lie last; the Function below leaves that sum to PyTorch.
"""

from inspect import signature
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from autoup.layers.subpixel import FEW, Geometry, is_subpixel, subpixel
from autoup.versions import is_exporting

_TRANSPOSED: Any = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}

# From where on another way wins, by what benchmarks/growth.py and speed.py measure.
_PIXELS = 2**15  # of the output, over the batch: below, the set-up costs what is won
_VALUES = 2**19  # values of the output: below, so does a backward pass called from Python
_LARGE = 2**22  # values of the output: above, PyTorch's copies between memory formats cost more


def conv_transpose(
    input: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry
) -> Tensor:
    """Return the transposed convolution, computed in the fastest way known for it.

    The numbers are the same up to rounding, in the memory format of the input. Sizes, memory
    format and dtype decide, and whether gradients are wanted. Traced, exported, under autocast,
    off the CPU and in other precisions than float32 and bfloat16 it is PyTorch's call.

    Example:
        >>> x, weight = torch.ones(1, 2, 3), torch.ones(2, 1, 2)
        >>> conv_transpose(x, weight, None, Geometry((2,), (0,), (0,), 1, (1,)))
        tensor([[[2., 2., 2., 2., 2., 2.]]])
    """
    low, own = _choose(input, weight, bias, geometry)
    if own:
        return _ConvTranspose.apply(input, weight, bias, geometry, low)  # pyright: ignore
    return (subpixel if low else _transposed)(input, weight, bias, geometry)


def _transposed(input: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    return _TRANSPOSED[len(geometry.stride)](input, weight, bias, *geometry)


def _choose(
    input: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry
) -> tuple[bool, bool]:
    """Return whether to compute it by ``subpixel``, and whether with the Function below."""
    if type(input) is not Tensor or torch.jit.is_tracing():  # pyright: ignore[reportPrivateImportUsage]
        return False, False
    if is_exporting():  # Before a size is asked for, which would bind the graph.
        return False, False
    if input.ndim != len(geometry.stride) + 2 or input.shape[1] != weight.shape[0]:
        return False, False
    channels = weight.shape[1] * geometry.groups
    pixels = input.numel() // weight.shape[0] * prod(geometry.stride)
    compiled = torch.compiler.is_compiling()  # What is large is then computed channels last.
    few = channels <= FEW and pixels >= _PIXELS
    wide = not compiled and pixels * channels >= _VALUES
    if not (few or wide) or not _is_measured(input, weight):
        return False, False
    first = input.is_contiguous()
    if first == input.movedim(1, -1).is_contiguous():  # Neither memory format, or both.
        return False, False
    if first and not weight.is_contiguous():  # PyTorch then puts channels last.
        return False, False
    large = first and not compiled and input.dtype == torch.float32
    large = large and pixels * channels >= _LARGE and tuple(weight.shape[2:]) == geometry.stride
    low = (few or large) and is_subpixel(weight, geometry)
    if compiled or not (torch.is_grad_enabled() and (input.requires_grad or weight.requires_grad)):
        return low, False
    split = wide and bias is not None and (not first or input.dtype == torch.bfloat16)
    return low, low or split


def _is_measured(input: Tensor, weight: Tensor) -> bool:
    """Whether the ways have been measured for such tensors, and may be taken in this call."""
    return (
        input.is_cpu
        and type(weight) in (Tensor, nn.Parameter)
        and input.dtype == weight.dtype
        and input.dtype in (torch.float32, torch.bfloat16)
        and not torch.is_autocast_enabled("cpu")
    )


class _ConvTranspose(torch.autograd.Function):
    """The transposed convolution; its backward pass is PyTorch's, but for the bias."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        input: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry, low: bool
    ) -> Tensor:
        return (subpixel if low else _transposed)(input, weight, bias, geometry)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:  # noqa: ARG004
        input, weight, _, ctx.geometry, _ = inputs
        ctx.save_for_backward(input, weight)
        ctx.save_for_forward(input, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        stride, padding, output_padding, groups, dilation = ctx.geometry
        to_input, to_weight, to_bias, *_ = ctx.needs_input_grad
        dinput, dweight, _ = torch.ops.aten.convolution_backward.default(
            grad, *ctx.saved_tensors, None, stride, padding, dilation, True, output_padding, groups,
            (to_input, to_weight, False),
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
