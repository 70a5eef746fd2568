"""What has no public name in PyTorch and is used all the same; each with a way without it.

If a later version takes one away, all still works: more slowly, or with less detail.
"""

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

MISSING: Any = object()
_UNSAFE_VIEW: Any = getattr(torch.ops.aten, "_unsafe_view", None)
_COMPILING = "_is_compiling_flag"

if TYPE_CHECKING:
    DispatchMode = nullcontext[None]

    def _is_batched(tensor: Tensor) -> bool: ...

else:
    try:  # Sees operators where no Python calls them; without it scripted parts are unknown steps.
        from torch.utils._python_dispatch import TorchDispatchMode as DispatchMode
    except ImportError:
        DispatchMode = nullcontext
    try:  # By vmap, which warns of what it does slowly.
        from torch._C._functorch import is_batchedtensor as _is_batched
    except ImportError:

        def _is_batched(_):
            return True


def parameters_of(operator: Any) -> dict[str, Any]:
    """Return the names of an operator's parameters, each with its default or ``MISSING``.

    Empty for functions that are no operators, and where none can be told.

    Example:
        >>> parameters_of(torch.ops.aten.leaky_relu.default)["negative_slope"], parameters_of(len)
        (0.01, {})
    """
    found = getattr(getattr(operator, "_schema", None), "arguments", ())
    return {
        each.name: each.default_value if each.has_default_value() else MISSING for each in found
    }


def without_its_base(made: Tensor) -> Tensor:
    """Return the same numbers with the same strides, as what is no view of another tensor.

    Without a copy where the operator is there by which ``torch.reshape`` does it.

    Example:
        >>> without_its_base(torch.ones(2, 3).movedim(0, 1))._is_view()
        False
    """
    if _UNSAFE_VIEW is None:
        return made.clone()
    found: Tensor = _UNSAFE_VIEW.default(made, made.shape)
    if torch.compiler.is_compiling() or found.stride() == made.stride() or _is_batched(found):
        return found
    # Sizes of 1 have lost their strides, by which PyTorch tells that channels lie last.
    return found.as_strided_(made.shape, made.stride())


def has_fake_tensors() -> bool:
    """Whether there are tensors that have shapes and no numbers; else all runs on real ones.

    Example:
        >>> has_fake_tensors()
        True
    """
    return _fakes() is not None


def is_fake(tensor: Tensor) -> bool:
    """Whether a tensor has a shape and no numbers.

    Example:
        >>> is_fake(torch.ones(1))
        False
    """
    fakes = _fakes()
    return fakes is not None and isinstance(tensor, fakes.FakeTensor)


@contextmanager
def without_numbers() -> Generator[None]:
    """Make tensors that have shapes and no numbers.

    Libraries that ask hear that they are being exported, so that they keep none in their caches.

    Example:
        >>> with without_numbers():
        ...     is_fake(torch.ones(1))
        True
    """
    before = getattr(torch.compiler, _COMPILING, None)
    if before is not None:
        setattr(torch.compiler, _COMPILING, True)
    try:
        with _fakes().FakeTensorMode(allow_non_fake_inputs=True):
            yield
    finally:
        if before is not None:
            setattr(torch.compiler, _COMPILING, before)


def with_numbers() -> AbstractContextManager[Any]:
    """Make tensors that have numbers, inside of ``without_numbers`` as well.

    Example:
        >>> with without_numbers(), with_numbers():
        ...     is_fake(torch.ones(1))
        False
    """
    fakes = _fakes()
    return nullcontext() if fakes is None else fakes.unset_fake_temporarily()


def _fakes() -> Any:
    try:
        from torch._subclasses import fake_tensor  # Loads much that few need.
    except ImportError:
        return None
    return fake_tensor
