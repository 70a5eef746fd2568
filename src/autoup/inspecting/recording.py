"""Run a model once and write down which functions its data passes, without arithmetic.

The model that runs is a copy in evaluation mode which shares the parameters, and the tensors are
fake ones that have shapes but no numbers. Where a model looks at numbers, it runs on real ones.

Functions are seen twice. As the user's code calls them they carry what they mean: a padding, a
resize. What no such call stands before (a scripted function, an exported graph) is seen where
PyTorch dispatches its operators, and so is every enlarging operator inside of a function whose
name says nothing of it.
"""

# PyTorch leaves fake tensors and modes without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.random import fork_rng

from autoup.errors import first_line
from autoup.inspecting.calls import Call
from autoup.inspecting.copies import attempt
from autoup.inspecting.modules import modules_by_path
from autoup.inspecting.recorder import Recorder
from autoup.inspecting.runs import (
    InputSizes,
    dtype_and_device,
    place,
    quiet,
    shown,
)
from autoup.internals import DispatchMode, has_fake_tensors, without_numbers


@dataclass(frozen=True, slots=True)
class Recording:
    """What one forward pass did.

    Args:
        calls: In order.
        still: Names of functions that enlarged what stems from no input, as position embeddings.
        writes: Whether the model writes into its own Parameters.
        lost: Whether nothing that it returned was seen to stem from an input.
        unseen: How many tensors it returned of which it was not seen what they stem from.
    """

    calls: list[Call] = field(default_factory=list[Call])
    still: list[str] = field(default_factory=list[str])
    writes: bool = False
    lost: bool = False
    unseen: int = 0


def record(model: nn.Module, sizes: InputSizes) -> Recording:
    """Return what one forward pass does.

    Args:
        model: Of which copies run.
        sizes: Of its inputs.

    Raises:
        ValueError: The forward pass raises.

    Example:
        >>> [call.name for call in record(nn.Conv2d(1, 8, 3), ((1, 1, 9, 9),)).calls]
        ['conv']
    """
    if dtype_and_device(model)[1].type != "meta" and has_fake_tensors():
        try:
            shared = [*model.parameters()]
            return attempt(model, lambda twin: _record(twin, sizes, real=False), shared, "model")
        except Exception:  # It may look at numbers: what a real run raises is what counts.
            pass

    def act(twin: nn.Module) -> Recording:
        try:
            return _record(twin, sizes)
        except Exception as error:
            raise ValueError(_explain(error, twin, sizes)) from error

    return attempt(model, act, [], "model")


def _explain(error: Exception, twin: nn.Module, sizes: InputSizes) -> str:
    """Say what failed, in which layer and line, and what to pass instead."""
    inputs = ", ".join(f"torch.randn({size})" for size in sizes)
    return (
        f"model refuses an input of input_size={shown(sizes)}"
        f"{place(error, modules_by_path(twin))}: {type(error).__name__}: {first_line(error)}. "
        f"Pass a size at which the model runs, here model({inputs}); where it takes something "
        "else, wrap it in a module that makes that from a tensor."
    )


def _record(twin: nn.Module, sizes: InputSizes, *, real: bool = True) -> Recording:
    dtype, device = dtype_and_device(twin)
    recorder = Recorder(twin, shared=not real)
    with ExitStack() as stack:
        for context in (quiet(), fork_rng(devices=[]), torch.no_grad(), recorder.watch()):
            stack.enter_context(context)
        if not real:
            stack.enter_context(without_numbers())
        inputs = [torch.randn(size, dtype=dtype, device=device) for size in sizes]
        recorder.start(inputs)
        with _Operators(recorder), _Functions(recorder):
            returned = twin(*inputs)
    recorder.finish(returned)
    return Recording(
        recorder.calls, recorder.still, recorder.writes, recorder.lost, recorder.unseen
    )


class _Functions(TorchFunctionMode):
    """Sees the functions that code calls."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return self._recorder.follow(func, args, kwargs or {})


class _Operators(DispatchMode):
    """Sees the operators that PyTorch runs."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return self._recorder.follow(func, args, kwargs or {})
