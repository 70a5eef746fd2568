"""Which tensors of a captured graph go into modules and come out of them.

What hooks hear while a copy is captured becomes further outputs of the graph, for nothing: the
graph has no more operators than before, and says itself which of its tensors each one is.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.fx import Node

from autoup.inspecting.modules import modules_by_path

Keys = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Tap:
    """A place where a tensor goes into a module or comes out of it.

    Args:
        path: Of the module, with dots; empty for the encoder itself.
        call: Which call of the module in one pass, counted from 0.
        is_output: Whether the tensor comes out.
        keys: Where it stands in what comes out, as in ``output[keys[0]][keys[1]]``; of what goes
            in, the first key is 0 for arguments by position and 1 for those by name.
        calls: How many calls of the module there are in one pass.
    """

    path: str
    call: int
    is_output: bool
    keys: Keys = ()
    calls: int = 1

    @property
    def depth(self) -> int:
        """How many modules the module lies in."""
        return self.path.count(".") + 1 if self.path else 0


class Listener:
    """Hears what passes in and out of the modules of a copy while that is captured."""

    def __init__(self) -> None:
        self._heard: list[tuple[Tensor, Tap]] = []
        self._calls: dict[str, int] = {}

    def attach(self, twin: nn.Module) -> None:
        """Listen to the modules of a copy."""
        for path, module in modules_by_path(twin).items():
            module.register_forward_pre_hook(_Before(self, path), with_kwargs=True)
            module.register_forward_hook(_Behind(self, path))

    def begin(self) -> None:
        """Forget what was heard: a pass begins."""
        self._heard.clear()
        self._calls.clear()

    def count(self, path: str) -> None:
        """Count a call of a module."""
        self._calls[path] = self._calls.get(path, -1) + 1

    def hear(self, path: str, value: Any, *, is_output: bool) -> None:
        """Take down the tensors in what passes."""
        for keys, tensor in entries(value):
            self._heard.append((tensor, Tap(path, self._calls[path], is_output, keys)))

    @property
    def tensors(self) -> list[Tensor]:
        """What was heard, in order."""
        return [tensor for tensor, _ in self._heard]

    def taps(self, program: torch.export.ExportedProgram) -> dict[Node, list[Tap]]:
        """Return the taps of each tensor, and leave the graph with its first output alone."""
        output = next(iter(reversed(program.graph.nodes)))
        first, *heard = cast("Sequence[Sequence[Node]]", output.args)[0]
        found: dict[Node, list[Tap]] = {}
        for node, (_, tap) in zip(heard, self._heard, strict=True):
            told = replace(tap, calls=self._calls[tap.path] + 1)
            found.setdefault(node, []).append(told)
        output.args = ((first,),)
        self.begin()
        return found


@dataclass
class _Before:
    listener: Listener
    path: str

    def __call__(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.listener.count(self.path)
        self.listener.hear(self.path, (args, kwargs), is_output=False)


@dataclass
class _Behind:
    listener: Listener
    path: str

    def __call__(self, _: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        self.listener.hear(self.path, output, is_output=True)


def entries(value: Any, keys: Keys = ()) -> Iterator[tuple[Keys, Tensor]]:
    """Yield the tensors in dicts, lists, tuples and dataclasses, with where they stand.

    Example:
        >>> [keys for keys, _ in entries({"a": torch.ones(2), "b": [torch.ones(2), None]})]
        [('a',), ('b', 0)]
    """
    if isinstance(value, Tensor):
        yield keys, value
        return
    for key, each in _items(value):
        yield from entries(each, (*keys, key))


def _items(value: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(value, dict):
        return cast("dict[Any, Any]", value).items()
    if isinstance(value, tuple | list):
        return enumerate(cast("Sequence[Any]", value))
    names = [each.name for each in fields(value)] if is_dataclass(value) else []
    return [(name, getattr(value, name, None)) for name in names]


def look_up(value: Any, keys: Keys) -> Any:
    """Return what stands there.

    Example:
        >>> look_up({"a": [3, 4]}, ("a", 1))
        4
    """
    for key in keys:
        by_name = isinstance(key, str) and not isinstance(value, dict)
        value = getattr(value, str(key)) if by_name else value[key]  # pyright: ignore
    return value  # pyright: ignore
