"""Write a run of captured operators as a formula, with parameters of its own."""

import keyword
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from string import ascii_lowercase
from typing import Any, cast

import torch
from torch import nn
from torch.fx import Node

from autoup.capturing.edges import value_of
from autoup.capturing.operators import name_of, plain_name
from autoup.decoding.evaluating import constant, evaluate
from autoup.decoding.runs import Run, aliases, does_nothing
from autoup.layers.formula import Formula

# Operators with a sign, its rank, and whether the right side needs brackets at equal rank.
_SIGNS = {
    "add": ("+", 6), "sub": ("-", 6), "mul": ("*", 7), "div": ("/", 7), "true_divide": ("/", 7),
    "pow": ("**", 9), "gt": (">", 3), "lt": ("<", 3), "ge": (">=", 3), "le": ("<=", 3),
    "eq": ("==", 3), "ne": ("!=", 3), "bitwise_and": ("&", 5), "bitwise_or": ("|", 4),
    "__and__": ("&", 5), "__or__": ("|", 4),
}  # fmt: skip
# Operators that take a number for a tensor.
_NUMBERED = frozenset((
    *_SIGNS, "divide", "floor_divide", "fmod", "greater", "less", "masked_fill", "multiply",
    "remainder", "rsub", "subtract", "where", "xlogy",
))  # fmt: skip
_BINDING = ("device", "layout", "pin_memory", "memory_format")
_CALL, _SIGN = 11, 8  # The ranks of a call or name, and of a minus in front.
# Operators whose numbers may be those of channels, and the places of these.
_SIZED = {
    "expand": (1,), "narrow": (2, 3), "reshape": (1,), "slice": (2, 3), "split": (1,),
    "split_with_sizes": (1,), "unsafe_split": (1,), "view": (1,),
}  # fmt: skip
_END = 2**63 - 1  # Of a slice to the end.
_TAKEN = frozenset((*dir(nn.Module()), *dir(Formula), *keyword.kwlist, "x", "inf", "nan", "text"))


@dataclass(frozen=True, eq=False, slots=True)
class _Call:
    """What an operator makes; two calls alike are two values."""

    operator: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Name:
    text: str


def rebuild(run: Run, channels: int | None = None) -> Formula | None:
    """Return the function that a run computes, as a layer; None where it cannot be written.

    Args:
        run: What acts at each place alone.
        channels: How many its result has, if not as many as in the encoder.
    """
    writer = _Writer(run, channels)
    try:
        value = writer.write()
    except _UnwrittenError:
        return None
    return Formula(_Text(value, {*writer.tensors}).text, writer.tensors)


class _UnwrittenError(Exception):
    """A run reads what a formula cannot."""


class _Writer:
    """Turns captured nodes into calls, and keeps the tensors that they read."""

    def __init__(self, run: Run, channels: int | None) -> None:
        self.run = run
        self.tensors: dict[str, torch.Tensor] = {}
        self._values: dict[Node, Any] = {}
        self._names: dict[Node, _Name] = {}
        self._chunks: _Call | None = None
        self._brought: dict[tuple[Node, bool], Any] = {}
        self._roots: dict[Node, Node] = {}  # Of names of one tensor, the first.
        axis = 1 if run.axis is None else run.axis
        made: int = value_of(run.output).shape[axis]
        taken, wanted = run.shape[axis], made if channels is None else channels
        self._sizes = {taken: int(wanted * run.gate / len(run.inputs)), made: wanted}

    def write(self) -> Any:
        """Return what makes the output of the run."""
        for node, start in aliases(self.run).items():
            self._values[node] = self._input(self.run.inputs.index(start))
            self._roots[node] = start
        for node in self.run.nodes:
            self._write_node(node)
        return self._values[self.run.output]

    def _input(self, number: int) -> Any:
        """Return one of the tensors that the run reads: a part of ``x`` where there are several."""
        if len(self.run.inputs) == 1:
            return _X
        self._chunks = self._chunks or _Call("chunk", (_X, len(self.run.inputs), self.run.axis), {})
        return _Call("getitem", (self._chunks, number), {})

    def _write_node(self, node: Node) -> None:
        name, first, passes = name_of(node), node.args[0], _passes(node, self.run)
        made = self._value(first) if passes else self._call(node, plain_name(node))
        self._values[node] = made
        if isinstance(first, Node) and (name.endswith("_") or (passes and name != "clone")):
            self._roots[node] = root = self._roots.get(first, first)
            if name.endswith("_"):  # Whoever reads what was written to reads the result.
                names = [each for each, other in self._roots.items() if other is root]
                self._values.update(dict.fromkeys([root, *names], made))

    def _call(self, node: Node, name: str) -> Any:
        """Return what an operator makes, without what binds it to a device or to a batch."""
        first, *rest = node.args
        if name in ("to", "_to_copy"):
            return self._cast(node)
        if name == "index_put":
            return _Call("masked_fill", tuple(map(self._value, (first, rest[0][0], rest[1]))), {})  # type: ignore
        if name.startswith("new_") and value_of(node).shape == self.run.shape:
            like = f"{name.removeprefix('new_')}_like"
            return _Call(like, (self._value(first), *map(self._value, rest[1:])), {})
        sized, numbers = _SIZED.get(name, ()), name in _NUMBERED
        args = [
            self._resize(each) if place in sized else self._value(each, numbers=numbers)
            for place, each in enumerate(node.args)
        ]
        kwargs = {k: self._value(v) for k, v in node.kwargs.items() if k not in _BINDING}
        if name == "slice" and len(args) > 3:
            args[1] = self.run.axis
        if name == "rsub" and len(args) == 2 and not kwargs:
            return _Call("sub", (args[1], args[0]), {})
        return _Call(name, tuple(args), {k: v for k, v in kwargs.items() if v is not None})

    def _cast(self, node: Node) -> Any:
        """Return a change of dtype; a change of device or of memory is none."""
        source, *rest = node.args
        if rest and isinstance(rest[0], Node):
            return _Call("type_as", (self._value(source), self._value(rest[0])), {})
        kept = (*rest, node.kwargs.get("dtype"))
        dtypes = [each for each in kept if isinstance(each, torch.dtype)]
        value = self._value(source)
        return _Call("to", (value, dtypes[0]), {}) if dtypes else value

    def _resize(self, each: Any) -> Any:
        """Return sizes with numbers of channels as they are wanted."""
        if isinstance(each, list | tuple):
            return [self._resize(one) for one in cast("Sequence[Any]", each)]
        return self._sizes.get(each, each) if type(each) is int and each > 1 else self._value(each)

    def _value(self, each: Any, *, numbers: bool = True) -> Any:
        """Return an argument of a call for one of a node."""
        if isinstance(each, list | tuple):
            return [self._value(one, numbers=numbers) for one in cast("Sequence[Any]", each)]
        if not isinstance(each, Node):
            return each
        if each in self._values:
            return self._values[each]
        if each in self.run.graph.edges:
            raise _UnwrittenError
        if (each, numbers) not in self._brought:
            self._brought[each, numbers] = self._bring(each, numbers)
        return self._brought[each, numbers]

    def _bring(self, node: Node, numbers: bool) -> Any:
        """Return what does not depend on the data: a number, a tensor, or calls that make one."""
        number = constant(node, self.run.graph)
        if number is not None and numbers:
            return number
        if node.name in self.run.graph.paths:
            return self._tensor(node, self.run.graph.values[node.name])
        found = evaluate(node, self.run.graph)
        if found is None:
            return self._call(node, name_of(node))
        return self._tensor(node, found if number is None else found.flatten()[0])

    def _tensor(self, node: Node, tensor: torch.Tensor) -> _Name:
        if node not in self._names:
            path = self.run.graph.paths.get(node.name, "constant")
            name = _name_of_tensor(path, self.tensors)
            fitted = self._fitted(tensor.detach())
            is_learned = node.name in self.run.graph.parameters
            learned = nn.Parameter(fitted, requires_grad=tensor.requires_grad)
            self.tensors[name] = learned if is_learned else fitted
            self._names[node] = _Name(name)
        return self._names[node]

    def _fitted(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return a copy with as many channels as are wanted, repeated or cut off."""
        for axis, size in enumerate(tensor.shape):
            wanted = self._sizes.get(size, size)
            if wanted != size and size > 1:
                places = torch.arange(wanted, device=tensor.device) % size
                tensor = tensor.index_select(axis, places)
        return tensor.clone()


_X = _Name("x")


def _name_of_tensor(path: str, taken: Any) -> str:
    """Return the last word of a path, with as many in front of it as make it a name of its own."""
    left_out = ("parametrizations", "original")
    words = [each for each in path.removeprefix("encoder.").split(".") if each not in left_out]
    for start in range(len(words) - 1, -1, -1):
        name = "_".join(words[start:])
        is_free = name not in taken and name not in _TAKEN and not hasattr(torch.ops.aten, name)
        if is_free and name.isidentifier() and not hasattr(torch, name):
            return name
    numbered = (f"{'_'.join(words)}_{number}" for number in range(1, 99))
    return next(each for each in numbered if each not in taken)


class _Text:
    """Writes calls as an expression; what is read twice gets a name where it is first read."""

    def __init__(self, value: Any, taken: set[str]) -> None:
        self._counts = Counter(id(each) for each in _walk(value, set()))
        self._letters = (each for each in ascii_lowercase if each not in taken | {"x"})
        self._names: dict[int, str] = {}
        self.text = self._write(value, 0)

    def _write(self, value: Any, rank: int) -> str:
        """Return the text of a value, in brackets where it binds less than ``rank``."""
        if isinstance(value, list):
            return f"[{', '.join(self._write(each, 0) for each in cast('list[Any]', value))}]"
        if isinstance(value, _Name):
            return value.text
        if not isinstance(value, _Call):
            return _literal(value, rank)
        if id(value) in self._names:
            return self._names[id(value)]
        is_shared = self._counts[id(value)] > 1
        text, own = self._write_call(value)
        if is_shared:
            self._names[id(value)] = name = next(self._letters)
            return f"({name} := {text})"
        return f"({text})" if own < rank else text

    def _write_call(self, call: _Call) -> tuple[str, int]:
        name, args = call.operator, call.args
        if name in _SIGNS and len(args) == 2 and not call.kwargs and _has_operand(args):
            sign, own = _SIGNS[name]
            left = self._write(args[0], own + (name in ("pow", "gt", "lt", "ge", "le", "eq", "ne")))
            return f"{left} {sign} {self._write(args[1], own + 1)}", own
        if name == "neg":
            return f"-{self._write(args[0], _SIGN)}", _SIGN
        if name == "getitem":
            return f"{self._write(args[0], _CALL)}[{args[1]}]", _CALL
        if name == "slice" and len(args) > 3:
            ends = ["" if each in (None, 0, _END) else str(each) for each in args[2:]]
            return f"{self._write(args[0], _CALL)}[{':, ' * args[1]}{':'.join(ends)}]", _CALL
        words = [self._write(each, 0) for each in args]
        words += [f"{key}={self._write(each, 0)}" for key, each in call.kwargs.items()]
        return f"{name}({', '.join(words)})", _CALL


def _passes(node: Node, run: Run) -> bool:
    """Tell whether a formula leaves an operator out; who reads what is expanded broadcasts it."""
    name = name_of(node)
    stops = name == "detach" and node not in run.skipped
    return (
        name in ("expand", "expand_as") or node in run.skipped or (does_nothing(node) and not stops)
    )


def _has_operand(args: Sequence[Any]) -> bool:
    return any(isinstance(each, _Call | _Name) for each in args)


def _walk(value: Any, seen: set[int]) -> Iterator[Any]:
    """Yield each call as often as it is read, what it reads once."""
    if isinstance(value, list | tuple):
        for each in cast("Sequence[Any]", value):
            yield from _walk(each, seen)
    elif isinstance(value, _Call):
        yield value
        if id(value) not in seen:
            seen.add(id(value))
            yield from _walk(value.args, seen)
            yield from _walk([*value.kwargs.values()], seen)


def _literal(value: Any, rank: int) -> str:
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    text = repr(value)
    return f"({text})" if text.startswith("-") and rank > _SIGN else text
