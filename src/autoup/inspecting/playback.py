"""Play a run of functions that only move numbers back on numbers that tell where each came from."""

# PyTorch leaves functions found at run time without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from autoup.inspecting.calls import Call, Slot, shapes_of

_MOVES = {
    "view", "reshape", "view_as", "reshape_as", "permute", "transpose", "movedim", "moveaxis", "t",
    "T", "mT", "H", "mH", "adjoint", "unsqueeze", "squeeze", "expand", "expand_as", "broadcast_to",
    "pad", "cat", "concat", "concatenate", "stack", "hstack", "vstack", "dstack", "narrow",
    "select", "slice", "__getitem__", "split", "chunk", "unbind", "tensor_split", "unsafe_split",
    "split_with_sizes", "repeat", "tile", "flatten", "unflatten", "ravel", "roll", "flip", "rot90",
    "__setitem__", "copy", "write", "repeat_interleave", "index_select", "index", "as_strided",
    "_reshape_alias", "unfold", "pixel_unshuffle", "slice_scatter", "select_scatter", "scatter",
    "index_copy", "index_put", "index_add", "masked_scatter", "gather", "take_along_dim",
}  # fmt: skip
_STILL = {"contiguous", "clone", "to", "float", "half", "bfloat16", "double", "type", "_to_copy",
          "detach", "alias", "identity", "lift_fresh"}  # fmt: skip
_MOST = 1 << 26  # Numbers to play back.


class UnplayableError(Exception):
    """A run of functions needs numbers that are not there, or too many."""


def moves(call: Call) -> bool:
    """Tell whether a function only moves numbers.

    Example:
        >>> moves(Call("conv", "", (), (1, 1, 4, 4), (1, 1, 4, 4), {}))
        False
    """
    if call.name == "einsum":  # Of one tensor it is a permutation, or a sum that plays as one.
        return len(shapes_of(call.inputs)) == 1
    return call.function is not None and call.name in _MOVES | _STILL


def slots_of(value: Any) -> list[Slot]:
    """Return the tensors of the data among the inputs of a call.

    Example:
        >>> slots_of(((Slot(None, 0, (1, 8)), 2), {}))
        [Slot(call=None, index=0, shape=(1, 8))]
    """
    if isinstance(value, Slot):
        return [value]
    if isinstance(value, dict):
        return [slot for each in value.values() for slot in slots_of(each)]
    return [s for each in value for s in slots_of(each)] if isinstance(value, tuple | list) else []


def play_back(members: Sequence[Call], roots: Sequence[Slot], end: Call) -> Tensor:
    """Return the end of a run on numbers that count through all roots from 1 on.

    Args:
        members: Its calls, in order.
        roots: The tensors it starts from; all others hold 0.
        end: The last call.

    Raises:
        UnplayableError: It needs numbers that are not there, or too many.
    """
    sizes = [prod(slot.shape) for slot in roots] + [prod(call.made) for call in members]
    if max(sizes) > _MOST:
        raise UnplayableError
    values: dict[tuple[Call | None, int], Tensor] = {}
    start = 1
    for slot in roots:
        stop = start + prod(slot.shape)
        numbers = torch.arange(start, stop, dtype=torch.float64).reshape(slot.shape)
        values[slot.call, slot.index] = numbers
        start = stop
    with torch.no_grad():
        for call in members:
            args, kwargs = _fill(call.inputs, values)
            for index, each in enumerate(_apply(call, args, kwargs)):
                values[call, index] = each
    return values[end, 0]


def _apply(call: Call, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Tensor]:
    if call.name in _STILL:
        return [args[0].contiguous()]
    if call.name == "view":  # In whatever order the pixels lie in memory.
        return [torch.reshape(args[0], _sizes(args[1:]))]
    name = call.function.__name__
    if name == "__setitem__" or (name.endswith("_") and not name.startswith("_")):
        args = [args[0].clone(), *args[1:]]
    made = call.function(*args, **kwargs)
    if name == "__setitem__":
        return [args[0]]
    return [made] if isinstance(made, Tensor) else [*made]


def _sizes(given: Sequence[Any]) -> Sequence[int]:
    """Return sizes that are given as numbers or as one sequence."""
    return given[0] if isinstance(given[0], Sequence) else given


def _fill(value: Any, values: Mapping[tuple[Call | None, int], Tensor]) -> Any:
    """Put numbers in the places of slots, and zeros in those of other pictures."""
    if isinstance(value, Slot):
        return values[value.call, value.index]
    if isinstance(value, Tensor):
        if value.is_floating_point() or value.is_complex():
            return torch.zeros(value.shape, dtype=torch.float64)
        if type(value).__name__ == "FakeTensor" or value.is_meta:
            raise UnplayableError
        return value.cpu()
    if isinstance(value, dict):
        return {key: _fill(each, values) for key, each in value.items()}
    if type(value) in (tuple, list):
        return type(value)(_fill(each, values) for each in value)
    return value
