"""Capture the graph of one forward pass, without arithmetic and without a trace on the encoder.

The graph is that of ``torch.export``: operators of ATen, each with the shape of its result and
the module that called it. What is captured is a copy of the encoder which shares its tensors,
in evaluation mode and without hooks, so that nothing the forward pass does reaches the encoder.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
from torch import nn
from torch.random import fork_rng  # pyright: ignore[reportUnknownVariableType]

from autoup.capturing.taps import Listener
from autoup.errors import first_line
from autoup.inspecting.copies import attempt, check_module, tensors_of
from autoup.inspecting.modules import modules_by_path
from autoup.inspecting.runs import InputSizes, place, quiet, shown
from autoup.versions import drop_whole_slices, is_autocast_enabled

Output = int | str | Callable[[Any], Any] | None

_ROUND, _USUAL = 32, 224  # Sizes of pictures that encoders are made for.
_BY_VALUE = {"DataDependentOutputException", "GuardOnDataDependentSymNode"}
_DEPENDS = (
    "encoder cannot be captured: its path depends on the values in a tensor{}. "
    "One fixed path is captured: pass the part of the encoder without that "
    "line, or decide the branch outside of forward."
)


class _Picked(nn.Module):
    """The encoder, the tensor that is picked from what it returns, and what is heard of it."""

    def __init__(self, encoder: nn.Module, output: Output, listener: Listener | None) -> None:
        super().__init__()
        self.encoder = encoder
        self.output = output
        self.listener = listener

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if self.listener:
            self.listener.begin()
        picked = _pick(self.encoder(x), self.output)
        return (picked, *(self.listener.tensors if self.listener else ()))


class NoTensorError(Exception):
    """What the encoder returns is no tensor, or ``output`` picks none."""


def as_map(sizes: InputSizes) -> tuple[int, ...]:
    """Return the size of the one map that an encoder takes.

    Raises:
        ValueError: There are several, or it is none.

    Example:
        >>> as_map(((1, 3, 224, 224),))
        (1, 3, 224, 224)
    """
    size, *others = sizes
    if others:
        raise ValueError(
            f"input_size must be that of one tensor, got {shown(sizes)}: the encoder is given one "
            "input; wrap an encoder of several inputs in a module that adds the others."
        )
    if not 3 <= len(size) <= 5:
        raise ValueError(
            f"input_size must have 3 to 5 entries, batch and channels first, got {size}: "
            "for pictures (1, 3, 224, 224)."
        )
    return size


def capture(
    encoder: nn.Module,
    input_size: tuple[int, ...],
    output: Output,
    listener: Listener | None = None,
) -> torch.export.ExportedProgram:
    """Capture one forward pass of ``encoder``; the tensor that ``output`` picks ends the graph.

    Args:
        encoder: The module.
        input_size: Of its input, batch and channels first.
        output: Which tensor to pick from what it returns.
        listener: Hears what passes in and out of its modules; ask it for the taps then.

    Raises:
        TypeError: The encoder is not a module that can be captured, or returns no tensor.
        ValueError: The encoder refuses the size, or its path depends on values.

    Example:
        >>> program = capture(nn.Sequential(nn.Conv2d(1, 8, 3)), (1, 1, 9, 9), None)
        >>> [node.name for node in program.graph.nodes if node.op == "call_function"]
        ['conv2d']
    """
    encoder = check_module("encoder", encoder)
    try:
        return _export(encoder, input_size, output, listener)
    except _SizeError as error:
        advice = _advise(encoder, input_size, output)
        raise ValueError(f"{error}. {advice}") from error.__cause__


class _SizeError(ValueError):
    """The encoder does not run on an input of this size."""


def _export(
    encoder: nn.Module, input_size: tuple[int, ...], output: Output, listener: Listener | None
) -> torch.export.ExportedProgram:
    found = (each for each in encoder.parameters() if each.is_floating_point() or each.is_complex())
    tensor = next(found, None)
    dtype, device = (None, None) if tensor is None else (tensor.dtype, tensor.device)
    example = torch.empty(input_size, dtype=dtype, device=device)

    def export(twin: nn.Module) -> torch.export.ExportedProgram:
        try:
            with quiet(), fork_rng(devices=[]), torch.no_grad(), _without_autocast(example):
                whole = _Picked(twin, output, listener)
                program = torch.export.export(whole, (example,), strict=False)
        except NoTensorError as error:
            raise TypeError(str(error)) from None
        except Exception as error:
            if type(error).__name__ in _BY_VALUE and _fix_integers(twin):
                return export(twin)
            raise _explain(error, twin, input_size) from error
        if any(node.op == "call_function" and _is_open(node) for node in program.graph.nodes):
            if _fix_integers(twin):
                return export(twin)
            raise ValueError(_DEPENDS.format(""))
        drop_whole_slices(program.graph)
        return program

    def act(twin: nn.Module) -> torch.export.ExportedProgram:
        if listener:
            listener.attach(twin)
        return export(twin)

    return attempt(encoder, act, tensors_of(encoder), "encoder")


def _without_autocast(example: torch.Tensor) -> AbstractContextManager[Any]:
    """Keep the dtypes of the encoder, wherever it is captured."""
    kind = example.device.type
    return torch.autocast(kind, enabled=False) if is_autocast_enabled(kind) else nullcontext()


def _is_open(node: torch.fx.Node) -> bool:
    """Whether a number that the graph goes by is known only when it runs."""
    return isinstance(node.meta.get("val"), torch.SymInt)


def _fix_integers(twin: nn.Module) -> bool:
    """Let the modules of a copy that hold an integer in a buffer, as a stride, make it anew.

    A buffer of a captured module has no value, and a constant that is made in the forward pass has.
    Returns whether there was any.
    """
    found = False
    for module in twin.modules():
        integers = {
            name: each
            for name, each in module._buffers.items()  # pyright: ignore[reportPrivateUsage]
            if each is not None and each.ndim == 0 and not each.is_floating_point()
            if not each.is_meta
        }
        if integers:
            kind, found = type(module), True
            made = {name: property(_maker(each)) for name, each in integers.items()}
            origin = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
            for name in integers:
                del module._buffers[name]  # pyright: ignore[reportPrivateUsage]
            fixed: Any = type(kind.__name__, (kind,), made | origin)
            module.__class__ = fixed
    return found


def _maker(integer: torch.Tensor) -> Callable[[nn.Module], torch.Tensor]:
    value, dtype = integer.item(), integer.dtype
    return lambda _: torch.tensor(value, dtype=dtype)


def _pick(returned: Any, output: Output) -> torch.Tensor:
    if output is None:
        picked, asked = returned, "pick one of them with output=0, a key, or a function"
    elif callable(output):
        picked, asked = output(returned), "output must be a function that returns a tensor"
    elif isinstance(returned, torch.Tensor):
        raise NoTensorError(
            f"output={output!r} picks from several outputs, but in evaluation mode the encoder "
            "returns one tensor: leave output out."
        )
    else:
        picked, asked = _look_up(returned, output), "output must pick a tensor"
    if not isinstance(picked, torch.Tensor):
        raise NoTensorError(f"encoder returns {_outline(picked)}, no tensor: {asked}.")
    if not (picked.is_floating_point() or picked.is_complex()):
        raise NoTensorError(
            f"encoder returns a tensor of {picked.dtype}, from which no picture can be made: "
            "pick a floating-point tensor with output=."
        )
    return picked


def _look_up(returned: Any, output: int | str) -> Any:
    try:
        return returned[output]
    except (TypeError, KeyError, IndexError):
        if isinstance(output, str) and hasattr(returned, output):
            return getattr(returned, output)
        raise NoTensorError(
            f"output={output!r} picks nothing from what the encoder returns, "
            f"{_outline(returned)}: pass one of its positions or keys, or a function."
        ) from None


def _outline(value: Any) -> str:
    """Name a returned value, and for a container what it holds."""
    name = type(value).__name__
    if isinstance(value, torch.Tensor):
        return f"a tensor {tuple(value.shape)}"
    if isinstance(value, dict):
        items = cast("dict[object, object]", value).items()
        return f"{name}({', '.join(f'{key!r}: {_outline(each)}' for key, each in items)})"
    if isinstance(value, tuple | list):
        return f"{name}({', '.join(map(_outline, cast('Sequence[object]', value)))})"
    return "None" if value is None else name


def _explain(error: Exception, twin: nn.Module, input_size: tuple[int, ...]) -> ValueError:
    """Say what failed, in which layer and line."""
    where = place(error, modules_by_path(twin))
    if type(error).__name__ in _BY_VALUE:
        return ValueError(_DEPENDS.format(where))
    return _SizeError(
        f"encoder refuses an input of input_size={input_size}{where}: "
        f"{type(error).__name__}: {first_line(error)}"
    )


def _advise(encoder: nn.Module, input_size: tuple[int, ...], output: Output) -> str:
    """Say what to pass instead, after trying it."""
    batch, channels, *space = input_size
    rounded = [-(-size // _ROUND) * _ROUND for size in space]
    usual = [*rounded[:-2], _USUAL, _USUAL] if len(space) > 1 else rounded
    for size in ((batch, channels, *rounded), (batch, channels, *usual)):
        if size == input_size:
            continue
        try:
            _export(encoder, size, output, None)
        except (TypeError, ValueError):
            continue
        return f"It takes input_size={size}, the nearest of those tried."
    return (
        f"Pass a size for which encoder(torch.zeros({input_size})) runs; if it does run, that "
        "line needs real values: pass the part of the encoder without it."
    )
