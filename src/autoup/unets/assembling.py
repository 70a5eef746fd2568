"""Put the decoder of a U-Net together: its stages, by what was planned."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from torch import nn

from autoup.checks import as_int
from autoup.decoding.shapes import shape_made
from autoup.errors import Refusal
from autoup.unets.layers import Block, Kinds
from autoup.unets.maps import FeatureMap
from autoup.unets.plan import IMAGE, Grid, Way, plan_way
from autoup.unets.stages import Stage

_FIRST, _MOST = 16, 256  # Channels at full size, and at most.


@dataclass(frozen=True, slots=True)
class Recipe:
    """What all stages are made by.

    Args:
        kinds: The encoder's own kinds of layers.
        block: Makes a block of its own kind; None for the usual one.
        widths: Channels of the stages, the full size first; None for the usual ones.
    """

    kinds: Kinds
    block: Block | None
    widths: Sequence[int] | None


def plan_ways(grids: Sequence[Grid], maps: Sequence[FeatureMap]) -> list[Way]:
    """Plan the ways from the deepest map to the image, in this order.

    Raises:
        ValueError: The resolution between two of them does not fall by a whole number.
    """
    ways: list[Way] = []
    for below, above in pairwise(reversed(grids)):
        try:
            ways.append(plan_way(below, above))
        except Refusal as reason:
            ends = [maps[each.target].shown if each.joined else "" for each in (below, above)]
            if IMAGE in above.joined or not above.joined:
                advice = "Pass the part of the encoder behind what resizes the input"
                ends[1] = f"the input with {'x'.join(map(str, above.size))}"
            else:
                advice = "Name other layers in skips="
            raise ValueError(
                f"unet cannot enlarge the map of {ends[0]} to that of {ends[1]}: {reason}. "
                f"{advice}."
            ) from None
    return ways


def build_stages(ways: Sequence[Way], channels: int, recipe: Recipe) -> list[Stage]:
    """Build the stages, from the deepest map to the image.

    Args:
        ways: What was planned.
        channels: Of the deepest map.
        recipe: What they are made by.
    """
    widths = read_widths(recipe.widths, sum(len(way.strides) for way in ways))
    stages: list[Stage] = []
    for way in ways:
        size = way.taken
        for number in range(len(way.strides)):
            width = widths[-1 - len(stages)]
            stages.append(_build_stage(way, number, size, channels, width, recipe))
            size, channels = stages[-1].up.out_size, width
    return stages


def _build_stage(
    way: Way, number: int, size: tuple[int, ...], channels: int, width: int, recipe: Recipe
) -> Stage:
    """Build one stage of a way, from a map of this size."""
    is_last = number == len(way.strides) - 1
    joined = way.above.channels if is_last else 0
    shift = way.shift if is_last else (0.0,) * len(size)
    up, shift = recipe.kinds.up(channels, size, way.strides[number], shift)
    made = way.above.size if is_last else up.out_size
    return Stage(
        up,
        _build_block(recipe, channels + joined, width, made),
        width,
        way.above.target,
        way.above.joined if is_last else (),
        None if number else (way.total, way.fronts),
        way.cut if is_last else None,
        shift if is_last else (),
    )


def read_widths(widths: Sequence[int] | None, total: int) -> list[int]:
    """Return the channels of the stages, the full size first.

    Raises:
        TypeError: They are no sequence of ints.
        ValueError: There are more or fewer than stages, or one is less than 1.

    Example:
        >>> read_widths(None, 6)
        [16, 32, 64, 128, 256, 256]
    """
    if widths is None:
        return [min(_FIRST * 2**level, _MOST) for level in range(total)]
    given: Any = widths
    usual = f"the usual ones are {tuple(read_widths(None, total))}."
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise TypeError(f"widths must be a tuple or a list of ints, got {widths!r}; {usual}")
    if len(widths) != total:
        raise ValueError(
            f"widths must name the channels of {total} levels, the full size first, got "
            f"{len(widths)}: {tuple(widths)}; {usual}"
        )
    return [as_int(f"widths[{number}]", width) for number, width in enumerate(widths)]


def _build_block(
    recipe: Recipe, in_channels: int, out_channels: int, size: Sequence[int]
) -> nn.Module:
    """Build a block, and see that one of the user's makes what was asked for."""
    if recipe.block is None:
        return recipe.kinds.block(in_channels, out_channels)
    try:
        made: Any = recipe.block(in_channels, out_channels)
    except TypeError as error:
        raise TypeError(
            f"block({in_channels}, {out_channels}) must return a module: {error}"
        ) from error
    if not isinstance(made, nn.Module):
        raise TypeError(f"block must return an nn.Module, got {made!r}.")
    made.to(**recipe.kinds.factory)
    given, wanted = (2, in_channels, *size), (2, out_channels, *size)
    try:
        shape = shape_made(made, given)
    except ValueError as error:
        raise ValueError(
            f"block({in_channels}, {out_channels}) does not run on a map of {given}: {error}."
        ) from None
    if shape != wanted:
        raise ValueError(
            f"block({in_channels}, {out_channels}) makes {shape} of a map of {given}, and "
            f"{wanted} is needed."
        )
    return made
