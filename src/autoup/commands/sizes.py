"""Sizes as users write them: ``14``, ``14x20``, ``1,8,16,16``, ``(1, 8, 16, 16)``."""

import re
from argparse import ArgumentTypeError
from collections.abc import Callable, Sequence
from typing import TypeVar

from autoup.commands.answers import CommandError

Result = TypeVar("Result")
Sizes = list[tuple[int, ...]]


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
