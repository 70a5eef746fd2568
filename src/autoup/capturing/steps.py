"""Cut a captured graph at the points that all data passes through.

These points are the dominators of the output: the tensors that lie on every path from the input
to it. Between two of them that follow each other lies a step: one operator in a chain, or a
whole block, residual, dense, squeeze-and-excite or whatever else.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from math import prod
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.fx import Node

from autoup.capturing.edges import Edges, between, dominators, read_edges, value_of
from autoup.capturing.layouts import (
    CHANNEL,
    Layout,
    convolved,
    is_lost,
    map_order,
    permuted,
    reduced,
    relabelled,
    reshaped,
    stacked,
    start,
)
from autoup.capturing.operators import CONVOLUTIONS, RESHAPES, argument, name_of, order_of
from autoup.errors import PACKAGE
from autoup.inspecting.copies import check_module
from autoup.inspecting.modules import modules_by_path

_LIBRARIES = (f"{Path(torch.__file__).parent}{os.sep}", PACKAGE)


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
        graph: The graph that it is of.
        ways: Where two ways are added up, as in a residual block, the steps of both.
    """

    nodes: tuple[Node, ...]
    before: Point
    after: Point
    name: str
    weights: int
    graph: "Graph" = field(repr=False)
    ways: "tuple[tuple[Step, ...], ...]" = ()


@dataclass(frozen=True, slots=True)
class Graph:
    """What a captured graph does to the data.

    Args:
        source: The input.
        target: The output.
        edges: For each node that depends on the input, the nodes whose values it reads.
        layouts: What the dimensions of each tensor mean, where that is known.
        values: The tensors that the encoder brings, by the names of their nodes.
        paths: Where in the encoder those lie that it holds, its parameters and buffers.
        parameters: The names of those that are parameters.
        names: Paths of the layers that operators belong to.
        modules: The encoder's modules by their paths.
    """

    source: Node
    target: Node
    edges: Edges
    layouts: Mapping[Node, Layout]
    values: Mapping[str, torch.Tensor]
    paths: Mapping[str, str]
    parameters: frozenset[str]
    names: "_Names"
    modules: Mapping[str, nn.Module]

    def steps(self, source: Node, target: Node) -> list[Step]:
        """Return the steps from one node to another that depends on it alone, in order."""
        passed = between(self.edges, source, target)
        cuts = dominators(passed, self.edges)
        points = [Point(n, tuple(value_of(n).shape), self.layouts.get(n)) for n in cuts]
        place = {node: number for number, node in enumerate(passed)}
        return [
            self._step(tuple(passed[place[before.node] + 1 : place[after.node] + 1]), before, after)
            for before, after in pairwise(points)
        ]

    def _step(self, nodes: tuple[Node, ...], before: Point, after: Point) -> Step:
        weights = sum(prod(self.values[each].shape) for each in self.parameters_of(nodes))
        ways = self._ways(before, after)
        return Step(nodes, before, after, self.names.of(nodes), weights, self, ways)

    def _ways(self, before: Point, after: Point) -> tuple[tuple[Step, ...], ...]:
        """Return the steps to both summands where two ways are added up, or subtracted."""
        read, name = self.edges[after.node], name_of(after.node).rstrip("_")
        if len(read) != 2 or name not in ("add", "sub"):
            return ()
        values = [value_of(each) for each in read]
        if any(getattr(each, "shape", None) != torch.Size(after.shape) for each in values):
            return ()
        return tuple(tuple(self.steps(before.node, each)) for each in read)

    def parameters_of(self, nodes: Sequence[Node]) -> list[str]:
        """Return the parameters that lead to some operators without passing data."""
        return [each.name for each in self.brought(nodes) if each.name in self.parameters]

    def brought(self, nodes: Sequence[Node]) -> list[Node]:
        """Return the nodes that lead to some operators and do not depend on the data, in order."""
        seen: dict[Node, None] = {}

        def visit(node: Node) -> None:
            if node not in seen and node not in self.edges:
                for each in node.all_input_nodes:
                    visit(each)
                seen[node] = None

        for node in nodes:
            for each in node.all_input_nodes:
                visit(each)
        return list(seen)


def read_graph(
    program: torch.export.ExportedProgram, encoder: nn.Module, others: Sequence[Node] = ()
) -> Graph:
    """Return what a captured graph of an encoder does to its input.

    Args:
        program: What was captured.
        encoder: Of it.
        others: Tensors beside the output that are wanted, as more of what the encoder returns.

    Raises:
        ValueError: The output does not depend on the input.

    Example:
        >>> encoder = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU())
        >>> from autoup.capturing.capture import capture
        >>> read_graph(capture(encoder, (1, 1, 9, 9), None), encoder).target.name
        'relu'
    """
    nodes = list(program.graph.nodes)
    inputs = program.graph_signature.user_inputs
    source = next(each for each in nodes if each.name in inputs)
    edges = read_edges(nodes, source)
    target = _read_target(nodes[-1], edges)
    _check_batch(edges)
    passed = between(edges, source, target, *(each for each in others if each in edges))
    return Graph(
        source,
        target,
        edges,
        _read_layouts(passed, edges, source),
        _read_values(program),
        {
            **program.graph_signature.inputs_to_parameters,
            **program.graph_signature.inputs_to_buffers,
        },
        frozenset(program.graph_signature.inputs_to_parameters),
        _Names(passed),
        modules_by_path(check_module("encoder", encoder)),
    )


def _read_values(program: torch.export.ExportedProgram) -> dict[str, torch.Tensor]:
    signature = program.graph_signature
    held: dict[str, Any] = {**program.state_dict, **program.constants}
    paths: dict[str, str] = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    return {name: held[path] for name, path in paths.items()}


def read_steps(program: torch.export.ExportedProgram, encoder: nn.Module) -> list[Step]:
    """Return the steps from the input to the output, in order.

    Raises:
        ValueError: The output does not depend on the input.

    Example:
        >>> encoder = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU())
        >>> from autoup.capturing.capture import capture
        >>> [step.name for step in read_steps(capture(encoder, (1, 1, 9, 9), None), encoder)]
        ['0', '1']
    """
    graph = read_graph(program, encoder)
    return graph.steps(graph.source, graph.target)


def _read_target(output: Node, edges: Edges) -> Node:
    """Return the node that makes the output: the output itself where several wrote to it."""
    if output not in edges:
        raise ValueError(
            "encoder has an output that does not depend on its input: "
            "pick another output with output=."
        )
    last = edges[output]
    return last[0] if len(last) == 1 and value_of(last[0]) is not None else output


def _check_batch(edges: Edges) -> None:
    for node, (first, *_) in [each for each in edges.items() if each[1]]:
        dims = CONVOLUTIONS.get(name_of(node))
        if dims and node.args[0] is first and value_of(first).ndim != dims + 2:
            raise ValueError(
                f"input_size must begin with the batch and the channels: {name_of(node)} was given "
                f"{tuple(value_of(first).shape)}, and its input has {dims + 2} dimensions."
            )


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
    if name_of(node) == "col2im":  # Patches become a map again, whatever they were before.
        yield start(shape)
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
    elif name == "stack":
        yield stacked(layout, argument(node, 1, "dim", 0), shape)
    elif name in ("select", "unbind"):
        yield reduced(layout, [argument(node, 1, "dim", 0)], keepdim=False)
    elif dims is not None and len(layout) > len(shape):
        yield reduced(layout, [dims] if isinstance(dims, int) else dims, keepdim=False)
    for each in sorted(known, key=lambda each: is_lost(layouts[each])):  # As of a shortcut.
        value = value_of(each)
        if isinstance(value, torch.Tensor) and tuple(value.shape) == shape:
            yield layouts[each]
    for each in known:
        yield relabelled(layouts[each], shape)


def where(node: Node) -> str:
    """Return the line of the user's code that called an operator, as far as it is known."""
    trace: str = node.meta.get("stack_trace") or ""
    lines = [line.strip() for line in trace.splitlines() if line.lstrip().startswith("File ")]
    lines = [line for line in lines if not line.removeprefix('File "').startswith(_LIBRARIES)]
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


def calls_of(node: Node) -> dict[str, str]:
    """Return the calls of layers that an operator lies in, outermost first, with their paths."""
    stack = cast("dict[str, tuple[str, Any]]", node.meta.get("nn_module_stack") or {})
    return {call: path.partition("encoder")[2].lstrip(".") for call, (path, _) in stack.items()}


def _stack(node: Node) -> list[str]:
    """Return the paths of the layers that an operator lies in, outermost first.

    An encoder that is a graph itself tells the innermost one alone.
    """
    paths = [*calls_of(node).values()]
    return list(accumulate(paths[-1].split("."), "{}.{}".format)) if any(paths) else []
