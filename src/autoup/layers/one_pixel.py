"""The transposed convolution of one pixel: a product, as of a linear layer.

Generators and decoders of a code start with it, and so do mirrors of encoders that end in global
pooling: every output pixel is one tap. oneDNN takes it for a picture, which costs up to six times
as long.
"""

from math import prod

import torch
from torch import Tensor

from autoup.layers.subpixel import Geometry, lies_last


def is_whole(geometry: Geometry) -> bool:
    """Tell whether one pixel gives every tap of the kernel, and nothing else.

    Example:
        >>> is_whole(Geometry((1, 1), (0, 0), (0, 0), 1, (1, 1)))
        True
    """
    _, padding, output_padding, _, dilation = geometry
    return not any(padding) and not any(output_padding) and max(dilation) == 1


def from_one_pixel(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    geometry: Geometry,  # noqa: ARG001 (the kernel says it all)
) -> Tensor:
    """Return the transposed convolution of inputs of one pixel.

    Shape:
        - input: ``(N, in_channels, 1, ...)``
        - weight: ``(in_channels, out_channels, *kernel_size)``
        - output: ``(N, out_channels, *kernel_size)``

    Example:
        >>> x, weight = torch.ones(1, 2, 1), torch.ones(2, 1, 3)
        >>> from_one_pixel(x, weight, None, Geometry((1,), (0,), (0,), 1, (1,)))
        tensor([[[2., 2., 2.]]])
    """
    channels, kernel, last = weight.shape[1], weight.shape[2:], lies_last(input, weight)
    factor = (weight.movedim(1, -1) if last else weight).reshape(len(weight), -1)
    rows = input.reshape(input.shape[:2])
    if bias is None:
        made = rows @ factor
    else:
        taps = prod(kernel)
        offset = bias.repeat(taps) if last else bias[:, None].expand(-1, taps).reshape(-1)
        made = torch.addmm(offset, rows, factor)
    if last:
        return made.view(len(input), *kernel, channels).movedim(-1, 1)
    return made.view(len(input), channels, *kernel)
