"""``solve``: one size or one per axis."""

from argparse import Namespace

from autoup.commands.answers import Answer, CommandError
from autoup.commands.sizes import Axis, given_sizes, join, split_axes
from autoup.solving.flaws import AXES
from autoup.solving.solver import candidates

_PER_AXIS = ("in_size", "out_size", "kernel_size", "stride", "dilation")


def run(options: Namespace) -> Answer:
    """Solve each axis; what is the same for several is told once.

    Raises:
        CommandError: A size cannot be reached, or an argument is wrong.
    """
    given = given_sizes(options, _PER_AXIS)
    axes = split_axes(given)
    told: dict[str, list[str]] = {}
    for name, axis in zip(AXES[len(axes)], axes, strict=True):
        try:
            told.setdefault(_solve(axis, options.smoothness, options.limit), []).append(name)
        except (TypeError, ValueError) as error:
            place = f"{name}: " if len(axes) > 1 else ""
            raise CommandError(f"{place}{error}", *_turned(given, axes, options)) from None
    if len(axes) == 1:
        return Answer(next(iter(told)))
    return Answer("\n\n".join(f"{' and '.join(names)}\n{text}" for text, names in told.items()))


def _solve(axis: Axis, smoothness: int, limit: int | None) -> str:
    found = candidates(**axis, smoothness=smoothness, limit=1 if limit is None else limit)
    return found[0].explain() if limit is None else "\n".join(map(str, found))


def _turned(
    given: dict[str, tuple[int, ...]], axes: list[Axis], options: Namespace
) -> tuple[list[str], list[str]]:
    """Return the two sizes as given and the other way round, where that can be solved."""
    try:
        for axis in axes:
            turned = {"in_size": axis["out_size"], "out_size": axis["in_size"]}
            _solve(axis | turned, options.smoothness, options.limit)
    except (TypeError, ValueError):
        return [], []
    sizes = [join(given["in_size"]), join(given["out_size"])]
    return sizes, sizes[::-1]
