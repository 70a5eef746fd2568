"""Cut a captured graph at the points that all data passes through.

These points are the dominators of the output: the tensors that lie on every path from the input
to it. Between two of them that follow each other lies a step: one operator in a chain, or a
whole block, residual, dense, squeeze-and-excite or whatever else.
"""

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import prod
from typing import Any, cast

import torch
from torch.fx import Node

from autoup.decoding.layouts import (
    CHANNEL,
    Layout,
    convolved,
    is_lost,
    map_order,
    permuted,
    reduced,
    relabelled,
    reshaped,
    start,
)
from autoup.decoding.operators import CONVOLUTIONS, RESHAPES, VIEWS, argument, name_of, order_of

Edges = dict[Node, list[Node]]


@dataclass(frozen=True, slots=True)
class Point:
    """A tensor that all data passes through.

    Args:
        node: Its node in the graph.
        shape: Its shape, batch included.
        layout: What its dimensions mean; None where that is unknown.
    """

    node: Node
    shape: tuple[int, ...]
    layout: Layout | None

    @property
    def map_order(self) -> tuple[int, ...] | None:
        """The order of dimensions that puts a map as batch, channels, space; None if not one."""
        return map_order(self.layout)

    @property
    def is_lost(self) -> bool:
        """Whether a dimension mixes axes that cannot be told apart again."""
        return is_lost(self.layout)


@dataclass(frozen=True, slots=True)
class Step:
    """What happens between two points that follow each other.

    Args:
        nodes: The operators, in the order in which they run; the last makes ``after``.
        before: The point that it starts from.
        after: The point that it leads to.
        name: Path of the layer or layers, with dots.
        weights: How many numbers the parameters hold that the operators use.
    """

    nodes: tuple[Node, ...]
    before: Point
    after: Point
    name: str
    weights: int


def read_steps(program: torch.export.ExportedProgram) -> list[Step]:
    """Return the steps from the input to the output, in order.

    Raises:
        ValueError: The output does not depend on the input.

    Example:
        >>> encoder = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU())
        >>> from autoup.decoding.capture import capture
        >>> [step.name for step in read_steps(capture(encoder, (1, 1, 9, 9), None))]
        ['0', '1']
    """
    nodes = list(program.graph.nodes)
    inputs = program.graph_signature.user_inputs
    source = next(node for node in nodes if node.name in inputs)
    edges = _read_edges(nodes, source)
    target = _read_target(nodes[-1], edges)
    _check_batch(edges)
    if target is source:
        return []
    passed = _between(edges, target)
    cuts = _dominators(passed, edges)
    layouts = _read_layouts(passed, edges, source)
    points = [Point(n, tuple(value_of(n).shape), layouts.get(n)) for n in cuts]
    names, parameters = _Names(passed), set(program.graph_signature.inputs_to_parameters)
    place = {node: number for number, node in enumerate(passed)}
    steps: list[Step] = []
    for before, after in pairwise(points):
        inside = tuple(passed[place[before.node] + 1 : place[after.node] + 1])
        weights = _count_weights(inside, place, parameters)
        steps.append(Step(inside, before, after, names.of(inside), weights))
    return steps


def _count_weights(nodes: Sequence[Node], data: Container[Node], parameters: set[str]) -> int:
    """Count the numbers in all parameters that lead to the operators without passing data."""
    seen: set[Node] = set()
    waiting = [each for node in nodes for each in node.all_input_nodes]
    while waiting:
        node = waiting.pop()
        if node not in seen and node not in data:
            seen.add(node)
            waiting.extend(node.all_input_nodes)
    return sum(prod(node.meta["val"].shape) for node in seen if node.name in parameters)


def _read_edges(nodes: Sequence[Node], source: Node) -> Edges:
    """Return for each node that depends on the input the nodes whose values it reads.

    An operator that writes in place changes the tensor that it writes to, and every view of
    it: whoever reads one of them later depends on the writer.
    """
    place = {node: number for number, node in enumerate(nodes)}
    bases: dict[Node, Node] = {}
    parts: set[Node] = set()
    writes: dict[Node, list[Node]] = {}
    edges: Edges = {source: []}
    for node in nodes:
        if node.op not in ("call_function", "output"):
            continue
        read: list[Node] = []
        for each in node.all_input_nodes:
            now = [each]
            for writer in writes.get(bases.get(each, each), []):
                if place[writer] > place[each]:
                    now = [*(now if each in parts or writer in parts else []), writer]
            read += now
        if depends := [each for each in dict.fromkeys(read) if each in edges]:
            edges[node] = depends
        name, first = name_of(node), node.args[0] if node.args else None
        if isinstance(first, Node) and (_writes(name) or name in VIEWS):
            bases[node] = bases.get(first, first)
            if name in VIEWS or first in parts:
                parts.add(node)
            if _writes(name):
                writes.setdefault(bases[node], []).append(node)
    return edges


def _writes(name: str) -> bool:
    return name.endswith("_") and not name.endswith("__")


def _read_target(output: Node, edges: Edges) -> Node:
    """Return the node that makes the output: the output itself where several wrote to it."""
    if output not in edges:
        raise ValueError(
            "encoder has an output that does not depend on its input: "
            "pick another output with output=."
        )
    last = edges[output]
    return last[0] if len(last) == 1 and value_of(last[0]) is not None else output


def value_of(node: Node) -> Any:
    """Return what a node makes, a tensor without numbers; for the output what it returns."""
    if node.op == "output":
        node = cast("Sequence[Sequence[Node]]", node.args)[0][0]
    return node.meta.get("val")


def _check_batch(edges: Edges) -> None:
    for node, (first, *_) in [each for each in edges.items() if each[1]]:
        dims = CONVOLUTIONS.get(name_of(node))
        if dims and node.args[0] is first and value_of(first).ndim != dims + 2:
            raise ValueError(
                f"input_size must begin with the batch and the channels: {name_of(node)} was given "
                f"{tuple(value_of(first).shape)}, and its input has {dims + 2} dimensions."
            )


def _between(edges: Edges, target: Node) -> list[Node]:
    """Return the nodes that lie on any path from the input to ``target``, in order."""
    passed, waiting = {target}, [target]
    while waiting:
        new = [node for node in edges[waiting.pop()] if node not in passed]
        passed.update(new)
        waiting += new
    return [node for node in edges if node in passed]


def _dominators(passed: Sequence[Node], edges: Edges) -> list[Node]:
    """Return the nodes that lie on every path from the first to the last.

    Edges lead forward in this order, so a path that misses a node has an edge that jumps over it.
    """
    place = {node: number for number, node in enumerate(passed)}
    lands = [*range(len(passed))]  # How far the edges lead that begin at each node.
    for node in passed:
        for read in edges[node]:
            lands[place[read]] = max(lands[place[read]], place[node])
    farthest = accumulate(lands, max, initial=0)
    cuts = [node for node, reach in zip(passed, farthest, strict=False) if reach <= place[node]]
    return [node for node in cuts if isinstance(value_of(node), torch.Tensor)]


def _read_layouts(nodes: Sequence[Node], edges: Edges, source: Node) -> dict[Node, Layout]:
    """Return what the dimensions of each tensor mean, where that is known."""
    layouts = {source: start(value_of(source).shape)}
    for node in nodes:
        value = value_of(node)
        if node is source:
            continue
        shape = tuple((value if isinstance(value, torch.Tensor) else value[0]).shape)
        for found in _candidates(node, shape, edges[node], layouts):
            if found is not None and len(found) == len(shape):
                layouts[node] = found
                break
    return layouts


def _candidates(
    node: Node, shape: tuple[int, ...], inputs: Sequence[Node], layouts: dict[Node, Layout]
) -> Iterator[Layout | None]:
    """Yield what the layout may be, the surest first."""
    known = [each for each in inputs if each in layouts]
    if not known:
        return
    name, layout = name_of(node).rstrip("_"), layouts[known[0]]
    dims = None if name == "getitem" else argument(node, 1, "dim", None)
    if order := order_of(node, len(layout)):
        yield permuted(layout, order)
    elif name in RESHAPES:
        yield reshaped(layout, shape)
    elif name.startswith("conv") and len(layout) == len(shape):
        yield convolved(layout, shape)
    elif name == "linear":
        yield (*layout[:-1], ((CHANNEL, shape[-1]),))
    elif name == "select":
        yield reduced(layout, [argument(node, 1, "dim", 0)], keepdim=False)
    elif dims is not None and len(layout) > len(shape):
        yield reduced(layout, [dims] if isinstance(dims, int) else dims, keepdim=False)
    for each in known:
        value = value_of(each)
        if isinstance(value, torch.Tensor) and tuple(value.shape) == shape:
            yield layouts[each]
    for each in known:
        yield relabelled(layouts[each], shape)


def where(node: Node) -> str:
    """Return the line of code that called an operator, as far as it is known."""
    trace: str = node.meta.get("stack_trace") or ""
    lines = [line.strip() for line in trace.splitlines() if line.lstrip().startswith("File ")]
    return f" ({lines[-1].rpartition(', in ')[0]})" if lines else ""


class _Names:
    """Paths of the layers that operators belong to."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        stacks = [_stack(node) for node in nodes]
        self._parents = {path for stack in stacks for path in stack[:-1]}

    def of(self, nodes: Sequence[Node]) -> str:
        """Return the innermost layer that holds all the operators, or the operator's own name.

        A layer that holds other layers, or does more, is told by the operator as well.
        """
        stacks = [stack for node in nodes if (stack := _stack(node))]
        shared = [each[0] for each in zip(*stacks, strict=False) if len(set(each)) == 1]
        path = shared[-1] if shared else ""
        if len(nodes) > 1 and path:
            return path
        operator = nodes[-1].name.rstrip("_") if not path else name_of(nodes[-1]).rstrip("_")
        leaf = path and path not in self._parents
        return path if leaf else ".".join(filter(None, (path, operator)))


def _stack(node: Node) -> list[str]:
    """Return the paths of the layers that an operator lies in, outermost first.

    An encoder that is a graph itself tells the innermost one alone.
    """
    stack = cast("dict[str, tuple[str, Any]]", node.meta.get("nn_module_stack") or {})
    paths = [path.partition("encoder")[2].lstrip(".") for path, _ in stack.values()]
    return list(accumulate(paths[-1].split("."), "{}.{}".format)) if any(paths) else []
