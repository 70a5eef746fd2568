"""What a way to compute a transposed convolution consists of, and what decides on one."""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from autoup.layers.plain import Geometry, Gradients, transposed

# Values of the output, from where on another way wins, by what benchmarks/growth.py measures.
APART = 2**15  # below, adding the bias apart costs what is won
VALUES = 2**19  # below, so does a backward pass called from Python


class Way(NamedTuple):
    """How it is computed.

    Attributes:
        forward: By what.
        gradients: By what those of input and weight are, in a Function which leaves the bias out
            of it; None where PyTorch's derivative of ``forward`` is as fast.
        cast: To what the tensors are cast first.
    """

    forward: Callable[[Tensor, Tensor, Tensor | None, Geometry], Tensor] = transposed
    gradients: Callable[..., Gradients] | None = None
    cast: torch.dtype | None = None


PLAIN = Way()


class Call(NamedTuple):
    """What decides besides the geometry; sizes are those of the output, over the batch."""

    pixels: int
    values: int
    plane: int  # Pixels of one input.
    first: bool  # Whether channels lie first.
    trained: bool


@cache
def has_wide_registers() -> bool:
    """Whether the processor has AVX-512, whose gradients oneDNN computes as fast as products.

    Others than x86 processors, where nothing was measured, count as having it.

    Example:
        >>> has_wide_registers() == (torch.backends.cpu.get_cpu_capability() != "AVX2")
        True
    """
    return torch.backends.cpu.get_cpu_capability() != "AVX2"
