"""Where the pixels of one axis lie in the input, and what each kind of layer does to it.

Along each axis pixel n of a tensor sits at scale*n + offset of the input, in its pixels. Legend: s
stride, k kernel, p padding, d dilation, r enlargement; the reach of a kernel is d*(k - 1). A
convolution reads pixel n around s*n + d*(k - 1)/2 - p, a transposed one puts it around that place
of its output, and a resize by r puts the centre of pixel n at r*(n + 1/2) - 1/2. Where ways of
different offsets meet, the smallest and the largest are kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, nan


@dataclass(frozen=True, slots=True)
class Position:
    """Where the pixels of one axis sit.

    Args:
        scale: Distance of neighbours, in pixels of the input.
        first: Smallest offset of any way, in pixels of the input.
        last: Largest offset.
        size: Of the input, in pixels.
    """

    scale: float
    first: float
    last: float
    size: int = 1

    def moved(self, scale: float, offset: float) -> "Position":
        """Return the position of pixels that sit at ``scale*n + offset`` of these."""
        move = self.scale * offset
        return Position(self.scale * scale, self.first + move, self.last + move, self.size)

    def shift(self, size: int) -> tuple[float, float]:
        """Return how far the middle of the input lies from the middle of a tensor, in its pixels.

        Negative is toward the start; the two differ where ways of different offsets met.

        Args:
            size: Of the tensor, in pixels.

        Example:
            >>> Position(0.5, -0.25, -0.25, size=8).shift(16), Position(1, 0, 0.5, size=8).shift(8)
            ((0.0, 0.0), (-0.5, 0.0))
        """
        middle = (self.size - 1) / 2
        low, high = ((middle - each) / self.scale for each in (self.last, self.first))
        low, high = (each - (size - 1) / 2 for each in (low, high))
        return round(low, 9) + 0.0, round(high, 9) + 0.0  # Without rounding, or a minus before 0.

    def stretch(self, size: int) -> float:
        """Return how far the ends of the input lie outside of their places, in a tensor's pixels.

        Its place is where an enlargement by the ratio of the sizes puts it.

        Example:
            >>> Position(0.5, 0.0, 0.0, size=20).stretch(30)
            4.75
        """
        return round((1 / self.scale - size / self.size) * (self.size - 1) / 2, 9) + 0.0

    def is_off_scale(self, size: int) -> bool:
        """Tell whether the ends lie more than two pixels of the input from their places.

        Example:
            >>> Position(0.5, 0.0, 0.0, size=20).is_off_scale(30)
            True
        """
        return abs(self.stretch(size)) * self.scale > 2


Move = tuple[float, float]  # The distance of neighbours, and the place of the first.


def slide(stride: int, reach: int, padding: int) -> Move:
    """Return where a convolution or a pool reads its pixels.

    Example:
        >>> slide(stride=2, reach=6, padding=3), slide(stride=2, reach=1, padding=0)
        ((2, 0.0), (2, 0.5))
    """
    return stride, reach / 2 - padding


def spread(stride: int, reach: int, padding: int) -> Move:
    """Return where the pixels of a transposed convolution lie in what it reads.

    Example:
        >>> spread(stride=2, reach=3, padding=1)
        (0.5, -0.25)
    """
    return 1 / stride, -(reach / 2 - padding) / stride


def sample(in_size: int, out_size: int, mode: str, factor: float | None = None) -> Move:
    """Return where a resize or an adaptive pool finds its pixels.

    A factor that was given counts more than the sizes. The nearest pixel lies off by the mean of
    what rounding takes, over a period.

    Args:
        in_size: In pixels.
        out_size: In pixels.
        mode: ``"nearest"``, ``"nearest-exact"`` or any other, which keeps centres.
        factor: By which it enlarges, where that was given.

    Example:
        >>> sample(4, 8, "bilinear"), sample(4, 8, "nearest")
        ((0.5, -0.25), (0.5, -0.25))
    """
    from fractions import Fraction  # Loads what few need.

    step = Fraction(in_size, out_size)
    if factor is not None:
        step = 1 / Fraction(factor).limit_denominator(1000)
    if mode in ("nearest", "nearest-exact"):
        p, q, half = step.numerator, step.denominator, int(mode == "nearest-exact")
        rest = [(2 * n + half) * p // (2 * q) - n * step for n in range(q)]
        return float(step), float(sum(rest) / q)
    return float(step), float(step) / 2 - 0.5


def join(ways: Sequence[Position]) -> Position | None:
    """Return where pixels lie that ways of the same scale bring; None where scales differ.

    Example:
        >>> join([Position(2.0, 0.0, 0.0), Position(2.0, 1.0, 1.0)])
        Position(scale=2.0, first=0.0, last=1.0, size=1)
    """
    if len({(each.scale, each.size) for each in ways}) != 1:
        return None
    return Position(
        ways[0].scale,
        nan if any(isnan(each.first) for each in ways) else min(each.first for each in ways),
        nan if any(isnan(each.last) for each in ways) else max(each.last for each in ways),
        ways[0].size,
    )
