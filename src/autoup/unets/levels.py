"""Find the maps that a decoder reads: one of each resolution, along what all data passes through.

The dominators of the encoder's output are cut into levels, a new one where an axis falls to 0.7
of its resolution or less. Where the resolution falls by three or more between two dominators, as
in nets of several branches, the modules between them are searched. Each level gives one map: from
its last dominator back through operators that see one place alone, the one that is cheapest to
have and easiest to name.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import prod

from torch.fx import Node

from autoup.capturing.edges import between, dominators, value_of
from autoup.capturing.layouts import CHANNEL, is_lost
from autoup.capturing.operators import (
    ATTENTION,
    CONVOLUTIONS,
    MIXERS,
    argument,
    name_of,
    plain_name,
)
from autoup.capturing.steps import Graph, where
from autoup.unets.maps import FeatureMap, FeatureMaps

_BRANCHES = 3  # A fall of the resolution that is looked into.
_MORE = 1.5  # Times the fewest channels: what is clearly more.
_FEW = 10  # Times fewer channels: what is no feature map, but a result.
_SMALL = 3  # Taps of a pooling window that may be as large as a small map.
_MEANS = frozenset(("amax", "amin", "mean", "sum"))
_SEE_OTHERS = MIXERS | _MEANS | {"cumsum", "roll", "softmax", "unfold"}


def find_levels(maps: FeatureMaps) -> list[FeatureMap]:
    """Return one map of each resolution, from the shallowest to the deepest.

    The image itself is none of them. What the encoder returns is taken as it is where that are
    maps of several resolutions.

    Raises:
        ValueError: The encoder has no map, or goes on without one.
    """
    if found := _returned(maps):
        return found
    trunk = _trunk(maps, maps.graph.target)
    levels = _cut(trunk)
    for level, deeper in [*pairwise(levels)]:
        if level[-1].jump_to(deeper[0]) >= _BRANCHES:
            extra = _inside(maps, level[-1], deeper[0])
            level += extra.pop(level[-1].scale, [])
            place = levels.index(deeper)
            levels[place:place] = extra.values()
    _check_tokens(maps, trunk)
    levels[-1] = _without_head(levels[-1])
    chosen = [_choose(maps.graph, level, trunk[0]) for level in levels]
    if len(trunk) == 1 or chosen[-1] is None:
        name = maps.graph.names.of([maps.graph.target])
        raise ValueError(
            f"encoder makes no feature map with the axes of its input on the way to {name!r}: a "
            "U-Net is built on maps; pass the part of the encoder that makes them."
        )
    return [each for each in chosen if each is not None]


def _returned(maps: FeatureMaps) -> list[FeatureMap]:
    """Return the maps that the encoder itself returns, if these are of several resolutions."""
    found: dict[tuple[float, ...], list[FeatureMap]] = {}
    for node in maps.tapped:
        each = maps.read(node)
        if each and any(not tap.path for tap in each.outputs) and _is_feature(maps, each):
            found.setdefault(each.scale, []).append(each)
    levels = [_without_head(found[scale])[-1] for scale in sorted(found, key=prod)]
    return levels if len(levels) > 1 else []


def _is_feature(maps: FeatureMaps, each: FeatureMap) -> bool:
    """Whether a map is neither the input nor what a head makes of all of a map."""
    if max(each.size) > 1:
        return maps.is_made(each.node)
    return _trunk(maps, each.node)[-1].node is each.node


def _trunk(maps: FeatureMaps, target: Node) -> list[FeatureMap]:
    """Return the maps that all data passes through, up to the head; the image is the first."""
    graph = maps.graph
    cuts = dominators(between(graph.edges, graph.source, target), graph.edges)
    found: list[FeatureMap] = [maps.image]
    for before, node in pairwise(cuts):
        each = maps.read(node)
        if not maps.is_made(node):
            continue
        if _is_head(graph, before, node) or (each and each.falls_to(found[-1])):
            break  # What enlarges again is a decoder of its own.
        found += [each] if each else []
    return found


def _is_head(graph: Graph, before: Node, node: Node) -> bool:
    """Whether a step makes one pixel of all of a map, or as many as it is told."""
    if name_of(node).startswith("adaptive_"):
        return True
    old, new = (tuple(value_of(each).shape[2:]) for each in (before, node))
    if len(old) != len(new) or max(new, default=1) > 1 or max(old, default=1) == 1:
        return False
    return any(_sees_all(each, old) for each in between(graph.edges, before, node)[1:])


def _sees_all(node: Node, size: tuple[int, ...]) -> bool:
    name = plain_name(node)
    if name in _MEANS or name.startswith("adaptive_"):
        return True
    if name in CONVOLUTIONS:
        kernel = tuple(value_of(node.all_input_nodes[1]).shape[2:])
        return kernel == size and max(argument(node, 3, "stride", [1])) < max(kernel)
    kernel = tuple(argument(node, 1, "kernel_size", ())) if "pool" in name else ()
    return kernel == size and max(kernel) > _SMALL


def _cut(trunk: Sequence[FeatureMap]) -> list[list[FeatureMap]]:
    """Cut a trunk into levels."""
    levels: list[list[FeatureMap]] = []
    for each in trunk:
        if levels and not levels[-1][0].falls_to(each):
            levels[-1].append(each)
        else:
            levels.append([each])
    return levels


def _without_head(level: Sequence[FeatureMap]) -> list[FeatureMap]:
    """Leave out what at the end makes very few channels of many, as one for each class."""
    kept = [*level]
    while kept[-1].channels * _FEW < max(each.channels for each in kept):
        kept.pop()
    return kept


def _inside(
    maps: FeatureMaps, before: FeatureMap, after: FeatureMap
) -> dict[tuple[float, ...], list[FeatureMap]]:
    """Return the last map of each resolution between two others; none where all is of one."""
    nodes = between(maps.graph.edges, before.node, after.node)
    passed = [each for node in nodes if maps.is_made(node) and (each := maps.read(node))]
    found: dict[tuple[float, ...], list[FeatureMap]] = {}
    for each in passed:
        lies_between = each.falls_to(after) and not each.falls_to(before)
        if lies_between and any(not _leads_down(tap.path, each, passed) for tap in each.taps):
            found[each.scale] = [each]
    found = {scale: found[scale] for scale in sorted(found, key=prod)}
    return found if {*found} - {before.scale} else {}


def _leads_down(path: str, each: FeatureMap, passed: Sequence[FeatureMap]) -> bool:
    """Whether a module lies in one that takes a map of this resolution to one of less."""
    takes, gives = (
        {
            tap.path
            for other in passed
            for tap in other.taps
            if tap.is_output is is_output and path.startswith(f"{tap.path}.")
            if (each.falls_to(other) if is_output else each.scale == other.scale)
        }
        for is_output in (False, True)
    )
    return bool(takes & gives)


def _choose(graph: Graph, level: Sequence[FeatureMap], image: FeatureMap) -> FeatureMap | None:
    """Return the map of a level to read; None if it has none, or none but the image."""
    reach = [level[-1]]
    for before, after in pairwise(reversed(level)):
        if not _is_pointwise(graph, after, before):
            break
        reach.append(after)
    is_image, reach = image in reach, [each for each in reach if each is not image]
    tapped = [each for each in reach if each.taps] or [
        each for each in reversed(level) if each.taps and each is not image
    ][:1]
    fewest = min((each.channels for each in tapped), default=0)
    cheap = [each for each in tapped if each.channels < _MORE * fewest]
    chosen = min(cheap, key=lambda each: (each.tap.depth, not each.outputs), default=None)
    return None if is_image and fewest == image.channels else chosen


def _is_pointwise(graph: Graph, before: FeatureMap, after: FeatureMap) -> bool:
    """Whether each place of a map is made from the same place of another alone."""
    return not any(map(_sees_others, between(graph.edges, before.node, after.node)[1:]))


def _sees_others(node: Node) -> bool:
    name = plain_name(node)
    if name in CONVOLUTIONS:
        return prod(value_of(node.all_input_nodes[1]).shape[2:]) > 1
    return name in _SEE_OTHERS or "pool" in name or "upsample" in name


def _check_tokens(maps: FeatureMaps, trunk: Sequence[FeatureMap]) -> None:
    """Refuse an encoder that does most of its work behind its last map, on tokens.

    Finer maps are none: a decoder of the encoder's own makes them.
    """
    graph, deepest = maps.graph, trunk[-1].node
    before = graph.parameters_of(between(graph.edges, graph.source, deepest))
    behind = between(graph.edges, deepest, graph.target)[1:]
    found = {node: maps.read(node) for node in behind if _is_of_places(graph, node)}
    tokens = [node for node, each in found.items() if not (each and each.falls_to(trunk[-1]))]
    weights = [
        sum(graph.values[name].numel() for name in names)
        for names in (before, {*graph.parameters_of(tokens)} - {*before})
    ]
    if weights[1] > weights[0]:
        first = next((node for node in tokens if name_of(node) in ATTENTION), tokens[0])
        is_input = deepest is graph.source
        last = "its input" if is_input else f"layer {graph.names.of([deepest])!r}"
        raise ValueError(
            f"encoder has no feature map behind {last}: layer "
            f"{graph.names.of([first])!r}{where(first)} works on tokens, as a vision transformer "
            "does, and so do most of its weights. A U-Net needs maps of several resolutions: take "
            "an encoder that returns them, as timm's with features_only=True and the backbones of "
            "transformers do, or wrap this one so that it does."
        )


def _is_of_places(graph: Graph, node: Node) -> bool:
    """Whether a tensor still has several places, or what cannot be told from them."""
    layout, value = graph.layouts.get(node), value_of(node)
    if value is None or getattr(value, "ndim", 0) < 3:
        return False
    if layout is None or is_lost(layout):
        return True
    return any(label != CHANNEL and size > 1 for entry in layout[1:] for label, size in entry)
