"""A transposed convolution whose kernel is a projection of its weight, for 1d, 2d and 3d."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from torch import Tensor, nn

from autoup.layers.dispatch import conv_transpose
from autoup.layers.plain import Geometry
from autoup.layers.smoothness import make_projectors, matches, project
from autoup.solving.sizes import extra_size

if TYPE_CHECKING:
    _Plain = nn.ConvTranspose2d
else:
    _Plain = object


class BaseConvTransposeNd(_Plain):
    """The plain layer at smoothness 0; above, one that holds the guarantee at every step.

    Mixed in ahead of the PyTorch layer. Parameters and ``state_dict`` are the plain layer's;
    the projectors are constants, made anew from integers wherever the parameters move.
    """

    _plain: ClassVar[type[Any]]

    if TYPE_CHECKING:
        smoothness: int
        _projectors: tuple[Tensor, ...] | None

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Return the transposed convolution of ``input``, as the plain layer takes it.

        With ``smoothness`` the kernel is the projection of ``weight``, in its precision.
        """
        extra = self.output_padding
        if output_size is not None:
            extra = self._extra(input, output_size)
        padding: Any = self.padding
        geometry = Geometry(self.stride, padding, extra, self.groups, self.dilation)
        return conv_transpose(input, self._kernel(), self.bias, geometry)

    def to_plain(self) -> nn.Module:
        """Return PyTorch's own layer with a copy of the parameters: the same function.

        For tools that look up the exact type: quantisation, fusion, converters. Smoothness is
        baked in: the weight is the projected kernel, and nothing projects it any more.

        Example:
            >>> import autoup
            >>> type(autoup.AutoConvTranspose2d(8, 4, 7, 14).to_plain()).__name__
            'ConvTranspose2d'
        """
        bias = None if self.bias is None else _copy(self.bias, self.bias)
        return self._plain_with(_copy(self._kernel(), self.weight), bias)

    def _plain_with(self, weight: Any, bias: Any) -> nn.Module:
        plain = self._plain(
            self.in_channels,
            self.out_channels,
            kernel_size=self.kernel_size,
            stride=self.stride,
            padding=self.padding,
            output_padding=self.output_padding,
            groups=self.groups,
            bias=self.bias is not None,
            dilation=self.dilation,
            device="meta",
        )
        plain.weight, plain.bias = weight, bias
        return plain.train(self.training)

    def __prepare_scriptable__(self) -> nn.Module:
        """Hand torch.jit.script the plain layer; without smoothness it shares the parameters."""
        return self.to_plain() if self.smoothness else self._plain_with(self.weight, self.bias)

    def _kernel(self) -> Tensor:
        weight, projectors = self.weight, self._projectors  # Read once: it may be computed.
        if projectors is None:
            return weight
        if not matches(projectors, weight):  # Parameters were exchanged one by one.
            projectors = make_projectors(self.kernel_size, self.stride, self.smoothness, weight)
        return project(weight, self.kernel_size, projectors)

    def _prepare(self) -> None:
        """Make the projectors for the parameters as they are."""
        made = None
        if self.smoothness and max(self.stride) > 1:  # Else there is one phase, and no grid.
            made = make_projectors(self.kernel_size, self.stride, self.smoothness, self.weight)
        self.__dict__["_projectors"] = made

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        """Follow the parameters to another device or dtype, exactly: neither is a cast back."""
        super()._apply(fn, recurse)  # pyright: ignore[reportUnknownMemberType]
        self._prepare()
        return self

    def _extra(self, input: Tensor, output_size: Sequence[int]) -> tuple[int, ...]:
        """Return the output padding that makes ``output_size``, spatial or of the whole output."""
        dims = len(self.kernel_size)
        if len(output_size) not in (dims, input.ndim):
            raise ValueError(
                f"output_size must have {dims} entries, or {input.ndim} with batch and channels, "
                f"got {tuple(output_size)}."
            )
        axes = zip(
            input.shape[-dims:],
            output_size[-dims:],
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            strict=True,
        )
        return tuple(extra_size(*axis) for axis in axes)


def _copy(values: Tensor, parameter: Tensor) -> nn.Parameter:
    return nn.Parameter(values.detach().clone(), requires_grad=parameter.requires_grad)
