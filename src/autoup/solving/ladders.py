"""A chain of layers from one size to another: what it is, how it reads, and what cleans it.

Legend: i input size, o output size, n steps, s the stride asked for, k kernel, m smoothness.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import TypeGuard

from autoup.checks import as_int, require_enlargement, require_smoothness
from autoup.errors import InfeasibleError
from autoup.solving.climbing import Chain, climb
from autoup.solving.flaws import AXES
from autoup.solving.ladder_drawing import draw_ladder
from autoup.solving.solution import Solution, remarks, three_digits
from autoup.solving.solver import best_solutions
from autoup.solving.strides import steps_for
from autoup.svg import Drawing
from autoup.table import lay_out

_NEARBY = (-1, 1, -2, 2)  # Sizes that are tried beside the one that was asked for.
_LARGEST, _MOST = (
    64,
    8,
)  # Kernels, and layers more, that are tried where a pinned kernel does not reach.
_HEADER = ("layer", "kernel_size", "stride", "padding", "taps per pixel", "border", "artifacts")


@dataclass(frozen=True, slots=True)
class Ladder:
    """The layers of a chain along one axis, each solved.

    Args:
        solutions: One per layer, from the smallest size to the largest.
        artifacts: What a picture will show, why, and what to change; None if every layer is clean.

    Raises:
        ValueError: There is no layer, or one does not begin where the one before it ends.

    Example:
        >>> print(ladder(7, 218))
        7 -> 14 -> 28 -> 56 -> 110 -> 218
          layer       kernel_size  stride  padding  taps per pixel  border  artifacts
          7 -> 14     2            2       0        1               0       none
          14 -> 28    2            2       0        1               0       none
          28 -> 56    2            2       0        1               0       none
          56 -> 110   2            2       1        1               0       none
          110 -> 218  2            2       1        1               0       none
        All layers together enlarge 32 times, to 224, and crop 6: the outermost pixels lie 2.57 px \
from their place.
    """

    solutions: tuple[Solution, ...]
    artifacts: str | None = None

    def __post_init__(self) -> None:
        if not self.solutions:
            raise ValueError("A ladder has at least one layer.")
        for below, above in pairwise(self.solutions):
            if below.out_size != above.in_size:
                raise ValueError(
                    f"The layer {above.in_size} -> {above.out_size} does not begin where "
                    f"{below.in_size} -> {below.out_size} ends."
                )

    @property
    def sizes(self) -> tuple[int, ...]:
        """All sizes in pixels, the first, those between, and the last."""
        return (self.solutions[0].in_size, *(each.out_size for each in self.solutions))

    @property
    def strides(self) -> tuple[int, ...]:
        """The stride of each layer, in pixels."""
        return tuple(each.stride for each in self.solutions)

    @property
    def scale(self) -> int:
        """By how much all layers together enlarge, the product of their strides."""
        return prod(self.strides)

    @property
    def shift(self) -> float:
        """Offset of the picture from the centre, in output pixels; negative is toward the start."""
        far, scale = 0.0, 1
        for each in reversed(self.solutions):
            far, scale = far + scale * each.shift, scale * each.stride
        return far

    @property
    def displacement(self) -> float:
        """How far the outermost pixels of the first map lie from their place, in output pixels.

        Their place is where an enlargement by the ratio of the sizes around the centre puts their
        middles, as in ``Solution.displacement``. What ``shift`` tells is not in it.
        """
        i, o = self.sizes[0], self.sizes[-1]
        return abs(self.scale * i - o) * (i - 1) / (2 * i)

    def __str__(self) -> str:
        rows = [_HEADER, *map(_row, self.solutions)]
        title = _arrows(self.sizes)
        return "\n".join([title, *lay_out(rows), self.whole(), *filter(None, [self.artifacts])])

    __repr__ = __str__

    def _repr_svg_(self) -> str:
        return self.draw().svg

    def draw(self) -> Drawing:
        """Return the maps one above another, each where its pixels lie in the output.

        A notebook shows the drawing, ``.save("ladder.svg")`` writes it.

        Example:
            >>> ladder(7, 218).draw()
            Drawing of 7 -> 14 -> 28 -> 56 -> 110 -> 218; .save("drawing.svg") writes it
        """
        return draw_ladder(self.solutions, _arrows(self.sizes), self.whole())

    def whole(self) -> str:
        """Say in a sentence how far all layers together enlarge, and where the ends then lie.

        Example:
            >>> ladder(7, 28).whole()
            'All layers together enlarge 4 times, the ratio of the sizes.'
        """
        i, o, made = self.sizes[0], self.sizes[-1], self.scale * self.sizes[0]
        text = f"All layers together enlarge {self.scale} time{'s' * (self.scale != 1)}"
        if made == o:
            text += ", the ratio of the sizes"
        else:
            text += f", to {made}, and {f'crop {made - o}' if made > o else f'add {o - made}'}"
            far = three_digits(self.displacement)
            text += f": the outermost pixels lie {far} px from their place" if i > 1 else ""
        return text + (f", shifted by {self.shift:g} px." if self.shift else ".")


def _row(solution: Solution) -> tuple[str, ...]:
    fewest, most = min(solution.phases), max(solution.phases)
    return (
        f"{solution.in_size} -> {solution.out_size}",
        str(solution.kernel_size),
        str(solution.stride),
        str(solution.padding),
        str(most) if fewest == most else f"{fewest} to {most}",
        str(solution.border),
        "; ".join(remarks(solution)) or "none",
    )


def _arrows(sizes: Sequence[int]) -> str:
    return " -> ".join(map(str, sizes))


def ladder(
    in_size: int,
    out_size: int,
    *,
    steps: int | None = None,
    stride: int = 2,
    kernel_size: int | None = None,
    smoothness: int = 0,
) -> Ladder:
    """Return the best chain of layers from one size to another; the sizes between are free.

    Layers of ``stride`` alone, as many as come nearest to the ratio of the sizes, are taken where
    they are clean and the edges of the picture lie within half a pixel of the first map, and an
    eighth of the output, of their place; where ``steps`` asks for more, layers of stride 1 join
    them. Else strides next to it, or next to the mean enlargement of a layer, may be better.

    Best means, in this order: neither a layer nor the whole of the wrong scale; fewest uncovered
    pixels, uneven overlaps and shifts; the edges of the whole nearest to their place; strides
    nearest to ``stride``; least cropped and added again on the way; least work, the sum of output
    size times taps per output pixel; then the smallest sizes and strides, from the last layer down.
    The cost does not grow with the sizes, but with the number of layers.

    Args:
        in_size: Size one has, in pixels.
        out_size: Size one wants, in pixels, not smaller than ``in_size``.
        steps: How many layers; None for as many as the stride asks for.
        stride: Wanted of each layer, in pixels.
        kernel_size: Pins the kernel of every layer, in taps.
        smoothness: Order of the guarantee against grids of every layer, as in ``solve``.

    Raises:
        InfeasibleError: The pinned kernel does not reach ``out_size``, or has too few taps for
            the smoothness.
        TypeError: A number is not an int.
        ValueError: A number is out of range.

    Example:
        >>> ladder(55, 109).sizes
        (55, 108, 109)
    """
    i, o = as_int("in_size", in_size), as_int("out_size", out_size)
    require_enlargement(i, o)
    n = None if steps is None else as_int("steps", steps)
    k = None if kernel_size is None else as_int("kernel_size", kernel_size)
    s, m = as_int("stride", stride), require_smoothness(smoothness)
    if s == 1 and n is None and i != o:
        raise ValueError(
            f"stride=1 enlarges nothing, and {i} -> {o} does: pass steps, or stride=2."
        )
    chain = climb(i, o, n, s, k, m)
    if chain is None:
        raise InfeasibleError(_unreached(i, o, n, s, k, m))
    return _build(chain, n, s, k, m)


def ladders(
    in_sizes: Sequence[int],
    out_sizes: Sequence[int],
    steps: int | None,
    strides: Sequence[int],
    kernel_sizes: Sequence[int | None],
    smoothness: int,
) -> tuple[Ladder, ...]:
    """Return one ladder per axis, all of as many layers: of those that the axes take, the most.

    Raises:
        InfeasibleError: As in ``ladder``.
        TypeError: As in ``ladder``.
        ValueError: As in ``ladder``.

    Example:
        >>> [each.sizes for each in ladders((4, 16), (80, 1000), 4, (2, 2), (None, None), 0)]
        [(4, 10, 20, 40, 80), (16, 32, 64, 250, 1000)]
    """
    axes = list(zip(AXES[len(in_sizes)], in_sizes, out_sizes, strides, kernel_sizes, strict=True))
    found = [_axis(*axis, steps, smoothness) for axis in axes]
    most = max(len(each.solutions) for each in found)
    return tuple(
        alone if len(alone.solutions) == most else _axis(*axis, most, smoothness)
        for alone, axis in zip(found, axes, strict=True)
    )


def _axis(name: str, i: int, o: int, s: int, k: int | None, n: int | None, m: int) -> Ladder:
    """Return the ladder of one axis, whose name errors have in front."""
    try:
        return ladder(i, o, steps=n, stride=s, kernel_size=k, smoothness=m)
    except ValueError as error:
        raise type(error)(f"{name}: {error}") from None


def _build(chain: Chain, n: int | None, s: int, k: int | None, m: int) -> Ladder:
    i, o = chain.sizes[-1], chain.sizes[0]
    pairs = zip(pairwise(chain.sizes[::-1]), chain.strides[::-1], strict=True)
    solutions = tuple(best_solutions(i, o, k, each, 1, m=m)[0] for (i, o), each in pairs)
    if _is_clean(chain):
        return Ladder(solutions)
    reasons = dict.fromkeys(reason for each in solutions for reason in _reasons(each, m))
    stretched = any(each.wrong_scale for each in solutions)
    if chain.wrong and not stretched:
        times = prod(chain.strides)
        reasons[f"the whole enlarges {times} times, for a ratio of {o / i:.3g}"] = None
    text = f"Not clean: {'; '.join(reasons)}."
    options = [*_options(i, o, n, s, k, m)]
    size = prod(chain.strides) * i
    if stretched and _is_clean(climb(i, size, n, s, k, m)):
        options.append(f"out_size={size}, resized to {o} behind it")
    return Ladder(solutions, text + (f" Clean instead: {' or '.join(options)}." if options else ""))


def _reasons(solution: Solution, m: int) -> Iterator[str]:
    """Say why a layer is not clean."""
    o, s, k = solution.out_size, solution.stride, solution.kernel_size
    if not solution.even and not solution.uncovered:
        hidden = f", which smoothness={m} hides in flat regions but not in texture" if m else ""
        yield f"kernel_size={k} is no multiple of stride {s}{hidden}"
    if solution.uncovered:
        yield f"kernel_size={k} leaves pixels between strides of {s} uncovered"
    if solution.shift:
        yield f"a stride of {s} makes {o} of {solution.in_size} with output padding alone"
    if solution.wrong_scale:
        yield f"no strides near {s} enlarge by {o / solution.in_size:.3g}"


def _options(i: int, o: int, n: int | None, s: int, k: int | None, m: int) -> Iterator[str]:
    """Yield what gives a clean chain, the smallest changes first, each tried."""
    number = n or steps_for(i, o, s)
    changes: list[tuple[str, tuple[int, int, int | None, int | None]]] = []
    if k is not None:
        changes.append(("kernel_size unpinned", (i, o, n, None)))
        changes += [(f"kernel_size={each}", (i, o, n, each)) for each in (k + 1, k - 1) if each]
    if n is not None:
        changes.append((f"steps={number + 1}", (i, o, number + 1, k)))
    changes += [(f"out_size={o + far}", (i, o + far, n, k)) for far in _NEARBY if o + far >= i]
    sizes = 0
    for text, (start, end, steps, kernel) in changes:
        found = climb(start, end, steps, s, kernel, m) if sizes < len(_NEARBY) / 2 else None
        if _is_clean(found):
            sizes += end != o
            yield f"{text} ({_arrows(found.sizes[::-1])})"


def _is_clean(chain: Chain | None) -> TypeGuard[Chain]:
    return chain is not None and not chain.wrong and not chain.artifacts


def _unreached(i: int, o: int, n: int | None, s: int, k: int | None, m: int) -> str:
    """Say what was asked, and what reaches it instead, each tried."""
    number = n or steps_for(i, o, s)
    count = f"{number} step{'s' * (number != 1)}" if n else f"at most {number + 1} steps"
    text = f"{i} -> {o} cannot be reached in {count}"
    text += f" of kernel_size={k}" + (f" with smoothness={m}" if m else "")
    kernels = (each for each in range((k or 1) + 1, _LARGEST) if climb(i, o, n, s, each, m))
    steps = (each for each in range(number + 1, number + _MOST) if climb(i, o, each, s, k, m))
    options = [f"kernel_size={each}" for each in kernels][:1]
    options += [f"steps={each}" for each in steps][:1]
    verb = "s is" if len(options) == 1 else " are"
    nearest = (
        f"The nearest that work{verb} {', or '.join(options)}; or leave" if options else "Leave"
    )
    return f"{text}. {nearest} kernel_size unpinned."
