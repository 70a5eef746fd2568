"""What a picture will show where a solved axis is not clean, and what to change."""

from collections.abc import Callable, Sequence

from autoup.errors import InfeasibleError
from autoup.solving import overlap
from autoup.solving.climbing import climb
from autoup.solving.solution import Solution, three_digits

AXES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}
START = {"length": "start", "depth": "front", "height": "top", "width": "left"}
END = {"length": "end", "depth": "back", "height": "bottom", "width": "right"}

_GRIDS = ("a checkerboard", "a pattern as long as the stride, in sound a tone")
# A change in words, and the function that solves all axes of the layer with it.
Advice = tuple[str, Callable[[], Sequence[Solution]]]


def unit(dims: int, count: float = 2) -> str:
    """Return what places are counted in: the samples of a signal, else pixels.

    Example:
        >>> unit(2), unit(1), unit(1, count=1)
        ('px', 'samples', 'sample')
    """
    if dims > 1:
        return "px"
    return "sample" if count in (1, -1) else "samples"


def flaws(
    solution: Solution,
    axes: Sequence[str],
    smoothness: int = 0,
    *,
    scale: bool = False,
    hidden: str = "",
) -> list[str]:
    """Return what a picture will show along these axes; nothing for a clean solution.

    Args:
        solution: What was solved along each of the axes.
        axes: Their names, as in ``AXES``.
        smoothness: Order of the guarantee that the layer holds.
        scale: Whether a wrong scale counts; not for a mirror, which undoes what was cut off.
        hidden: What becomes of uneven overlap where it does not show as it is.

    Example:
        >>> flaws(Solution(8, 15, 2, 2, padding=1, output_padding=1), ["height"])
        ['output_padding=1 shifts the picture 0.5 px off centre, toward the top']
        >>> flaws(Solution(20, 30, 10, 2, padding=9), ["height"], scale=True)
        ['wrong scale, 2 for a ratio of 1.5, draws the picture too large: its ends lie 4.75 px \
from their place']
    """
    found: list[str] = []
    signal = [*axes] == ["length"]
    thing, px = ("signal", unit(1)) if signal else ("picture", unit(2))
    if not solution.even:
        least, most = overlap.phase_range(solution.kernel_size, solution.stride, solution.dilation)
        shown = hidden or f"shows as {_GRIDS[signal]}"
        if smoothness and not hidden:
            shown = f"which smoothness={smoothness} hides in flat regions but not in texture"
        found.append(f"uneven overlap, {least} to {most} taps a pixel, {shown}")
    if solution.uncovered:
        found.append(f"{count_lines(solution.uncovered, signal, 'dead ')} nothing but the bias")
    if solution.output_padding:
        side = " and ".join(START[axis] for axis in axes)
        found.append(
            f"output_padding={solution.output_padding} shifts the {thing} "
            f"{-solution.shift:g} {px} off centre, toward the {side}"
        )
    if scale and solution.wrong_scale:
        ratio = solution.out_size / solution.in_size
        size = "large" if solution.stride > ratio else "small"
        found.append(
            f"wrong scale, {solution.stride} for a ratio of {ratio:.3g}, draws the {thing} too "
            f"{size}: its ends lie {three_digits(solution.displacement)} {px} from their place"
        )
    return found


def count_lines(count: int, signal: bool, kind: str = "") -> str:
    """Say how many lines of a picture, or samples of a signal, hold something.

    Example:
        >>> count_lines(1, False, "dead "), count_lines(2, True)
        ('1 dead line holds', '2 samples hold')
    """
    name = "sample" if signal else "line"
    return f"{count} {kind}{name} holds" if count == 1 else f"{count} {kind}{name}s hold"


def is_clean(solution: Solution, *, scale: bool) -> bool:
    """Tell whether a picture will show nothing; ``scale`` as in ``flaws``.

    Example:
        >>> is_clean(Solution(20, 30, 10, 2, padding=9), scale=True)
        False
    """
    return not flaws(solution, ["length"], scale=scale)


def describe(
    solutions: Sequence[Solution],
    advice: Sequence[Sequence[Sequence[Advice]]],
    smoothness: int = 0,
    *,
    scale: bool = False,
) -> str | None:
    """Say for each axis what a picture will show and what to change; None if all is clean.

    Args:
        solutions: What was solved, one per axis.
        advice: For each axis what may be changed, the smallest change first; changes that stand
            together are alternatives. What does not help is left out, by trying it.
        smoothness: As in ``flaws``.
        scale: As in ``flaws``.

    Example:
        >>> print(describe([Solution(7, 15, 4, 2, 1, 1)] * 2, [[], []]))
        height and width 7 -> 15 (kernel_size=4, stride=2): output_padding=1 shifts the picture \
0.5 px off centre, toward the top and left. Clean as 2 layers: 7 -> 14 -> 15, by autoup.ladder.
    """
    names = AXES[len(solutions)]
    sentences: list[str] = []
    for solution in dict.fromkeys(solutions):
        axes = [axis for axis, each in zip(names, solutions, strict=True) if each == solution]
        if shown := flaws(solution, axes, smoothness, scale=scale):
            options = advice[solutions.index(solution)]
            helping = (_try(each, solutions, solution, scale) for each in options)
            sentences.append(
                f"{' and '.join(axes)} {solution.in_size} -> {solution.out_size} "
                f"(kernel_size={solution.kernel_size}, stride={solution.stride}): "
                f"{'; '.join(shown)}.{next(filter(None, helping), '')}"
                f"{_as_layers(solution, smoothness)}"
            )
    return " ".join(sentences) or None


def sizes_instead(solution: Solution, smoothness: int = 0) -> tuple[int, ...]:
    """Return the sizes of clean layers that take the place of one with output padding.

    There are none, ``()``, where one has none or no chain of about its stride is clean.

    Example:
        >>> sizes_instead(Solution(55, 109, 2, 2, 1, 1)), sizes_instead(Solution(7, 14, 2, 2))
        ((55, 108, 109), ())
    """
    i, o, s = solution.in_size, solution.out_size, solution.stride
    if not solution.output_padding or solution.dilation > 1 or o < i:
        return ()
    found = climb(i, o, None, s, None, smoothness)
    if found is None or found.wrong or found.artifacts or len(found.strides) == 1:
        return ()
    return found.sizes[::-1]


def _as_layers(solution: Solution, smoothness: int) -> str:
    sizes = sizes_instead(solution, smoothness)
    chain = " -> ".join(map(str, sizes))
    return f" Clean as {len(sizes) - 1} layers: {chain}, by autoup.ladder." if sizes else ""


def _try(
    alternatives: Sequence[Advice], before: Sequence[Solution], flawed: Solution, scale: bool
) -> str:
    """Return the changes that clean all axes solved so, and no axis loses by."""
    helping: list[str] = []
    for text, solve in alternatives:
        try:
            after = solve()
        except (InfeasibleError, ValueError):
            continue
        pairs = list(zip(before, after, strict=True))
        kept = [new for was, new in pairs if was == flawed or is_clean(was, scale=scale)]
        if all(is_clean(new, scale=scale) for new in kept):
            helping.append(f"{text} ({_facts(flawed, dict(pairs)[flawed])})")
    return f" Clean instead: {' or '.join(helping)}." if helping else ""


def _facts(before: Solution, after: Solution) -> str:
    resized = f"in_size={after.in_size}, " if after.in_size != before.in_size else ""
    return f"{resized}kernel_size={after.kernel_size}, stride={after.stride}"
