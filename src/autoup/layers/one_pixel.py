"""The transposed convolution of one pixel: a product, as of a linear layer.

Generators and decoders of a code start with it, and so do mirrors of encoders that end in global
pooling: every output pixel is one tap. oneDNN takes it for a picture, which costs up to five times
as long, and the more where every channel has a kernel of its own.
"""

import torch
from torch import Tensor

from autoup.internals import without_its_base
from autoup.layers.plain import Geometry
from autoup.layers.subpixel import lies_last


def is_whole(geometry: Geometry) -> bool:
    """Tell whether one pixel gives every tap of the kernel, and nothing else.

    Example:
        >>> is_whole(Geometry((1, 1), (0, 0), (0, 0), 1, (1, 1)))
        True
    """
    _, padding, output_padding, _, dilation = geometry
    return not any(padding) and not any(output_padding) and max(dilation) == 1


def from_one_pixel(
    input: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry
) -> Tensor:
    """Return the transposed convolution of inputs of one pixel, of one group or depthwise.

    Shape:
        - input: ``(N, in_channels, 1, ...)``
        - weight: ``(in_channels, out_channels / groups, *kernel_size)``
        - output: ``(N, out_channels, *kernel_size)``

    Example:
        >>> x, weight = torch.ones(1, 2, 1), torch.ones(2, 1, 3)
        >>> from_one_pixel(x, weight, None, Geometry((1,), (0,), (0,), 1, (1,)))
        tensor([[[2., 2., 2.]]])
    """
    kernel, last = weight.shape[2:], lies_last(input, weight)
    rows, taps = input.reshape(input.shape[:2]), weight.flatten(2)
    if geometry.groups == 1:
        made = _of_all_channels(rows, taps, bias, last)
    else:
        made = _of_each_channel(rows, taps[:, 0], bias, last)
    channels = weight.shape[1] * geometry.groups
    if last:
        return without_its_base(made.view(len(rows), *kernel, channels).movedim(-1, 1))
    return without_its_base(made.view(len(rows), channels, *kernel))


def _of_all_channels(rows: Tensor, taps: Tensor, bias: Tensor | None, last: bool) -> Tensor:
    """Return ``(N, out_channels * taps)``, or the channels last."""
    factor = (taps.mT if last else taps).reshape(len(taps), -1)
    if bias is None:
        return rows @ factor
    offset = bias.expand(taps.shape[2], -1)
    return torch.addmm((offset if last else offset.T).reshape(-1), rows, factor)


def _of_each_channel(rows: Tensor, taps: Tensor, bias: Tensor | None, last: bool) -> Tensor:
    """Return ``(N, channels, taps)``, or the channels last."""
    rows, taps = (rows.unsqueeze(1), taps.T) if last else (rows.unsqueeze(2), taps)
    if bias is None:
        return (rows * taps).contiguous()
    return torch.addcmul(bias if last else bias.unsqueeze(1), rows, taps).contiguous()
