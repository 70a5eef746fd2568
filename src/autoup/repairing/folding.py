"""Fold a nearest resize and the convolution behind it into one transposed convolution.

Legend: s enlargement, k kernel, d dilation, p padding, n input pixel, t tap. Pixel n fills the
places s*n ... s*n + s - 1, and tap t takes a place to the output pixel t*d - p before it. So pixel
n reaches output pixel s*n + r - t*d + p for r = 0 ... s - 1: a transposed convolution whose kernel
is the reversed, dilated one convolved with a box of s, of d*(k - 1) + s taps, and whose padding is
d*(k - 1) - p. What lies outside is zero in both, so it is exact at the border too.
"""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from autoup.inspecting.copies import HOOKS
from autoup.inspecting.sites import CONV, TRANSPOSED, Site
from autoup.repairing.remedies import Remedy, per_dim_float


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


def plan_fold(site: Site, paths: Mapping[nn.Module, Sequence[str]]) -> Remedy:
    """Return how a nearest resize and the convolution behind it become one layer.

    Args:
        site: A resize.
        paths: All modules of the model with their qualified names.
    """
    reason = _cannot_fold(site, paths)
    if reason:
        return Remedy(site, (), f"stays: {reason}", done=False)
    scale = scales_of(site)
    conv: Any = site.conv
    assert scale is not None
    kernel = tuple(
        d * (k - 1) + s for k, d, s in zip(conv.kernel_size, conv.dilation, scale, strict=True)
    )
    few, many = 1, 1
    for k, s, wide in zip(conv.kernel_size, scale, kernel, strict=True):
        few, many = few * wide, many * k * s
    return Remedy(
        site,
        text=f"with {site.partner} into one transposed convolution, kernel_size="
        f"{kernel}, stride={scale}: {few} products an input pixel, not {many}",
        enlargement=scale,
    )


def scales_of(site: Site) -> tuple[int, ...] | None:
    """Return by how much a resize enlarges along each axis; None where that is no integer.

    Example:
        >>> conv = nn.Conv2d(1, 1, 3)
        >>> scales_of(Site("resize", "up", nn.Upsample(scale_factor=2), conv=conv))
        (2, 2)
    """
    module: Any = site.module
    given = None if module is None else module.scale_factor
    conv: Any = site.conv
    if given is None or conv is None:
        return None
    scale = per_dim_float(given, len(conv.kernel_size))
    whole = tuple(int(each) for each in scale)
    return whole if whole == scale and min(whole) >= 1 else None


def _cannot_fold(site: Site, paths: Mapping[nn.Module, Sequence[str]]) -> str:
    module, conv = site.module, site.conv
    found: Any = conv
    if module is None:
        return "a function makes it, so that only its code can change"
    if getattr(module, "mode", "") not in ("nearest", "nearest-exact"):
        return f"mode {getattr(module, 'mode', None)!r} takes more than one transposed convolution"
    if conv is None or not site.direct:
        return "no convolution reads it alone and at once"
    if scales_of(site) is None:
        return "its enlargement is no integer, or bound to one size"
    if type(conv) not in CONV or parametrize.is_parametrized(conv):
        return f"{site.partner} is no plain convolution"
    if any(len(paths[each]) > 1 for each in (module, conv)):
        return "one of the two is used in several places"
    if max(len(site.calls), site.conv_uses) > 1:
        return "it is called more than once"
    if any(vars(each)[name] for each in (module, conv) for name in HOOKS):
        return "hooks watch one of the two"
    if found.padding_mode != "zeros" or isinstance(found.padding, str) or set(found.stride) != {1}:
        return f"{site.partner} is strided, or not padded by a number of zeros"
    reach = zip(found.kernel_size, found.dilation, found.padding, strict=True)
    if any(p > d * (k - 1) for k, d, p in reach):
        return f"{site.partner} pads more than its kernel reaches"
    return ""
