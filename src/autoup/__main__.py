"""The command line: ``python -m autoup``, or ``autoup`` where it is installed."""

import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout

from autoup.commands import arguments
from autoup.commands.answers import FAILED, INTERRUPTED, Answer, CommandError


def main(given: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    Standard output has the answer and nothing else: what a model prints goes to standard error.

    Example:
        >>> main(["solve", "14", "28", "--limit", "2"])
        14 -> 28: kernel_size=2, stride=2; coverage 1 everywhere
        14 -> 28: kernel_size=4, stride=2, padding=1; coverage 1 2 … 2 1
        0
    """
    words = sys.argv[1:] if given is None else [*given]
    try:
        with redirect_stdout(sys.stderr):
            answer = _answer(words)
        _print(answer)
    except KeyboardInterrupt:
        print("\nautoup: interrupted.", file=sys.stderr)
        return INTERRUPTED
    return answer.status


def _answer(words: Sequence[str]) -> Answer:
    try:
        return arguments.read(words)()
    except arguments.UsageError as error:
        usage, reason, meant = error.usage, f"{error}.", arguments.correct(words)
    except CommandError as error:
        usage, reason, meant = "", str(error), error.corrected(words)
    command = words[0] if words and words[0] in arguments.COMMANDS else ""
    said = [usage] if usage else []
    said.append(f"{f'autoup {command}'.rstrip()}: {reason}")
    if meant:
        said.append(f"Try: {arguments.PROGRAM} {shlex.join(meant)}")
    return Answer("", FAILED, ("\n".join(said),))


def _print(answer: Answer) -> None:
    """Print an answer; whoever reads it may stop, as ``head`` does."""
    for note in answer.notes:
        print(note, file=sys.stderr)
    try:
        if answer.text:
            print(answer.text, flush=True)
    except BrokenPipeError:
        # Python flushes once more when it ends, which must find something that takes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
