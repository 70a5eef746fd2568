"""Sizes as users write them: ``14``, ``14x20``, ``1,8,16,16``, ``(1, 8, 16, 16)``."""

import re
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable, Sequence
from typing import TypeVar

from autoup.commands.answers import CommandError
from autoup.solving.flaws import AXES

Result = TypeVar("Result")
Sizes = list[tuple[int, ...]]
Axis = dict[str, int]


def read_sizes(text: str) -> tuple[int, ...]:
    """Return the whole numbers of a text.

    Raises:
        ArgumentTypeError: Something else stands there.

    Example:
        >>> read_sizes("14x20"), read_sizes("(1, 8, 16, 16)")
        ((14, 20), (1, 8, 16, 16))
    """
    try:
        return tuple(map(int, re.split(r"[\s,x\u00d7]+", text.strip("()[], "))))
    except ValueError:
        raise ArgumentTypeError(
            f"{text!r} is no size: write whole numbers, as 14, 14x20 or 1,8,16,16"
        ) from None


def join(sizes: Sequence[int]) -> str:
    """Return sizes as a user writes them.

    Example:
        >>> join((14, 20))
        '14x20'
    """
    return "x".join(map(str, sizes))


def given_sizes(options: Namespace, names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Return the options of these names that were given.

    Example:
        >>> given_sizes(Namespace(in_size=(7,), stride=None), ["in_size", "stride"])
        {'in_size': (7,)}
    """
    return {name: value for name in names if (value := getattr(options, name)) is not None}


def split_axes(given: dict[str, tuple[int, ...]]) -> list[Axis]:
    """Return the numbers of each axis.

    Raises:
        CommandError: Some have another number of axes, or more than there are.

    Example:
        >>> split_axes({"in_size": (14, 20), "stride": (2,)})
        [{'in_size': 14, 'stride': 2}, {'in_size': 20, 'stride': 2}]
    """
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


def read_input_sizes(groups: Sequence[Sequence[str]] | None) -> Sizes | None:
    """Return the size of each input, from the words behind each ``--input-size``.

    Raises:
        CommandError: They are no whole numbers.

    Example:
        >>> read_input_sizes([["1", "8"], ["1,3,4,4"]])
        [(1, 8), (1, 3, 4, 4)]
    """
    try:
        return None if groups is None else [read_sizes(" ".join(words)) for words in groups]
    except ArgumentTypeError as error:
        raise CommandError(f"--input-size: {error}.") from None


def with_input_sizes(
    groups: Sequence[Sequence[str]] | None, act: Callable[[Sizes | None], Result]
) -> Result:
    """Act on the sizes of the inputs; where a batch is missing, say so.

    Raises:
        CommandError: The sizes are refused.

    Example:
        >>> with_input_sizes([["1", "8"]], lambda sizes: sizes)
        [(1, 8)]
    """
    sizes = read_input_sizes(groups)
    try:
        return act(sizes)
    except (TypeError, ValueError) as error:
        reason = error
    if sizes and groups:
        try:
            act([(1, *size) for size in sizes])
        except Exception:  # Then the batch was not what is missing.
            raise CommandError(str(reason)) from None
        shown = " and ".join(str((1, *size)) for size in sizes)
        raise CommandError(
            f"{reason} With the batch in front it takes {shown}.",
            groups[0],
            ["1", *map(str, sizes[0])],
        )
    raise CommandError(str(reason))
