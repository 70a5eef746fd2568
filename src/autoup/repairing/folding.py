"""Fold a nearest resize and the convolution behind it into one transposed convolution.

Legend: s enlargement, k kernel, d dilation, p padding, n input pixel, t tap. Pixel n fills the
places s*n ... s*n + s - 1, and tap t takes a place to the output pixel t*d - p before it. So pixel
n reaches output pixel s*n + r - t*d + p for r = 0 ... s - 1: a transposed convolution whose kernel
is the reversed, dilated one convolved with a box of s, of d*(k - 1) + s taps, and whose padding is
d*(k - 1) - p. What lies outside is zero in both, so it is exact at the border too.
"""

from collections.abc import Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from autoup.inspecting.sites import CONV, TRANSPOSED


def fold(conv: Any, scale: Sequence[int]) -> nn.Module:
    """Return the transposed convolution that equals nearest enlargement and then ``conv``.

    Worked out in double precision.

    Args:
        conv: ``nn.Conv1d``, ``2d`` or ``3d`` with a stride of 1, padded with zeros.
        scale: Enlargement along each axis.

    Example:
        >>> fold(nn.Conv2d(3, 8, 3, padding=1), (2, 2))
        ConvTranspose2d(3, 8, kernel_size=(4, 4), stride=(2, 2), padding=(1, 1))
    """
    axes = [*zip(conv.kernel_size, conv.dilation, conv.padding, scale, strict=True)]
    build: Any = TRANSPOSED[CONV.index(type(conv))]
    layer = build(
        conv.in_channels,
        conv.out_channels,
        kernel_size=tuple(d * (k - 1) + s for k, d, _, s in axes),
        stride=tuple(scale),
        padding=tuple(d * (k - 1) - p for k, d, p, _ in axes),
        groups=conv.groups,
        bias=conv.bias is not None,
        device="meta",
    )
    weight = _fold_kernel(conv, scale).to(conv.weight.dtype)
    layer.weight = nn.Parameter(weight, requires_grad=conv.weight.requires_grad)
    if conv.bias is not None:
        layer.bias = conv.bias
    return layer.train(conv.training)


def _fold_kernel(conv: Any, scale: Sequence[int]) -> Tensor:
    weight: Any = conv.weight.detach()
    weight = weight.to(torch.promote_types(weight.dtype, torch.float64))
    weight = weight.unflatten(0, (conv.groups, -1)).transpose(1, 2).flatten(0, 1)
    taps = [*zip(weight.shape[2:], conv.dilation, scale, strict=True)]
    made = weight.new_zeros(*weight.shape[:2], *(d * (k - 1) + s for k, d, s in taps))
    turned = weight.flip([*range(2, weight.ndim)])
    for offsets in product(*map(range, scale)):
        places = (
            slice(r, r + d * (k - 1) + 1, d) for r, (k, d, _) in zip(offsets, taps, strict=True)
        )
        made[(..., *places)] += turned
    return made
