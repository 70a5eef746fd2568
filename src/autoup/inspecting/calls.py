"""Run a model once and write down which functions its data passes, without arithmetic.

The model that runs is a copy in evaluation mode which shares the parameters, and the tensors are
fake ones that have shapes but no numbers. Where a model looks at numbers, it runs on real ones.
"""

# PyTorch leaves fake tensors and function modes without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import re
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.random import fork_rng
from torch.utils.weak import WeakIdKeyDictionary

from autoup.errors import first_line
from autoup.inspecting.copies import attempt
from autoup.inspecting.modules import modules_by_path
from autoup.inspecting.runs import (
    InputSizes,
    dtype_and_device,
    leaves,
    place,
    quiet,
    shown,
    without_numbers,
)

_SIGNATURES = {
    "conv_transpose": ("input", "weight", "bias", "stride", "padding", "output_padding", "groups",
                       "dilation"),
    "conv": ("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
    "interpolate": ("input", "size", "scale_factor", "mode", "align_corners"),
    "pixel_shuffle": ("input", "upscale_factor"),
    "transpose": ("input", "dim0", "dim1"),
    "pad": ("input", "pad", "mode", "value"),
    "avg_pool": ("input", "kernel_size", "stride", "padding"),
    "max_pool": ("input", "kernel_size", "stride", "padding", "dilation"),
}  # fmt: skip


@dataclass(eq=False, slots=True)
class Call:
    """One function that data passed.

    Args:
        name: Of the function, without dimensions: ``"conv_transpose"``, ``"interpolate"``.
        path: Qualified name of the innermost module that called it.
        sources: The calls that made its tensors.
        shape: Of the first tensor that it read.
        made: Shape of what it made.
        arguments: By name, for the functions that matter here.
        axes: Spatial axes that it works on; None where it works on any number.
        users: The calls that read what it made.
        returned: Whether the model returned what it made.
        from_input: Whether it read an input of the model.
    """

    name: str
    path: str
    sources: tuple["Call", ...]
    shape: tuple[int, ...]
    made: tuple[int, ...]
    arguments: dict[str, Any]
    axes: int | None = None
    users: list["Call"] = field(default_factory=list)
    returned: bool = False
    from_input: bool = False


def per_dim(value: Any, dims: int) -> tuple[Any, ...]:
    """Return one number per axis of what torch's functions take: a number, or a sequence.

    Example:
        >>> per_dim(2, 2), per_dim([1], 2), per_dim((1, 2), 2)
        ((2, 2), (1, 1), (1, 2))
    """
    entries = tuple(value) if isinstance(value, Sequence) else (value,)
    return entries * dims if len(entries) == 1 else entries


def order_of(call: Call) -> tuple[int, ...]:
    """Return from where a permute or transpose takes each dimension.

    Example:
        >>> order_of(Call("transpose", "", (), (2, 3, 4), (2, 4, 3), {"dim0": 1, "dim1": -1}))
        (0, 2, 1)
    """
    order = [*range(len(call.shape))]
    if call.name == "permute":
        return tuple(order[each] for each in call.arguments["dims"])
    one, other = call.arguments["dim0"], call.arguments["dim1"]
    order[one], order[other] = order[other], order[one]
    return tuple(order)


def record(model: nn.Module, sizes: InputSizes) -> list[Call]:
    """Return the calls of one forward pass, in order.

    Args:
        model: Of which copies run.
        sizes: Of its inputs.

    Raises:
        ValueError: The forward pass raises.

    Example:
        >>> [call.name for call in record(nn.Conv2d(1, 8, 3), ((1, 1, 9, 9),))]
        ['conv']
    """
    shared = [*model.parameters()]
    if dtype_and_device(model)[1].type != "meta":
        try:
            return attempt(model, lambda twin: _record(twin, sizes, numbers=False), shared, "model")
        except Exception:  # It may look at numbers: what a real run raises is what counts.
            pass

    def act(twin: nn.Module) -> list[Call]:
        try:
            return _record(twin, sizes)
        except Exception as error:
            raise ValueError(_explain(error, twin, sizes)) from error

    return attempt(model, act, shared, "model")


def _explain(error: Exception, twin: nn.Module, sizes: InputSizes) -> str:
    """Say what failed, in which layer and line, and what to pass instead."""
    inputs = ", ".join(f"torch.randn({size})" for size in sizes)
    return (
        f"model refuses an input of input_size={shown(sizes)}"
        f"{place(error, modules_by_path(twin))}: {type(error).__name__}: {first_line(error)}. "
        f"Pass a size for which model({inputs}) runs; where it takes something else, wrap it in a "
        "module that makes that from a tensor."
    )


def _record(twin: nn.Module, sizes: InputSizes, *, numbers: bool = True) -> list[Call]:
    dtype, device = dtype_and_device(twin)
    recorder = _Recorder()
    with ExitStack() as stack:
        for context in (quiet(), fork_rng(devices=[]), torch.no_grad(), recorder.watch(twin)):
            stack.enter_context(context)
        if not numbers:
            stack.enter_context(without_numbers())
        inputs = [torch.randn(size, dtype=dtype, device=device) for size in sizes]
        for each in inputs:
            recorder.made[each] = None
        with recorder:
            returned = twin(*inputs)
    for each in leaves(returned):
        if call := recorder.made.get(each):
            call.returned = True
    return recorder.calls


def _read_name(name: str, axes: int) -> tuple[str, int | None]:
    """Return a function's name without dimensions, and the axes it works on, given its input's."""
    whole = name.rstrip("_")
    kind = re.sub("[123]d$", "", whole)
    if kind != whole:
        return kind, int(whole[-2])
    return kind, {"interpolate": axes, "pixel_shuffle": 2}.get(kind)


class _Recorder(TorchFunctionMode):
    """Writes down every function that reads what came from the inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.made = WeakIdKeyDictionary()
        self._paths: list[str] = []

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        read = [each for each in leaves([args, kwargs]) if each in self.made]
        if not read:
            return func(*args, **kwargs)
        shape = tuple(read[0].shape)
        made = func(*args, **kwargs)
        tensors = [*leaves(made)]
        if tensors:
            self._write(func.__name__, args, kwargs, read, shape, tensors)
        return made

    def _write(
        self, name: str, args: Any, kwargs: Any, read: Any, shape: Any, made: list[Tensor]
    ) -> None:
        kind, axes = _read_name(name, len(shape) - 2)
        names = _SIGNATURES.get(kind, ())
        arguments = {**dict(zip(names, args, strict=False)), **kwargs} if names else {}
        if kind == "permute":  # As numbers or as one sequence.
            dims = kwargs.get("dims", args[1:])
            whole = len(dims) == 1 and isinstance(dims[0], Sequence)
            arguments = {"dims": dims[0] if whole else dims}
        weight = arguments.get("weight")
        if weight is not None and any(weight is each for each in read[:1]):
            return
        arguments.pop("input", None)
        found = dict.fromkeys(self.made[each] for each in read)
        sources = tuple(call for call in found if call is not None)
        path = self._paths[-1] if self._paths else ""
        call = Call(kind, path, sources, shape, tuple(made[0].shape), arguments, axes)
        call.from_input = None in found
        for source in sources:
            source.users.append(call)
        self.calls.append(call)
        for each in made:
            self.made[each] = call

    @contextmanager
    def watch(self, twin: nn.Module) -> Generator[None]:
        """Know at any time which module runs."""
        handles: list[Any] = []
        for path, module in modules_by_path(twin).items():
            if isinstance(module, torch.jit.ScriptModule):  # It takes no hooks.
                continue
            enter = partial(self._enter, path)
            handles.append(module.register_forward_pre_hook(cast("Callable[..., None]", enter)))
            handles.append(module.register_forward_hook(self._leave))
        try:
            yield
        finally:
            for each in handles:
                each.remove()
            self._paths.clear()

    def _enter(self, path: str, *_: Any) -> None:
        self._paths.append(path)

    def _leave(self, *_: Any) -> None:
        self._paths.pop()
