"""What was meant where the words of a command cannot be read."""

from collections.abc import Callable, Collection, Iterator, Sequence
from difflib import get_close_matches

# What other tools call it.
_MEANT = {
    "solve": ("calculate", "compute", "find", "search", "size", "sizes"),
    "ladder": ("chain", "climb", "generator", "steps"),
    "audit": ("analyse", "analyze", "check", "inspect", "lint", "report", "scan", "verify"),
    "repair": ("convert", "correct", "fix", "mend", "patch", "replace", "upgrade"),
    "unet": ("decoder", "draw", "segment", "skips", "u-net"),
}


def with_command(given: Sequence[str], commands: Collection[str]) -> list[str]:
    """Return the words with the command that was meant in front; nothing where that is not clear.

    Args:
        given: All words.
        commands: Those that there are.

    Example:
        >>> with_command(["check", "a:B"], ["audit"]), with_command(["7", "15"], ["solve"])
        (['audit', 'a:B'], ['solve', '7', '15'])
    """
    for place, word in enumerate(given):
        if word in commands:
            return [word, *given[:place], *given[place + 1 :]]
    first, rest = given[0].lower(), given[1:]
    for command, words in _MEANT.items():
        if first in words:
            return [command, *rest]
    if first[:1].isdigit():
        return ["solve", *given]
    if ":" in first:
        return ["audit", *given]
    near = get_close_matches(first, commands, 1)
    return [*near, *rest] if near else []


def correct(
    given: Sequence[str], options: Collection[str], is_read: Callable[[list[str]], bool]
) -> list[str]:
    """Return the command that was meant, which can be read; nothing where none is found.

    Args:
        given: All words, the command first.
        options: Those of the command.
        is_read: Whether words can be read.

    Example:
        >>> correct(["solve", "7", "15", "--strid=2"], ["--stride"], lambda words: True)
        ['solve', '7', '15', '--stride=2']
    """
    for words in _meant(given, options):
        if is_read(words):
            return words
    return []


def _meant(given: Sequence[str], options: Collection[str]) -> Iterator[list[str]]:
    yield [_nearest_option(word, options) for word in given]
    # `--input-size 1 8 16 16 MODEL`: the sizes swallow the model.
    command, *words = given
    for place, word in enumerate(words):
        if ":" in word:
            yield [command, word, *words[:place], *words[place + 1 :]]


def _nearest_option(word: str, options: Collection[str]) -> str:
    name, equals, value = word.partition("=")
    if not name.startswith("--") or name in options:
        return word
    near = get_close_matches(name.replace("_", "-"), {*options} - {"--help"}, 1)
    return (near[0] if near else name) + equals + value
