"""Where the axes of the input stand in the dimensions of a tensor, and where their pixels lie.

A dimension may hold parts of several axes, major first, as a layout has them. Besides the label
and the size a part knows its step, in pixels of the axis, so that an axis that is cut into windows
is whole again when they come back, and one whose blocks went into the channels is known to be
coarser from there on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import gcd, prod

from autoup.capturing.layouts import BATCH, CHANNEL, LOST, Layout, start
from autoup.inspecting.position import Move, Position, join


@dataclass(frozen=True, slots=True)
class Part:
    """What a dimension holds of one axis.

    Args:
        label: Of the axis, as in a layout.
        size: How many pixels of it.
        step: From one of them to the next, in pixels of the axis; 0 where it is not spatial.
    """

    label: str
    size: int
    step: int = 0


Entry = tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Axes:
    """The dimensions of a tensor and the positions of its axes.

    Args:
        entries: One for each dimension; an empty one has size 1.
        positions: Of each axis that is known, by its label, wherever its parts stand.
    """

    entries: tuple[Entry, ...]
    positions: Mapping[str, Position]

    @property
    def shape(self) -> tuple[int, ...]:
        """The size of each dimension."""
        return tuple(prod(part.size for part in entry) for entry in self.entries)

    def labels(self, dim: int) -> set[str]:
        """Return the labels of the spatial axes that a dimension holds parts of."""
        return {part.label for part in self.entries[dim] if part.step}

    def is_spatial(self, dim: int) -> bool:
        """Whether a dimension holds spatial axes and nothing else."""
        return bool(self.entries[dim]) and all(part.step for part in self.entries[dim])

    def put(self, dim: int, entry: Entry) -> "Axes":
        """Return the axes with another entry for a dimension."""
        dim %= len(self.entries)
        return Axes((*self.entries[:dim], entry, *self.entries[dim + 1 :]), self.positions)

    def lost(self, dim: int, size: int) -> "Axes":
        """Return the axes where those of a dimension are known no more."""
        gone = self.labels(dim)
        kept = {label: each for label, each in self.positions.items() if label not in gone}
        return Axes(self.put(dim, (Part(LOST, size),)).entries, kept)

    def permuted(self, order: Sequence[int]) -> "Axes":
        """Return the axes with the dimensions in another order."""
        return Axes(tuple(self.entries[dim] for dim in order), self.positions)

    def moved(self, dim: int, move: Move, size: int) -> "Axes":
        """Return the axes where pixel n of a dimension is what was at ``scale*n + offset``."""
        entry, (scale, offset) = self.entries[dim], move
        if (scale, offset) == (1, 0) and size == prod(part.size for part in entry):
            return self
        if not self.is_spatial(dim):
            return self.merged(dim, size)
        part, *more = entry
        if more or not self._is_whole(part) or scale <= 0:
            return self.lost(dim, size)
        label = part.label
        positions = dict(self.positions)
        if label in positions:
            positions[label] = _rounded(positions[label].moved(scale, offset))
        return Axes(self.put(dim, (Part(label, size, 1),)).entries, positions)

    def _is_whole(self, part: Part) -> bool:
        labels = [each.label for entry in self.entries for each in entry]
        return part.step == 1 and labels.count(part.label) == 1

    def merged(self, dim: int, size: int) -> "Axes":
        """Return the axes where a dimension becomes features: what stood there lies in them."""
        here = self
        for part in reversed(self.entries[dim]):
            here = here._without_last(dim, 0, part.size - 1)
        is_batch = [part.label for part in self.entries[dim]] == [BATCH]
        return here.put(dim, (Part(BATCH if is_batch else CHANNEL, size),))

    def averaged(self, dim: int, keepdim: bool) -> "Axes":
        """Return the axes behind a mean over a dimension, which has size 1 from there on."""
        size, entry = self.shape[dim], self.entries[dim]
        if keepdim and len(entry) == 1 and self._is_whole(entry[0]):
            return self.moved(dim, (size, (size - 1) / 2), 1)
        here = self
        for part in reversed(entry):
            here = here._without_last(dim, (part.size - 1) / 2, (part.size - 1) / 2)
        return here

    def picked(self, dim: int, index: int) -> "Axes":
        """Return the axes where one index of a dimension is left, and the dimension is gone."""
        dim, here = dim % len(self.entries), self
        index %= self.shape[dim]
        for part in reversed(self.entries[dim]):
            index, place = divmod(index, part.size)
            here = here._without_last(dim, place, place)
        return here.permuted([each for each in range(len(self.entries)) if each != dim])

    def _without_last(self, dim: int, low: float, high: float) -> "Axes":
        """Return the axes without the last part of a dimension, of which the rest holds some.

        These are ``low`` to ``high``, as numbers of its pixels. The steps of the axis are divided
        by what they share, and the scale has it instead.
        """
        *front, part = self.entries[dim]
        here = self.put(dim, tuple(front))
        if not part.step:
            return here
        rest = [each for entry in here.entries for each in entry if each.label == part.label]
        found = {label: each for label, each in self.positions.items() if label != part.label}
        if not rest:
            return Axes(here.entries, found)
        step = gcd(*(each.step for each in rest))
        entries = tuple(tuple(_finer(each, part.label, step) for each in e) for e in here.entries)
        if old := self.positions.get(part.label):
            move = old.scale * part.step
            new = Position(
                old.scale * step, old.first + move * low, old.last + move * high, old.size
            )
            found[part.label] = _rounded(new)
        return Axes(entries, found)

    def reshaped(self, shape: Sequence[int]) -> "Axes":
        """Deal the parts out to the dimensions of another shape; one may be split between two."""
        waiting = [part for entry in self.entries for part in entry if part.size > 1][::-1]
        entries: list[Entry] = []
        lost: set[str] = set()
        for size in shape:
            entry: list[Part] = []
            while waiting and (part := size // prod(each.size for each in entry)) > 1:
                whole = waiting.pop()
                if part < whole.size and whole.size % part == 0:
                    rest = whole.size // part
                    waiting.append(Part(whole.label, rest, whole.step))
                    whole = Part(whole.label, part, whole.step * rest)
                entry.append(whole)
            if lost or prod(each.size for each in entry) != size:  # Nor is known what follows.
                lost |= {each.label for each in (*entry, *waiting)} | {LOST}
                entry = [Part(LOST, size)]
            entries.append(_joined(entry))
        kept = {label: each for label, each in self.positions.items() if label not in lost}
        return Axes(tuple(entries), kept)

    def fitted(self, shape: Sequence[int]) -> "Axes":
        """Return the axes of a tensor of some shape, known where that agrees."""
        if len(shape) != len(self.entries):
            return unknown(shape)
        here = self
        for dim, (old, new) in enumerate(zip(self.shape, shape, strict=True)):
            if old != new:
                here = here.lost(dim, new) if here.is_spatial(dim) else here.merged(dim, new)
        return here

    def shown(self, layout: Layout) -> dict[str, Position]:
        """Return the positions of the axes that stand where a layout has them too.

        What lies in the channels of a dimension is not counted as a part of its axis, and an axis
        of which a dimension holds parts in another order has no position.
        """
        if len(layout) != len(self.entries):
            return {}
        here = self
        for dim, entry in enumerate(self.entries):
            if self.labels(dim) and any(part.label == CHANNEL for part in entry):
                here = here.merged(dim, self.shape[dim])
        stands: dict[str, list[int]] = {}
        for dim, factors in enumerate(layout):
            names = {label for label, _ in factors}
            for label in names if CHANNEL not in names else ():
                stands.setdefault(label, []).append(dim)
        return {
            label: each
            for label, each in here.positions.items()
            if here._dims_of(label) == stands.get(label, [])
        }

    def _dims_of(self, label: str) -> list[int]:
        """Return the dimensions that hold parts of an axis, as often as they do."""
        held = [(dim, part) for dim, entry in enumerate(self.entries) for part in entry]
        return [dim for dim, part in held if part.label == label]


def _finer(part: Part, label: str, step: int) -> Part:
    return Part(label, part.size, part.step // step) if part.label == label else part


def _joined(entry: Sequence[Part]) -> Entry:
    """Join parts of one axis that lie side by side, where they follow each other in it."""
    joined = [*entry[:1]]
    for before, part in pairwise(entry):
        if before.label == part.label and before.step == part.step * part.size:
            joined[-1] = Part(part.label, joined[-1].size * part.size, part.step)
        else:
            joined.append(part)
    return tuple(joined)


def _rounded(position: Position) -> Position:
    """Return a position without the last bits, by which ways that meet may differ."""
    scale, first, last = (
        round(each, 9) + 0.0 for each in (position.scale, position.first, position.last)
    )
    return Position(scale, first, last, position.size)


def begin(shape: Sequence[int]) -> Axes:
    """Return the axes of an input with the batch first and the channels second.

    Example:
        >>> begin((1, 3, 8)).positions
        {'0': Position(scale=1.0, first=0.0, last=0.0, size=8)}
    """
    entries = tuple(
        (Part(label, size, int(label not in (BATCH, CHANNEL))),)
        for ((label, size),) in start(shape)
    )
    found = {part.label: Position(1.0, 0.0, 0.0, part.size) for (part,) in entries if part.step}
    return Axes(entries, found)


def unknown(shape: Sequence[int]) -> Axes:
    """Return the axes of a tensor of which nothing is known.

    Example:
        >>> unknown((1, 8)).positions
        {}
    """
    return Axes(tuple((Part(LOST, size),) for size in shape), {})


def meet(ways: Sequence[Axes], shape: Sequence[int]) -> Axes:
    """Return the axes of what several tensors make at each place, broadcast to a shape.

    An axis is known where every way that has its size knows it, and at the same scale.

    Example:
        >>> meet([begin((1, 3, 8)), begin((1, 3, 1))], (1, 3, 8)).positions
        {'0': Position(scale=1.0, first=0.0, last=0.0, size=8)}
    """
    entries: list[Entry] = []
    lost: set[str] = set()
    brought: dict[str, list[Axes]] = {}
    for dim, size in zip(range(-len(shape), 0), shape, strict=True):
        here = [way for way in ways if -dim <= len(way.entries) and way.shape[dim] == size]
        found = dict.fromkeys(way.entries[dim] for way in here if way.entries[dim])
        labels = {label for way in here for label in way.labels(dim)}
        if len(found) > 1 and labels and size > 1:
            lost |= labels
            found = {(Part(LOST, size),): None}
        entries.append(next(iter(found), (Part(CHANNEL, size),) if size > 1 else ()))
        for way in here:
            for label in way.labels(dim):
                brought.setdefault(label, []).append(way)
    kept: dict[str, Position] = {}
    for label in brought.keys() - lost:
        known = [way.positions[label] for way in brought[label] if label in way.positions]
        if len(known) == len(brought[label]) and (position := join(known)) is not None:
            kept[label] = position
    return Axes(tuple(entries), kept)
