"""The layers that stages are built from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import gcd, prod
from typing import Any

import torch
from torch import nn

from autoup.decoding.operators import Norm
from autoup.layers.conv_transpose import AUTO
from autoup.layers.permute import Permute
from autoup.layers.resizing import INTERPOLATION
from autoup.solving.solver import solve

Layers = list[tuple[str, nn.Module]]
Sizes = tuple[int, ...]

CONV: dict[int, type[Any]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_BATCH: dict[int, type[Any]] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_INSTANCE: dict[int, type[Any]] = {
    1: nn.InstanceNorm1d,
    2: nn.InstanceNorm2d,
    3: nn.InstanceNorm3d,
}
_SHRINK: dict[int, type[Any]] = {
    1: nn.AdaptiveAvgPool1d,
    2: nn.AdaptiveAvgPool2d,
    3: nn.AdaptiveAvgPool3d,
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds for all layers of a decoder.

    Args:
        adjoint: Whether convolutions get their adjoint.
        share: Returns the weight to share, by the node that stands for it, or None.
        options: ``smoothness`` and ``init`` of each ``AutoConvTranspose``.
        factory: ``device`` and ``dtype`` of each layer.
        tied: Whether the adjoints share the encoder's weights.
    """

    adjoint: bool
    share: Callable[[object], nn.Parameter | None]
    options: dict[str, Any]
    factory: dict[str, Any]
    tied: bool = False

    def options_from(self, in_size: Sizes) -> dict[str, Any]:
        """Return the options of a layer that enlarges a map of this size.

        From a single pixel nothing repeats: there is no grid to promise anything about.

        Example:
            >>> settings = Settings(False, lambda _: None, {"smoothness": 1, "init": "torch"}, {})
            >>> settings.options_from((1, 1)), settings.options_from((1, 2))["smoothness"]
            ({'smoothness': 0, 'init': 'torch'}, 1)
        """
        return self.options if max(in_size) > 1 else self.options | {"smoothness": 0}


def permute(order: Sequence[int]) -> Layers:
    """Return the layer that reorders dimensions, or none where they stay.

    Example:
        >>> permute((0, 1, 2)), permute((0, 2, 1))
        ([], [('permute', Permute(0, 2, 1))])
    """
    return [] if list(order) == sorted(order) else [("permute", Permute(*order))]


def inverse(order: Sequence[int]) -> list[int]:
    """Return the order that takes the dimensions back.

    Example:
        >>> inverse((0, 3, 1, 2))
        [0, 2, 3, 1]
    """
    return sorted(range(len(order)), key=lambda axis: order[axis])


def reshape(shape: Sequence[int], target: Sequence[int]) -> Layers:
    """Return the layers that reshape at any batch size; one that holds several samples too.

    Example:
        >>> reshape((2, 12), (2, 3, 4)), reshape((8, 3), (2, 4, 3))[1]
        ([('unflatten', Unflatten(dim=1, unflattened_size=(3, 4)))], \
('unflatten', Unflatten(dim=0, unflattened_size=(-1, 4, 3))))
    """
    if shape[0] != target[0]:
        return [("flatten", nn.Flatten(0)), ("unflatten", nn.Unflatten(0, (-1, *target[1:])))]
    flatten: Layers = [("flatten", nn.Flatten(1))]
    unflatten: Layers = [("unflatten", nn.Unflatten(1, tuple(target[1:])))]
    return (flatten if len(shape) != 2 else []) + (unflatten if len(target) != 2 else [])


def shrink(in_size: Sizes, out_size: Sizes) -> tuple[Layers, Sizes]:
    """Return the layer that averages the axes that shrink, if any, and the size that it makes.

    Example:
        >>> shrink((7, 10), (14, 5))
        ([('shrink', AdaptiveAvgPool2d(output_size=(7, 5)))], (7, 5))
    """
    sizes = tuple(map(min, in_size, out_size))
    return [] if sizes == in_size else [("shrink", _SHRINK[len(in_size)](sizes))], sizes


def repeat(in_size: Sizes, out_size: Sizes, settings: Settings) -> Layers:
    """Return the layer without weights that enlarges a map, or none where the sizes agree.

    It repeats pixels; where ramps are promised, which that breaks, it interpolates.

    Example:
        >>> plain = Settings(False, lambda _: None, {"smoothness": 0, "init": "torch"}, {})
        >>> repeat((7, 7), (14, 14), plain)
        [('enlarge', Upsample(scale_factor=2.0, mode='nearest'))]
    """
    if in_size == out_size:
        return []
    scales = {o / i for i, o in zip(in_size, out_size, strict=True)}
    whole = len(scales) == 1 and min(scales).is_integer()
    size = {"scale_factor": min(scales)} if whole else {"size": out_size}
    ramps = settings.options["smoothness"] > 1
    mode = INTERPOLATION[len(in_size)] if ramps else "nearest"
    return [("enlarge", nn.Upsample(**size, mode=mode))]  # pyright: ignore[reportArgumentType]


def fit(in_size: Sizes, out_size: Sizes, settings: Settings) -> tuple[Layers, Sizes]:
    """Return the layers without weights that bring a map close to its size, and what they reach.

    Axes that shrink are averaged. Where a layer would have the wrong scale, pixels are
    interpolated.

    Example:
        >>> plain = Settings(False, lambda _: None, {"smoothness": 0, "init": "torch"}, {})
        >>> fit((7, 10, 20), (14, 5, 30), plain)[1]
        (7, 5, 30)
    """
    dims = len(in_size)
    layers, sizes = shrink(in_size, out_size)
    reached = tuple(
        o if solve(i, o, smoothness=settings.options["smoothness"]).wrong_scale else i
        for i, o in zip(sizes, out_size, strict=True)
    )
    if reached != sizes:
        upsample = nn.Upsample(reached, mode=INTERPOLATION[dims], align_corners=False)
        layers.append(("interpolate", upsample))
    return layers, reached


def enlarge(
    in_channels: int,
    out_channels: int,
    in_size: Sizes,
    out_size: Sizes,
    settings: Settings,
    *,
    same: int = 1,
    groups: int = 1,
    bias: bool = False,
) -> nn.Module:
    """Return the ``AutoConvTranspose`` from one map to another.

    Args:
        in_channels: Channels of the smaller map.
        out_channels: Channels of the larger map.
        in_size: Size of the smaller map, in pixels.
        out_size: Size of the larger map, in pixels.
        settings: What holds for all layers.
        same: Kernel along axes that keep their size, in taps, odd.
        groups: As in ``nn.ConvTranspose2d``.
        bias: Whether to add a bias.

    Example:
        >>> plain = Settings(False, lambda _: None, {"smoothness": 0, "init": "torch"}, {})
        >>> enlarge(8, 4, (7, 7), (7, 14), plain, same=3).kernel_size
        (3, 2)
    """
    options = settings.options_from(in_size)
    axes = [
        (same, 1) if i == o else (found.kernel_size, found.stride)
        for i, o in zip(in_size, out_size, strict=True)
        for found in (solve(i, o, smoothness=options["smoothness"]),)
    ]
    return AUTO[len(in_size)](
        in_channels,
        out_channels,
        in_size,
        out_size,
        kernel_size=tuple(k for k, _ in axes),
        stride=tuple(s for _, s in axes),
        groups=groups,
        bias=bias,
        **options,
        **settings.factory,
    )


def repeat_pixels(layer: Any) -> None:
    """Let a layer of one channel a group start by repeating each pixel: every phase adds to 1.

    With a promise of ramps, which repetition breaks, by the nearest to it: interpolation.

    Example:
        >>> plain = Settings(False, lambda _: None, {"smoothness": 0, "init": "torch"}, {})
        >>> layer = enlarge(4, 4, (7,), (14,), plain, groups=4)
        >>> repeat_pixels(layer)
        >>> layer(torch.ones(1, 4, 7)).unique()
        tensor([1.], grad_fn=<Unique2Backward0>)
    """
    axes = zip(layer.kernel_size, layer.stride, strict=True)
    middle = tuple(slice((k - s) // 2, (k - s) // 2 + s) for k, s in axes)
    if layer.weight.is_meta:
        return
    with torch.no_grad():
        layer.weight.zero_()[..., *middle] = 1
        total = layer.to_plain().weight[0, 0].sum()
        layer.weight.mul_(prod(layer.stride) / total.item())


def build_norm(norm: Norm, shape: Sequence[int], settings: Settings) -> nn.Module:
    """Build a normalisation for tensors of this shape, batch and channels first.

    A layer normalisation over channels alone becomes a group normalisation with one group.

    Example:
        >>> plain = Settings(False, lambda _: None, {}, {})
        >>> build_norm(Norm("layer", 1e-6, True), (1, 96, 7, 7), plain)
        GroupNorm(1, 96, eps=1e-06, affine=True, bias=True)
    """
    rest = settings.factory
    if norm.kind in ("batch", "instance"):
        made = (_BATCH if norm.kind == "batch" else _INSTANCE)[max(1, len(shape) - 2)]
        return made(
            shape[1],
            eps=norm.eps,
            momentum=norm.momentum,
            affine=norm.affine,
            track_running_stats=norm.tracked,
            **rest,
        )
    if norm.shape:
        kind = nn.LayerNorm if norm.kind == "layer" else nn.RMSNorm
        return kind(norm.shape, eps=norm.eps, elementwise_affine=norm.affine, **rest)  # pyright: ignore[reportArgumentType]
    groups = gcd(norm.groups, shape[1])
    return nn.GroupNorm(groups, shape[1], eps=norm.eps or 1e-5, affine=norm.affine, **rest)
