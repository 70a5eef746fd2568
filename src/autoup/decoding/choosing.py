"""Choose the one activation that the stage of a whole block gets: the last that the block has."""

from collections.abc import Iterator, Sequence
from math import prod

import torch
from torch.fx import Node

from autoup.capturing.edges import value_of
from autoup.capturing.operators import CONVOLUTIONS, argument, name_of, plain_name, read_norm
from autoup.capturing.steps import Graph, Point, Step
from autoup.decoding.activations import Activation, recognise
from autoup.decoding.known import is_defined, sample
from autoup.decoding.rebuilding import rebuild
from autoup.decoding.runs import (
    REDUCTIONS,
    Run,
    channel_axis,
    does_nothing,
    is_affine,
    is_local,
    is_pointwise,
    skipped,
)

_GATES = frozenset(("hardsigmoid", "sigmoid", "tanh"))
_CLIPS = frozenset(("clamp", "hardtanh", "relu6"))  # Gates where they are not all, as in /6.
_SQUARES = frozenset(("abs", "mul", "pow", "square"))
_EMPTY = frozenset((
    "empty_like", "full_like", "new_empty", "new_full", "new_ones", "new_zeros", "ones_like",
    "zeros_like",
))  # fmt: skip


def main_activation(step: Step) -> tuple[Activation | None, bool]:
    """Return the last activation of a block that can stand before it.

    Where the block ends in a product of functions of several tensors, as WaveNet's, it is that;
    where it has gates alone it is the product that they are in, or the gate.

    Returns:
        The activation, or None; and whether there are some of which none can stand there.
    """
    inner = _Block(step)
    runs = [run for node in reversed(step.nodes) if (run := inner.run_to(node))]
    products = [run for node in reversed(step.nodes) if (run := inner.product(node))]
    ranked = [
        *filter(inner.is_last, products[:1]),
        *(run for run in runs if not inner.is_gate(run)),
        *(run for run in products if any(each.output in run.nodes for each in runs)),
        *filter(inner.is_gate, runs),
    ]
    found = next(filter(None, (_read(run, step.before) for run in ranked)), None)
    return found, bool(ranked) and found is None


def _read(run: Run, point: Point) -> Activation | None:
    """Return what a run is, if it can be fitted to a point and takes any number.

    The root of a variance, as a block may have it, takes none below zero.
    """
    module = recognise(run) or rebuild(run)
    found = module and is_defined(module, sample(run)) and Activation(module, run)
    return found if found and found.build(point, "meta") is not None else None


def _has_one_tap(node: Node) -> bool:
    """Whether an operator is a convolution that sees one place, as of a divisive normalisation."""
    weight = argument(node, 1, "weight", None) if name_of(node) in CONVOLUTIONS else None
    return weight is not None and prod(value_of(weight).shape[2:]) == 1


class _Block:
    """The operators of a block, and what they read."""

    def __init__(self, step: Step) -> None:
        self._graph: Graph = step.graph
        self._place = {node: number for number, node in enumerate(step.nodes)}
        self._numbers = {step.before.node}  # What has numbers of the data, not its shape alone.
        for node in step.nodes:
            if name_of(node) not in _EMPTY and self._numbers & {*self._graph.edges[node]}:
                self._numbers.add(node)

    def run_to(self, node: Node) -> Run | None:
        """Return the longest run that ends in a node and is an activation.

        What only takes channels apart in front of one is not part of it.
        """
        found = list[Run]()
        for run in self._runs_of_one(node) if is_pointwise(node) else ():
            if self._acts(run) and (not found or run.gate == found[0].gate):
                found.append(run)
        return found[-1] if found else None

    def product(self, node: Node) -> Run | None:
        """Return the run that multiplies functions of several tensors, or divides them."""
        if plain_name(node) not in ("mul", "div"):
            return None
        inside, read = {node}, list[Node]()
        for each in self._graph.edges[node]:
            start = each
            while start in self._place and is_pointwise(start) and len(self._reads(start)) == 1:
                inside.add(start)
                start = self._reads(start)[0]
            read.append(start)
        whole = value_of(node).shape
        if len({*read}) < 2 or any(
            getattr(value_of(each), "shape", None) != whole for each in read
        ):
            return None
        read.sort(key=lambda each: each not in self._reads(node))  # Bare first, as a GLU has it.
        run = self._run(inside, list(dict.fromkeys(read)))
        return run if self._acts(run) else None

    def is_last(self, run: Run) -> bool:
        """Whether no layer and no sum follows a run: at most a normalisation and factors."""
        behind = [node for node, place in self._place.items() if place > self._place[run.output]]
        return all(
            len(self._reads(node)) == 1
            and (read_norm(node) or does_nothing(node) or is_affine([node], self._reads(node)))
            and name_of(node) not in CONVOLUTIONS
            for node in behind
        )

    def _reads(self, node: Node) -> list[Node]:
        return self._graph.edges[node]

    def _acts(self, run: Run) -> bool:
        """Whether a run is no statistic, as of a normalisation, and more than factors."""
        if not self._numbers.issuperset(run.inputs) or any(map(self._is_statistic, run.inputs)):
            return False
        readers = [each for each in run.output.users if each in self._graph.edges]
        squared = all(plain_name(each) in _SQUARES for each in run.nodes)
        averaged = any(name_of(each) in REDUCTIONS or _has_one_tap(each) for each in readers)
        is_factor = is_affine(run.nodes, run.inputs)
        return not (squared and averaged) and not is_factor and is_local(run)

    def _is_statistic(self, node: Node) -> bool:
        """Whether a tensor comes from a mean, a sum or the like with no layer in between."""
        while node in self._place and is_pointwise(node) and len(self._reads(node)) == 1:
            node = self._reads(node)[0]
        return name_of(node) in REDUCTIONS

    def _runs_of_one(self, node: Node) -> Iterator[Run]:
        """Yield the runs from one tensor to a node, the shortest first."""
        inside, waiting = {node}, {*self._graph.edges[node]}
        while waiting:
            if len(waiting) == 1 and isinstance(value_of(*waiting), torch.Tensor):
                yield self._run(inside, [*waiting])
            last = max(waiting, key=lambda each: self._place.get(each, -1))
            if last not in self._place or not self._continues(last):
                return
            inside.add(last)
            waiting = waiting - {last} | {*self._graph.edges[last]}

    def _continues(self, node: Node) -> bool:
        return is_pointwise(node) or name_of(node) in (
            "getitem",
            "chunk",
            "split",
            "slice",
            "narrow",
        )

    def _run(self, inside: set[Node], read: Sequence[Node]) -> Run:
        nodes = sorted(inside, key=lambda each: self._place[each])
        layout = self._graph.layouts.get(nodes[-1])
        point = Point(nodes[-1], tuple(value_of(nodes[-1]).shape), layout)
        axis = channel_axis(point)
        return Run(self._graph, tuple(nodes), tuple(read), nodes[-1], axis, skipped(nodes))

    def is_gate(self, run: Run) -> bool:
        """Whether what a run makes is between bounds and only multiplies another tensor."""
        names = {plain_name(each) for each in run.nodes}
        readers = [each for each in run.output.users if each in self._graph.edges]
        return bool(names & _GATES or (len(names) > 1 and names & _CLIPS)) and any(
            plain_name(each) == "mul" and len(self._reads(each)) > 1 for each in readers
        )
