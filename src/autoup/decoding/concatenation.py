"""Paddings that are written as a concatenation: pieces of a map, or zeros, beside the map itself.

Video encoders repeat their first frame so, and panoramas are closed so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from torch.fx import Node

from autoup.capturing.edges import value_of
from autoup.capturing.operators import argument, name_of

_JOINS = frozenset(("cat", "concat", "concatenate"))
_ZEROS = frozenset(("new_zeros", "zeros", "zeros_like"))
_REPEATS = frozenset(("expand", "repeat", "repeat_interleave"))
_PIECES = _REPEATS | {"clone", "contiguous", "flip", "slice"}


@dataclass(frozen=True, slots=True)
class Joined:
    """A concatenation that pads a tensor.

    Args:
        source: The tensor.
        dim: The dimension that grows.
        front: Pixels in front of it.
        behind: Pixels behind it.
        mode: ``"zeros"``, ``"circular"``, ``"reflect"`` or ``"replicate"``.
    """

    source: Node
    dim: int
    front: int
    behind: int
    mode: str


def read_concatenation(node: Node) -> Joined | None:
    """Return how a concatenation pads one of its tensors; None for other operators.

    Example:
        >>> import torch
        >>> graph = torch.fx.Graph()
        >>> x = graph.placeholder("x")
        >>> zeros = graph.call_function(torch.ops.aten.zeros, ([1, 3, 2],))
        >>> x.meta["val"], zeros.meta["val"] = torch.zeros(1, 3, 8), torch.zeros(1, 3, 2)
        >>> node = graph.call_function(torch.ops.aten.cat.default, ([zeros, x], 2))
        >>> node.meta["val"] = torch.zeros(1, 3, 10)
        >>> read_concatenation(node)
        Joined(source=x, dim=2, front=2, behind=0, mode='zeros')
    """
    if name_of(node) not in _JOINS:
        return None
    items: Sequence[Node] = cast("Sequence[Node]", argument(node, 0, "tensors", ()))
    dim: int = argument(node, 1, "dim", 0) % value_of(node).ndim
    sizes = [value_of(each).shape[dim] for each in items]
    for place, source in enumerate(items):
        front, behind = items[:place], items[place + 1 :]
        modes = {_mode(each, source, dim, in_front=True) for each in front}
        modes |= {_mode(each, source, dim, in_front=False) for each in behind}
        mode = modes.pop() if len(modes) == 1 else None
        if mode:
            return Joined(source, dim, sum(sizes[:place]), sum(sizes[place + 1 :]), mode)
    return None


def _mode(piece: Node, source: Node, dim: int, *, in_front: bool) -> str | None:
    """Return how a piece continues a tensor at one of its ends; None if it is no piece of it."""
    size, start, length = value_of(source).shape[dim], 0, value_of(source).shape[dim]
    names = set[str]()
    while piece is not source:
        name = name_of(piece)
        if name in _ZEROS and not names:
            return "zeros"
        if name not in _PIECES or not isinstance(piece.args[0], Node):
            return None
        if name == "slice" and argument(piece, 1, "dim", 0) % value_of(piece).ndim == dim:
            start, length = argument(piece, 2, "start", 0) or 0, value_of(piece).shape[dim]
            start = start + size if start < 0 else start
        names.add(name)
        piece = piece.args[0]
    if names & _REPEATS and length > 1:
        return None
    left = size - start - length  # Pixels of the tensor behind what the piece holds.
    near, far = (start, left) if in_front else (left, start)
    if length > 1 and "flip" in names:
        return "reflect" if near == 1 else None
    if length == 1 and near < 2:
        return ("replicate", "reflect")[near]
    return "circular" if far == 0 else None
