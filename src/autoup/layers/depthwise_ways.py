"""Which way a depthwise transposed convolution is computed: see ``dispatch``."""

from collections.abc import Callable
from math import prod

import torch
from torch import Tensor

from autoup.layers import ways
from autoup.layers.depthwise import (
    LONG,
    as_product,
    depthwise_gradients,
    has_slow_gradient,
    in_float32,
    is_product,
)
from autoup.layers.plain import Geometry, Gradients, bias_apart, transposed, transposed_gradients
from autoup.layers.volumes import is_volume, volume, volume_gradients
from autoup.layers.ways import VALUES, Call, Way

# From where on another way wins, by what benchmarks/depthwise.py measures.
VECTOR = 2**3  # channels: below, registers stay empty in most ways
_ROWS = 2**10  # pixels of one input: below, the rows of a product are too short
_SOLID = 2**16  # values of the output or the input: below, a volume is not worth more calls
_PAIRS = 2**17  # values of the input: below, taking a gradient apart always costs what is won


def of_depthwise(
    weight: Tensor, bias: Tensor | None, geometry: Geometry, call: Call, dtype: torch.dtype
) -> Way:
    """Return the fastest way known.

    Example:
        >>> geometry = Geometry((2, 2), (0, 0), (0, 0), 8, (1, 1))
        >>> call = Call(pixels=2**16, values=2**19, plane=2**14, first=True, trained=False)
        >>> of_depthwise(torch.empty(8, 1, 2, 2), None, geometry, call, torch.bfloat16).forward
        <function as_product at ...>
    """
    way = _of_output(weight, bias, geometry, call, dtype)
    if call.trained and weight.requires_grad:
        gradients = _of_weight(weight, geometry, call, dtype)
        way = way if gradients is None else way._replace(gradients=gradients)
    return way


def of_compiled_depthwise(weight: Tensor, geometry: Geometry, dtype: torch.dtype) -> Way:
    """Return the way that is compiled, whatever the size.

    Example:
        >>> geometry = Geometry((2, 2), (0, 0), (0, 0), 8, (1, 1))
        >>> of_compiled_depthwise(torch.empty(8, 1, 2, 2), geometry, torch.float32).forward
        <function as_product at ...>
    """
    if len(weight) < VECTOR:
        return Way()
    low = dtype == torch.bfloat16
    if max(geometry.stride) == 1:
        return Way(volume if is_volume(weight, geometry) and not low else transposed)
    if low:
        return Way(in_float32)
    return Way(as_product if is_product(weight, geometry) else transposed)


def _of_output(
    weight: Tensor, bias: Tensor | None, geometry: Geometry, call: Call, dtype: torch.dtype
) -> Way:
    """Return the way of the output; the gradients are PyTorch's, which keep no other tensors."""
    low = dtype == torch.bfloat16
    # A backward pass called from Python costs what is won.
    small = call.trained and call.values < VALUES and (not low or len(weight) < VECTOR)
    if call.plane > 1 and _pays_as_product(weight, geometry, call, low) and not small:
        return Way(as_product, transposed_gradients)
    able = _has_kernels(low) or max(geometry.stride) > 1  # Which is computed in float32.
    if able and call.plane > 1 and _pays_as_volume(weight, geometry, call, small):
        return Way(volume, transposed_gradients)
    slow, few = low and max(geometry.stride) > 1, len(weight) < VECTOR
    if slow and not (few and (small or call.first or len(geometry.stride) == 3)):
        return Way(in_float32, transposed_gradients)
    apart = bias is not None and (call.trained or not slow)
    return Way(bias_apart if apart else transposed)


def _pays_as_product(weight: Tensor, geometry: Geometry, call: Call, low: bool) -> bool:
    if max(geometry.stride) == 1 or not is_product(weight, geometry):
        return False
    wide = call.plane >= _ROWS if call.first else len(weight) >= VECTOR
    return len(geometry.stride) == 3 or (low and wide)


def _pays_as_volume(weight: Tensor, geometry: Geometry, call: Call, small: bool) -> bool:
    if not is_volume(weight, geometry):
        return False
    if max(geometry.stride) == 1:
        return True
    if small:
        return False
    if call.first:
        return call.values >= _SOLID
    return len(weight) >= 2 * VECTOR and _values(weight, geometry, call) >= _SOLID


def _has_kernels(low: bool) -> bool:
    """Whether oneDNN has those that the ways of volumes and gradients lead to."""
    return not low or ways.has_wide_registers()


def _of_weight(
    weight: Tensor, geometry: Geometry, call: Call, dtype: torch.dtype
) -> Callable[..., Gradients] | None:
    """Return the way of the weight's gradient, where it is not PyTorch's."""
    low = dtype == torch.bfloat16
    if call.plane == 1 or not _has_kernels(low):
        return None
    if has_slow_gradient(weight, geometry):
        return depthwise_gradients if _pays_by_pairs(weight, geometry, call, low) else None
    if is_volume(weight, geometry):
        return volume_gradients if _pays_by_planes(weight, geometry, call, low) else None
    return None


def _pays_by_pairs(weight: Tensor, geometry: Geometry, call: Call, low: bool) -> bool:
    """Whether that of pictures is taken apart."""
    if len(weight) < VECTOR:
        return False
    values = _values(weight, geometry, call)
    if call.first:
        return values >= (_PAIRS if low else 2 * _PAIRS) and call.plane >= _ROWS // 2
    if low:
        many = max(k // s for k, s in zip(weight.shape[2:], geometry.stride, strict=True)) > 5
        return values >= (4 * _PAIRS if many else _PAIRS)
    return values >= 4 * _PAIRS and max(geometry.stride) > 1


def _pays_by_planes(weight: Tensor, geometry: Geometry, call: Call, low: bool) -> bool:
    """Whether that of volumes is taken apart."""
    values, steps = _values(weight, geometry, call), max(geometry.stride) > 1
    if min(weight.shape[3:]) < LONG:
        return values >= (_SOLID if low else 4 * _PAIRS if steps else _PAIRS)
    if len(weight) < VECTOR:
        return False
    if call.first:
        return values >= (2 * _PAIRS if low or max(geometry.stride) < 3 else 4 * _PAIRS)
    return low and steps and values >= _PAIRS


def _values(weight: Tensor, geometry: Geometry, call: Call) -> int:
    """Return how many the input has."""
    return call.pixels // prod(geometry.stride) * len(weight)
