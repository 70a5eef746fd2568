"""Put the dimensions of a tensor in another order, as a layer."""

import torch
from torch import nn


class Permute(nn.Module):
    """Put the dimensions of a tensor in another order.

    Example:
        >>> Permute(0, 3, 1, 2)(torch.zeros(1, 8, 9, 3)).shape
        torch.Size([1, 3, 8, 9])
    """

    def __init__(self, *order: int) -> None:
        super().__init__()
        self.order = order

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a view of ``x`` with its dimensions in that order."""
        return x.permute(self.order)

    def extra_repr(self) -> str:
        """Return the order."""
        return ", ".join(map(str, self.order))
