"""Write down what data passes: the functions as code calls them, the operators beneath them."""

# PyTorch leaves tensors' own attributes and weak dictionaries without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportPrivateUsage=false

from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from math import prod
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.utils.weak import WeakIdKeyDictionary

from autoup.inspecting.calls import Call, Slot, name_of, read_call
from autoup.inspecting.copies import tensors_of
from autoup.inspecting.modules import modules_by_path
from autoup.inspecting.playback import slots_of
from autoup.inspecting.runs import leaves
from autoup.internals import is_fake, with_numbers

# What enlarges by its name, and would be seen by no other.
ENLARGING = ("conv_transpose", "interpolate", "adaptive_pool", "pixel_shuffle", "max_unpool",
             "fold", "grid_sample", "repeat_interleave")  # fmt: skip
_FROM_OUTSIDE = ("lift_fresh", "from_numpy", "as_tensor", "tensor", "frombuffer", "from_dlpack")
_TO_OUTSIDE = ("numpy", "tolist", "__array__")
_PACKED = ("kernel_size", "stride", "padding", "output_padding", "dilation", "groups")
_IN_PLACE = {"__setitem__", "__set__", *(f"__i{name}__" for name in (
    "add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor", "lshift", "rshift"
))}  # fmt: skip
_RANDOM = ("rand", "randn", "randint", "randn_like", "rand_like", "normal", "bernoulli")
_OF_SHAPES = ("new_zeros", "new_ones", "new_empty", "new_full", "new_tensor", "zeros_like",
              "ones_like", "empty_like", "full_like")  # fmt: skip


def grows(before: Sequence[int], after: Sequence[int]) -> bool:
    """Tell whether any spatial axis becomes longer, channels before them.

    Example:
        >>> grows((1, 8, 4, 4), (1, 2, 8, 8)), grows((1, 8, 4, 4), (1, 16, 2, 4))
        (True, False)
    """
    if len(before) != len(after):
        return True
    return any(o > i for i, o in zip(before[2:], after[2:], strict=True))


def _writes(function: Any, kwargs: Mapping[str, Any]) -> bool:
    """Tell whether a function writes into what it is given."""
    name: str = function.__name__.partition(".")[0]
    if name.startswith("__"):
        return name in _IN_PLACE
    return name.endswith("_") or kwargs.get("out") is not None


def _memory_of(tensor: Tensor) -> int:
    try:
        return tensor.untyped_storage().data_ptr()
    except (NotImplementedError, RuntimeError):  # Without numbers, sparse, or of a wrapper.
        return 0


def write(base: Tensor | torch.Size, values: Tensor, *view: Any) -> Tensor:
    """Return a tensor with values written into a view of it.

    Args:
        base: It, or its size where it held nothing.
        values: To write.
        view: Size, stride and offset.

    Example:
        >>> write(torch.Size([4]), torch.ones(2), (2,), (2,), 0)
        tensor([1., 0., 1., 0.])
    """
    whole = base.clone() if isinstance(base, Tensor) else values.new_zeros(base)
    whole.as_strided(*view).copy_(values)
    return whole


class Recorder:
    """Writes down every function that reads what came from the inputs.

    Args:
        twin: The copy that runs.
        shared: Whether its Parameters are the user's own, into which nothing may be written.
    """

    def __init__(self, twin: nn.Module, *, shared: bool) -> None:
        self._shared = shared
        self.calls: list[Call] = []
        self.still: list[str] = []
        self._slots = WeakIdKeyDictionary()
        self._fixed = WeakIdKeyDictionary()  # What no input changes.
        self._modules = {id(module): path for path, module in modules_by_path(twin).items()}
        self._paths = [""]
        self._running: list[nn.Module] = [twin]
        self._inside: list[tuple[Any, Sequence[Any], Mapping[str, Any]]] | None = None
        self._left = False
        self.writes = self.lost = False
        self.unseen, self._thread = 0, get_ident()
        self._parameters = {_memory_of(each) for each in twin.parameters()} - {0}
        for each in tensors_of(twin):
            self._fixed[each] = True

    def start(self, inputs: Sequence[Tensor]) -> None:
        """Take down the inputs."""
        for index, each in enumerate(inputs):
            self._slots[each] = Slot(None, index, tuple(each.shape))

    def finish(self, returned: Any) -> None:
        """Take down what the model returned."""
        tensors = [*leaves(returned)]
        slots = [self._slots[each] for each in tensors if each in self._slots]
        self.lost = bool(tensors) and not slots
        self.unseen = sum(each not in self._slots and each not in self._fixed for each in tensors)
        for slot in slots:
            if slot.call is not None:
                slot.call.returned = True

    def follow(self, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Run a function, and write it down if it read data."""
        if self._inside is not None:  # It is a part of one that is written down as a whole.
            self._inside.append((function, args, kwargs))
            return function(*args, **kwargs)
        if function.__name__ == "__set__" and self._shared and self._is_parameter(args[0]):
            self.writes = True
            return None
        inputs = self._hold((args, kwargs))
        shapes = [tuple(each.shape) for each in leaves([args, kwargs])]
        self._inside = []
        try:
            with self._with_numbers(function, args, kwargs, inputs):
                made = function(*args, **kwargs)
        finally:
            inside, self._inside = self._inside, None
        self._write(function, args, kwargs, inputs, shapes, [*leaves(made)], inside)
        return made

    def _with_numbers(
        self, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any], inputs: Any
    ) -> AbstractContextManager[Any]:
        """Return a context in which what reads no data is worked out, as a model may keep it.

        Parameters are the user's own: what writes into one is not run.
        """
        tensors = [*leaves([args, kwargs])]
        if slots_of(inputs) or any(map(is_fake, tensors)):
            return nullcontext()
        if _writes(function, kwargs) and any(map(self._is_parameter, tensors)):
            self.writes = True
            return nullcontext()
        return with_numbers()

    def _is_parameter(self, tensor: Tensor) -> bool:
        return _memory_of(tensor) in self._parameters

    def _write(
        self,
        function: Any,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        inputs: Any,
        shapes: Sequence[tuple[int, ...]],
        made: list[Tensor],
        inside: Sequence[tuple[Any, Sequence[Any], Mapping[str, Any]]],
    ) -> None:
        tensors = [*leaves([args, kwargs])]
        read = [self._slots[each] for each in tensors if each in self._slots]
        if name_of(function) in _TO_OUTSIDE and any(prod(each.shape) > 1 for each in read):
            self._left = True
        if function.__name__ == "__setitem__":
            made = tensors[:1]
        if not made:
            return
        name, axes, given = read_call(function, args, kwargs, len(shapes[0]) if shapes else 0)
        if "weight" in given and not isinstance(given["weight"], Tensor):
            given = self._packed()
        outside = not read and name in _FROM_OUTSIDE and self._left and made[0].numel() > 1
        if not read and not outside and not self._must_tell(name, tensors, made, shapes):
            return
        first = read[0].shape if read else shapes[0] if shapes else tuple(made[0].shape)
        if name in ENLARGING or name == "conv":  # The input, whatever else data made.
            first = shapes[0]
        call = Call(name, self._paths[-1], (), first, tuple(made[0].shape), given, axes)
        if outside:
            call.name = "from_outside"
        elif name in _OF_SHAPES:
            self._fix(made)
            return
        call.function, call.inputs = function, inputs
        hidden = [] if name in ENLARGING else self._write_hidden(inside, call, read)
        self._link(call, [each.call for each in [*read, *hidden]])
        call.from_input = not hidden and any(each.call is None for each in read)
        self._keep(call, made, _writes(function, kwargs))

    def _packed(self) -> dict[str, Any]:
        """Return the arguments of a quantised layer, which packs them, from its module."""
        module = self._running[-1]
        return {name: getattr(module, name) for name in _PACKED if hasattr(module, name)}

    def _must_tell(
        self,
        name: str,
        tensors: Sequence[Tensor],
        made: Sequence[Tensor],
        shapes: Sequence[tuple[int, ...]],
    ) -> bool:
        """Tell whether a function that reads no data enlarges something of unknown origin."""
        fixed = all(each in self._fixed for each in tensors)
        fixed = fixed and not (name in _RANDOM or (self._left and name in _FROM_OUTSIDE))
        enlarges = name in ENLARGING and bool(shapes) and grows(shapes[0], made[0].shape)
        if fixed:
            self._fix(made)
            if enlarges:
                self.still.append(name)
        return enlarges and not fixed

    def _write_hidden(
        self,
        inside: Sequence[tuple[Any, Sequence[Any], Mapping[str, Any]]],
        outer: Call,
        read: Sequence[Slot],
    ) -> list[Slot]:
        """Write down the enlarging operators inside of a function whose name tells of none."""
        found: list[Slot] = []
        for function, args, kwargs in inside:
            tensors = [*leaves([args, kwargs])]
            if not tensors or type(function).__name__ != "OpOverload":
                continue
            name, axes, given = read_call(function, args, kwargs, tensors[0].ndim)
            if name not in ENLARGING or all(each in self._fixed for each in tensors):
                continue
            shape = tuple(tensors[0].shape)
            call = Call(name, outer.path, (), shape, outer.made, given, axes)
            self._link(call, [each.call for each in found or read])
            call.from_input = not found and any(each.call is None for each in read)
            found = [Slot(call, 0, call.made)]
        return found

    def _link(self, call: Call, sources: Sequence[Call | None]) -> None:
        call.sources = tuple(each for each in dict.fromkeys(sources) if each is not None)
        for source in call.sources:
            source.users.append(call)
        self.calls.append(call)

    def _keep(self, call: Call, made: Sequence[Tensor], in_place: bool) -> None:
        """Know from now on what the call made; what it wrote into is known to hold it."""
        for index, each in enumerate(made):
            slot = self._slots[each] = Slot(call, index, tuple(each.shape))
            base = each._base
            if not (in_place and base is not None):
                continue
            before = self._slots.get(base)
            written = Call("write", call.path, (), call.made, tuple(base.shape), {})
            view = (each.size(), each.stride(), each.storage_offset())
            written.inputs = ((before or torch.Size(base.shape), slot, *view), {})
            written.function = write
            self._link(written, [call, *([before.call] if before else [])])
            self._slots[base] = Slot(written, 0, written.made)

    def _fix(self, made: Sequence[Tensor]) -> None:
        for each in made:
            self._fixed[each] = True

    def _hold(self, value: Any) -> Any:
        """Return arguments with slots in place of the tensors that are data."""
        if isinstance(value, Tensor):
            return self._slots.get(value, value)
        if isinstance(value, dict):
            return {key: self._hold(each) for key, each in value.items()}
        if isinstance(value, tuple | list):
            return (
                tuple(map(self._hold, value)) if type(value) is tuple else [*map(self._hold, value)]
            )
        return value

    @contextmanager
    def watch(self) -> Generator[None]:
        """Know at any time which module runs; scripted ones take no hooks of their own."""
        handles = [
            register_module_forward_pre_hook(self._enter),
            register_module_forward_hook(self._leave, always_call=True),
        ]
        try:
            yield
        finally:
            for each in handles:
                each.remove()

    def _enter(self, module: nn.Module, _: Any) -> None:
        if get_ident() != self._thread:  # The hooks are PyTorch's own, and others may be at work.
            return
        self._paths.append(self._modules.get(id(module), self._paths[-1]))
        self._running.append(module)

    def _leave(self, module: nn.Module, *_: Any) -> None:
        if get_ident() != self._thread:
            return
        while self._running.pop() is not module:  # It raised, and PyTorch may tell nobody.
            self._paths.pop()
        self._paths.pop()
