"""What a picture will show where a solved axis is not clean, and what to change."""

from collections.abc import Callable, Sequence

from autoup.errors import InfeasibleError
from autoup.solving import overlap
from autoup.solving.solution import Solution

AXES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}
START = {"length": "start", "depth": "front", "height": "top", "width": "left"}
END = {"length": "end", "depth": "back", "height": "bottom", "width": "right"}

Advice = tuple[str, Callable[[], Solution]]


def unit(dims: int, count: float = 2) -> str:
    """Return what places are counted in: the samples of a signal, else pixels.

    Example:
        >>> unit(2), unit(1), unit(1, count=1)
        ('px', 'samples', 'sample')
    """
    if dims > 1:
        return "px"
    return "sample" if count in (1, -1) else "samples"


def flaws(solution: Solution, axes: Sequence[str], smoothness: int = 0) -> list[str]:
    """Return what a picture will show along these axes; nothing for a clean solution.

    Example:
        >>> flaws(Solution(8, 15, 2, 2, padding=1, output_padding=1), ["height"])
        ['output_padding=1 shifts the picture 0.5 px off centre, toward the top']
    """
    found: list[str] = []
    if not solution.even:
        least, most = overlap.phase_range(solution.kernel_size, solution.stride, solution.dilation)
        shown = "shows as a checkerboard"
        if smoothness:
            shown = f"which smoothness={smoothness} hides in even regions but not in texture"
        found.append(f"uneven overlap, {least} to {most} taps a pixel, {shown}")
    if solution.uncovered:
        lines = "line holds" if solution.uncovered == 1 else "lines hold"
        found.append(f"{solution.uncovered} dead {lines} nothing but the bias")
    if solution.output_padding:
        side = " and ".join(START[axis] for axis in axes)
        found.append(
            f"output_padding={solution.output_padding} shifts the picture "
            f"{-solution.shift:g} px off centre, toward the {side}"
        )
    return found


def describe(
    solutions: Sequence[Solution], advice: Sequence[Sequence[Advice]], smoothness: int = 0
) -> str | None:
    """Say for each axis what a picture will show and what to change; None if all is clean.

    Example:
        >>> print(describe([Solution(7, 15, 4, 2, 1, 1)] * 2, [[], []]))
        height and width 7 -> 15 (kernel_size=4, stride=2): output_padding=1 shifts the picture \
0.5 px off centre, toward the top and left.
    """
    names = AXES[len(solutions)]
    sentences: list[str] = []
    for solution in dict.fromkeys(solutions):
        axes = [axis for axis, each in zip(names, solutions, strict=True) if each == solution]
        if shown := flaws(solution, axes, smoothness):
            sentences.append(
                f"{' and '.join(axes)} {solution.in_size} -> {solution.out_size} "
                f"(kernel_size={solution.kernel_size}, stride={solution.stride}): "
                f"{'; '.join(shown)}.{_first_clean(advice[solutions.index(solution)])}"
            )
    return " ".join(sentences) or None


def _first_clean(advice: Sequence[Advice]) -> str:
    for text, solve in advice:
        try:
            solution = solve()
        except (InfeasibleError, ValueError):
            continue
        if not flaws(solution, ["length"]):
            return (
                f" Clean instead: {text} "
                f"(kernel_size={solution.kernel_size}, stride={solution.stride})."
            )
    return ""
