"""Run a copy of a model: on which inputs, quietly, and where it failed."""

# PyTorch leaves its random numbers without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import io
import logging
import random
import sys
import traceback
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr
from functools import partial
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.random import fork_rng

from autoup.checks import as_int
from autoup.errors import PACKAGE
from autoup.inspecting.copies import attempt
from autoup.internals import has_fake_tensors, without_numbers

InputSizes = tuple[tuple[int, ...], ...]

_LIBRARIES = (str(Path(torch.__file__).parent), PACKAGE, "<")


def check_input_size(input_size: object) -> InputSizes:
    """Return the size of each input: one tuple of ints, or a sequence of them.

    Raises:
        TypeError: It is neither.
        ValueError: It is empty, or an entry is below 1.

    Example:
        >>> check_input_size((1, 3, 64, 64)), check_input_size([(1, 8), (1, 3, 4, 4)])
        (((1, 3, 64, 64),), ((1, 8), (1, 3, 4, 4)))
    """
    shape = getattr(input_size, "shape", None)
    if shape:  # Of an array or a tensor; that of a number is ().
        kind = type(input_size).__name__
        raise TypeError(f"input_size must be a tuple, got a {kind}; pass {tuple(shape)}.")
    if not isinstance(input_size, tuple | list):
        raise TypeError(
            "input_size must be a tuple such as (1, 3, 224, 224), or one for each input, got "
            f"{input_size!r} of type {type(input_size).__name__}."
        )
    entries = cast("Sequence[object]", input_size)
    if not entries:
        raise ValueError("input_size must name the batch and the channels first, got ().")
    if all(isinstance(each, tuple | list) for each in entries):
        return tuple(check_input_size(each)[0] for each in entries)
    return (tuple([as_int("input_size", size) for size in entries]),)


def shown(sizes: InputSizes) -> Any:
    """Return the sizes as a user passes them.

    Example:
        >>> shown(((1, 8),)), shown(((1, 8), (1, 4)))
        ((1, 8), [(1, 8), (1, 4)])
    """
    return sizes[0] if len(sizes) == 1 else list(sizes)


def dtype_and_device(model: nn.Module) -> tuple[torch.dtype, torch.device]:
    """Return dtype and device of the first floating-point or complex parameter.

    Example:
        >>> dtype_and_device(nn.Linear(2, 2))
        (torch.float32, device(type='cpu'))
    """
    parameters = (p for p in model.parameters() if p.is_floating_point() or p.is_complex())
    found = next(parameters, None)
    if found is None:
        return torch.get_default_dtype(), torch.device("cpu")
    return found.dtype, found.device


def run(model: nn.Module, inputs: Sequence[Tensor], *, writes: bool = False) -> list[Tensor]:
    """Return the tensors that a copy of a model returns without gradients, under a fixed seed.

    Args:
        model: Of which a copy runs.
        inputs: Of it.
        writes: Whether it writes into its own Parameters, so that these are copied too.

    Example:
        >>> [each.shape for each in run(nn.ReLU(), [torch.ones(2)])]
        [torch.Size([2])]
    """
    devices = [each.device for each in inputs if each.device.type == "cuda"]
    shared = [] if writes else [*model.parameters()]
    with quiet(), fork_rng(devices=devices[:1]), torch.no_grad():
        return attempt(model, partial(_run, inputs), shared, "model")


def _run(inputs: Sequence[Tensor], twin: nn.Module) -> list[Tensor]:
    torch.manual_seed(0)
    return [*leaves(twin(*inputs))]


def shapes(model: nn.Module, sizes: InputSizes, *, numbers: bool) -> list[tuple[int, ...]]:
    """Return the shapes of the tensors that a copy of a model returns.

    Args:
        model: Of which a copy runs.
        sizes: Of its inputs.
        numbers: Whether it runs on real tensors; otherwise on fake ones, without arithmetic, where
            PyTorch has them.

    Example:
        >>> shapes(nn.Conv2d(1, 8, 3), ((1, 1, 9, 9),), numbers=False)
        [(1, 8, 7, 7)]
    """
    dtype, device = dtype_and_device(model)

    def act(twin: nn.Module) -> list[tuple[int, ...]]:
        with ExitStack() as stack:
            if not numbers and device.type != "meta" and has_fake_tensors():
                stack.enter_context(without_numbers())
            inputs = [torch.zeros(size, dtype=dtype, device=device) for size in sizes]
            return [tuple(each.shape) for each in leaves(twin(*inputs))]

    with quiet(), fork_rng(devices=[]), torch.no_grad():
        return attempt(model, act, [*model.parameters()], "model")


def leaves(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in dicts, lists, tuples and dataclasses.

    Example:
        >>> [each.ndim for each in leaves({"a": torch.ones(2), "b": [torch.ones(2, 2), None]})]
        [1, 2]
    """
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for each in cast("dict[Any, Any]", value).values():
            yield from leaves(each)
    elif isinstance(value, tuple | list):
        for each in cast("Sequence[Any]", value):
            yield from leaves(each)
    elif hasattr(value, "__dataclass_fields__"):
        yield from leaves(vars(value))


@contextmanager
def quiet() -> Generator[None]:
    """Keep what libraries tell their developers from the user, and Python's random states."""
    level, numbers = logging.root.manager.disable, sys.modules.get("numpy.random")
    states = random.getstate(), numbers and numbers.get_state()
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(action="ignore"), redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(level)
        random.setstate(states[0])
        if numbers:
            numbers.set_state(states[1])


def place(error: Exception, modules: Mapping[str, nn.Module]) -> str:
    """Return the innermost module that an error came through, and the line outside of libraries.

    Args:
        error: What was raised.
        modules: Those of the model that ran, by path.
    """
    names = {id(module): name for name, module in modules.items()}
    layer = line = ""
    for frame, number in traceback.walk_tb(error.__traceback__):
        module = _owner(frame, frame.f_code)
        if names.get(id(module)):
            layer = f" in layer {names[id(module)]!r} ({type(module).__name__})"
        if not frame.f_code.co_filename.startswith(_LIBRARIES):
            line = f" at {frame.f_code.co_filename}:{number}"
    return layer + line


def _owner(frame: FrameType, code: CodeType) -> object:
    return frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None
