"""``solve``: one size or one per axis."""

from argparse import Namespace

from autoup.commands.answers import Answer, CommandError
from autoup.commands.sizes import join
from autoup.solving.flaws import AXES
from autoup.solving.solver import candidates

_PER_AXIS = ("in_size", "out_size", "kernel_size", "stride", "dilation")
Axis = dict[str, int]


def run(options: Namespace) -> Answer:
    """Solve each axis; what is the same for several is told once.

    Raises:
        CommandError: A size cannot be reached, or an argument is wrong.
    """
    given: dict[str, tuple[int, ...]] = {
        name: value for name in _PER_AXIS if (value := getattr(options, name)) is not None
    }
    axes = _split(given)
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


def _split(given: dict[str, tuple[int, ...]]) -> list[Axis]:
    """Return the numbers of each axis."""
    longest = max(given, key=lambda name: len(given[name]))
    dims = len(given[longest])
    for name, sizes in given.items():
        if len(sizes) not in (1, dims):
            raise CommandError(
                f"{name} {join(sizes)} has {len(sizes)} axes, {longest} {join(given[longest])} "
                f"has {dims}: give one number for all axes, or one per axis."
            )
    if dims not in AXES:
        raise CommandError(
            f"{longest} {join(given[longest])} has {dims} axes; transposed convolutions have 1 to "
            f"{max(AXES)}. Batch and channels are no axes here."
        )
    return [
        {name: sizes[axis % len(sizes)] for name, sizes in given.items()} for axis in range(dims)
    ]


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
