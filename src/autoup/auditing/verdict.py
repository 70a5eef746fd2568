"""The verdict on one upsampling step: what a viewer will see of it, and how severe that is."""

from collections.abc import Sequence
from typing import NamedTuple

from autoup.solving.flaws import AXES, flaws
from autoup.solving.solution import Solution

SEVERITIES = ("clean", "note", "unknown", "warning", "severe")
BALANCED = 0.01  # Below this spread of the phase sums, no grid shows.


class Verdict(NamedTuple):
    """What a viewer sees, how severe it is, what would help; as in ``Upsampling``."""

    seen: tuple[str, ...] = ()
    severity: str = "clean"
    remedy: str = ""


def judge(
    axes: Sequence[Solution],
    spread: float | None,
    sized: bool,
    smoothness: int = 0,
    blurs: Sequence[str] = (),
    scaled: bool = False,
) -> tuple[tuple[str, ...], str]:
    """Return what a viewer will see of a transposed convolution, and how severe it is.

    Args:
        axes: Its parameters, axis by axis.
        spread: Of its phases; None where not known.
        sized: Whether the axes have the model's sizes.
        smoothness: Order of its guarantee.
        blurs: Names of what follows it and leaves nothing of its grid.
        scaled: Whether the model as a whole has the scale that its sizes say.

    Example:
        >>> from autoup.auditing.counts import read_axes
        >>> judge(read_axes(None, [3], [2], [1], [1], [1]), None, sized=False)[1]
        'severe'
        >>> judge(read_axes(None, [4] * 2, [2] * 2, [1] * 2, [0] * 2, [1] * 2), 0.9, sized=False)
        (('unequal phases, 0.9: a grid in flat regions, whatever the overlap',), 'note')
    """
    balanced = spread is not None and spread < BALANCED
    seen: list[str] = []
    groups: dict[tuple[int, ...], list[str]] = {}
    for name, axis in zip(AXES[len(axes)], axes, strict=True):
        groups.setdefault(_numbers(axis), []).append(name)
    for names in groups.values():
        axis = axes[AXES[len(axes)].index(names[0])]
        seen += _seen(axis, names, balanced, sized, smoothness, blurs)
    even = all(axis.even for axis in axes)
    uncovered = any(_lost(axis, sized) for axis in axes if min(axis.phases) or not blurs)
    if (not even and not balanced and not blurs) or uncovered:
        return tuple(seen), "severe"
    severity = "clean"
    if not even or (spread is not None and not balanced):
        severity = "clean" if blurs else "note"
        if even and spread is not None:
            shown = _by(blurs) if blurs else f"{pattern(len(axes))}, whatever the overlap"
            seen.append(f"unequal phases, {spread:.2g}: {shown}")
    return tuple(seen), "warning" if any(axis.shift for axis in axes) else severity


def pattern(dims: int) -> str:
    """Return what unequal phases show as.

    Example:
        >>> pattern(2)
        'a grid in flat regions'
    """
    return (
        "a pattern as long as the stride, in sound a tone"
        if dims == 1
        else "a grid in flat regions"
    )


def _by(blurs: Sequence[str]) -> str:
    return f"evened out by {' and '.join(blurs)} behind it, without response at the grid's period"


def _numbers(axis: Solution) -> tuple[int, ...]:
    """Return what a viewer can tell axes apart by; their sizes are not among it."""
    k, s, d = axis.kernel_size, axis.stride, axis.dilation
    return k, s, d, axis.padding, axis.output_padding, axis.uncovered


def _lost(axis: Solution, sized: bool) -> int:
    """Return the uncovered pixels; without sizes gaps between the taps count by themselves."""
    return axis.uncovered if sized or min(axis.phases) else 0


def _seen(
    axis: Solution,
    names: Sequence[str],
    balanced: bool,
    sized: bool,
    smoothness: int,
    blurs: Sequence[str],
) -> list[str]:
    seen = flaws(axis, names, smoothness)
    if blurs or (balanced and not smoothness):
        hides = "which these weights hide in flat regions but not in texture"
        hides = _by(blurs) if blurs else hides
        seen = [each.replace("shows as a checkerboard", hides) for each in seen]
    if not _lost(axis, sized) and not min(axis.phases):
        gaps = sum(not taps for taps in axis.phases)
        seen = [each for each in seen if " dead line" not in each]
        holds = "line holds" if gaps == 1 else "lines hold"
        filled = f", {_by(blurs)}" if blurs else ""
        seen.append(f"{gaps} of every {axis.stride} {holds} nothing but the bias{filled}")
    return seen
