"""Where the pixels of each tensor of a captured graph lie in the input.

Along each axis pixel n of a tensor sits at scale*n + offset of the input, in its pixels. The scale
is the product of the strides, not the ratio of the sizes: from 97 to 49 pixels by a stride of 2 it
is 2. What each operator does to one axis is ``inspecting.position``'s arithmetic, and where the
axes stand in the dimensions is followed by ``axes``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch.fx import Node

from autoup.capturing.axes import Axes, Entry, Part, begin, meet, unknown
from autoup.capturing.edges import Edges, value_of
from autoup.capturing.layouts import CHANNEL
from autoup.capturing.moves import moves
from autoup.capturing.operators import RESHAPES, VIEWS, arguments_of, name_of, order_of, plain_name
from autoup.capturing.steps import Graph
from autoup.inspecting.position import Position

_PARTS = frozenset((
    "chunk", "split", "split_with_sizes", "tensor_split", "unbind", "unsafe_chunk", "unsafe_split",
))  # fmt: skip
# What puts pixels elsewhere along the dimensions that it names, or along all.
_SCATTERS = frozenset((
    "argsort", "as_strided", "col2im", "cumprod", "cumsum", "diff", "flip", "gather",
    "grid_sampler", "im2col", "index_select", "logcumsumexp", "rot90", "scatter", "sort", "take",
    "take_along_dim", "topk", "tril", "triu", "unfold", "unfold_copy",
))  # fmt: skip
_MUCH = 2  # How often the rest must fit into what is continued at its border.


def positions(graph: Graph) -> dict[Node, dict[str, Position]]:
    """Return for each tensor of a known layout where its pixels lie along each spatial axis.

    An axis of which that is not known is missing. Of a dimension that is cut into windows it is the
    position of the axis that they make up; where blocks of pixels lie in the channels, that of the
    blocks, from the first pixel of one to the last.

    Args:
        graph: What ``read_graph`` returns.

    Example:
        >>> encoder = torch.nn.Conv2d(1, 8, 3, stride=2)
        >>> from autoup.capturing.capture import capture
        >>> from autoup.capturing.steps import read_graph
        >>> graph = read_graph(capture(encoder, (1, 1, 9, 9), None), encoder)
        >>> positions(graph)[graph.target]["0"]
        Position(scale=2.0, first=1.0, last=1.0, size=9)
    """
    axes: dict[Node, Axes] = {}
    found: dict[Node, dict[str, Position]] = {}
    for node in graph.edges:
        value = _first(value_of(node))
        if value is None:
            continue
        shape = tuple(value.shape)
        if node is graph.source:
            axes[node] = begin(shape)
        else:
            axes[node] = _follow(_Operator(node, shape, graph.edges, axes))
        layout = graph.layouts.get(node)
        if layout is not None:
            found[node] = axes[node].shown(layout) if len(axes[node].entries) == len(layout) else {}
    return found


def _first(value: Any) -> torch.Tensor | None:
    """Return a tensor, or the first of several."""
    if isinstance(value, Sequence) and value:
        value = cast("Sequence[Any]", value)[0]
    return value if isinstance(value, torch.Tensor) else None


@dataclass(frozen=True, slots=True)
class _Operator:
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
        """Return the axes of an argument as it is now; None if it does not depend on the input.

        A tensor is known along a dimension of which a part was written only where that part's
        pixels lie as its own do.
        """
        if not isinstance(node, Node) or (value := _first(value_of(node))) is None:
            return None
        now, read = self.edges[self.node], self.node.all_input_nodes
        writers = [each for each in now if each not in read and _base(each) is _base(node)]
        ways = [self.axes[each] for each in [node] * (node in now) + writers if each in self.axes]
        shape = tuple(value.shape)
        if not writers or ([each.shape for each in ways] == [shape]):
            return ways[0] if ways else None
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


def _follow(op: _Operator) -> Axes:
    """Return the axes of what an operator makes."""
    name, ways = op.name, op.ways()
    here = op.read(next(iter(op.node.args), None))
    if name in ("cat", "concat", "concatenate"):
        found = _cat(op)
    elif name == "stack":
        found = _stack(op, ways)
    elif name in ("matmul", "bmm", "baddbmm"):
        found = _matmul(op)
    elif name == "einsum":
        found = _einsum(op)
    elif here is None:
        found = _elementwise(ways, op.shape)
    elif order := order_of(op.node, len(here.entries)):
        found = here.permuted(order)
    elif name in RESHAPES:
        found = here.reshaped(op.shape)
    else:
        found = _change(op, here)
        found = _elementwise(ways, op.shape) if found is None else found
    return found if name in _PARTS else found.fitted(op.shape)


def _elementwise(ways: Sequence[Axes], shape: tuple[int, ...]) -> Axes:
    """Return the axes behind an operator of which nothing else is known."""
    fits = [
        len(way.shape) <= len(shape)
        and all(a in (1, b) for a, b in zip(way.shape[::-1], shape[::-1], strict=False))
        for way in ways
    ]
    if ways and all(fits):
        return meet(ways, shape)
    return ways[0].fitted(shape) if ways else unknown(shape)


def _change(op: _Operator, here: Axes) -> Axes | None:
    """Return the axes behind an operator that moves pixels of one tensor; None if it does not."""
    name, given = op.name, arguments_of(op.node)
    if found := moves(name, given, here.shape, op.shape):
        if name.startswith("conv"):
            dim = -len(found) - 1
            here = here.merged(dim, op.shape[dim])
        for dim, move in found.items():
            here = here.moved(dim, move, op.shape[dim])
        return here
    if name in _PARTS:  # What is taken from them tells what it is.
        return here
    if name in _REARRANGES:
        return _REARRANGES[name](op, given, here)
    if name in _SCATTERS or name.startswith("fft_") or name == "index":
        return _scatter(given, here)
    if "keepdim" in given and given.get("dim") is not None:
        return _reduce(given, here)
    return None


def _scatter(given: Mapping[str, Any], here: Axes) -> Axes:
    """Return the axes without those along which pixels went anywhere."""
    dims = given.get("dim", given.get("dims"))
    if "indices" in given:
        dims = [dim for dim, each in enumerate(given["indices"]) if each is not None]
    if dims is None or any(name in given for name in ("out_int32", "interpolation_mode")):
        dims = range(len(here.entries))
    for dim in [dims] if isinstance(dims, int) else dims:
        here = here.lost(dim, here.shape[dim]) if here.labels(dim) else here
    return here


def _reduce(given: Mapping[str, Any], here: Axes) -> Axes:
    """Return the axes behind a mean, a sum or a maximum."""
    dims = given["dim"]
    dims = [dims] if isinstance(dims, int) else dims or range(len(here.entries))
    gone = {dim % len(here.entries) for dim in dims}
    for dim in gone:
        here = here.averaged(dim, given["keepdim"])
    if given["keepdim"]:
        return here
    return here.permuted([dim for dim in range(len(here.entries)) if dim not in gone])


def _linear(op: _Operator, _: Mapping[str, Any], here: Axes) -> Axes:
    return here.merged(-1, op.shape[-1])


def _select(_: _Operator, given: Mapping[str, Any], here: Axes) -> Axes:
    return here.picked(given["dim"], given["index"])


def _getitem(op: _Operator, _: Mapping[str, Any], here: Axes) -> Axes | None:
    """Return the axes of one of the parts that a tensor was split into."""
    source, index = op.node.args
    if not isinstance(source, Node) or plain_name(source) not in _PARTS:
        return here
    parts: list[torch.Tensor] = value_of(source)
    dim: int = arguments_of(source)["dim"]
    index = cast("int", index) % len(parts)
    if plain_name(source) == "unbind":
        return here.picked(dim, index)
    sizes = [tuple(each.shape)[dim] for each in parts]
    return here.moved(dim, (1, sum(sizes[:index])), sizes[index])


def _copy(op: _Operator, _: Mapping[str, Any], here: Axes) -> Axes:
    """Return the axes of what is written over a tensor."""
    source = op.read(op.node.args[1])
    return here if source is None else _elementwise([source], op.shape)


def _attend(op: _Operator, _: Mapping[str, Any], here: Axes) -> Axes:
    return here.put(-1, (Part(CHANNEL, op.shape[-1]),))


def _unshuffle(op: _Operator, given: Mapping[str, Any], here: Axes) -> Axes:
    """Return the axes where each block of pixels lies in the channels."""
    factor: int = given["downscale_factor"]
    *front, channels, height, width = here.shape
    cut = (channels, height // factor, factor, width // factor, factor)
    n = len(front)
    order = [*range(n), *(n + each for each in (0, 2, 4, 1, 3))]
    return here.reshaped((*front, *cut)).permuted(order).reshaped(op.shape)


_REARRANGES: dict[str, Callable[[_Operator, Mapping[str, Any], Axes], Axes | None]] = {
    "linear": _linear,
    "select": _select,
    "getitem": _getitem,
    "copy": _copy,
    "scaled_dot_product_attention": _attend,
    "pixel_unshuffle": _unshuffle,
}


def _cat(op: _Operator) -> Axes:
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


def _stack(op: _Operator, ways: Sequence[Axes]) -> Axes:
    """Return the axes of tensors beside each other, in one more dimension of channels."""
    dim: int = arguments_of(op.node)["dim"] % len(op.shape)
    here = meet(ways, (*op.shape[:dim], *op.shape[dim + 1 :]))
    beside = (Part(CHANNEL, op.shape[dim]),)
    return Axes((*here.entries[:dim], beside, *here.entries[dim:]), here.positions)


def _matmul(op: _Operator) -> Axes:
    """Return the axes of a product of matrices: rows of the first, columns of the second."""
    first, second = (op.read(each) for each in op.node.args[-2:])
    ways: list[Axes] = []
    if first is not None:
        ways.append(first.merged(-1, first.shape[-1]).put(-1, ()))
    if second is not None and len(second.entries) > 1:
        ways.append(second.merged(-2, second.shape[-2]).put(-2, ()))
    return _product(ways, op.shape)


def _einsum(op: _Operator) -> Axes:
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
