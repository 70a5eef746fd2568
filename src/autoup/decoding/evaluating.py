"""Run captured operators on numbers: what constants are, and whether a step changes anything."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.fx import Node

from autoup.capturing.edges import value_of
from autoup.capturing.steps import Graph, Step


def constant(brought: Node, graph: Graph) -> Any:
    """Return the one value of a tensor that nothing learns; None if it has several."""
    found = evaluate(brought, graph)
    if found is None or not found.numel():
        return None
    first = found.flatten()[0]
    return first.item() if bool((found == first).all()) else None


def evaluate(brought: Node, graph: Graph) -> torch.Tensor | None:
    """Return a tensor that neither data nor tensors of the encoder lead to; None for others."""
    nodes = [*graph.brought([brought]), brought]
    values: dict[Node, Any] = {}
    try:
        for node in nodes:
            values[node] = _evaluate(node, graph, values)
    except Exception:  # Of the encoder's own, without numbers, or of no operator that runs here.
        return None
    found = values[brought]
    return found.detach() if isinstance(found, torch.Tensor) else None


def _evaluate(node: Node, graph: Graph, values: Mapping[Node, Any]) -> Any:
    if node.op != "placeholder" and torch.Tag.nondeterministic_seeded not in tags_of(node):
        return _call(node, values)
    if node.name in graph.paths or graph.values[node.name].is_meta:
        raise ValueError(node.name)
    return graph.values[node.name].detach().cpu().clone()


def _call(node: Node, values: Mapping[Node, Any]) -> Any:
    """Run one operator, what it makes on the CPU."""
    args, kwargs = torch.fx.map_arg((node.args, node.kwargs), lambda each: values[each])  # type: ignore
    device = {"device": torch.device("cpu")} if "device" in kwargs else {}
    with torch.no_grad():
        return node.target(*args, **{**kwargs, **device})  # type: ignore


def tags_of(node: Node) -> Sequence[torch.Tag]:
    """Return what PyTorch says of an operator."""
    return getattr(node.target, "tags", ())


def changes_nothing(step: Step) -> bool:
    """Tell whether a step without weights passes numbers on as they are, at its own size."""
    x = torch.randn(step.before.shape, generator=torch.Generator().manual_seed(0), device="cpu")
    x = x.to(value_of(step.before.node).dtype)
    values: dict[Node, Any] = {step.before.node: x.clone()}
    try:
        for node in (*step.graph.brought(step.nodes), *step.nodes):
            if node.op == "placeholder":
                values[node] = step.graph.values[node.name].cpu()
            else:
                values[node] = _call(node, values)
        return torch.equal(values[step.after.node], x)
    except Exception:  # An operator that cannot run here, as one on tensors without numbers.
        return False
