"""Choose the one activation that the stage of a whole block gets: the last that the block has."""

from collections.abc import Iterator, Sequence

from torch.fx import Node

from autoup.decoding.activations import Activation, recognise
from autoup.decoding.edges import value_of
from autoup.decoding.operators import name_of
from autoup.decoding.rebuilding import rebuild
from autoup.decoding.runs import REDUCTIONS, Run, channel_axis, is_affine, is_local, is_pointwise
from autoup.decoding.steps import Graph, Point, Step

_GATES = frozenset(("hardsigmoid", "hardtanh", "relu6", "sigmoid", "tanh"))
_SQUARES = frozenset(("abs", "mul", "pow", "square"))


def main_activation(step: Step) -> tuple[Activation | None, bool]:
    """Return the last activation of a block that can stand before it; one that gates only at last.

    Where the block multiplies functions of several tensors, as WaveNet does, it is the product.

    Returns:
        The activation, or None; and whether there are some of which none can stand there.
    """
    inner, gates, others = _Block(step), list[Run](), False
    for node in reversed(step.nodes):
        run = inner.run_to(node)
        if run and inner.is_gate(run):
            gates.append(run)
        elif run and (found := _read(run, step.before)):
            return found, False
        others = others or run is not None
    found = next(filter(None, (_read(run, step.before) for run in gates)), None)
    return found, others and found is None


def _read(run: Run, point: Point) -> Activation | None:
    """Return what a run is, if it can be fitted to a point."""
    module = recognise(run) or rebuild(run)
    found = module and Activation(module, run)
    return found if found and found.build(point, "meta") is not None else None


class _Block:
    """The operators of a block, and what they read."""

    def __init__(self, step: Step) -> None:
        self._graph: Graph = step.graph
        self._nodes = {*step.nodes}
        self._place = {node: number for number, node in enumerate(step.nodes)}
        self._before = step.before.node

    def run_to(self, node: Node) -> Run | None:
        """Return the longest run that ends in a node and is an activation."""
        if not is_pointwise(node):
            return None
        found = [run for run in self._runs_of_one(node) if self._acts(run)]
        if found:
            return found[-1]
        product = self._product(node) if name_of(node).rstrip("_") == "mul" else None
        return product if product and self._acts(product) else None

    def _acts(self, run: Run) -> bool:
        """Whether a run is no statistic, as of a normalisation, and more than factors."""
        read = [name_of(each) in REDUCTIONS for each in run.inputs]
        readers = [each for each in run.output.users if each in self._graph.edges]
        squared = all(name_of(each).rstrip("_") in _SQUARES for each in run.nodes)
        averaged = any(name_of(each) in REDUCTIONS for each in readers)
        if any(read) or (squared and averaged) or is_affine(run.nodes, run.inputs):
            return False
        return is_local(run)

    def _runs_of_one(self, node: Node) -> Iterator[Run]:
        """Yield the runs from one tensor to a node, the shortest first."""
        inside, waiting = {node}, {*self._graph.edges[node]}
        while waiting:
            if len(waiting) == 1:
                yield self._run(inside, [*waiting])
            last = max(waiting, key=lambda each: self._place.get(each, -1))
            if last not in self._nodes or not self._continues(last):
                return
            inside.add(last)
            waiting = waiting - {last} | {*self._graph.edges[last]}

    def _continues(self, node: Node) -> bool:
        return is_pointwise(node) or name_of(node) in ("getitem", "chunk", "split", "slice", "narrow")

    def _product(self, node: Node) -> Run | None:
        """Return the run that multiplies functions of several tensors, each one of its own."""
        inside, read = {node}, list[Node]()
        for each in self._graph.edges[node]:
            start = each
            while start in self._nodes and is_pointwise(start) and len(self._graph.edges[start]) == 1:
                inside.add(start)
                start = self._graph.edges[start][0]
            read.append(start)
        whole = value_of(node).shape
        if len({*read}) < 2 or any(value_of(each).shape != whole for each in read):
            return None
        return self._run(inside, list(dict.fromkeys(read)))

    def _run(self, inside: set[Node], read: Sequence[Node]) -> Run:
        nodes = sorted(inside, key=lambda each: self._place[each])
        layout = self._graph.layouts.get(nodes[-1])
        point = Point(nodes[-1], tuple(value_of(nodes[-1]).shape), layout)
        return Run(self._graph, tuple(nodes), tuple(read), nodes[-1], channel_axis(point))

    def is_gate(self, run: Run) -> bool:
        """Whether what a run makes is between bounds and only multiplies another tensor."""
        bounded = any(name_of(each).rstrip("_") in _GATES for each in run.nodes)
        readers = [each for each in run.output.users if each in self._graph.edges]
        return bounded and any(
            name_of(each).rstrip("_") == "mul" and len(self._graph.edges[each]) > 1
            for each in readers
        )
