"""Calls in the habit of PyTorch's own constructor, refused with what to write instead.

They stand around the functions, so that the signatures that users see have no room for slips.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_SOLVED = frozenset({"padding", "output_padding"})
_INHERITED = frozenset({"stride", "dilation", "groups"})


def explain_constructor(function: Callable[P, R]) -> Callable[P, R]:
    """Refuse, around a constructor, what it solves for and a fifth argument by position.

    Raises:
        TypeError: The slip, and what to write instead.
    """

    @wraps(function)
    def explained(*args: P.args, **options: P.kwargs) -> R:
        if len(args) > 5:
            raise TypeError(_explain_positions(*args))
        if not _SOLVED.isdisjoint(options):
            raise TypeError(
                f"{_name(args[0])} solves for padding and output_padding, got "
                f"{_given(options, _SOLVED)}: leave it out. They follow from in_size, out_size "
                "and what is pinned of kernel_size, stride and dilation."
            )
        return function(*args, **options)

    return explained


def explain_mirror(function: Callable[P, R]) -> Callable[P, R]:
    """Refuse, around ``mirror``, what it solves for and what comes from the encoder.

    Raises:
        TypeError: The slip, and what to write instead.
    """

    @wraps(function)
    def explained(*args: P.args, **options: P.kwargs) -> R:
        for slips, meaning in (
            (_SOLVED, "solves for padding and output_padding, or with adjoint=True keeps padding"),
            (_INHERITED, "takes stride, dilation and groups from the encoder"),
        ):
            if not slips.isdisjoint(options):
                given = _given(options, slips)
                raise TypeError(f"{_name(args[0])}.mirror {meaning}, got {given}: leave it out.")
        return function(*args, **options)

    return explained


def _explain_positions(*args: Any) -> str:
    layer, *given = args
    plain = _name(layer).removeprefix("Auto")
    return (
        f"{_name(layer)} takes 4 arguments by position, in_channels, out_channels, in_size and "
        f"out_size, got {len(given)}: {', '.join(map(repr, given))}. In nn.{plain} the third and "
        "fourth are kernel_size and stride: give the two sizes there, and pin these by name, "
        f"kernel_size={given[2]!r}, stride={given[3]!r}, or leave them to be solved for, as "
        "padding and output_padding always are."
    )


def _given(options: dict[str, Any], names: frozenset[str]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in options.items() if name in names)


def _name(layer: Any) -> str:
    kind = layer if isinstance(layer, type) else type(layer)
    return next(each.__name__ for each in kind.__mro__ if each.__module__.startswith("autoup."))
