"""Where in a checkpoint the weights of a model stand: wrappings, prefixes, and how to fill them."""

import warnings
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from autoup.commands import checkpoints
from autoup.commands.answers import CommandError, listed
from autoup.errors import ArtifactWarning, first_line
from autoup.inspecting.runs import leaves
from autoup.repairing.model import repair

_COMPILED = "_orig_mod."
Tree = dict[Any, Any]


@dataclass(frozen=True, slots=True)
class State:
    """A ``state_dict`` inside a checkpoint.

    Args:
        path: The keys that lead to it.
        entries: It, as it stands in the checkpoint.
        prefix: What stands before all names of the model.
        keys: The key of each of its names, without the prefix.
    """

    path: tuple[Any, ...]
    entries: Tree
    prefix: str
    keys: dict[str, str]

    def tensors(self) -> dict[str, Any]:
        """Return its values by the names of the model."""
        return {name: self.entries[key] for name, key in self.keys.items()}

    def take(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        """Put what a repair changed in the place of what was there.

        What stays the same stays the object it is; what changed has the dtype it had.

        Args:
            before: The ``state_dict`` of the model that this was loaded into.
            after: That of the repaired model.
        """
        for name in self.keys.keys() - after.keys():
            del self.entries[self.keys.pop(name)]
        for name, made in after.items():
            key = self.keys.setdefault(name, self.prefix + name)
            if key in self.entries and _same(before.get(name), made):
                continue
            held = self.entries.get(key)
            self.entries[key] = _narrow(made, held) if isinstance(made, Tensor) else made

    def alone(self, checkpoint: Any) -> tuple[dict[str, Any], list[str]]:
        """Return its entries without all else, and what else there is in a checkpoint."""
        mine = {key: self.entries[key] for key in self.keys.values()}
        others = [str(key) for key in checkpoint if key not in (*self.path[:1], *mine)]
        if self.path:
            others += [str(key) for key in self.entries if key not in mine]
        return mine, others

    def place(self) -> str:
        """Return how to come to it from the checkpoint, in Python."""
        return "".join(f"[{key!r}]" for key in self.path)

    def reading(self, held: str, alone: bool) -> str:
        """Return how Python gets the model's own ``state_dict`` from a checkpoint.

        Args:
            held: The name of the checkpoint.
            alone: Whether it holds this state alone.
        """
        state = held if alone else held + self.place()
        bare = f"key.replace({_COMPILED!r}, '')" if self._is_compiled() else "key"
        key = bare + (f".removeprefix({self.prefix!r})" if self.prefix else "")
        if key == "key":
            return state
        more = not alone and len(self.keys) < len(self.entries)
        chosen = f" if {bare}.startswith({self.prefix!r})" if more else ""
        return f"{{{key}: value for key, value in {state}.items(){chosen}}}"

    def where(self, alone: bool) -> str:
        """Say where it stands, and what its keys have beside names; nothing of a plain one."""
        kept = [_COMPILED] if self._is_compiled() else []
        kept += [self.prefix] if self.prefix else []
        names = f"names keep {' and '.join(map(repr, kept))}" if kept else ""
        return ", ".join(filter(None, ["" if alone else self.place(), names]))

    def _is_compiled(self) -> bool:
        return any(_COMPILED in key for key in self.keys.values())


def places(states: Sequence[State], alone: bool = False) -> str:
    """Say where states stand, and what their keys have beside names; nothing of plain ones.

    Example:
        >>> places([State(("model",), {}, "module.", {})])
        "['model'], names keep 'module.'"
    """
    return "; ".join(filter(None, [state.where(alone) for state in states]))


def read_states(path: Path, model: nn.Module) -> tuple[Any, list[State]]:
    """Read a checkpoint; return it and every ``state_dict`` in it that the model takes.

    Wrappings (``{"state_dict": ...}``) and prefixes (``module.``, ``_orig_mod.``) do not matter.

    Raises:
        CommandError: It cannot be read, or has none.
    """
    check_numbers(model)
    checkpoint = checkpoints.read(path)
    if states := _fitting(checkpoint, model):
        return checkpoint, states
    reason = _explain_misfit(checkpoint, model)
    if _is_repaired(checkpoint, model):
        reason += ". It fits the model that autoup.repair makes of this one: it is repaired already"
    raise CommandError(f"{path} does not fit the model: {reason}.")


def check_numbers(model: nn.Module) -> None:
    """Refuse a model that can hold no weights.

    Raises:
        CommandError: It is on the meta device.

    Example:
        >>> check_numbers(nn.Linear(1, 1))
    """
    if any(each.is_meta for each in (*model.parameters(), *model.buffers())):
        raise CommandError("MODEL is on the meta device, and has no weights to read or write.")


def _is_repaired(checkpoint: Any, model: nn.Module) -> bool:
    with warnings.catch_warnings(action="ignore", category=ArtifactWarning):
        try:
            return bool(_fitting(checkpoint, repair(model)))
        except (TypeError, ValueError):  # It cannot be copied.
            return False


def _fitting(checkpoint: Any, model: nn.Module) -> list[State]:
    return [state for state in _candidates(checkpoint, model) if _fits(state, model)]


def _fits(state: State, model: nn.Module) -> bool:
    """Load a state into a model, and tell whether that worked."""
    try:
        model.load_state_dict(state.tensors())
    except Exception:  # Of values that are no tensors, and of the model's own hooks.
        return False
    return True


def load(state: State, model: nn.Module) -> None:
    """Load a state into a model, which takes its precision where it is the finer one."""
    wide = [each.dtype for each in state.tensors().values() if _is_float(each)]
    own = [each.dtype for each in model.state_dict().values() if _is_float(each)]
    if any(torch.promote_types(a, b) != b for a in set(wide) for b in set(own)):
        model.to(torch.float64)
    model.load_state_dict(state.tensors())


def find_optimizers(checkpoint: Any, shapes: Collection[tuple[int, ...]]) -> list[str]:
    """Return where states of optimisers stand that have tensors of these shapes."""
    return [
        "".join(f"[{key!r}]" for key in path)
        for path, entries in _trees(checkpoint)
        if {"state", "param_groups"} <= entries.keys()
        and any(tuple(each.shape) in shapes for each in leaves(entries["state"]))
    ]


def _explain_misfit(checkpoint: Any, model: nn.Module) -> str:
    """Say how the most similar ``state_dict`` differs from what the model takes."""
    wanted: dict[str, Any] = model.state_dict()
    state = max(
        _candidates(checkpoint, model),
        key=lambda each: len(each.keys.keys() & wanted.keys()),
        default=None,
    )
    if state is None:
        held = [str(key) for key in cast("Tree", checkpoint)] if _is_tree(checkpoint) else []
        inside = f"it has {listed(held)}" if held else f"it is {type(checkpoint).__name__}"
        return f"it holds no weights of this model, as {listed([*wanted], 2)}; {inside}"
    held = state.tensors()
    shapes = [
        f"{name} {_shape(held[name])} for {_shape(wanted[name])}"
        for name in wanted
        if name in held and _shape(held[name]) != _shape(wanted[name])
    ]
    said = [
        (f"{_count(wanted.keys() - held.keys())} missing", [n for n in wanted if n not in held]),
        (f"{_count(held.keys() - wanted.keys())} unknown", [n for n in held if n not in wanted]),
        (f"{_count(shapes)} of another shape than the model's", shapes),
    ]
    texts = [f"{what}: {listed(names, 3)}" for what, names in said if names]
    return "; ".join(texts) or _raised(state, model)


def _candidates(checkpoint: Any, model: nn.Module) -> Iterator[State]:
    """Yield the mappings with names of the model, under each prefix, the most names first."""
    wanted = {_bare(name): name for name in model.state_dict()}
    seen: set[int] = set()
    for path, entries in _trees(checkpoint):
        keys = {_bare(key): key for key in entries if isinstance(key, str)}
        if id(entries) in seen:
            continue
        seen.add(id(entries))
        for prefix, _ in _prefixes(keys, wanted).most_common():
            inside = {key.removeprefix(prefix): key for key in keys if key.startswith(prefix)}
            names = {wanted.get(name, name): keys[key] for name, key in inside.items()}
            yield State(path, entries, prefix, names)


def _prefixes(keys: Mapping[str, str], wanted: Mapping[str, str]) -> Counter[str]:
    """Count what stands before the names of the model."""
    found: Counter[str] = Counter()
    for key in keys:
        parts = key.split(".")
        for start in range(len(parts)):
            if ".".join(parts[start:]) in wanted:
                found["".join(f"{part}." for part in parts[:start])] += 1
    return found


def _trees(checkpoint: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Tree]]:
    """Yield every mapping in a checkpoint, and where it stands."""
    if _is_tree(checkpoint):
        entries = cast("Tree", checkpoint)
        yield path, entries
        children = [*entries.items()]
    elif isinstance(checkpoint, list | tuple):
        children = [*enumerate(cast("Sequence[Any]", checkpoint))]
    else:
        children = []
    for key, child in children:
        yield from _trees(child, (*path, key))


def _is_tree(value: Any) -> bool:
    return isinstance(value, dict)


def _bare(key: str) -> str:
    """Return a key as it is without ``torch.compile``."""
    return key.replace(_COMPILED, "")


def _is_float(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _same(before: Any, after: Any) -> bool:
    if not isinstance(before, Tensor) or not isinstance(after, Tensor):
        return before is after
    return before.shape == after.shape and torch.equal(before, after)


def _narrow(made: Tensor, held: Any) -> Tensor:
    """Return the values on the CPU, in the dtype of what they replace where that holds them."""
    made = made.detach().cpu()
    narrow = made.to(held.dtype) if isinstance(held, Tensor) else made
    return narrow if torch.equal(narrow.to(made.dtype), made) else made


def _shape(value: Any) -> Any:
    return [*value.shape] if isinstance(value, Tensor) else type(value).__name__


def _count(things: Sequence[Any] | set[Any]) -> str:
    return f"{len(things)} key{'s' * (len(things) != 1)}"


def _raised(state: State, model: nn.Module) -> str:
    try:
        model.load_state_dict(state.tensors())
    except Exception as error:
        return first_line(error)
    return "it fits"
