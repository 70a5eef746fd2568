"""How a decoder gets from the deepest map to the image: its stages, as plain values."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, copysign, prod

from autoup.errors import Refusal
from autoup.table import join_axes
from autoup.unets.maps import FeatureMap, Offset

_ROUND = 0.1  # Of a stride, what the ratio of two resolutions may lie off it.
IMAGE = -1  # The number of the image among the maps.


@dataclass(frozen=True, slots=True)
class Grid:
    """Where the pixels of a map lie, and what a decoder joins there.

    Args:
        size: Per axis, in pixels.
        scale: Distance of neighbours per axis, in pixels of the input.
        offset: Where the first pixel lies per axis, in pixels of the input, from and to; None if
            unknown.
        channels: Of what is joined, together.
        joined: The maps that are joined, by their numbers; ``IMAGE`` for the image.
    """

    size: tuple[int, ...]
    scale: tuple[float, ...]
    offset: tuple[Offset | None, ...]
    channels: int
    joined: tuple[int, ...] = ()

    @property
    def target(self) -> int:
        """The map that has this grid, by its number."""
        return self.joined[0] if self.joined else IMAGE


@dataclass(frozen=True, slots=True)
class Way:
    """From one map to the next larger one.

    Args:
        below: Where it begins.
        above: Where it leads to.
        strides: Of its stages, each per axis.
        fronts: By how many whole pixels the lower map is moved per axis, in pixels of the upper.
        shift: How far its pixels then lie from those of the upper per axis, in pixels of the
            upper; None if unknown, or where ways of different offsets met.
    """

    below: Grid
    above: Grid
    strides: tuple[tuple[int, ...], ...]
    fronts: tuple[int, ...]
    shift: tuple[float | None, ...]

    @property
    def total(self) -> tuple[int, ...]:
        """The enlargement per axis."""
        return tuple(map(prod, zip(*self.strides, strict=True)))

    @property
    def cut(self) -> tuple[int, ...]:
        """Pixels to cut off in front per axis, when all is enlarged."""
        return tuple(-f % s for f, s in zip(self.fronts, self.total, strict=True))

    @property
    def taken(self) -> tuple[int, ...]:
        """Pixels per axis that are enlarged."""
        axes = zip(self.above.size, self.cut, self.total, strict=True)
        return tuple(ceil((n + c) / s) for n, c, s in axes)


def plan_way(below: Grid, above: Grid) -> Way:
    """Plan the stages between two grids.

    Raises:
        Refusal: An axis is not enlarged by a whole number.

    Example:
        >>> image, deep = Grid((97,), (1.0,), ((0, 0),), 3), Grid((25,), (4.0,), ((0, 0),), 64)
        >>> way = plan_way(deep, image)
        >>> way.strides, way.fronts, way.shift, way.taken
        (((2,), (2,)), (-1,), (0.5,), (25,))
    """
    ratios = [b / a for b, a in zip(below.scale, above.scale, strict=True)]
    strides = [max(1, round(each)) for each in ratios]
    for ratio, stride, m, n in zip(ratios, strides, below.size, above.size, strict=True):
        # Where pixels lie may be unknown; sizes are rounded then, by up to a stride.
        if abs(ratio - stride) > _ROUND * stride and abs(stride * m - n) > stride:
            shown = join_axes([round(each, 2) for each in ratios])
            raise Refusal(f"the resolution falls by {shown}, which is no whole number")
    ends = zip(below.offset, above.offset, above.scale, strides, strict=True)
    moved = [_move(b, a, scale, s) if b and a else (0, None) for b, a, scale, s in ends]
    fronts, shift = zip(*moved, strict=True)
    return Way(below, above, _split(strides), fronts, shift)


def _move(below: Offset, above: Offset, scale: float, stride: int) -> tuple[int, float | None]:
    """Return by how many pixels to move an enlarged map, and how far it then lies off the upper.

    Where ways of different offsets met, and where blocks of pixels lie in the channels, the place
    between them that needs the least counts, and how far all is off is known in the middle alone.
    """
    low, high = (
        (b - a) / scale - (stride - 1) / 2 for b, a in zip(below, reversed(above), strict=True)
    )
    front = _whole(min(max(0, low), high))
    mean = (low + high) / 2
    return front, front - mean + 0.0 if low == high or mean == front else None


def _whole(pixels: float) -> int:
    """Return the nearest whole number of pixels, and of two the one nearer to zero."""
    return int(copysign(ceil(abs(pixels) - 0.5), pixels))


def _split(strides: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Split enlargements into prime ones, the last for all axes.

    There is always one, which between maps of one scale enlarges nothing.

    Example:
        >>> _split((4, 6)), _split((2, 4)), _split((1, 1))
        (((2, 2), (2, 3)), ((1, 2), (2, 2)), ((1, 1),))
    """
    factors = [_primes(each) for each in strides]
    steps = max(1, *map(len, factors))
    return tuple(zip(*([1] * (steps - len(each)) + each for each in factors), strict=True))


def _primes(number: int) -> list[int]:
    factor = next((n for n in range(2, number) if number % n == 0), number)
    return [factor] * (number > 1) + (_primes(number // factor) if factor < number else [])


def plan_grids(maps: Sequence[FeatureMap], image: FeatureMap, *, image_skip: bool) -> list[Grid]:
    """Return the grids from the image to the deepest map, with what is joined in each.

    Args:
        maps: From the shallowest to the deepest.
        image: The input.
        image_skip: Whether it is joined as well.
    """
    extra = [(IMAGE, image)] if image_skip else []
    numbered = [*enumerate(maps)]
    groups = [[each for each in numbered if _is_alike(each[1], image)] + extra]
    for number, each in numbered:
        if _is_alike(each, image):
            continue
        if groups[-1] and _is_alike(groups[-1][0][1], each):
            groups[-1].append((number, each))
        else:
            groups.append([(number, each)])
    return [_grid(group, group[0][1] if group else image) for group in groups]


def _is_alike(one: FeatureMap, other: FeatureMap) -> bool:
    """Whether two maps can be joined as they are; valid convolutions keep a scale, but no size."""
    return one.scale == other.scale and one.size == other.size


def _grid(group: Sequence[tuple[int, FeatureMap]], first: FeatureMap) -> Grid:
    channels = sum(each.channels for _, each in group)
    joined = tuple(number for number, _ in group)
    return Grid(first.size, first.scale, first.offset, channels, joined)
