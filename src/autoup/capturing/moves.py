"""Where an operator of ATen that slides, pads, cuts, turns or resizes finds its pixels."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from torch.fx import Node

from autoup.capturing.edges import value_of
from autoup.inspecting.calls import per_dim
from autoup.inspecting.position import Move, sample, slide, spread


def moves(
    name: str, given: Mapping[str, Any], old: Sequence[int], new: Sequence[int]
) -> dict[int, Move]:
    """Return where the pixels of each dimension, counted from the last, lie in what is read.

    Empty where the operator moves none.

    Args:
        name: Of the operator.
        given: Its arguments by their names.
        old: Shape of what it reads.
        new: Shape of what it makes.

    Example:
        >>> moves("slice", {"dim": 2, "start": 1, "step": 2}, (1, 3, 8), (1, 3, 4))
        {-1: (2, 1)}
    """
    if len(old) != len(new):
        return {}
    if name.startswith(("adaptive_", "max_unpool")):
        dims = range(-_dims_in(name), 0)
        return {dim: sample(old[dim], new[dim], "") for dim in dims}
    if "upsample_" in name:
        return _resize(name, given, old, new)
    if re.match(r"conv(\d|_transpose|olution)|(max|avg)_pool\d", name):
        return _window(name, given)
    if name == "pixel_shuffle":
        factor: int = given["upscale_factor"]
        return {dim: sample(1, factor, "") for dim in (-2, -1)}
    if re.search(r"(^|_)pad(_nd|\dd|_circular)?$", name):
        fronts: Sequence[int] = given["padding" if "padding" in given else "pad"][::2]
        return {-1 - place: (1, -front) for place, front in enumerate(fronts)}
    if name in ("slice", "narrow"):
        dim: int = given["dim"] % len(new) - len(new)
        size, first = old[dim], cast("int", given["start"] or 0)
        first = min(max(first + size * (first < 0), 0), size)
        return {dim: (given.get("step", 1), first)}
    if name == "roll" and given["dims"]:
        turns: Iterator[tuple[int, int]] = zip(given["dims"], given["shifts"], strict=True)
        return {dim % len(new) - len(new): (1, -shift) for dim, shift in turns}
    return {}


def _dims_in(name: str) -> int:
    """Return how many axes the name of an operator says, as in ``"max_pool2d"``."""
    found = re.search(r"(\d)d", name)
    return int(found[1]) if found else 0


def _window(name: str, given: Mapping[str, Any]) -> dict[int, Move]:
    """Return where a convolution or a pool reads its pixels."""
    weight = given.get("weight")
    kernel: Sequence[int] = (
        value_of(weight).shape[2:]
        if isinstance(weight, Node)
        else per_dim(given["kernel_size"], _dims_in(name))
    )
    dims, padding = len(kernel), given.get("padding", 0)
    stride = per_dim(given.get("stride") or (1 if weight is not None else kernel), dims)
    dilation = per_dim(given.get("dilation", 1), dims)
    reach = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    if isinstance(padding, str):
        padding = [each // 2 if padding == "same" else 0 for each in reach]
    step = spread if "transpose" in name or given.get("transposed") else slide
    moves = map(step, stride, reach, per_dim(padding, dims))
    return dict(zip(range(-dims, 0), moves, strict=True))


def _resize(
    name: str, given: Mapping[str, Any], old: Sequence[int], new: Sequence[int]
) -> dict[int, Move]:
    dims = _dims_in(name)
    mode = "nearest-exact" if "nearest_exact" in name else "nearest" if "nearest" in name else ""
    factors: Sequence[float | None] = given.get("scale_factors") or [
        each for key, each in given.items() if key.startswith("scales")
    ]
    factors = factors if len(factors) == dims else [None] * dims
    moves: dict[int, Move] = {}
    for dim, factor in zip(range(-dims, 0), factors, strict=True):
        if given.get("align_corners"):
            moves[dim] = ((old[dim] - 1) / max(1, new[dim] - 1), 0)
        else:
            moves[dim] = sample(old[dim], new[dim], mode, factor)
    return moves
