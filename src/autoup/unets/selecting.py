"""Which of an encoder's maps a decoder joins, as the user asks."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, SupportsIndex, cast

from autoup.checks import as_int
from autoup.unets.maps import FeatureMap, FeatureMaps

_HIDDEN = (
    "None of its modules is called when a copy of it runs, as where its forward was replaced by a "
    "function that holds the encoder: wrap it in a module that has it as an attribute, "
)


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
    raise TypeError(f"skips must be how many, or the paths of modules in a list, got {skips!r}.")


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
    if not deepest.falls_from(maps.image) or not (found or image_skip or skips):
        name = f"layer {deepest.name!r}" if deepest.name else "the encoder itself"
        is_hidden = not deepest.name and len(maps.graph.modules) > 1
        raise ValueError(
            f"encoder has maps of one resolution only, that of {name} with {_shown(deepest)}: "
            "there is nothing to join on the way to the size of the input. "
            + (_HIDDEN if is_hidden else "Take an encoder that reduces its maps in steps, ")
            + "or pass image_skip=True to join the input itself."
        )
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
    nodes = [node for node in maps.tapped if node in graph.layouts]
    by_path: dict[str, list[Any]] = {}
    for node in nodes:
        for tap in maps.taps_of(node):
            if tap.is_output:
                by_path.setdefault(tap.path, []).append(maps.read(node))
    if path not in graph.modules or path not in by_path:
        near = get_close_matches(path, [each for each in by_path if each], 3)
        what = "is given no tensor by it" if path in graph.modules else "has no such module"
        hint = f"close to it are {', '.join(map(repr, near))}; " if near else ""
        raise ValueError(
            f"skips names {path!r}, and the encoder {what}; {hint}found are {_listed(others)}."
        )
    made = next((each for each in reversed(by_path[path]) if each), None)
    if made is None:
        raise ValueError(
            f"skips names {path!r}, whose output is no map with the axes of the input."
        )
    if not deepest.falls_from(made):
        raise ValueError(
            f"skips names {path!r} with {_shown(made)}, which is no larger than the deepest map "
            f"that the decoder begins with: {_shown(deepest)} of layer {deepest.name!r}; found are "
            f"{_listed(others)}."
        )
    return made


def _shown(each: FeatureMap) -> str:
    return f"{each.channels} channels of {'x'.join(map(str, each.size))}"


def _listed(found: Sequence[FeatureMap]) -> str:
    return ", ".join(f"{each.name!r} ({_shown(each)})" for each in found) or "none"
