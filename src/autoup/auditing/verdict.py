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
    balanced, scale = spread is not None and spread < BALANCED, sized and not scaled
    hidden = "which these weights hide in flat regions but not in texture" if balanced else ""
    hidden = _by(blurs) if blurs else "" if smoothness else hidden
    seen: list[str] = []
    groups: dict[tuple[float, ...], list[str]] = {}
    for name, axis in zip(AXES[len(axes)], axes, strict=True):
        groups.setdefault(_numbers(axis, scale), []).append(name)
    for names in groups.values():
        axis = axes[AXES[len(axes)].index(names[0])]
        flawed = flaws(axis, names, smoothness, scale=scale, hidden=hidden)
        told = _seen(axis, flawed, sized, signal=len(axes) == 1, filled=hidden if blurs else "")
        seen += [each for each in told if each not in seen]
    even = all(axis.even for axis in axes)
    uncovered = any(_lost(axis, sized) for axis in axes if min(axis.phases) or not blurs)
    if (not even and not balanced and not blurs) or uncovered:
        return tuple(seen), "severe"
    severity = "clean"
    if not even or (spread is not None and not balanced):
        severity = "clean" if blurs else "note"
        if even and spread is not None:
            shown = hidden or f"{pattern(len(axes))}, whatever the overlap"
            seen.append(f"unequal phases, {spread:.2g}: {shown}")
    displaced = any(axis.shift or (scale and axis.wrong_scale) for axis in axes)
    return tuple(seen), "warning" if displaced else severity


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


def _numbers(axis: Solution, scale: bool) -> tuple[float, ...]:
    """Return what a viewer can tell axes apart by; their sizes are not among it."""
    k, s, d = axis.kernel_size, axis.stride, axis.dilation
    wrong = axis.displacement if scale and axis.wrong_scale else 0
    return k, s, d, axis.padding, axis.output_padding, axis.uncovered, wrong


def _lost(axis: Solution, sized: bool) -> int:
    """Return the uncovered pixels; without sizes gaps between the taps count by themselves."""
    return axis.uncovered if sized or min(axis.phases) else 0


def _seen(
    axis: Solution, flawed: list[str], sized: bool, *, signal: bool, filled: str
) -> list[str]:
    """Tell of gaps between the taps in words of their own."""
    if _lost(axis, sized) or min(axis.phases):
        return flawed
    gaps = sum(not taps for taps in axis.phases)
    lines = "samples" if signal else "lines"
    holds = "holds" if gaps == 1 else "hold"
    said = f"{gaps} of every {axis.stride} {lines} {holds} nothing but the bias"
    kept = [each for each in flawed if not each.endswith("nothing but the bias")]
    return [*kept, f"{said}, {filled}" if filled else said]
