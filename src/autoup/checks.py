"""Checks of arguments: each raises with the argument's name and value."""

from collections.abc import Sequence
from operator import index
from typing import SupportsIndex, cast

INITS = ("phase_equal", "torch")


def as_int(name: str, value: object, minimum: int = 1) -> int:
    """Return ``value`` as an int of at least ``minimum``.

    Raises:
        TypeError: It is a bool, a float, or anything else that is not an integer.
        ValueError: It is smaller than ``minimum``.

    Example:
        >>> as_int("in_size", 14)
        14
    """
    if type(value) is not int:
        value = _as_index(name, value)
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {value}.")
    return value


def _as_index(name: str, value: object) -> int:
    reason = f"{name} must be an int, got {value!r} of type {type(value).__name__}."
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise TypeError(reason)
    try:
        return index(value)
    except TypeError:
        raise TypeError(reason) from None


def per_axis(name: str, value: object, dims: int, minimum: int = 1) -> tuple[int, ...]:
    """Return ``value``, an int or a sequence of one per axis, as a tuple of ``dims`` ints.

    Raises:
        TypeError: It is neither an int nor a tuple or list of ints.
        ValueError: It has the wrong length, or an entry below ``minimum``.

    Example:
        >>> per_axis("in_size", 14, 2), per_axis("in_size", (7, 13), 2)
        ((14, 14), (7, 13))
    """
    if not isinstance(value, tuple | list):
        return (as_int(name, value, minimum),) * dims
    entries = cast("Sequence[object]", value)
    if len(entries) != dims:
        raise ValueError(
            f"{name} must be an int or have {dims} entries, one per axis, got {value}."
        )
    return tuple([as_int(name, entry, minimum) for entry in entries])


def check_flags(**flags: object) -> None:
    """Refuse flags that are not bools.

    Raises:
        TypeError: A flag is anything but True or False.

    Example:
        >>> check_flags(bias=True)
    """
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise TypeError(f"{name} must be True or False, got {value!r}.")


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Refuse a value that is none of the choices.

    Raises:
        ValueError: It is none of them.

    Example:
        >>> check_choice("init", "torch", INITS)
    """
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}.")


def require_enlargement(in_size: int, out_size: int) -> None:
    """Refuse an output that is smaller than the input.

    Raises:
        ValueError: ``out_size < in_size``.

    Example:
        >>> require_enlargement(14, 28)
    """
    if out_size < in_size:
        raise ValueError(
            f"out_size must not be smaller than in_size, got {in_size} -> {out_size}: "
            f"a transposed convolution enlarges. The smallest out_size is {in_size}."
        )


def require_smoothness(smoothness: object) -> int:
    """Return an order of smoothness that exists.

    Raises:
        TypeError: It is not an int.
        ValueError: It is not 0, 1 or 2.

    Example:
        >>> require_smoothness(1)
        1
    """
    order = as_int("smoothness", smoothness, minimum=0)
    if order > 2:
        raise ValueError(f"smoothness must be 0, 1 or 2, got {order}.")
    return order
