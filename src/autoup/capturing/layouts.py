"""What each axis of a tensor means, followed through the operators of a graph.

A layout has one entry for each dimension of a tensor. Each entry is a tuple of factors, major
first, since a dimension may hold several axes: after ``flatten(2)`` the last one holds height
and width. A factor is a label and a size; the labels are ``"N"`` the batch, ``"C"`` channels or
features, ``"0"``, ``"1"``, ``"2"`` the spatial axes, and ``"?"`` what is lost.
"""

from collections.abc import Sequence
from itertools import groupby
from math import prod
from operator import itemgetter

Factor = tuple[str, int]
Layout = tuple[tuple[Factor, ...], ...]

BATCH, CHANNEL, LOST = "N", "C", "?"
_NOT_SPATIAL = {BATCH, CHANNEL, LOST}


def start(shape: Sequence[int]) -> Layout:
    """Return the layout of an input with the batch first and the channels second.

    Example:
        >>> start((1, 3, 8, 8))
        ((('N', 1),), (('C', 3),), (('0', 8),), (('1', 8),))
    """
    labels = [BATCH, CHANNEL, *map(str, range(len(shape)))]
    return tuple(((label, size),) for label, size in zip(labels, shape, strict=False))


def convolved(layout: Layout, shape: Sequence[int]) -> Layout:
    """Return the layout behind a convolution: new channels, spatial axes in their places.

    Example:
        >>> convolved(start((1, 3, 8, 8)), (1, 16, 4, 4))[1:3]
        ((('C', 16),), (('0', 4),))
    """
    spatial = [
        _resized(entry, size) if is_spatial(entry) else ((str(axis), size),)
        for axis, (entry, size) in enumerate(zip(layout[2:], shape[2:], strict=True))
    ]
    return (layout[0], ((CHANNEL, shape[1]),), *spatial)


def permuted(layout: Layout, order: Sequence[int]) -> Layout:
    """Return the layout with its entries in another order.

    Example:
        >>> permuted(start((1, 3, 8, 9)), (0, 2, 3, 1))[-1]
        (('C', 3),)
    """
    return tuple(layout[axis] for axis in order)


def reshaped(layout: Layout, shape: Sequence[int]) -> Layout:
    """Deal the factors of a layout out to the dimensions of another shape.

    A factor that falls into two dimensions is split between them, with its label.

    Example:
        >>> reshaped(start((1, 3, 8, 9)), (1, 3, 72))[2]
        (('0', 8), ('1', 9))
        >>> reshaped((*start((1, 8)), (("0", 6),)), (8, 6))
        ((('N', 1), ('C', 8)), (('0', 6),))
    """
    waiting = [factor for entry in layout for factor in entry if factor[1] > 1][::-1]
    entries: list[tuple[Factor, ...]] = []
    for size in shape:
        entry: list[Factor] = []
        while waiting and (part := size // prod(each for _, each in entry)) > 1:
            label, whole = waiting.pop()
            if part < whole and whole % part == 0:
                waiting.append((label, whole // part))
                whole = part
            entry.append((label, whole))
        fits = prod(each for _, each in entry) == size
        entries.append(_joined(entry) if fits else ((LOST, size),))
    if layout[0][:1] == ((BATCH, 1),) and entries[0]:  # A batch of one goes where another would.
        entries[0] = (layout[0][0], *entries[0])
    return _label_units(tuple(entries), shape)


def _joined(entry: Sequence[Factor]) -> tuple[Factor, ...]:
    """Join factors of one axis that lie side by side."""
    runs = groupby(entry, key=itemgetter(0))
    return tuple((label, prod(size for _, size in run)) for label, run in runs)


def _label_units(layout: Layout, shape: Sequence[int]) -> Layout:
    """Name dimensions of size 1, in which nothing can be lost, by their places."""
    labels = start(shape)
    taken = {label for entry in layout for label, _ in entry}
    filled = list(layout)
    for axis, entry in enumerate(layout):
        if not entry and axis < len(labels):
            name = labels[axis][0][0]
            filled[axis] = () if name in taken and name not in (BATCH, CHANNEL) else labels[axis]
    return tuple(filled)


def reduced(layout: Layout, axes: Sequence[int], keepdim: bool) -> Layout:
    """Return the layout behind a mean, sum or maximum over some dimensions.

    Example:
        >>> len(reduced(start((1, 3, 8, 9)), (2, 3), keepdim=False))
        2
    """
    gone = {axis % len(layout) for axis in axes}
    if keepdim:
        return tuple(_resized(e, 1) if axis in gone else e for axis, e in enumerate(layout))
    return tuple(entry for axis, entry in enumerate(layout) if axis not in gone)


def stacked(layout: Layout, dim: int, shape: Sequence[int]) -> Layout:
    """Return the layout of several tensors put beside each other: one more axis of channels.

    Example:
        >>> stacked(start((1, 3, 8)), 1, (1, 2, 3, 8))[1:3]
        ((('C', 2),), (('C', 3),))
    """
    place = dim % len(shape)
    return (*layout[:place], ((CHANNEL, shape[place]),), *layout[place:])


def relabelled(layout: Layout, shape: Sequence[int]) -> Layout | None:
    """Return the layout of a tensor with as many dimensions, some of them of another size.

    A dimension that held several axes and changes its size has lost them.

    Example:
        >>> relabelled(start((1, 3, 8, 9)), (1, 16, 4, 5))[2]
        (('0', 4),)
    """
    if len(layout) != len(shape):
        return None
    return tuple(_resized(entry, size) for entry, size in zip(layout, shape, strict=True))


def _resized(entry: tuple[Factor, ...], size: int) -> tuple[Factor, ...]:
    labels = {label for label, _ in entry}
    if prod(each for _, each in entry) == size:
        return entry
    return ((labels.pop() if len(labels) == 1 else LOST, size),)


def is_spatial(entry: Sequence[Factor]) -> bool:
    """Whether a dimension holds spatial axes and nothing else.

    Example:
        >>> is_spatial((("0", 8), ("1", 9))), is_spatial((("C", 3),))
        (True, False)
    """
    return bool(entry) and not any(label in _NOT_SPATIAL for label, _ in entry)


def is_lost(layout: Layout | None) -> bool:
    """Whether a dimension mixes axes that cannot be told apart again.

    Example:
        >>> is_lost(start((1, 3, 8, 8))), is_lost(None)
        (False, True)
    """
    return layout is None or any(label == LOST for entry in layout for label, _ in entry)


def map_order(layout: Layout | None) -> tuple[int, ...] | None:
    """Return the order of dimensions that puts a map as batch, channels, space; None if not one.

    Tokens, whose one dimension holds several spatial axes, count as a map of one axis. An axis
    that is cut into windows makes no map.

    Example:
        >>> map_order(permuted(start((1, 3, 8, 8)), (0, 2, 3, 1)))
        (0, 3, 1, 2)
    """
    if layout is None or len(layout) < 3 or BATCH not in dict(layout[0]):
        return None
    channels = [axis for axis, entry in enumerate(layout[1:], 1) if _holds_channels(entry)]
    spatial = [axis for axis, entry in enumerate(layout[1:], 1) if is_spatial(entry)]
    labels = [label for axis in spatial for label in dict(layout[axis])]
    if len(channels) != 1 or len(spatial) != len(layout) - 2 or len(set(labels)) < len(labels):
        return None
    return (0, *channels, *spatial)


def _holds_channels(entry: Sequence[Factor]) -> bool:
    return bool(entry) and all(label == CHANNEL for label, _ in entry)
