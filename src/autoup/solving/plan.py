"""All axes of one layer, solved once and kept: what the constructor applies."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from autoup.checks import per_axis, require_enlargement, require_smoothness
from autoup.errors import InfeasibleError
from autoup.solving.flaws import AXES, Advice, describe, is_clean
from autoup.solving.solution import Solution
from autoup.solving.solver import best_solutions

Axes = tuple[int, ...]
Asked = tuple[int, int, int | None, int | None, int]  # i, o, and k, s, d, None where not pinned

_TRIES = 8  # Sizes looked at in either direction; without dilation one of two is clean.
_ARGUMENTS = ("kernel_size", "stride", "padding", "output_padding", "dilation")


@dataclass(frozen=True, slots=True)
class Plan:
    """The solved axes of one layer, as PyTorch's constructor takes them.

    Args:
        solutions: One ``Solution`` per axis.
        artifacts: What a picture will show, and what to change; None if all is clean.
        in_size: Input size per axis, in pixels.
        out_size: Output size per axis, in pixels.
        arguments: ``kernel_size``, ``stride``, ``padding``, ``output_padding`` and
            ``dilation``, each one per axis.
        resized: Output size per axis of a clean layer, behind which resizing does what is left
            of a wrong scale; None where none is wrong, or a change of the pins cures it.
    """

    solutions: tuple[Solution, ...]
    artifacts: str | None
    in_size: Axes
    out_size: Axes
    arguments: dict[str, Any]
    resized: Axes | None = None


def make_plan(
    solutions: tuple[Solution, ...], artifacts: str | None, resized: Axes | None = None
) -> Plan:
    """Gather the solutions of the axes into a plan.

    Example:
        >>> make_plan((Solution(14, 28, 2, 2), Solution(7, 7, 1, 1)), None).arguments["stride"]
        (2, 1)
    """

    def each(name: str) -> Axes:
        return tuple(getattr(axis, name) for axis in solutions)

    arguments = {name: each(name) for name in _ARGUMENTS}
    return Plan(solutions, artifacts, each("in_size"), each("out_size"), arguments, resized)


def plan_sizes(
    dims: int,
    in_size: object,
    out_size: object,
    kernel_size: object,
    stride: object,
    dilation: object,
    smoothness: object = 0,
) -> Plan:
    """Check the sizes and pins of a layer and solve every axis.

    Raises:
        InfeasibleError: A pinned kernel cannot reach the size; the message names the axis.
        TypeError: A number is not an int.
        ValueError: A number is out of range, or a tuple has the wrong length.

    Example:
        >>> plan_sizes(2, (7, 13), (14, 26), None, None, 1).arguments["kernel_size"]
        (2, 2)
    """
    return _plan_sizes(
        dims,
        _as_key("in_size", in_size, dims),
        _as_key("out_size", out_size, dims),
        _as_key("kernel_size", kernel_size, dims),
        _as_key("stride", stride, dims),
        _as_key("dilation", dilation, dims),
        require_smoothness(smoothness),
    )


def _as_key(name: str, value: object, dims: int) -> object:
    """Check a sequence at once, since (True, 2) == (1, 2); an int waits for the first use."""
    return value if type(value) is int or value is None else per_axis(name, value, dims)


@lru_cache(maxsize=4096)
def _plan_sizes(
    dims: int,
    in_size: object,
    out_size: object,
    kernel_size: object,
    stride: object,
    dilation: object,
    m: int,
) -> Plan:
    unpinned = (None,) * dims
    axes = list(
        zip(
            per_axis("in_size", in_size, dims),
            per_axis("out_size", out_size, dims),
            unpinned if kernel_size is None else per_axis("kernel_size", kernel_size, dims),
            unpinned if stride is None else per_axis("stride", stride, dims),
            per_axis("dilation", dilation, dims),
            strict=True,
        )
    )
    for i, o, *_ in axes:
        require_enlargement(i, o)
    solutions = tuple(
        _solve_axis(name, axis, m) for name, axis in zip(AXES[dims], axes, strict=True)
    )
    advice = [
        [] if is_clean(found, scale=True) else _advise(axes, solutions, found, m)
        for found in solutions
    ]
    artifacts = describe(solutions, advice, m, scale=True)
    return make_plan(solutions, artifacts, _resized(axes, solutions, m))


def _solve_axis(name: str, axis: Asked, m: int) -> Solution:
    try:
        return best_solutions(*axis, m=m)[0]
    except InfeasibleError as error:
        raise InfeasibleError(f"{name}: {error}") from None


def _advise(
    axes: Sequence[Asked], solutions: Sequence[Solution], flawed: Solution, m: int
) -> list[list[Advice]]:
    """Return what a user may change, the smallest change first; alternatives together."""
    i, o, k, s, d = axes[solutions.index(flawed)]
    change = partial(_change, axes, [found == flawed for found in solutions], m)
    options: list[list[Advice]] = []
    if k is not None:
        options.append([("leave kernel_size unpinned", change)])
    if s is not None:
        pins = "stride" if k is None else "kernel_size and stride"
        options.append([(f"leave {pins} unpinned", partial(change, free=True))])
    if d > 1:
        options.append([("dilation=1 and nothing pinned", partial(change, free=True, d=1))])
    nearby = [each for step in (-1, 1) if (each := _nearest_clean(i, o, s, d, m, step))]
    unpin = "" if k is None else " and kernel_size unpinned"
    sizes: list[Advice] = [(f"out_size={size}{unpin}", partial(change, o=size)) for size in nearby]
    if flawed.wrong_scale:
        return [*options, sizes]
    first = sorted(range(len(sizes)), key=lambda number: nearby[number] % i != 0)
    return options + [[sizes[number]] for number in first]


def _change(
    axes: Sequence[Asked],
    resized: Sequence[bool],
    m: int,
    *,
    free: bool = False,
    d: int | None = None,
    o: int | None = None,
) -> list[Solution]:
    """Solve all axes with no kernel pinned, and with the changes; ``o`` for some of them alone."""
    return [
        _best(i, o if o and change else size, None if free else s, d or dilation, m)
        for (i, size, _, s, dilation), change in zip(axes, resized, strict=True)
    ]


def _nearest_clean(i: int, o: int, s: int | None, d: int, m: int, step: int) -> int | None:
    """Return the nearest clean size below ``o``, ``step=-1``, or above it, 1; None if none is near.

    Between two scales no size is clean: the search goes on where the next one begins, 4*s*i/(i - 1)
    from its multiple, by the definition of the displacement.
    """
    size = o
    for _ in range(_TRIES):
        size += step
        if size < i:
            break
        try:
            found = _best(i, size, s, d, m)
        except InfeasibleError:  # Stride and dilation share a factor, which smoothness rules out.
            continue
        if is_clean(found, scale=True):
            return size
        if found.wrong_scale:
            stride = s or (size + step) // i + (step > 0)
            end = stride * i - step * (4 * stride * i // (i - 1)) - step
            if s and (end - size) * step < 0:  # Away from the one scale that is pinned.
                break
            size = max(size * step, end * step) * step
    return None


def _resized(axes: Sequence[Asked], solutions: Sequence[Solution], m: int) -> Axes | None:
    """Return the sizes of a clean layer to resize behind, a multiple where no other is at hand."""
    cured = [is_clean(_best(i, o, None, 1, m), scale=True) for i, o, *_ in axes]
    if not any(
        found.wrong_scale and not clean for found, clean in zip(solutions, cured, strict=True)
    ):
        return None
    sizes = tuple(o if clean else o // i * i for (i, o, *_), clean in zip(axes, cured, strict=True))
    tried = (_best(i, size, None, 1, m) for (i, *_), size in zip(axes, sizes, strict=True))
    return sizes if all(is_clean(found, scale=True) for found in tried) else None


def _best(i: int, o: int, s: int | None, d: int, m: int) -> Solution:
    return best_solutions(i, o, None, s, d, m=m)[0]
