"""What a command answers, and what it raises."""

from collections.abc import Sequence
from dataclasses import dataclass

DONE, FOUND, FAILED, INTERRUPTED = 0, 1, 2, 130


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command prints, and how it exits.

    Args:
        text: For standard output.
        status: Exit status.
        notes: For standard error.

    Example:
        >>> Answer("clean").status
        0
    """

    text: str
    status: int = DONE
    notes: tuple[str, ...] = ()


class CommandError(Exception):
    """What the user asked for cannot be done; the message says why.

    Args:
        message: Why.
        wrong: Words of the command that stand next to each other.
        right: What to write in their place; it has been tried.

    Example:
        >>> CommandError("28 -> 14 shrinks.", ["28", "14"], ["14", "28"]).corrected(
        ...     ["solve", "28", "14"]
        ... )
        ['solve', '14', '28']
    """

    def __init__(self, message: str, wrong: Sequence[str] = (), right: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.wrong, self.right = [*wrong], [*right]

    def corrected(self, given: Sequence[str]) -> list[str]:
        """Return the whole command with the right words; nothing where that is not known."""
        size = len(self.wrong)
        for start in range(len(given) if self.right else 0):
            if [*given[start : start + size]] == self.wrong:
                return [*given[:start], *self.right, *given[start + size :]]
        return []


def listed(names: Sequence[str], most: int = 8) -> str:
    """Return the first names, and how many there are where that is not all.

    Example:
        >>> listed(["a", "b", "c"], most=2)
        'a, b, … (3)'
    """
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown}, … ({len(names)})"
