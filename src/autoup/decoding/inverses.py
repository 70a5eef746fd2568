"""Undo one part of an encoder: the layers from the shape behind it to the shape before it."""

from collections.abc import Callable, Sequence
from functools import partial
from math import gcd, prod
from typing import Any

from torch import nn
from torch.fx import Node

from autoup.capturing.layouts import CHANNEL
from autoup.capturing.operators import (
    CONVOLUTIONS,
    MIXERS,
    TRANSPOSED,
    argument,
    name_of,
    order_of,
)
from autoup.decoding.borders import (
    CONV,
    ZEROS,
    Axis,
    Border,
    Layers,
    build_continued,
    continue_both,
    continue_front,
    crop,
)
from autoup.decoding.builders import (
    Settings,
    Sizes,
    enlarge,
    fit,
    inverse,
    permute,
    repeat_pixels,
    reshape,
)
from autoup.decoding.padding import borders_of
from autoup.decoding.parts import Part
from autoup.inspecting.calls import per_dim
from autoup.layers.mirroring import read_mirror, tied_weight
from autoup.solving.plan import plan_sizes
from autoup.solving.solution import Solution
from autoup.solving.solver import solve


def undo(part: Part, settings: Settings, *, bias: bool) -> Layers:
    """Return the layers that undo a part, each with a word for it.

    Args:
        part: What to undo; no normalisation and no activation.
        settings: What holds for all layers.
        bias: Whether to add a bias, where the encoder's layer has none or is a block.

    Raises:
        InfeasibleError: A convolution has no adjoint.
        ValueError: The meaning of the dimensions is lost.
    """
    return _UNDO[part.kind](part, settings, bias)


def _undo_convolution(part: Part, settings: Settings, bias: bool) -> Layers:
    node = part.step.nodes[-1]
    conv = _read_convolution(part, CONVOLUTIONS[name_of(node)], settings, bias)
    fronts = _fold_padding(conv, part.pads[2:])
    shared = settings.share(argument(node, 1, "weight", None))
    options = settings.options_from(part.after.shape[2:])
    solutions = _solve(conv, part, settings.adjoint, options["smoothness"], shared is not None)
    axes = _continue(conv, solutions, borders_of(part, settings.borders), options["smoothness"])
    sizes = zip(conv.kernel_size, conv.dilation, fronts, strict=True)
    shifts = tuple(_shift(axis, *each) for axis, each in zip(axes, sizes, strict=True))
    layers = build_continued(conv, axes, shifts, **options, **settings.factory)
    if shared is not None:
        conv.weight = shared
        dict(layers)["up"].weight = tied_weight(conv, settings.adjoint, **settings.factory)
    return layers


def _read_convolution(part: Part, dims: int, settings: Settings, bias: bool) -> Any:
    """Return a convolution without numbers that has the settings of a part."""
    node = part.step.nodes[-1]
    weight: tuple[int, ...] = tuple(argument(node, 1, "weight", None).meta["val"].shape)
    channels = part.before.shape[1], part.after.shape[1]
    groups = gcd(argument(node, 6, "groups", 1), *channels)
    padding = argument(node, 4, "padding", 0)
    return CONV[dims](
        *channels,
        weight[2:],
        stride=per_dim(argument(node, 3, "stride", 1), dims),
        padding=padding if isinstance(padding, str) else per_dim(padding, dims),
        dilation=per_dim(argument(node, 5, "dilation", 1), dims),
        groups=groups,
        bias=bias or argument(node, 2, "bias", None) is not None,
        device="meta",
        dtype=settings.factory["dtype"],
    )


def _fold_padding(conv: Any, pads: Sequence[tuple[int, int]]) -> list[int]:
    """Let a convolution have the even padding before it; return all that is in front of it."""
    own: Sequence[int] = (0,) * len(conv.kernel_size) if conv.padding == "valid" else conv.padding
    if own == "same":
        own = [d * (k - 1) // 2 for k, d in zip(conv.kernel_size, conv.dilation, strict=True)]
    if not any(map(any, pads)):
        return [*own]
    fronts = [p + front for p, (front, _) in zip(own, pads, strict=True)]
    conv.padding = tuple(fronts)
    return fronts


def _solve(conv: Any, part: Part, adjoint: bool, m: int, tied: bool) -> tuple[Solution, ...]:
    """Solve for the mirror of a convolution; behind an uneven padding from its sizes."""
    i, o = part.after.shape[2:], part.before.shape[2:]
    if all(front == behind for front, behind in part.pads):
        return read_mirror(conv, o, len(o), adjoint, None, m, tied).plan.solutions
    stacked = zip(i, o, conv.kernel_size, conv.stride, conv.dilation, strict=True)
    k, s, d = zip(*(_solve_axis(*each, m) for each in stacked), strict=True)
    return plan_sizes(len(i), i, o, k, s, d, m).solutions


def _solve_axis(i: int, o: int, k: int, s: int, d: int, m: int) -> tuple[int, int, int]:
    """Return kernel size, stride and dilation along one axis.

    A stride of 1 keeps its kernel, or takes one tap more, where an even padding then reaches o.
    """
    for taps in (k, k + 1) if s == 1 else ():
        cropped = i + d * (taps - 1) - o
        if cropped % 2 == 0:
            return taps, 1, d
    return solve(i, o, stride=s, smoothness=m).kernel_size, s, 1


def _continue(
    conv: Any, solutions: Sequence[Solution], borders: Sequence[Border], m: int
) -> list[Axis]:
    """Continue the axes as the encoder does; a causal one keeps the kernel of a stride of 1."""
    borders = borders if len(borders) == len(solutions) else (ZEROS,) * len(solutions)
    own = zip(conv.kernel_size, conv.dilation, strict=True)
    return [
        continue_front(found.in_size, found.out_size, found.stride, m, border.mode, *each)
        if border.causal
        else continue_both(found, border.mode)
        for found, border, each in zip(solutions, borders, own, strict=True)
    ]


def _shift(axis: Axis, k: int, d: int, front: int) -> float:
    """Return where a pixel of code is put minus where a convolution padded so took it from."""
    up = axis.solution
    moved = up.stride * axis.pads[0] + up.dilation * (up.kernel_size - 1) / 2 - up.padding
    return moved - (d * (k - 1) / 2 - front)


def _undo_transposed(part: Part, settings: Settings, bias: bool) -> Layers:
    """Return the convolution with the same settings: it maps the sizes back."""
    node = part.step.nodes[-1]
    dims = TRANSPOSED[name_of(node)]
    weight = argument(node, 1, "weight", None).meta["val"].shape
    channels = part.after.shape[1], part.before.shape[1]
    groups = gcd(argument(node, 6, "groups", 1), *channels)
    made = CONV[dims](
        *channels,
        tuple(weight[2:]),
        stride=per_dim(argument(node, 3, "stride", 1), dims),
        padding=per_dim(argument(node, 4, "padding", 0), dims),
        dilation=per_dim(argument(node, 7, "dilation", 1), dims),
        groups=groups,
        bias=bias or argument(node, 2, "bias", None) is not None,
        **settings.factory,
    )
    return [("down", made)]


def _undo_linear(part: Part, settings: Settings, bias: bool) -> Layers:
    bias = bias or argument(part.step.nodes[-1], 2, "bias", None) is not None
    sizes = part.after.shape[-1], part.before.shape[-1]
    return [("linear", nn.Linear(*sizes, bias=bias, **settings.factory))]


def _undo_reshape(part: Part, _settings: Settings, _bias: bool) -> Layers:
    return reshape(part.after.shape, part.before.shape)


def _undo_permute(part: Part, _settings: Settings, _bias: bool) -> Layers:
    return permute(inverse(order_of(part.step.nodes[-1], len(part.before.shape)) or ()))


def _undo_shuffle(part: Part, _settings: Settings, _bias: bool) -> Layers:
    node = part.step.nodes[-1]
    if name_of(node) == "pixel_shuffle":
        return [("unshuffle", nn.PixelUnshuffle(argument(node, 1, "upscale_factor", 1)))]
    return [("shuffle", nn.PixelShuffle(argument(node, 1, "downscale_factor", 1)))]


def _undo_pad(part: Part, _settings: Settings, _bias: bool) -> Layers:
    """Crop what was padded; fill with zeros what was cut off."""
    pads = list(part.pads)
    while len(pads) > 1 and pads[0] == (0, 0):
        pads.pop(0)
    if len(pads) > 3:
        raise _unreadable(part)
    return crop([(-front, -behind) for front, behind in pads])


def _undo_resize(part: Part, settings: Settings, _bias: bool) -> Layers:
    order, shape, out_size = read_map(part)
    borders = borders_of(part, settings.borders)
    return [
        *as_map(part, shape),
        *_repeat(shape[1], shape[2:], out_size, settings, borders),
        *permute(inverse(order)),
    ]


def _repeat(
    channels: int, in_size: Sizes, out_size: Sizes, settings: Settings, borders: Sequence[Border]
) -> Layers:
    """Enlarge each channel by itself, at the start by the repetition of pixels."""
    layers, size = fit(in_size, out_size, borders)
    if size != out_size:  # nothing is left to learn where interpolation reached the size
        up = enlarge(channels, channels, size, out_size, settings, borders=borders, groups=channels)
        repeat_pixels(up, borders)
        layers += up
    return layers


def read_map(part: Part) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Return the order of the map before a part, what is left of it behind, and its size.

    Raises:
        ValueError: Before the part is no map, or what is behind is not known.
    """
    order = part.before.map_order
    if order is None or part.before.layout is None or part.after.layout is None:
        raise _unreadable(part)
    left = {
        tuple(label for label, _ in entry): size
        for entry, size in zip(part.after.layout, part.after.shape, strict=True)
    }
    names = [tuple(label for label, _ in part.before.layout[axis]) for axis in order[2:]]
    channels = left.get((CHANNEL,), part.after.shape[-1])
    shape = (part.after.shape[0], channels, *[left.get(name, 1) for name in names])
    return order, shape, tuple(part.before.shape[axis] for axis in order[2:])


def as_map(part: Part, shape: Sequence[int]) -> Layers:
    """Return the layers that put what is behind a part as batch, channels, space.

    Raises:
        ValueError: That has not as many numbers.
    """
    lost = part.after.map_order is None and len(part.after.shape) > 2
    if prod(shape) != prod(part.after.shape) or lost:
        raise _unreadable(part)
    layers = permute(part.after.map_order or range(len(part.after.shape)))
    same = len(part.after.shape) == len(shape)
    return layers if same else layers + reshape(part.after.shape, shape)


def _undo_block(part: Part, settings: Settings, bias: bool) -> Layers:
    """Return one layer with weights for a whole block, and what brings its input into shape."""
    after, before = part.after, part.before
    tokens = any(len(dict(entry)) > 1 for entry in (before.layout or ())[1:])
    if before.map_order and not (tokens and after.shape[:-1] == before.shape[:-1]):
        return _undo_map(part, settings, bias)
    layers, channels = Layers(), after.shape[-1]
    if len(before.shape) == 2 != len(after.shape):
        layers, channels = [("flatten", nn.Flatten(1))], prod(after.shape[1:])
    elif after.shape[:-1] != before.shape[:-1]:
        raise _unreadable(part)
    linear = nn.Linear(channels, before.shape[-1], bias=bias, **settings.factory)
    return [*layers, ("linear", linear)]


def _undo_map(part: Part, settings: Settings, bias: bool) -> Layers:
    """Undo a block from a map to a map, or to a vector, which is a map of one pixel.

    From one pixel, each channel is enlarged by itself: a kernel as large as the map, for all
    pairs of channels, would have most of the decoder's weights.
    """
    order, shape, out_size = read_map(part)
    channels, out_channels = shape[1], part.before.shape[order[1]]
    borders = borders_of(part, settings.borders)
    fitted, size = fit(shape[2:], out_size, borders)
    layers = as_map(part, shape) + fitted
    pixel = max(size) == 1 < max(out_size)
    target = size if pixel else out_size
    same, apart = _same_kernel(part, channels * out_channels, len(size), size == out_size)
    build = partial(enlarge, settings=settings, borders=borders)
    if apart:
        layers += build(channels, channels, size, size, same=3, groups=channels, word="spread")
    layers += build(channels, out_channels, size, target, same=1 if pixel else same, bias=bias)
    layers += _repeat(out_channels, target, out_size, settings, borders)
    return [*layers, *permute(inverse(order))]


def _same_kernel(part: Part, pairs: int, dims: int, keeps_size: bool) -> tuple[int, bool]:
    """Return the kernel along axes that keep their size, and whether space is mixed apart.

    A block that looks at neighbours is undone with 3 taps, over all channels at once where
    that takes no more weights than the block has, or else over each channel by itself.
    """
    mixes = any(_mixes(node) for node in part.step.nodes)
    if not mixes:
        return 1, False
    if not keeps_size or pairs * 3**dims <= part.step.weights:
        return 3, False
    return 1, True


def _mixes(node: Node) -> bool:
    name = name_of(node)
    if name in CONVOLUTIONS:
        return prod(argument(node, 1, "weight", None).meta["val"].shape[2:]) > 1
    return name in MIXERS


def _unreadable(part: Part) -> ValueError:
    return ValueError(
        f"it leads from a shape of {part.before.shape} to {part.after.shape}, and which "
        "of its dimensions are channels and which are space cannot be told: "
        "pass the part of the encoder before that layer"
    )


_UNDO: dict[str, Callable[[Part, Settings, bool], Layers]] = {
    "block": _undo_block,
    "convolution": _undo_convolution,
    "transposed": _undo_transposed,
    "linear": _undo_linear,
    "reshape": _undo_reshape,
    "permute": _undo_permute,
    "shuffle": _undo_shuffle,
    "pad": _undo_pad,
    "resize": _undo_resize,
}
