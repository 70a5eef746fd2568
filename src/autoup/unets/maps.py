"""The feature maps of a captured encoder: what they hold, and where their pixels lie."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.fx import Node

from autoup.capturing.edges import value_of
from autoup.capturing.layouts import BATCH, map_order
from autoup.capturing.operators import CONVOLUTIONS, name_of
from autoup.capturing.positions import Position, positions
from autoup.capturing.steps import Graph, calls_of
from autoup.capturing.taps import Tap

Offset = tuple[float, float]

_SAME = 0.7  # Of the size that an axis keeps within a level, at least.


@dataclass(frozen=True, slots=True)
class FeatureMap:
    """A tensor with channels and all spatial axes of the input.

    Args:
        node: Its node in the graph.
        order: The order of dimensions that puts it as batch, channels, space.
        channels: How many it has.
        size: Per axis, in pixels.
        scale: Distance of neighbours per axis, in pixels of the input.
        offset: Where the first pixel lies per axis, in pixels of the input: from and to, which
            differ where ways of different offsets met; None if unknown.
        taps: Where it passes into modules and out of them, in the order of the pass.
    """

    node: Node
    order: tuple[int, ...]
    channels: int
    size: tuple[int, ...]
    scale: tuple[float, ...]
    offset: tuple[Offset | None, ...]
    taps: tuple[Tap, ...]

    @property
    def outputs(self) -> list[Tap]:
        """The taps where it comes out."""
        return [tap for tap in self.taps if tap.is_output]

    @property
    def hooks(self) -> list[Tap]:
        """The taps that are to be listened to: where it comes out, else where it goes in."""
        return self.outputs or [*self.taps]

    @property
    def tap(self) -> Tap:
        """The tap that it is named after: the outermost module that made it.

        One that returns it alone comes before one that returns it among others, which would
        name several maps alike. Not its maker is a module that passed it on, or that made what
        was then written over.
        """
        makers = {*calls_of(self.node).values()}
        return min(
            self.hooks,
            key=lambda tap: (not tap.path, bool(tap.keys), tap.path not in makers, tap.depth),
        )

    @property
    def shown(self) -> str:
        """What it is, for a message: the layer, channels and size."""
        path = self.tap.path
        layer = f"layer {path!r}" if path else "the encoder itself"
        return f"{layer} with {self.size_shown}"

    @property
    def size_shown(self) -> str:
        """Its channels and size, for a message."""
        return f"{self.channels} channels of {'x'.join(map(str, self.size))}"

    def falls_to(self, other: "FeatureMap") -> bool:
        """Whether another map has clearly less resolution along an axis, and fewer pixels.

        Of an axis of one pixel nothing is left to lose, and its scale may be unknown.
        """
        scales, sizes = (
            [*zip(mine, its, strict=True)]
            for mine, its in ((self.scale, other.scale), (self.size, other.size))
        )
        return any(a <= _SAME * b and n > m for (a, b), (n, m) in zip(scales, sizes, strict=True))

    def falls_from(self, other: "FeatureMap") -> bool:
        """Whether this map has clearly less resolution along an axis than another."""
        return other.falls_to(self)

    def jump_to(self, other: "FeatureMap") -> float:
        """Return the largest ratio of the resolutions of this and another map."""
        return max(b / a for a, b in zip(self.scale, other.scale, strict=True))


class FeatureMaps:
    """Finds the maps in a graph.

    Args:
        graph: What was captured.
        taps: Those of each of its tensors.
    """

    def __init__(self, graph: Graph, taps: Mapping[Node, Sequence[Tap]]) -> None:
        self.graph = graph
        self._taps = taps
        self._positions = positions(graph)
        self._made = _find_made(graph)
        self._input: tuple[int, ...] = tuple(value_of(graph.source).shape[2:])

    @property
    def tapped(self) -> list[Node]:
        """The tensors that pass into modules or out of them."""
        return [*self._taps]

    def taps_of(self, node: Node) -> Sequence[Tap]:
        """Return where a tensor passes into modules or out of them."""
        return self._taps.get(node, ())

    def is_made(self, node: Node) -> bool:
        """Whether a tensor is more than the input at another size, range or order."""
        return node in self._made

    @property
    def image(self) -> FeatureMap:
        """The input."""
        size = self._input
        scale, offset = (1.0,) * len(size), ((0.0, 0.0),) * len(size)
        order = tuple(range(len(size) + 2))
        channels = value_of(self.graph.source).shape[1]
        return FeatureMap(self.graph.source, order, channels, size, scale, offset, ())

    def read(self, node: Node) -> FeatureMap | None:
        """Return the map that a tensor is; None if it is none."""
        layout, value = self.graph.layouts.get(node), value_of(node)
        order = map_order(layout)
        if layout is None or order is None or not isinstance(value, torch.Tensor):
            return None
        labels = {axis: [label for label, _ in layout[axis]] for axis in order[2:]}
        if {label for label, _ in layout[0]} != {BATCH} or not all(
            len(each) == 1 for each in labels.values()
        ):
            return None
        spatial = sorted(order[2:], key=lambda axis: labels[axis])
        if len(spatial) != len(self._input):
            return None
        found = self._positions.get(node, dict[str, Position]())
        size = tuple(value.shape[axis] for axis in spatial)
        at = [found.get(labels[axis][0]) for axis in spatial]
        return FeatureMap(
            node,
            (*order[:2], *spatial),
            value.shape[order[1]],
            size,
            tuple(p.scale if p else n / m for p, n, m in zip(at, self._input, size, strict=True)),
            tuple(p and (p.first, p.last) for p in at),
            tuple(self._taps.get(node, ())),
        )


def _find_made(graph: Graph) -> set[Node]:
    """Return the tensors that a convolution or a parameter leads to."""
    made: set[Node] = set()
    for node, read in graph.edges.items():
        if (
            not made.isdisjoint(read)
            or name_of(node) in CONVOLUTIONS
            or graph.parameters_of([node])
        ):
            made.add(node)
    return made
