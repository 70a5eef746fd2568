"""Checks of arguments: each raises with the argument's name and value."""

from collections.abc import Sequence
from math import prod
from operator import index
from typing import SupportsIndex, cast

INITS = ("damped", "lecun_uniform", "phase_equal", "torch")


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
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise TypeError(_wrong_type(name, value))
    try:
        return index(value)
    except TypeError:
        raise TypeError(_wrong_type(name, value)) from None


def _wrong_type(name: str, value: object) -> str:
    shape, kind = _shape(value), type(value).__name__
    if len(shape) > 1:
        return (
            f"{name} must be an int, got a {kind} of shape {shape}: pass one of its sizes, such as "
            f"x.shape[-1], here {shape[-1]}."
        )
    text = f"{name} must be an int, got {value!r} of type {kind}."
    several = isinstance(value, tuple | list) or shape
    return f"{text} Pass its entries one by one, as ints." if several else text


def per_axis(name: str, value: object, dims: int, minimum: int = 1) -> tuple[int, ...]:
    """Return ``value``, an int or a sequence of one per axis, as a tuple of ``dims`` ints.

    Raises:
        TypeError: It is neither an int nor a tuple or list of ints.
        ValueError: It has the wrong length, or an entry below ``minimum``.

    Example:
        >>> per_axis("in_size", 14, 2), per_axis("in_size", (7, 13), 2)
        ((14, 14), (7, 13))
    """
    if isinstance(value, tuple | list):
        entries = cast("Sequence[object]", value)
        if len(entries) != dims:
            raise ValueError(_wrong_length(name, entries, dims, str(entries)))
        return tuple([as_int(name, entry, minimum) for entry in entries])
    if len(shape := _shape(value)) > 1:
        got = f"a {type(value).__name__} of shape {shape}"
        raise TypeError(_wrong_length(name, shape, dims, got))
    return (as_int(name, value, minimum),) * dims


def _shape(value: object) -> tuple[int, ...]:
    """Return the shape of a tensor or an array; of anything else none."""
    shape = getattr(value, "shape", None)
    return tuple(cast("Sequence[int]", shape)) if isinstance(shape, tuple) else ()


def _wrong_length(name: str, entries: Sequence[object], dims: int, got: str) -> str:
    """Say what is expected; of a whole shape, with channels or batch and channels, which part."""
    text = f"{name} must be an int or have {dims} entries, one per axis, got {got}."
    before = len(entries) - dims
    if name not in ("in_size", "out_size") or before not in (1, 2):
        return text
    sizes = tuple(entries[before:])
    return f"{text} Of the shape of a tensor x, pass x.shape[{before}:], here {sizes}."


def shuffle_phases(
    upscale_factor: object, out_channels: int, groups: int, dims: int
) -> tuple[int, ...]:
    """Return the phases along each axis of a shuffle that can start as nearest enlargement.

    A shuffle lays channels that lie next to each other out as the phases of one. These must read
    the same inputs: no two groups may share them.

    Raises:
        TypeError: ``upscale_factor`` is neither an int nor a tuple or list of ints.
        ValueError: It has the wrong length, or the channels cannot be shared out.

    Example:
        >>> shuffle_phases(2, 16, 1, 2)
        (2, 2)
    """
    factors = per_axis("upscale_factor", upscale_factor, dims)
    step = prod(factors) * groups
    if out_channels % step:
        below = out_channels // step * step
        nearest = f"are {below} and {below + step}" if below else f"is {step}"
        phases = f"{prod(factors)} phases" + (f" * {groups} groups" if groups > 1 else "")
        raise ValueError(
            f"out_channels ({out_channels}) must be a multiple of {step} ({phases}) for "
            f"upscale_factor={upscale_factor}"
            f"{', or the phases of a channel read different inputs' if groups > 1 else ''}. "
            f"The nearest {nearest}."
        )
    return factors


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
