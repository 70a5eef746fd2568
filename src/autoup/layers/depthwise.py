"""Transposed convolutions that keep channels apart, without a transposed convolution.

oneDNN's kernels for them hold one channel in a vector register of 8 or 16 numbers. At stride 1 it
is a convolution with the kernel turned around, whose kernels are made for this. Where the kernel is
the stride no taps overlap, and every output pixel is one product.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from autoup.internals import without_its_base
from autoup.layers.subpixel import Geometry, lies_last

_CONV: Any = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def is_depthwise(weight: Tensor, geometry: Geometry) -> bool:
    """Tell whether every output channel has an input channel of its own, of more than one.

    Example:
        >>> is_depthwise(torch.empty(8, 1, 2, 2), Geometry((2, 2), (0, 0), (0, 0), 8, (1, 1)))
        True
    """
    return weight.shape[1] == 1 and weight.shape[0] == geometry.groups > 1


def is_convolution(weight: Tensor, geometry: Geometry) -> bool:
    """Tell whether ``as_convolution`` computes it: stride 1, and no padding beyond the kernel.

    Example:
        >>> is_convolution(torch.empty(8, 1, 3), Geometry((1,), (1,), (0,), 8, (1,)))
        True
    """
    return max(geometry.stride) == 1 and min(_halo(weight, geometry)) >= 0


def as_convolution(
    input: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry
) -> Tensor:
    """Return the transposed convolution of stride 1 as a convolution.

    Shape:
        - input: ``(N, channels, *size)``
        - weight: ``(channels, 1, *kernel_size)``

    Example:
        >>> x, weight = torch.ones(1, 2, 3), torch.tensor([[[1.0, 2.0]], [[3.0, 4.0]]])
        >>> as_convolution(x, weight, None, Geometry((1,), (0,), (0,), 2, (1,)))
        tensor([[[1., 3., 3., 2.],
                 [3., 7., 7., 4.]]])
    """
    turned = weight.flip([*range(2, weight.ndim)])
    halo, dilation = _halo(weight, geometry), geometry.dilation
    made: Tensor = _CONV[len(halo)](input, turned, bias, 1, halo, dilation, geometry.groups)
    return made


def as_products(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    geometry: Geometry,  # noqa: ARG001 (the kernel says it all)
) -> Tensor:
    """Return the transposed convolution whose kernel is the stride as products, in one pass.

    Shape:
        - input: ``(N, channels, *size)``, dense in one memory format
        - weight: ``(channels, 1, *kernel_size)``

    Example:
        >>> x, weight = torch.ones(1, 2, 2), torch.tensor([[[1.0, 2.0]], [[3.0, 4.0]]])
        >>> as_products(x, weight, None, Geometry((2,), (0,), (0,), 2, (1,)))
        tensor([[[1., 2., 1., 2.],
                 [3., 4., 3., 4.]]])
    """
    last = lies_last(input, weight)
    kernel = weight.shape[2:]
    made_size = [n * k for n, k in zip(input.shape[2:], kernel, strict=True)]
    pixels, taps, offset = input, weight[:, 0], bias
    if last:
        pixels, taps = input.movedim(1, -1), taps.movedim(0, -1)
    elif bias is not None:
        offset = bias.view(-1, *(1,) * (2 * len(kernel)))
    for axis in range(len(kernel)):  # (n, 1) beside (1, k), for each axis.
        pixels = pixels.unsqueeze((2 if last else 3) + 2 * axis)
        taps = taps.unsqueeze((0 if last else 1) + 2 * axis)
    made = pixels * taps if offset is None else torch.addcmul(offset, pixels, taps)
    batch, channels = input.shape[:2]
    if last:
        made = made.contiguous().view(batch, *made_size, channels).movedim(-1, 1)
    else:
        made = made.contiguous().view(batch, channels, *made_size)
    return without_its_base(made)


def _halo(weight: Tensor, geometry: Geometry) -> list[int]:
    axes = zip(weight.shape[2:], geometry.padding, geometry.dilation, strict=True)
    return [d * (k - 1) - p for k, p, d in axes]
