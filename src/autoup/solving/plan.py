"""All axes of one layer, solved once and kept: what the constructor applies."""

from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from autoup.checks import per_axis, require_enlargement, require_smoothness
from autoup.errors import InfeasibleError
from autoup.solving.flaws import AXES, Advice, describe
from autoup.solving.solution import Solution
from autoup.solving.solver import best_solutions

Axes = tuple[int, ...]

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
    """

    solutions: tuple[Solution, ...]
    artifacts: str | None
    in_size: Axes
    out_size: Axes
    arguments: dict[str, Any]


def make_plan(solutions: tuple[Solution, ...], artifacts: str | None) -> Plan:
    """Gather the solutions of the axes into a plan.

    Example:
        >>> make_plan((Solution(14, 28, 2, 2), Solution(7, 7, 1, 1)), None).arguments["stride"]
        (2, 1)
    """

    def each(name: str) -> Axes:
        return tuple(getattr(axis, name) for axis in solutions)

    arguments = {name: each(name) for name in _ARGUMENTS}
    return Plan(solutions, artifacts, each("in_size"), each("out_size"), arguments)


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
    advice = [_advise(*axis, m) for axis in axes]
    return make_plan(solutions, describe(solutions, advice, m))


def _solve_axis(name: str, axis: tuple[int, int, int | None, int | None, int], m: int) -> Solution:
    try:
        return best_solutions(*axis, m=m)[0]
    except InfeasibleError as error:
        raise InfeasibleError(f"{name}: {error}") from None


def _advise(i: int, o: int, k: int | None, s: int | None, d: int, m: int) -> list[Advice]:
    """Return what a user may change, the smallest change first."""
    options: list[Advice] = []
    if k is not None:
        options.append(("leave kernel_size unpinned", partial(_best, i, o, s, d, m)))
    if s is not None:
        pins = "stride" if k is None else "kernel_size and stride"
        options.append((f"leave {pins} unpinned", partial(_best, i, o, None, d, m)))
    if d > 1:
        options.append(("dilation=1 and nothing pinned", partial(_best, i, o, None, 1, m)))
    nearby = sorted((max(i, o - 1), o + 1), key=lambda size: size % i != 0)
    unpin = "" if k is None else " and kernel_size unpinned"
    return options + [
        (f"out_size={size}{unpin}", partial(_best, i, size, s, d, m)) for size in nearby
    ]


def _best(i: int, o: int, s: int | None, d: int, m: int) -> Solution:
    return best_solutions(i, o, None, s, d, m=m)[0]
