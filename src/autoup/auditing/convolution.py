"""The convolution beside an upsampling step: before a shuffle, behind a resize."""

from math import prod
from typing import Any

from autoup.auditing.counts import convolution_border, count_products
from autoup.inspecting.calls import per_dim
from autoup.inspecting.modules import kernel_in_use
from autoup.inspecting.sites import Site


def read_convolution(site: Site) -> "Convolution | None":
    """Return the convolution beside a step; None where none was found."""
    return Convolution(site) if site.conv is not None or site.conv_calls else None


class Convolution:
    """Its parameters, read from the module or from the call."""

    def __init__(self, site: Site) -> None:
        conv: Any = site.conv
        self._calls = site.conv_calls
        if conv is not None:
            self.weight, self.bias, self.groups = kernel_in_use(conv), conv.bias, conv.groups
            stride, padding, dilation = conv.stride, conv.padding, conv.dilation
            zeros = conv.padding_mode == "zeros"
        else:
            given = self._calls[0].arguments
            self.weight, self.bias = given["weight"], given.get("bias")
            self.groups = given.get("groups", 1)
            stride, padding, dilation = (
                given.get(name, default)
                for name, default in (("stride", 1), ("padding", 0), ("dilation", 1))
            )
            zeros = True
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
