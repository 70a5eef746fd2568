"""Tell the steps of an encoder apart: what a decoder has to undo.

Steps that leave the shape alone and have no weights vanish where the next weights can absorb
them, as factors and what only shuffles channels; a normalisation or an activation stays, and what
cannot is told. A padding joins the convolution or pooling that follows it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import torch

from autoup.capturing.edges import value_of
from autoup.capturing.layouts import is_spatial
from autoup.capturing.operators import (
    ATTENTION,
    CONVOLUTIONS,
    ELEMENTWISE,
    IDENTITIES,
    RESHAPES,
    TRANSPOSED,
    argument,
    main_norm,
    name_of,
    order_of,
    read_norm,
)
from autoup.capturing.steps import Point, Step
from autoup.decoding.activations import Activation, acts_at_places, kept_module, read_activations
from autoup.decoding.choosing import main_activation
from autoup.decoding.concatenation import read_concatenation
from autoup.decoding.evaluating import changes_nothing
from autoup.decoding.joining import (
    drop_shuffles,
    fold_pads,
    join_around,
    join_channel_norms,
    merge,
)
from autoup.decoding.known import named_module
from autoup.decoding.parts import Pads, Part, flatten, join
from autoup.decoding.runs import draws_numbers, offence, shuffles_channels

Tell = Callable[[Step, str], None]


@dataclass(frozen=True, slots=True)
class Reading:
    """How an encoder is read.

    Args:
        fold: Whether an uneven padding joins what follows it, too.
        merge: Whether all between two changes of resolution becomes one block.
        residual: Whether a block that adds up two ways is undone way by way; not with ``merge``.
        gates: Whether an activation may change the number of channels.
        tell: Is told of steps that are left out or replaced, and how.
    """

    fold: bool
    merge: bool
    residual: bool
    gates: bool
    tell: Tell

    def parts(self, steps: Sequence[Step]) -> list[Part]:
        """Return what is to be undone, in the encoder's order.

        Example:
            >>> from autoup.capturing.capture import capture
            >>> from autoup.capturing.steps import read_steps
            >>> encoder = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3), torch.nn.Dropout())
            >>> steps = read_steps(capture(encoder, (1, 1, 9, 9), None), encoder)
            >>> [part.kind for part in Reading(True, False, True, True, print).parts(steps)]
            ['convolution']
        """
        found = list[Part]()
        for at_places, group in groupby(steps, acts_at_places):
            found += self._read_group([*group], at_places)
        parts = fold_pads(drop_shuffles(join_channel_norms(found)), self.fold)
        return merge(parts, self._as_block) if self.merge else parts

    def _read_group(self, steps: Sequence[Step], at_places: bool) -> list[Part]:
        """Return the parts of steps that follow each other and all act at places, or none."""
        read = read_activations(steps) if at_places else None
        if read is None:
            return [part for step in steps if (part := self._classify(step))]
        return [self._as_activation(join(each), activation) for each, activation in read]

    def _as_activation(self, step: Step, activation: Activation) -> Part:
        if self.gates or activation.gate == 1:
            return Part("activation", step, activation=activation)
        self.tell(
            step,
            "a gate changes the number of channels, which adjoint=True fixes; a layer of one tap "
            "stands in, and without adjoint=True the gate stays",
        )
        return Part("block", step)

    def _classify(self, step: Step) -> Part | None:
        nodes = _without_selection(step)
        changed = step.before.shape != step.after.shape
        if pads := _read_joined(step):
            return Part("pad", step, pads=pads)
        if len(nodes) == 1:
            if part := _classify_operator(step, changed):
                return part
            if name_of(nodes[0]) in IDENTITIES or _is_elementwise(step):
                return None
        if not changed and not step.weights:
            return self._keep(step)
        if not changed and _scales_channels(step):
            return None
        if any(map(draws_numbers, (*step.nodes, *step.graph.brought(step.nodes)))):
            self.tell(step, "draws random numbers; a layer without them stands in")
            return Part("block", step)
        if not step.weights and _keeps_channels(step):
            if any(_is_complex(node) for node in step.nodes):
                self.tell(step, "works on frequencies; a layer of that change of size stands in")
            return Part("resize", step)
        return self._split(step) if self.residual and step.ways else self._as_block(step)

    def _keep(self, step: Step) -> Part | None:
        """Return a step without weights that stays as it is; what is lost with others is told."""
        if module := kept_module(step):
            return Part("activation", step, activation=Activation(module))
        if not shuffles_channels(step) and not changes_nothing(step):
            self.tell(step, f"{offence(step)}; it is left out")
        return None

    def _as_block(self, step: Step) -> Part:
        activation, are_lost = main_activation(step)
        if are_lost:
            self.tell(step, "has activations of which none fits its stage; that has none")
        return Part("block", step, norm=main_norm(step.nodes), activation=activation)

    def _split(self, step: Step) -> Part:
        """Return a block that adds up two ways, with the parts of both, the branch behind.

        The branch is the way with more activations, or else with more weights. Where a way has
        what cannot be undone by itself, the block is one stage.
        """
        lost = list[Step]()

        def note(step: Step, _what: str) -> None:
            lost.append(step)

        reading = replace(self, tell=note)
        read = [(way, _ending_at(step.after, reading.parts(way))) for way in step.ways]
        if lost:
            return self._as_block(step)
        read.sort(key=lambda each: (_activations(each[1]), *_extent(each[0])))
        parts = [way for _, way in read]
        name = f"{step.name}.attention"
        parts = [join_around(way, _attends, reading._as_block, name) for way in parts]
        activation, _ = main_activation(step)
        norm = main_norm(step.nodes)
        return Part("residual", step, norm, activation, ways=tuple(map(tuple, parts)))


def _is_complex(node: torch.fx.Node) -> bool:
    value = value_of(node)
    return isinstance(value, torch.Tensor) and value.is_complex()


def _activations(parts: Sequence[Part]) -> int:
    return sum(part.activation is not None for part in flatten(parts))


def _extent(way: Sequence[Step]) -> tuple[int, int]:
    return sum(each.weights for each in way), len(way)


def _attends(part: Part) -> bool:
    return any(name_of(node) in ATTENTION for node in part.step.nodes)


def _scales_channels(step: Step) -> bool:
    """Whether the data is multiplied by one number a channel, as squeeze-and-excite does."""
    order, last = step.before.map_order, step.nodes[-1]
    read = [each for each in step.graph.edges[last] if each is not step.before.node]
    if order is None or name_of(last).rstrip("_") != "mul" or len(read) != 1:
        return False
    factor = read[0]
    while name_of(factor) in ("expand", "expand_as"):  # As ECA has it, of a vector of channels.
        (factor,) = step.graph.edges[factor][:1]
    shape = getattr(value_of(factor), "shape", ())
    return len(shape) == len(order) and all(shape[axis] == 1 for axis in order[2:])


def _ending_at(point: Point, way: Sequence[Part]) -> list[Part]:
    """Let the dimensions of a summand mean what those of the sum do."""
    if not way:
        return []
    step = way[-1].step
    after = replace(step.after, layout=point.layout)
    return [*way[:-1], replace(way[-1], step=replace(step, after=after))]


def _classify_operator(step: Step, changed: bool) -> Part | None:
    node = step.nodes[0]
    name = name_of(node).rstrip("_")
    if norm := read_norm(node):
        return Part("norm", step, norm=norm)
    if name in ("softmax", "log_softmax") and (module := named_module(node, step.graph)):
        return Part("activation", step, activation=Activation(module))
    if name in CONVOLUTIONS and node.args[0] is step.before.node:
        return Part("convolution", step)
    if name in TRANSPOSED and node.args[0] is step.before.node:
        return Part("transposed", step)
    if name == "linear" and node.args[0] is step.before.node:
        return Part("linear", step)
    if order_of(node, len(step.before.shape)):
        return Part("permute", step)
    if changed and (name in RESHAPES or _selects_all(step)):
        return Part("reshape", step)
    if changed and name in ("pixel_shuffle", "pixel_unshuffle"):
        return Part("shuffle", step)
    if changed and (pads := _read_pads(step, name)):
        return Part("pad", step, pads=pads)
    return None


def _selects_all(step: Step) -> bool:
    """Whether a step takes the only entry of a dimension, as the channel of a sound."""
    size = step.before.shape
    dim: int = argument(step.nodes[0], 1, "dim", 0)
    return name_of(step.nodes[0]) == "select" and size[dim] == 1 and dim % len(size) > 0


def _without_selection(step: Step) -> tuple[torch.fx.Node, ...]:
    """Leave out the choice of one tensor from an operator that makes several."""
    nodes = step.nodes
    return nodes[:-1] if len(nodes) == 2 and name_of(nodes[-1]) == "getitem" else nodes


def _is_elementwise(step: Step) -> bool:
    name = name_of(step.nodes[0]).rstrip("_")
    return name in ELEMENTWISE and step.before.shape == step.after.shape


def _keeps_channels(step: Step) -> bool:
    """Whether a map becomes a map or vector of as many channels, with no other new axis."""
    before, after = _labels(step.before), _labels(step.after)
    if before is None or after is None or step.before.map_order is None:
        return False
    return set(after) <= set(before) and after.get(("C",)) == before.get(("C",))


def _labels(point: Point) -> dict[tuple[str, ...], int] | None:
    """Return the size of each dimension by its labels; None where two have the same."""
    if point.layout is None:
        return None
    names = [tuple(dict.fromkeys(label for label, _ in entry)) for entry in point.layout]
    return dict(zip(names, point.shape, strict=True)) if len(set(names)) == len(names) else None


def _read_joined(step: Step) -> Pads | None:
    """Return what a concatenation adds in front of and behind each dimension of a map."""
    joined, layout = read_concatenation(step.nodes[-1]), step.before.layout
    if joined is None or joined.source is not step.before.node or not layout:
        return None
    if not is_spatial(layout[joined.dim]):
        return None
    pair = (joined.front, joined.behind)
    return tuple(pair if axis == joined.dim else (0, 0) for axis in range(len(layout)))


def _read_pads(step: Step, name: str) -> Pads | None:
    """Return what a padding adds, or a slice cuts off, in front of and behind each dimension."""
    node, ndim = step.nodes[0], len(step.before.shape)
    if name in ("pad", "constant_pad_nd"):
        amounts: list[int] = list(argument(node, 1, "pad", []))
        pairs = list(zip(amounts[::2], amounts[1::2], strict=True))[::-1]
        return ((0, 0),) * (ndim - len(pairs)) + tuple(pairs)
    if name == "slice" and argument(node, 4, "step", 1) == 1:
        dim: int = argument(node, 1, "dim", 0) % ndim
        start: int = argument(node, 2, "start", 0) or 0
        whole, left = step.before.shape[dim], step.after.shape[dim]
        start = max(0, start + whole) if start < 0 else start
        return tuple(
            (-start, start + left - whole) if axis == dim else (0, 0) for axis in range(ndim)
        )
    return None
