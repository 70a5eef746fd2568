"""The layers that stages are built from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import gcd, prod
from typing import Any

import torch
from torch import nn

from autoup.capturing.operators import Norm
from autoup.decoding.borders import (
    CONV,
    ZEROS,
    Axis,
    Border,
    Layers,
    build_continued,
    causal_stride,
    continue_both,
    continue_front,
    crop,
)
from autoup.layers.permute import Permute
from autoup.layers.resizing import INTERPOLATION
from autoup.solving.solver import solve

Sizes = tuple[int, ...]

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
        borders: How the encoder pads in most places, by the label of the axis.
    """

    adjoint: bool
    share: Callable[[object], nn.Parameter | None]
    options: dict[str, Any]
    factory: dict[str, Any]
    tied: bool = False
    borders: Mapping[str, Border] = field(default_factory=dict[str, Border])

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


def repeat(
    in_size: Sizes, out_size: Sizes, settings: Settings, borders: Sequence[Border] = ()
) -> Layers:
    """Return the layers without weights that enlarge a map, or none where the sizes agree.

    They repeat pixels; where ramps are promised, which that breaks, they interpolate.

    Example:
        >>> plain = Settings(False, lambda _: None, {"smoothness": 0, "init": "torch"}, {})
        >>> repeat((7, 7), (14, 14), plain)
        [('enlarge', Upsample(scale_factor=2.0, mode='nearest'))]
        >>> repeat((8,), (15,), plain, [Border(causal=True, stride=2)])[1]
        ('crop', ConstantPad1d(padding=(0, -1), value=0.0))
    """
    if in_size == out_size:
        return []
    ends = borders or (ZEROS,) * len(in_size)
    made = tuple(
        max(o, i * causal_stride(i, o, end.stride)) if end.causal else o
        for i, o, end in zip(in_size, out_size, ends, strict=True)
    )
    scales = {o / i for i, o in zip(in_size, made, strict=True)}
    whole = len(scales) == 1 and min(scales).is_integer()
    size = {"scale_factor": min(scales)} if whole else {"size": made}
    ramps = settings.options["smoothness"] > 1 and not any(end.causal for end in ends)
    mode = INTERPOLATION[len(in_size)] if ramps else "nearest"
    layer = nn.Upsample(**size, mode=mode)  # pyright: ignore[reportArgumentType]
    return [("enlarge", layer), *crop([(0, o - n) for n, o in zip(made, out_size, strict=True)])]


def fit(in_size: Sizes, out_size: Sizes, borders: Sequence[Border] = ()) -> tuple[Layers, Sizes]:
    """Return the layers without weights that bring a map close to its size, and what they reach.

    Axes that shrink are averaged. Where a layer would have the wrong scale, pixels are
    interpolated, or along a causal axis repeated.

    Example:
        >>> fit((7, 10, 20), (14, 5, 30))[1]
        (7, 5, 30)
    """
    dims = len(in_size)
    layers, size = shrink(in_size, out_size)
    axes = [*zip(size, out_size, borders or (ZEROS,) * dims, strict=True)]
    centred = tuple(o if not b.causal and solve(i, o).wrong_scale else i for i, o, b in axes)
    if centred != size:
        upsample = nn.Upsample(centred, mode=INTERPOLATION[dims], align_corners=False)
        layers.append(("interpolate", upsample))
    reached = tuple(
        o if b.causal and not causal_stride(i, o, b.stride) else n
        for n, (i, o, b) in zip(centred, axes, strict=True)
    )
    if reached != centred:
        layers.append(("repeat", nn.Upsample(reached, mode="nearest")))
    return layers, reached


def enlarge(
    in_channels: int,
    out_channels: int,
    in_size: Sizes,
    out_size: Sizes,
    settings: Settings,
    *,
    borders: Sequence[Border] = (),
    same: int = 1,
    groups: int = 1,
    bias: bool = False,
    word: str = "up",
) -> Layers:
    """Return the ``AutoConvTranspose`` from one map to another, and what continues the map.

    Args:
        in_channels: Channels of the smaller map.
        out_channels: Channels of the larger map.
        in_size: Size of the smaller map, in pixels.
        out_size: Size of the larger map, in pixels.
        settings: What holds for all layers.
        borders: How each axis goes on.
        same: Kernel along axes that keep their size, in taps, odd.
        groups: As in ``nn.ConvTranspose2d``.
        bias: Whether to add a bias.
        word: For the layer.

    Example:
        >>> plain = Settings(False, lambda _: None, {"smoothness": 0, "init": "torch"}, {})
        >>> enlarge(8, 4, (7, 7), (7, 14), plain, same=3)[0][1].kernel_size
        (3, 2)
    """
    options = settings.options_from(in_size)
    ends = borders or (ZEROS,) * len(in_size)
    axes = [
        _enlarge_axis(*each, same, options["smoothness"])
        for each in zip(in_size, out_size, ends, strict=True)
    ]
    reverse = CONV[len(in_size)](
        out_channels, in_channels, 1, groups=groups, bias=bias, device="meta"
    )
    return build_continued(reverse, axes, None, word, **options, **settings.factory)


def _enlarge_axis(i: int, o: int, border: Border, same: int, m: int) -> Axis:
    if border.causal:
        return continue_front(i, o, causal_stride(i, o, border.stride), m, border.mode, same)
    found = solve(i, o, kernel_size=same, stride=1) if i == o else solve(i, o, smoothness=m)
    return continue_both(found, border.mode)


def repeat_pixels(layers: Layers, borders: Sequence[Border] = ()) -> None:
    """Let a layer of one channel a group start by repeating each pixel: every phase adds to 1.

    With a promise of ramps, which repetition breaks, by the nearest to it: interpolation.

    Example:
        >>> options = {"smoothness": 0, "init": "torch"}
        >>> plain = Settings(False, lambda _: None, options, {"device": "cpu"})
        >>> layers = enlarge(4, 4, (7,), (14,), plain, groups=4)
        >>> repeat_pixels(layers)
        >>> layers[0][1](torch.ones(1, 4, 7)).unique()
        tensor([1.], grad_fn=<Unique2Backward0>)
    """
    layer: Any = next(each for word, each in layers if word == "up")
    axes = zip(
        layer.kernel_size, layer.stride, borders or (ZEROS,) * len(layer.stride), strict=True
    )
    starts = [(0 if border.causal else (k - s) // 2, s) for k, s, border in axes]
    middle = tuple(slice(start, start + s) for start, s in starts)
    if layer.weight.is_meta:
        return
    with torch.no_grad():
        layer.weight.zero_()[..., *middle] = 1
        total = layer.to_plain().weight[0, 0].sum()
        layer.weight.mul_(prod(layer.stride) / total.item())


def build_norm(norm: Norm, shape: Sequence[int], settings: Settings) -> nn.Module:
    """Build a normalisation for tensors of this shape, batch and channels first.

    A layer normalisation over channels alone becomes a group normalisation with one group, unless
    an axis is causal, along which that would look ahead.

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
    causal = any(each.causal for each in settings.borders.values())
    if causal and norm.kind in ("layer", "rms") and len(shape) > 2:
        order = (0, *range(2, len(shape)), 1)
        over = build_norm(replace(norm, shape=(shape[1],)), shape, settings)
        return nn.Sequential(Permute(*order), over, Permute(*inverse(order)))
    groups = gcd(norm.groups, shape[1])
    return nn.GroupNorm(groups, shape[1], eps=norm.eps or 1e-5, affine=norm.affine, **rest)
