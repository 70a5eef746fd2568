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

from autoup.decoding import layouts as axes
from autoup.decoding.layouts import Layout
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
    passed, cuts = _dominators(edges, source, target)
    layouts = _follow(passed, edges, source)
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


def _dominators(edges: Edges, source: Node, target: Node) -> tuple[list[Node], list[Node]]:
    """Return the nodes between input and output, and those of them that lie on every path."""
    import networkx as nx  # Here, since it takes longer to import than the rest of this package.

    passed = {target}
    waiting = [target]
    while waiting:
        for node in edges[waiting.pop()]:
            if node not in passed:
                passed.add(node)
                waiting.append(node)
    networkx = cast("Any", nx)
    graph = networkx.DiGraph()
    graph.add_edges_from((each, node) for node in passed for each in edges[node])
    above: dict[Node, Node] = networkx.immediate_dominators(graph, source)
    chain = [target]
    while chain[-1] is not source:
        chain.append(above[chain[-1]])
    cuts = [node for node in reversed(chain) if isinstance(value_of(node), torch.Tensor)]
    return [node for node in edges if node in passed], cuts


def _follow(nodes: Sequence[Node], edges: Edges, source: Node) -> dict[Node, Layout]:
    """Return what the dimensions of each tensor mean, where that is known."""
    layouts = {source: axes.start(value_of(source).shape)}
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
        yield axes.permuted(layout, order)
    elif name in RESHAPES:
        yield axes.reshaped(layout, shape)
    elif name.startswith("conv") and len(layout) == len(shape):
        yield axes.convolved(layout, shape)
    elif name == "linear":
        yield (*layout[:-1], ((axes.CHANNEL, shape[-1]),))
    elif name == "select":
        yield axes.reduced(layout, [argument(node, 1, "dim", 0)], keepdim=False)
    elif dims is not None and len(layout) > len(shape):
        yield axes.reduced(layout, [dims] if isinstance(dims, int) else dims, keepdim=False)
    for each in known:
        value = value_of(each)
        if isinstance(value, torch.Tensor) and tuple(value.shape) == shape:
            yield layouts[each]
    for each in known:
        yield axes.relabelled(layouts[each], shape)


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
