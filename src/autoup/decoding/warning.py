"""What the pictures of a whole decoder will show: one table for all of its layers."""

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from operator import mul
from typing import cast

from torch import nn

from autoup.errors import warn
from autoup.layers.conv_transpose import AutoConvTransposeNd
from autoup.solving import overlap
from autoup.solving.flaws import AXES, START, is_clean, sizes_instead
from autoup.solving.solution import Solution
from autoup.solving.solver import best_solutions
from autoup.table import lay_out

Layers = dict[str, AutoConvTransposeNd]
Size = tuple[int, ...]
Chain = tuple[Solution, ...]
Remake = Callable[[Size], nn.Module | None]

_TRIALS = 8  # Decoders made anew before an axis is given up.
_KEPT = 24  # Sizes followed from map to map.
_HEADER = ("layer", "in -> out", "kernel", "stride", "output padding", "taps a pixel", "shift px")


def warn_of_artifacts(
    decoder: nn.Module,
    input_size: Size,
    remake: Callable[[Size, bool], nn.Module | None],
    *,
    adjoint: bool,
    tied: bool,
) -> None:
    """Issue one ArtifactWarning if any layer has output padding, or overlaps unevenly.

    Args:
        decoder: The decoder; its ``AutoConvTranspose`` layers in the order they run in.
        input_size: What it restores, batch and channels first.
        remake: Makes the decoder of another size, with adjoints or without; None if it cannot.
        adjoint: Whether the decoder has adjoints.
        tied: Whether these share the encoder's weights.
    """
    layers = _layers(decoder)
    flawed = {name: layer for name, layer in layers.items() if not _is_clean(layer.solutions)}
    if not flawed:
        return
    drifts = _drifts([layer.solutions for layer in layers.values()], len(input_size[2:]))
    rows = [_HEADER, *(_row(name, layer.solutions) for name, layer in flawed.items())]
    if any(not axis.even for layer in layers.values() for axis in layer.solutions):
        advice = _advise_option(remake(input_size, False), tied) if adjoint else ""
    else:
        advice = _advise_size(layers, input_size, lambda size: remake(size, adjoint))
    table = "\n".join(lay_out(rows))
    warn(
        f"mirror_decoder: {len(flawed)} of {len(layers)} transposed convolutions are not clean.\n"
        f"{table}\n{' '.join(filter(None, (_describe(drifts), _chains(flawed), advice)))}".rstrip()
    )


def _chains(flawed: Layers) -> str:
    """Name the layers that would be clean in place of one each."""
    chains = dict.fromkeys(
        sizes_instead(axis, layer.smoothness)
        for layer in flawed.values()
        for axis in layer.solutions
        if not axis.margin
    )
    shown = [" -> ".join(map(str, sizes)) for sizes in chains if sizes]
    return f"Clean in more layers, by autoup.ladder: {', '.join(shown)}." if shown else ""


def _layers(decoder: nn.Module) -> dict[str, AutoConvTransposeNd]:
    modules = cast("Iterator[tuple[str, nn.Module]]", decoder.named_modules())
    return {name: module for name, module in modules if isinstance(module, AutoConvTransposeNd)}


def _chain(layers: Layers, axis: int, dims: int) -> Chain:
    """Return what was solved along one axis, by the layers that have it."""
    return tuple(each.solutions[axis] for each in layers.values() if len(each.solutions) == dims)


def _is_clean(solutions: Sequence[Solution]) -> bool:
    """Tell whether all are clean; each stands for what the encoder did, at its scale."""
    return all(is_clean(each, scale=False) for each in solutions)


def _drifts(layers: Sequence[Sequence[Solution]], dims: int) -> list[float]:
    """Return along each axis how far the layers together put a picture, in its own pixels."""
    drifts: list[float] = []
    for axis in range(dims):
        chain = [layer[axis] for layer in reversed(layers) if len(layer) == dims]
        scales = accumulate((each.stride for each in chain), mul, initial=1)
        drifts.append(sum(each.shift * scale for each, scale in zip(chain, scales, strict=False)))
    return drifts


def _describe(drifts: Sequence[float]) -> str:
    parts = [
        f"{-drift:g} px toward the {START[name]}"
        for name, drift in zip(AXES[len(drifts)], drifts, strict=True)
        if drift
    ]
    return f"Together they shift the picture {' and '.join(parts)}." if parts else ""


def _row(name: str, solutions: Sequence[Solution]) -> tuple[str, ...]:
    ranges = [overlap.phase_range(s.kernel_size, s.stride, s.dilation) for s in solutions]
    taps = [f"{least}" if least == most else f"{least}-{most}" for least, most in ranges]

    def each(attribute: str) -> str:
        return "x".join(f"{getattr(axis, attribute):g}" for axis in solutions)

    before = "x".join(f"{_code_size(axis)}" for axis in solutions)

    return (
        name,
        f"{before} -> {each('out_size')}",
        each("kernel_size"),
        each("stride"),
        each("output_padding"),
        "x".join(taps),
        ", ".join(f"{axis.shift:g}" for axis in solutions),
    )


def _advise_option(instead: nn.Module | None, tied: bool) -> str:
    """Say what the decoder without adjoints is better in."""
    found = [] if instead is None else list(_layers(instead).values())
    option = "adjoint=False" + " with tied=False" * tied
    if found and all(_is_clean(layer.solutions) for layer in found):
        return f"{option} is clean."
    even = found and all(axis.even for layer in found for axis in layer.solutions)
    return f"{option} overlaps evenly." if even else ""


def _advise_size(layers: Layers, input_size: Size, remake: Remake) -> str:
    """Name the nearest size whose decoder is clean, found by making it, one kind of axis at a time.

    What the encoder refuses is passed over: a head may be bound to the size of its map.
    """
    dims, size = len(input_size) - 2, input_size
    alike: dict[tuple[int, Chain], list[int]] = {}  # Those of a square go together.
    for axis, old in enumerate(input_size[2:]):
        alike.setdefault((old, _chain(layers, axis, dims)), []).append(axis)
    waiting = [(chain, axes) for (_, chain), axes in alike.items() if not _is_clean(chain)]
    while waiting:
        chain, axes = waiting.pop()
        left = {axis for _, each in waiting for axis in each}
        guesses = _guess(chain, input_size[axes[0] + 2])[:_TRIALS]
        sizes = (_replace(size, axes, guess) for guess in guesses)
        found = next((each for each in sizes if _is_cured(remake(each), left, dims)), None)
        if found is None:
            return ""
        size = found
    return f"input_size={size} is clean." if size != input_size else ""


def _replace(size: Size, axes: Sequence[int], by: int) -> Size:
    return tuple(by if place - 2 in axes else each for place, each in enumerate(size))


def _is_cured(decoder: nn.Module | None, left: set[int], dims: int) -> bool:
    """Tell whether a decoder is clean along all axes but those that are left to be searched."""
    if decoder is None:
        return False
    layers = _layers(decoder)
    chains = [_chain(layers, axis, dims) for axis in range(dims) if axis not in left]
    return all(map(_is_clean, chains if left else [each.solutions for each in layers.values()]))


def _guess(chain: Chain, size: int) -> list[int]:
    """Return sizes at which all layers may be clean, the nearest first.

    Followed outward, as distances from what the layers have now, from a few sizes of the smallest
    map. What the encoder makes of a size is not known here.
    """
    distances = {0} if _code_size(chain[0]) == 1 else {*range(-2, 3)}
    for layer in chain:
        outer = {
            out - layer.out_size
            for each in distances
            for out in _clean_sizes(layer, _code_size(layer) + each)
        }
        distances = set(sorted(outer, key=abs)[:_KEPT])
    sizes = [size + each for each in distances if size + each > 0]
    # Of two as near first the one that 2 divides more often, for strides of 2.
    return sorted(sizes, key=lambda each: (abs(each - size), -(each & -each)))


def _clean_sizes(layer: Solution, in_size: int) -> list[int]:
    """Return the sizes near its own that a layer of this stride makes cleanly."""
    s, old = layer.stride, layer.out_size
    if _code_size(layer) == 1:  # One pixel is enlarged to any size.
        return [out for out in range(old - 2, old + 3) if out > 0]
    middle = old + s * (in_size - _code_size(layer))
    if in_size < 1 or s == 1:
        return [middle] * (in_size > 0)
    return [
        out
        for out in range(middle - min(s, 4) + 1, middle + min(s, 4))
        if out >= in_size and is_clean(best_solutions(in_size, out, None, s, 1)[0], scale=False)
    ]


def _code_size(layer: Solution) -> int:
    """Return the size of the map that a layer enlarges, without what continues it."""
    return layer.in_size - layer.margin
