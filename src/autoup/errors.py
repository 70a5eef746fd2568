"""What autoup raises and warns with."""

import os
import sys
import warnings
from pathlib import Path

PACKAGE = str(Path(__file__).parent) + os.sep


class AutoupError(Exception):
    """Base of every error that autoup defines.

    Example:
        >>> issubclass(InfeasibleError, AutoupError)
        True
    """


class InfeasibleError(AutoupError, ValueError):
    """No parameters reach the size that was asked for.

    The message names what was asked, what is reachable, the nearest that works, and the knob.

    Example:
        >>> import autoup
        >>> try:
        ...     autoup.solve(10, 25, kernel_size=1)
        ... except autoup.InfeasibleError as error:
        ...     print(error)
        10 -> 25 cannot be reached with kernel_size=1: it reaches an out_size of 19 to 20 \
(stride=2) or 28 to 30 (stride=3). The nearest that work are out_size=28 (stride=3), or \
kernel_size=4 (stride=3); or leave kernel_size unpinned.
    """


class ArtifactWarning(UserWarning):
    """A layer that was solved, mirrored or repaired is not clean, or could not be repaired.

    It has output padding, uneven overlap, uncovered pixels or the wrong scale.

    The scale is wrong where the ends of the picture lie more than two input pixels from their
    place; a mirror is not warned of it. What the message suggests has been tried.

    Raised as an error under ``warnings.simplefilter("error", ArtifactWarning)``.

    Example:
        >>> import warnings, autoup
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore", autoup.ArtifactWarning)
        ...     layer = autoup.AutoConvTranspose2d(8, 4, 7, 15)
        >>> layer.output_padding
        (1, 1)
    """


class MirrorWarning(UserWarning):
    """Something that acts between an encoder's layers is not in its decoder, or not as it was.

    The message names each layer, what it does, and what stands in for it.

    Example:
        >>> import warnings, autoup
        >>> from torch import nn
        >>> layers = nn.Conv1d(1, 8, 3, 2, 1), nn.MaxPool1d(3, 1, 1), nn.Conv1d(8, 8, 1)
        >>> with warnings.catch_warnings(record=True, action="always") as caught:
        ...     decoder = autoup.mirror_decoder(nn.Sequential(*layers), (1, 1, 64))
        >>> print(caught[0].message)
        mirror_decoder: 1 step of the encoder is not in the decoder as it was.
          1: max_pool1d joins several values; it is left out.
        Where one matters, put a layer for it into the decoder, which is an nn.Sequential.
    """


class Refusal(Exception):  # noqa: N818
    """Why one thing cannot be done, in words that fit behind its place; it never leaves autoup.

    Whoever raises it knows the reason, whoever catches it knows the place and says both once.

    Example:
        >>> str(Refusal("it shares its weight"))
        'it shares its weight'
    """


def warn(message: str, category: type[Warning] = ArtifactWarning) -> None:
    """Issue a warning that points at the first line outside of this package.

    Example:
        >>> with warnings.catch_warnings(record=True, action="always") as caught:
        ...     warn("shifted")
        >>> caught[0].category.__name__
        'ArtifactWarning'
    """
    frame, level = sys._getframe(), 1  # pyright: ignore[reportPrivateUsage]
    while frame.f_back and frame.f_code.co_filename.startswith(PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def first_line(error: BaseException) -> str:
    r"""Return the first line of a message without its full stop.

    Example:
        >>> first_line(ValueError("too small.\nReally."))
        'too small'
    """
    lines = str(error).strip().splitlines() or ["no message"]
    return lines[0].rstrip(".")
