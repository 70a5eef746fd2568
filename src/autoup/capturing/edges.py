"""Who reads whose values in a captured graph, and which tensors all data passes through."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, cast

import torch
from torch.fx import Node

from autoup.capturing.operators import VIEWS, name_of

Edges = dict[Node, list[Node]]


def read_edges(nodes: Sequence[Node], source: Node) -> Edges:
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


def between(edges: Edges, source: Node, *targets: Node) -> list[Node]:
    """Return the nodes that lie on any path from ``source`` to one of the targets, in order."""
    passed = {source, *targets}
    waiting = [each for each in targets if each is not source]
    while waiting:
        new = [node for node in edges[waiting.pop()] if node not in passed]
        passed.update(new)
        waiting += new
    return [node for node in edges if node in passed]


def dominators(passed: Sequence[Node], edges: Edges) -> list[Node]:
    """Return the nodes that lie on every path from the first to the last.

    Edges lead forward in this order, so a path that misses a node has an edge that jumps over it.
    """
    place = {node: number for number, node in enumerate(passed)}
    lands = [*range(len(passed))]  # How far the edges lead that begin at each node.
    for node in passed:
        for read in edges[node] if node is not passed[0] else ():
            lands[place[read]] = place[node]  # The last one that reads it lies farthest.
    farthest = accumulate(lands, max, initial=0)
    cuts = [node for node, reach in zip(passed, farthest, strict=False) if reach <= place[node]]
    return [node for node in cuts if isinstance(value_of(node), torch.Tensor)]


def value_of(node: Node) -> Any:
    """Return what a node makes, a tensor without numbers; for the output what it returns."""
    if node.op == "output":
        node = cast("Sequence[Sequence[Node]]", node.args)[0][0]
    return node.meta.get("val")
