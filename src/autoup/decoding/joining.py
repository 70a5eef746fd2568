"""Simplify the parts of an encoder: join those that are one, and drop those that cancel."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

from autoup.capturing.steps import Point, Step
from autoup.decoding.parts import FOLLOWING, Pads, Part, join

AsBlock = Callable[[Step], Part]


def join_channel_norms(parts: Sequence[Part]) -> list[Part]:
    """Join permute, layer normalisation, permute back: a normalisation over channels.

    Example:
        >>> join_channel_norms([])
        []
    """
    joined: list[Part] = []
    for part in parts:
        joined.append(part)
        trio = joined[-3:]
        norm = trio[1].norm if len(trio) == 3 else None
        if [each.kind for each in trio] != ["permute", "norm", "permute"] or norm is None:
            continue
        first, last = trio[0], trio[2]
        over_channels = len(norm.shape) == 1 and _ends_in_channels(first.after)
        if over_channels and _same_dimensions(first.before, last.after):
            step = replace(join([each.step for each in trio]), name=trio[1].step.name)
            joined[-3:] = [Part("norm", step, norm=replace(norm, shape=()))]
    return joined


def _ends_in_channels(point: Point) -> bool:
    order = point.map_order
    return order is not None and order[1] == len(order) - 1


def drop_shuffles(parts: Sequence[Part]) -> list[Part]:
    """Drop what rearranges a tensor and leaves every dimension with its size and its meaning.

    Example:
        >>> drop_shuffles([])
        []
    """
    kept: list[Part] = []
    for part in parts:
        kept.append(part)
        for start in range(len(kept) - 1, -1, -1):
            if kept[start].kind not in ("reshape", "permute"):
                break
            if _same_dimensions(kept[start].before, part.after):
                del kept[start:]
                break
    return kept


def _same_dimensions(one: Point, other: Point) -> bool:
    if one.layout is None or other.layout is None or one.shape != other.shape:
        return False
    return all(
        _merged(first) == _merged(second)
        for first, second in zip(one.layout, other.layout, strict=True)
    )


def _merged(entry: Sequence[tuple[str, int]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(label for label, size in entry if size > 1))


def fold_pads(parts: Sequence[Part], uneven: bool) -> list[Part]:
    """Let a padding of the spatial axes join the convolution or pooling behind it.

    Example:
        >>> fold_pads([], True)
        []
    """
    folded: list[Part] = []
    for part in parts:
        while folded and folded[-1].kind == "pad" and _takes(part, folded[-1], uneven):
            last = folded.pop()
            step = join([last.step, part.step])
            pads = _added(part.pads or ((0, 0),) * len(last.pads), last.pads)
            part = replace(part, step=replace(step, name=part.step.name), pads=pads)
        folded.append(part)
    return folded


def _added(one: Pads, other: Pads) -> Pads:
    return tuple((a + c, b + d) for (a, b), (c, d) in zip(one, other, strict=True))


def _takes(part: Part, padding: Part, uneven: bool) -> bool:
    """Whether a padding joins a part: where it is even, or does not enlarge the map by itself."""
    pads, sizes = padding.pads, zip(part.after.shape, padding.before.shape, strict=True)
    if part.kind not in ("convolution", "resize") or part.before.map_order is None:
        return False
    spatial = all(pair == (0, 0) for pair in pads[:2]) and min(map(min, pads)) >= 0
    grows = any(after > before for after, before in list(sizes)[2:])
    even = all(front == behind for front, behind in pads)
    return spatial and (even or part.kind == "resize" or (uneven and not grows))


def merge(parts: Sequence[Part], as_block: AsBlock) -> list[Part]:
    """Make one block of all between two changes of resolution, where it has several layers.

    Normalisation and activation at its end stay apart, for the mirror of the next layer.

    Example:
        >>> merge([], lambda step: Part("block", step))
        []
    """
    points = [part.before for part in parts] + [part.after for part in parts[-1:]]
    sizes = {number: size for number, point in enumerate(points) if (size := _map_size(point))}
    ends = [one for one, other in pairwise(sizes) if sizes[one] != sizes[other]]
    last = max(sizes, default=0)
    merged: list[Part] = []
    for start, end in pairwise(sorted({0, *ends, *range(last, len(points))})):
        merged += as_one_block(parts[start:end], as_block)
    return merged


def as_one_block(parts: Sequence[Part], as_block: AsBlock, name: str = "") -> list[Part]:
    """Make one block of several layers; what stands in front of them and behind stays apart.

    Example:
        >>> as_one_block([], lambda step: Part("block", step))
        []
    """
    layers = [number for number, part in enumerate(parts) if part.kind not in FOLLOWING]
    if len(layers) < 2:
        return list(parts)
    head, tail = layers[0], layers[-1] + 1
    step = join([part.step for part in parts[head:tail]])
    block = as_block(replace(step, name=name or parts[head].step.name))
    return [*parts[:head], block, *parts[tail:]]


def join_around(
    parts: Sequence[Part], is_core: Callable[[Part], bool], as_block: AsBlock, name: str
) -> list[Part]:
    """Make one block of some layers, with those beside them up to what stays apart.

    Example:
        >>> join_around([], lambda part: True, lambda step: Part("block", step), "")
        []
    """
    core = [number for number, part in enumerate(parts) if is_core(part)]
    if not core:
        return [*parts]
    head, tail = core[0], core[-1] + 1
    while head and parts[head - 1].kind not in FOLLOWING:
        head -= 1
    while tail < len(parts) and parts[tail].kind not in FOLLOWING:
        tail += 1
    return [*parts[:head], *as_one_block(parts[head:tail], as_block, name), *parts[tail:]]


def join_lost(parts: Sequence[Part], as_block: AsBlock) -> list[Part]:
    """Make one block of all from the map before blocks between other tensors to the map behind.

    Example:
        >>> join_lost([], lambda step: Part("block", step))
        []
    """
    lost = [
        number
        for number, part in enumerate(parts)
        if part.kind == "block" and None in (part.before.map_order, part.after.map_order)
    ]
    if not lost:
        return [*parts]
    head, tail = lost[0], lost[-1] + 1
    while head and parts[head].before.map_order is None:
        head -= 1
    while tail < len(parts) and parts[tail - 1].after.map_order is None:
        tail += 1
    return [*parts[:head], *as_one_block(parts[head:tail], as_block), *parts[tail:]]


def _map_size(point: Point) -> tuple[int, ...] | None:
    """Return the spatial sizes of a map whose every dimension is one axis; None for others."""
    order = point.map_order
    if order is None or any(len(entry) > 1 for entry in (point.layout or ())[1:]):
        return None
    return tuple(point.shape[axis] for axis in order[2:])
