"""``unet``: which maps of an encoder a U-Net joins, as a table and a drawing."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from autoup.commands.answers import Answer, CommandError
from autoup.commands.sizes import Sizes, with_input_sizes
from autoup.commands.targets import load
from autoup.unets.model import unet
from autoup.unets.network import UNet


def run(options: Namespace) -> Answer:
    """Build a U-Net on an encoder, and show it.

    Raises:
        CommandError: It cannot be built, or the drawing not be written.
    """
    path: Path | None = options.draw
    if path is not None and path.suffix.lower() != ".svg":
        right = str(path.with_suffix(".svg"))
        raise CommandError(f"--draw writes SVG: name it {right}.", [str(path)], [right])
    if len(options.input_size) > 1:
        raise CommandError("an encoder takes one input: give one --input-size.")
    encoder = load(options.model).model
    net = with_input_sizes(options.input_size, lambda sizes: _build(encoder, sizes, options))
    if path is not None:
        try:
            net.draw().save(path)
        except OSError as error:
            raise CommandError(f"cannot write {path}: {error.strerror}.") from None
    return Answer(str(net))


def _build(encoder: nn.Module, sizes: Sizes | None, options: Namespace) -> UNet:
    assert sizes is not None
    return unet(
        encoder,
        sizes[0],
        options.out_channels,
        skips=_read_skips(options.skips),
        image_skip=options.image_skip,
        deep_supervision=options.deep_supervision,
    )


def _read_skips(words: Sequence[str] | None) -> int | Sequence[str] | None:
    """Return how many skips are asked for, or which."""
    if words and len(words) == 1 and words[0].isdecimal():
        return int(words[0])
    return words
