"""A function of a tensor that is written as a formula, as a layer."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Proxy
from torch.fx.proxy import GraphAppendingTracer

_NUMBERS = {"inf": float("inf"), "nan": float("nan")}


class Formula(GraphModule):
    """A function of a tensor ``x`` that is written as a formula.

    A name with a bracket behind it is an operator of ``torch.ops.aten``, any other one a tensor, a
    dtype, or a value that the formula has named, as in ``(a := tanh(x)) * a``.

    Args:
        text: The formula, a Python expression.
        tensors: Parameters and buffers, by their names in the formula.

    Example:
        >>> swish = Formula("x * sigmoid(beta * x)", {"beta": torch.nn.Parameter(torch.ones(1))})
        >>> swish, [*swish.state_dict()]
        (Formula(x * sigmoid(beta * x)), ['beta'])
        >>> swish(torch.zeros(2)).tolist()
        [0.0, 0.0]
    """

    def __init__(self, text: str, tensors: Mapping[str, torch.Tensor]) -> None:
        super().__init__({**tensors}, _read(text, tensors), "Formula")
        self.text = text

    def extra_repr(self) -> str:
        """Return the formula."""
        return self.text

    def __str__(self) -> str:
        return repr(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self.text, _state(self))

    def __copy__(self) -> "Formula":
        return _restore(self.text, _state(self))

    def __deepcopy__(self, memo: dict[int, Any]) -> "Formula":
        made = _restore(self.text, copy.deepcopy(_state(self), memo))
        memo[id(self)] = made
        return made


def _state(formula: Formula) -> dict[str, Any]:
    """Return all but the graph, which the text makes anew."""
    return {name: value for name, value in vars(formula).items() if name != "_graph"}


def _restore(text: str, state: dict[str, Any]) -> Formula:
    made = Formula(text, {**state["_parameters"], **state["_buffers"]})
    vars(made).update(state)
    return made


def _read(text: str, tensors: Mapping[str, torch.Tensor]) -> Graph:
    graph = Graph()
    names = _Names(graph, tensors)
    made = eval(compile(text, "<formula>", "eval"), {"__builtins__": {}}, names)
    graph.output(made.node)
    return graph


class _Names(dict[str, Any]):
    """What the names in a formula mean: each operator adds a node to a graph."""

    def __init__(self, graph: Graph, tensors: Mapping[str, torch.Tensor]) -> None:
        tracer = GraphAppendingTracer(graph)
        super().__init__(_NUMBERS, x=Proxy(graph.placeholder("x"), tracer))
        self.update({name: Proxy(graph.get_attr(name), tracer) for name in tensors})
        self._tracer = tracer

    def __missing__(self, name: str) -> Any:
        dtype = getattr(torch, name, None)
        return dtype if isinstance(dtype, torch.dtype) else self._operator(name)

    def _operator(self, name: str) -> Callable[..., Proxy]:
        target = getattr(torch.ops.aten, name)

        def call(*args: Any, **kwargs: Any) -> Proxy:
            return self._tracer.create_proxy("call_function", target, args, kwargs)

        return call
