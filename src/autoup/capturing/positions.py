"""Where the pixels of each tensor of a captured graph lie in the input.

Along each axis pixel n of a tensor sits at scale*n + offset of the input, in its pixels. The scale
is the product of the strides, not the ratio of the sizes: from 97 to 49 pixels by a stride of 2 it
is 2. What each operator does to one axis is ``inspecting.position``'s arithmetic, and where the
axes stand in the dimensions is followed by ``axes``.
"""

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch.fx import Node

from autoup.capturing.axes import Axes, Part, begin, meet, unknown
from autoup.capturing.edges import value_of
from autoup.capturing.layouts import CHANNEL
from autoup.capturing.moves import moves
from autoup.capturing.operators import ATTENTION, RESHAPES, arguments_of, order_of, plain_name
from autoup.capturing.steps import Graph
from autoup.capturing.ways import MEETINGS, Operator, elementwise, first_tensor
from autoup.inspecting.position import Position

_PARTS = frozenset((
    "chunk", "split", "split_with_sizes", "tensor_split", "unbind", "unsafe_chunk", "unsafe_split",
))  # fmt: skip
# What puts pixels elsewhere along the dimensions that it names, or along all.
_SCATTERS = frozenset((
    "argsort", "as_strided", "col2im", "cumprod", "cumsum", "diff", "flip", "gather",
    "grid_sampler", "im2col", "index_select", "logcumsumexp", "rot90", "sort", "take",
    "take_along_dim", "topk", "unfold", "unfold_copy",
))  # fmt: skip
_PUTS = frozenset((
    "index_add", "index_copy", "index_put", "masked_scatter", "put", "scatter", "scatter_add",
    "scatter_reduce", "select_scatter", "slice_scatter",
))  # fmt: skip
# What takes a shape or a dtype from a tensor, and no value, as a mask does.
_FACTORIES = frozenset((
    "empty_like", "full_like", "new_empty", "new_full", "new_ones", "new_zeros", "ones_like",
    "rand_like", "randn_like", "zeros_like",
))  # fmt: skip


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
        value = first_tensor(value_of(node))
        if value is None:
            continue
        op = Operator(node, tuple(value.shape), graph.edges, axes)
        here = begin(op.shape) if node is graph.source else _follow(op)
        if here is not None:
            axes[node] = here
        layout = graph.layouts.get(node)
        if layout is not None and isinstance(value_of(node), torch.Tensor):
            found[node] = {} if here is None else here.shown(layout)
    return found


def _follow(op: Operator) -> Axes | None:
    """Return the axes of what an operator makes; None if it does not depend on the input."""
    name = op.name
    if name in _FACTORIES or not op.ways():
        return None
    here = op.read(next(iter(op.node.args), None))
    if name in MEETINGS:
        found = MEETINGS[name](op)
    elif name in _PUTS:
        found = unknown(op.shape)
    elif here is None:
        found = unknown(op.shape) if name in ATTENTION else elementwise(op, None)
    elif order := order_of(op.node, len(here.entries)):
        found = here.permuted(order)
    elif name in RESHAPES:
        found = here.reshaped(op.shape)
    else:
        found = _change(op, here)
        found = elementwise(op, here) if found is None else found
    return found if name in _PARTS else found.fitted(op.shape)


def _change(op: Operator, here: Axes) -> Axes | None:
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
    if dims is None:
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


def _linear(op: Operator, _: Mapping[str, Any], here: Axes) -> Axes:
    return here.merged(-1, op.shape[-1])


def _select(_: Operator, given: Mapping[str, Any], here: Axes) -> Axes:
    return here.picked(given["dim"], given["index"])


def _getitem(op: Operator, _: Mapping[str, Any], here: Axes) -> Axes | None:
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


def _copy(op: Operator, _: Mapping[str, Any], here: Axes) -> Axes:
    """Return the axes of what is written over a tensor."""
    source = op.read(op.node.args[1])
    return here if source is None else meet([source], op.shape)


def _attend(op: Operator, _: Mapping[str, Any], here: Axes) -> Axes:
    return here.put(-1, (Part(CHANNEL, op.shape[-1]),))


def _unshuffle(op: Operator, given: Mapping[str, Any], here: Axes) -> Axes:
    """Return the axes where each block of pixels lies in the channels."""
    factor: int = given["downscale_factor"]
    *front, channels, height, width = here.shape
    cut = (channels, height // factor, factor, width // factor, factor)
    n = len(front)
    order = [*range(n), *(n + each for each in (0, 2, 4, 1, 3))]
    return here.reshaped((*front, *cut)).permuted(order).reshaped(op.shape).merged(-3, op.shape[-3])


_REARRANGES: dict[str, Callable[[Operator, Mapping[str, Any], Axes], Axes | None]] = {
    "linear": _linear,
    "select": _select,
    "getitem": _getitem,
    "copy": _copy,
    "scaled_dot_product_attention": _attend,
    "pixel_unshuffle": _unshuffle,
}
