"""What an operator reads, and the axes of what several tensors make together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch.fx import Node

from autoup.capturing.axes import Axes, Entry, Part, meet, unknown
from autoup.capturing.edges import Edges, value_of
from autoup.capturing.layouts import CHANNEL
from autoup.capturing.operators import VIEWS, arguments_of, name_of, plain_name

_MUCH = 2  # How often the rest must fit into what is continued at its border.


def first_tensor(value: Any) -> torch.Tensor | None:
    """Return a tensor, or the first of several.

    Example:
        >>> first_tensor((torch.zeros(2), torch.ones(3))), first_tensor(1)
        (tensor([0., 0.]), None)
    """
    if isinstance(value, Sequence) and value:
        value = cast("Sequence[Any]", value)[0]
    return value if isinstance(value, torch.Tensor) else None


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator of the graph, and what is known of what it reads.

    Args:
        node: Its node.
        shape: Of the tensor that it makes, or of the first of several.
        edges: Who reads whose values.
        axes: Of the tensors before it.
    """

    node: Node
    shape: tuple[int, ...]
    edges: Edges
    axes: Mapping[Node, Axes]

    @property
    def name(self) -> str:
        """Of the operator, the same where it writes in place."""
        return plain_name(self.node)

    def read(self, node: object) -> Axes | None:
        """Return the axes of an argument as it is now; None if no value of the input is in it.

        A tensor is known along a dimension of which a part was written only where that part's
        pixels lie as its own do.
        """
        if not isinstance(node, Node) or (value := first_tensor(value_of(node))) is None:
            return None
        now, read = self.edges[self.node], self.node.all_input_nodes
        writers = [each for each in now if each not in read and _base(each) is _base(node)]
        ways = [self.axes[each] for each in [node] * (node in now) + writers if each in self.axes]
        shape = tuple(value.shape)
        if not ways:
            return None
        if not writers or [each.shape for each in ways] == [shape]:
            return ways[0]
        if any(len(each.entries) != len(shape) for each in ways):
            return unknown(shape)
        here = meet(ways, shape)
        for dim, size in enumerate(shape):
            if any(each.shape[dim] != size for each in ways) and here.labels(dim):
                here = here.lost(dim, size)
        return here

    def ways(self) -> list[Axes]:
        """Return the axes of all that it reads."""
        found = (self.read(each) for each in self.node.all_input_nodes)
        return [each for each in found if each is not None]


def _base(node: Node) -> Node:
    """Return the tensor whose memory a view or a writer shares, as edges have it."""
    while name_of(node) in VIEWS or name_of(node) != plain_name(node):
        first = node.args[0]
        if not isinstance(first, Node):
            break
        node = first
    return node


def elementwise(op: "Operator", here: Axes | None) -> Axes:
    """Return the axes behind an operator of which nothing else is known.

    Args:
        op: The operator.
        here: What it reads first, if that depends on the input.
    """
    ways, shape = op.ways(), op.shape
    fits = [
        len(way.shape) <= len(shape)
        and all(a in (1, b) for a, b in zip(way.shape[::-1], shape[::-1], strict=False))
        for way in ways
    ]
    if all(fits):
        return meet(ways, shape)
    return unknown(shape) if here is None else here.fitted(shape)


def _cat(op: Operator) -> Axes:
    """Return the axes of tensors that follow each other along a dimension.

    Along channels ways meet. Along space one of them is continued at its borders, if it is much
    the largest: the rest stands in front of it and behind.
    """
    tensors: Sequence[Node] = op.node.args[0]  # pyright: ignore[reportAssignmentType]
    dim: int = arguments_of(op.node)["dim"] % len(op.shape)
    parts = [(op.read(each), cast("torch.Tensor", value_of(each)).shape) for each in tensors]
    known = [each for each, _ in parts if each is not None]
    if any(len(shape) != len(op.shape) for _, shape in parts):
        return unknown(op.shape)
    if not any(each.is_spatial(dim) for each in known):
        return meet([each.merged(dim, op.shape[dim]) for each in known], op.shape)
    sizes = [shape[dim] for _, shape in parts]
    largest = max(sizes)
    place = sizes.index(largest)
    here = parts[place][0]
    if here is None or _MUCH * (sum(sizes) - largest) > largest:
        return meet([each.lost(dim, op.shape[dim]) for each in known], op.shape)
    return here.moved(dim, (1, -sum(sizes[:place])), op.shape[dim])


def _stack(op: Operator) -> Axes:
    """Return the axes of tensors beside each other, in one more dimension of channels."""
    dim: int = arguments_of(op.node)["dim"] % len(op.shape)
    here = meet(op.ways(), (*op.shape[:dim], *op.shape[dim + 1 :]))
    beside = (Part(CHANNEL, op.shape[dim]),)
    return Axes((*here.entries[:dim], beside, *here.entries[dim:]), here.positions)


def _matmul(op: Operator) -> Axes:
    """Return the axes of a product of matrices: rows of the first, columns of the second."""
    first, second = (op.read(each) for each in op.node.args[-2:])
    ways: list[Axes] = []
    if first is not None:
        ways.append(first.merged(-1, first.shape[-1]).put(-1, ()))
    if second is not None and len(second.entries) > 1:
        ways.append(second.merged(-2, second.shape[-2]).put(-2, ()))
    return _product(ways, op.shape)


def _einsum(op: Operator) -> Axes:
    """Return the axes of a sum of products, each where its letter stands."""
    equation, tensors = cast("tuple[str, Sequence[Node]]", op.node.args[:2])
    inputs, _, output = equation.replace(" ", "").partition("->")
    if "." in equation or not output:
        return unknown(op.shape)
    ways: list[Axes] = []
    for letters, tensor in zip(inputs.split(","), tensors, strict=True):
        here = op.read(tensor)
        if here is None:
            continue
        for dim, letter in enumerate(letters):
            here = here if letter in output else here.merged(dim, here.shape[dim])
        at: list[Entry] = [here.entries[letters.index(c)] if c in letters else () for c in output]
        ways.append(Axes(tuple(at), here.positions))
    return _product(ways, op.shape)


def _product(ways: Sequence[Axes], shape: tuple[int, ...]) -> Axes:
    """Return the axes of a product of some dimensions of each.

    An axis that the first has too is features of it: in attention the pixels that it looks at.
    """
    first, *others = ways or [unknown(shape)]
    taken = {label for dim in range(len(first.entries)) for label in first.labels(dim)}
    for way in others:
        here = way
        for dim in range(-min(len(way.entries), len(shape)), 0):
            if way.labels(dim) & taken:
                stands = -dim <= len(first.entries) and first.entries[dim]
                here = here.put(dim, () if stands else (Part(CHANNEL, shape[dim]),))
        others = [here if each is way else each for each in others]
    return meet([first, *others], shape)


MEETINGS: Mapping[str, Callable[[Operator], Axes]] = {
    "baddbmm": _matmul,
    "bmm": _matmul,
    "cat": _cat,
    "concat": _cat,
    "concatenate": _cat,
    "einsum": _einsum,
    "matmul": _matmul,
    "stack": _stack,
}
