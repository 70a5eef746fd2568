"""A branch beside a shortcut, as a layer."""

import torch
from torch import nn


class Residual(nn.Module):
    """Add what a branch makes of its input to what a shortcut makes of it.

    Args:
        branch: The layers of the branch.
        shortcut: The layers beside it; the input itself where there are none.

    Shape:
        - Input: what both take.
        - Output: what both make, of one shape.

    Example:
        >>> stage = Residual(nn.Sequential(nn.ReLU(), nn.Conv2d(8, 8, 3, 1, 1)))
        >>> stage(torch.zeros(1, 8, 5, 5)).shape
        torch.Size([1, 8, 5, 5])
    """

    def __init__(self, branch: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.branch = branch
        self.shortcut = nn.Identity() if shortcut is None else shortcut

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return the sum."""
        return self.shortcut(input) + self.branch(input)
