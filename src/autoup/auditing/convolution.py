"""The convolution beside an upsampling step: before a shuffle, behind a resize."""

from math import prod
from typing import Any

from torch import Tensor

from autoup.auditing.counts import convolution_border, count_products
from autoup.inspecting.calls import per_dim
from autoup.inspecting.modules import kernel_in_use
from autoup.inspecting.sites import Site

_ARGUMENTS = ("bias", "groups", "stride", "padding", "dilation")


def read_convolution(site: Site) -> "Convolution | None":
    """Return the convolution beside a step; None where none was found, or its weight is packed."""
    known = site.conv_calls and "weight" in site.conv_calls[0].arguments
    return Convolution(site) if site.conv is not None or known else None


class Convolution:
    """Its parameters, read from the module or from the call; a linear layer is one of one tap."""

    def __init__(self, site: Site) -> None:
        conv: Any = site.conv
        self._calls = site.conv_calls
        given: dict[str, Any] = self._calls[0].arguments if self._calls else {}
        if "weight" not in given:
            given = {name: getattr(conv, name) for name in _ARGUMENTS}
            given["weight"] = kernel_in_use(conv)
        padding_mode = getattr(conv, "padding_mode", "zeros")
        self.weight: Tensor = given["weight"]
        self.bias: Tensor | None = given.get("bias")
        self.groups: int = given.get("groups", 1)
        stride, padding, dilation = (
            given.get(name, default)
            for name, default in (("stride", 1), ("padding", 0), ("dilation", 1))
        )
        zeros = padding_mode == "zeros"
        self._linear = self.weight.ndim == 2
        if self._linear:
            self.weight = self.weight.reshape(*self.weight.shape, *[1] * len(site.split))
        weight = self.weight
        self.dims = weight.ndim - 2
        self.kernel_size: tuple[int, ...] = tuple(weight.shape[2:])
        self.out_channels: int = weight.shape[0]
        self.in_channels: int = weight.shape[1] * self.groups
        self.dilation = per_dim(dilation, self.dims)
        self.padding = (
            None if isinstance(padding, str) or not zeros else per_dim(padding, self.dims)
        )
        self.plain = set(per_dim(stride, self.dims)) == {1}

    def border(self) -> tuple[int, ...]:
        """Return the output pixels along each axis that see zeros of its padding."""
        if self.padding is None or not self.plain:
            return (0,) * self.dims
        taps = [*zip(self.kernel_size, self.padding, self.dilation, strict=True)]
        sizes = [2 * p + 2 * d * (k - 1) + 4 for k, p, d in taps]
        if self._calls:
            sizes = self._calls[0].shape[-self.dims :]
        return tuple(
            convolution_border(i, k, p, d) for i, (k, p, d) in zip(sizes, taps, strict=True)
        )

    def products(self) -> int:
        """Return its multiply-adds in one forward pass."""
        channels = self.in_channels, self.out_channels
        if self._linear:
            return sum(prod(each.shape) * self.out_channels for each in self._calls)
        return sum(
            count_products(
                prod(each.made[: -self.dims - 1]),
                channels,
                self.groups,
                each.made[-self.dims :],
                self.kernel_size,
            )
            for each in self._calls
        )
