"""The transposed convolution as a convolution at the resolution of the input.

Legend, for one axis: s stride, k = q*s kernel, p padding, a output padding.

Output pixel s*n + r - p, phase r, gets the taps s*j + r, j < q, from the input pixels n - j. So
all phases together are one convolution of q taps, with s channels for each one of the output;
laid out as pixels, these are the output (Shi et al. 2016, arXiv 1609.07009).
"""

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from autoup.internals import without_its_base

FEW = 4  # Output channels of an image head: a vector register holds 8 or 16.

_CONV: Any = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


class Geometry(NamedTuple):
    """What a transposed convolution is called with besides tensors, in PyTorch's order."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    output_padding: tuple[int, ...]
    groups: int
    dilation: tuple[int, ...]


def is_subpixel(weight: Tensor, geometry: Geometry) -> bool:
    """Tell whether ``subpixel`` can compute it.

    Kernels that are multiples of a stride above 1, one group, no dilation, and no more output
    padding than padding.

    Example:
        >>> is_subpixel(torch.empty(8, 4, 3, 3), Geometry((2, 2), (1, 1), (1, 1), 1, (1, 1)))
        False
    """
    stride, padding, output_padding, groups, dilation = geometry
    return (
        prod(stride) > 1
        and groups == 1
        and max(dilation) == 1
        and not any(k % s for k, s in zip(weight.shape[2:], stride, strict=True))
        and all(a <= p for p, a in zip(padding, output_padding, strict=True))
    )


def subpixel(input: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """Return the transposed convolution, for an input that is dense in one memory format.

    Shape:
        - input: ``(N, in_channels, *size)``
        - weight: ``(in_channels, out_channels, *kernel_size)``
        - output: as of the transposed convolution, in the memory format of the input.

    Example:
        >>> x, weight = torch.ones(1, 2, 3), torch.ones(2, 1, 2)
        >>> subpixel(x, weight, None, Geometry((2,), (0,), (0,), 1, (1,)))
        tensor([[[2., 2., 2., 2., 2., 2.]]])
    """
    stride, padding, output_padding, *_ = geometry
    last = not input.is_contiguous()
    ends = [p - a for p, a in zip(padding, output_padding, strict=True)]
    unseen = [end // s for end, s in zip(ends, stride, strict=True)]  # Pixels wholly in padding.
    low = _at_low_resolution(input, weight, bias, stride, unseen)
    made = _as_pixels(low, weight.shape[1], stride, last)
    cut = [(p - u * s, e - u * s) for p, e, u, s in zip(padding, ends, unseen, stride, strict=True)]
    if any(map(any, cut)):
        for axis, (front, back) in enumerate(cut, start=1 if last else 2):
            made = made.narrow(axis, front, made.shape[axis] - front - back)
        made = made.clone(memory_format=torch.contiguous_format)
    made = made.movedim(-1, 1) if last else made
    # Those that a Function returns cannot be changed in place.
    return without_its_base(made)


def _at_low_resolution(
    input: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int], unseen: Sequence[int]
) -> Tensor:
    """Return all phases as channels: ``(N, phases * out_channels, *size)``."""
    kernel, q = _phases_as_channels(weight, stride)
    offset = None if bias is None else bias.repeat(prod(stride))
    if max(q) == 1 and offset is not None and weight.shape[1] <= FEW and input.is_contiguous():
        factor = kernel.flatten(1).expand(len(input), -1, -1)  # As a product, less to set up.
        low = torch.baddbmm(offset.unsqueeze(1), factor, input.flatten(2))
        return low.view(len(input), -1, *input.shape[2:])
    halo = [n - 1 - u for n, u in zip(q, unseen, strict=True)]
    low: Tensor = _CONV[len(stride)](input, kernel, offset, 1, halo)
    return low


def _phases_as_channels(weight: Tensor, stride: Sequence[int]) -> tuple[Tensor, list[int]]:
    """Return the kernel, ``(phases * out_channels, in_channels, *q)``, and q along each axis."""
    dims = len(stride)
    q = [k // s for k, s in zip(weight.shape[2:], stride, strict=True)]
    cells = [size for pair in zip(q, stride, strict=True) for size in pair]
    kernel: Tensor = weight.reshape([*weight.shape[:2], *cells])
    taps, phases = [*range(2, 2 + 2 * dims, 2)], range(3, 3 + 2 * dims, 2)
    if max(q) > 1:
        kernel = kernel.flip(taps)
    return kernel.permute(*phases, 1, 0, *taps).reshape(-1, weight.shape[0], *q), q


def _as_pixels(low: Tensor, channels: int, stride: Sequence[int], last: bool) -> Tensor:
    """Lay the channels out as pixels: ``(N, channels, *size)``, or ``(N, *size, channels)``."""
    dims, (batch, _, *size) = len(stride), low.shape
    cells = low.view(batch, *stride, channels, *size)
    made_size = [n * s for n, s in zip(size, stride, strict=True)]
    pixels = [place for axis in range(dims) for place in (2 + dims + axis, 1 + axis)]
    if last:
        return cells.permute(0, *pixels, 1 + dims).contiguous().view(batch, *made_size, channels)
    return cells.permute(0, 1 + dims, *pixels).contiguous().view(batch, channels, *made_size)
