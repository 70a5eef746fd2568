"""Which of an encoder's maps a decoder joins, as the user asks."""

from collections.abc import Sequence
from difflib import get_close_matches
from math import prod
from typing import Any, SupportsIndex, cast

from autoup.capturing.operators import CONVOLUTIONS, name_of
from autoup.checks import as_int
from autoup.unets.maps import FeatureMap, FeatureMaps


def check_skips(skips: object) -> int | tuple[str, ...] | None:
    """Return what is asked for: how many, or which by their paths; None for all.

    Raises:
        TypeError: It is neither.
        ValueError: It is negative.

    Example:
        >>> check_skips(3), check_skips(["layer1"])
        (3, ('layer1',))
    """
    if skips is None:
        return None
    if isinstance(skips, tuple | list):
        paths = cast("Sequence[object]", skips)
        if all(isinstance(each, str) for each in paths):
            return tuple(cast("Sequence[str]", paths))
    elif isinstance(skips, SupportsIndex) and not isinstance(skips, bool):
        return as_int("skips", skips, 0)
    meant = [skips] if isinstance(skips, str) else None
    if isinstance(skips, tuple | list):
        meant = [str(each) for each in cast("Sequence[object]", skips)]
    advice = "" if meant is None else f"; write skips={meant}"
    raise TypeError(
        f"skips must be how many, or the paths of modules in a list, got {skips!r}{advice}."
    )


def select(
    maps: FeatureMaps,
    levels: Sequence[FeatureMap],
    skips: int | tuple[str, ...] | None,
    *,
    image_skip: bool,
) -> list[FeatureMap]:
    """Return the maps that are joined, from the shallowest, and behind them the deepest.

    Args:
        maps: All maps of the encoder.
        levels: Those that were found, one of each resolution.
        skips: What ``check_skips`` returns.
        image_skip: Whether the image is joined, so that no other needs to be.

    Raises:
        ValueError: There are none, fewer than asked for, or no such module.
    """
    *found, deepest = levels
    reduces = deepest.falls_from(maps.image)
    if not reduces or not (found or image_skip or skips):
        raise ValueError(_explain(maps, deepest, reduces=reduces))
    if isinstance(skips, int):
        if skips > len(found):
            raise ValueError(
                f"skips={skips} asks for more maps than the encoder has: {len(found)}, of "
                f"{_listed(found)}."
            )
        found = found[len(found) - skips :]
    elif skips is not None:
        named = [_named(maps, path, levels) for path in skips]  # One map may have several names.
        found = sorted({each.node: each for each in named}.values(), key=lambda each: each.scale)
    return [*found, deepest]


def _named(maps: FeatureMaps, path: str, levels: Sequence[FeatureMap]) -> FeatureMap:
    """Return the map that comes out of a module."""
    graph, (*others, deepest) = maps.graph, levels
    by_path: dict[str, list[Any]] = {}
    for node in maps.tapped:
        for tap in maps.taps_of(node):
            if tap.is_output:
                by_path.setdefault(tap.path, []).append(maps.read(node))
    if path not in graph.modules or path not in by_path:
        near = get_close_matches(path, [each for each in by_path if each], 3)
        what = (
            "a module of the encoder that returns no tensor in a pass"
            if path in graph.modules
            else "no module of the encoder"
        )
        known = "close to it are" if near else "those found are"
        hint = f"; {known} {', '.join(map(repr, near or [each.tap.path for each in others]))}"
        raise ValueError(f"skips names {path!r}, {what}{hint}.")
    found = next((each for each in reversed(by_path[path]) if each), None)
    if found is None:
        raise ValueError(
            f"skips names {path!r}, whose output is no map with the axes of the input."
        )
    if not deepest.falls_from(found):
        raise ValueError(
            f"skips names {path!r}, with {found.size_shown}, which is no larger than the deepest "
            f"map that the decoder begins with, that of {deepest.shown}."
        )
    return found


def _explain(maps: FeatureMaps, deepest: FeatureMap, *, reduces: bool) -> str:
    """Say why there is nothing to join: all is of one size, comes back to it, or is not heard."""
    graph = maps.graph
    convolved = [node for node in graph.layouts if name_of(node) in CONVOLUTIONS]
    made = [each for node in convolved if (each := maps.read(node))]
    smaller = [each for each in made if each.falls_from(deepest)]
    if smaller:
        least = max(smaller, key=lambda each: prod(each.scale))
        return (
            f"encoder makes maps as small as {least.size_shown} in layer "
            f"{graph.names.of([least.node])!r}, and joins them to larger ones again, as a U-Net "
            f"does; all data passes through maps of one size only, the last that of "
            f"{deepest.shown}. Pass the part of it that reduces its maps."
        )
    if reduces and any(deepest.falls_from(each) for each in made):
        return (
            "encoder has maps of several resolutions, but those larger than that of "
            f"{deepest.shown} are made by functions and pass into no module and out of none, where "
            "they can be heard. Write its layers as modules, such as nn.Conv2d, or pass "
            "image_skip=True to join the input itself."
        )
    advice = "in steps, or pass image_skip=True to join the input itself" if reduces else "in steps"
    return (
        f"encoder has maps of one resolution only, that of {deepest.shown}: there is nothing to "
        f"join on the way to the size of the input. Take an encoder that reduces its maps {advice}."
    )


def _listed(found: Sequence[FeatureMap]) -> str:
    return ", ".join(each.shown for each in found) or "none"
