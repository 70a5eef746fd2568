"""What the pictures of a whole decoder will show: one table for all of its layers."""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from math import prod
from operator import mul
from typing import cast

from torch import nn

from autoup.errors import warn
from autoup.layers.conv_transpose import AutoConvTransposeNd
from autoup.solving import overlap
from autoup.solving.flaws import AXES, START, flaws
from autoup.solving.solution import Solution
from autoup.table import lay_out

_HEADER = ("layer", "in -> out", "kernel", "stride", "output padding", "taps a pixel", "shift px")


def warn_of_artifacts(decoder: nn.Module, input_size: Sequence[int]) -> None:
    """Issue one ArtifactWarning if any layer has output padding, or overlaps unevenly.

    Args:
        decoder: The decoder; its ``AutoConvTranspose`` layers in the order they run in.
        input_size: What it restores, batch and channels first.
    """
    modules = cast("Iterator[tuple[str, nn.Module]]", decoder.named_modules())
    layers = {name: module for name, module in modules if isinstance(module, AutoConvTransposeNd)}
    flawed = {
        name: layer
        for name, layer in layers.items()
        if any(flaws(axis, ["length"]) for axis in layer.solutions)
    }
    if not flawed:
        return
    sizes = tuple(input_size[2:])
    drifts = _drifts([layer.solutions for layer in layers.values()], len(sizes))
    rows = [_HEADER, *(_row(name, layer.solutions) for name, layer in flawed.items())]
    table = "\n".join(lay_out(rows))
    warn(
        f"mirror_decoder: {len(flawed)} of {len(layers)} transposed convolutions are not clean.\n"
        f"{table}\n"
        f"{_describe(drifts)}{_advice(layers, input_size)}"
    )


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
    return f"Together they shift the picture {' and '.join(parts)}. " if parts else ""


def _row(name: str, solutions: Sequence[Solution]) -> tuple[str, ...]:
    ranges = [overlap.phase_range(s.kernel_size, s.stride, s.dilation) for s in solutions]
    taps = [f"{least}" if least == most else f"{least}-{most}" for least, most in ranges]

    def each(attribute: str) -> str:
        return "x".join(f"{getattr(axis, attribute):g}" for axis in solutions)

    return (
        name,
        f"{each('in_size')} -> {each('out_size')}",
        each("kernel_size"),
        each("stride"),
        each("output_padding"),
        "x".join(taps),
        ", ".join(f"{axis.shift:g}" for axis in solutions),
    )


def _advice(layers: dict[str, AutoConvTransposeNd], input_size: Sequence[int]) -> str:
    """Name the nearest sizes that the total stride divides: there most encoders need none."""
    if any(not axis.even for layer in layers.values() for axis in layer.solutions):
        return "adjoint=False overlaps evenly."
    sizes = tuple(input_size[2:])
    chains = [layer.solutions for layer in layers.values() if len(layer.solutions) == len(sizes)]
    strides = [
        prod(layer[axis].stride for layer in chains if layer[axis].in_size > 1)
        for axis in range(len(sizes))
    ]
    near = tuple(max(1, round(n / s)) * s for n, s in zip(sizes, strides, strict=True))
    if near == sizes or not chains:
        return ""
    return (
        "Most encoders need none where the total stride divides the size: here it is "
        f"{'x'.join(map(str, strides))}, and input_size={(*input_size[:2], *near)} the nearest."
    )
