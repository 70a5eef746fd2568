"""Transposed convolutions that solve for their parameters when they are built.

One implementation serves 1d, 2d and 3d; the three classes name the PyTorch layer each one is.
"""

from collections.abc import Sequence
from math import gcd, prod, sqrt
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import torch
from torch import nn

from autoup.checks import INITS, as_int, check_choice, check_flags
from autoup.errors import warn
from autoup.init import lecun_uniform_, phase_equal_
from autoup.layers.base import BaseConvTransposeNd
from autoup.layers.mirroring import Conv, Mirror, check_agreement, inherit, read_mirror, tied_weight
from autoup.layers.resizing import resizing_call
from autoup.layers.slips import explain_constructor, explain_mirror
from autoup.solving.plan import Plan, plan_sizes
from autoup.solving.sizes import free_taps
from autoup.solving.solution import Solution

_DAMPED = 0.4  # Of the grid that stays at the start; chosen by examples/evidence.
_PLANNED = "_planned"  # Where `mirror` leaves for the constructor what it has read.


class AutoConvTransposeNd(BaseConvTransposeNd):
    """What the three layers share; mixed in ahead of the PyTorch layer."""

    _dims: ClassVar[int]

    if TYPE_CHECKING:  # annotations that torch.jit.script would try to compile
        init: str
        in_size: tuple[int, ...]
        out_size: tuple[int, ...]
        solutions: tuple[Solution, ...]
        round_trip_shift: tuple[float, ...] | None

    @explain_constructor
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        in_size: int | Sequence[int],
        out_size: int | Sequence[int],
        *,
        encoder: Conv | None = None,
        kernel_size: int | Sequence[int] | None = None,
        stride: int | Sequence[int] | None = None,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        smoothness: int = 0,
        init: str = "damped",
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        _check_options(bias, init, dtype)
        mirror: Mirror | None = self.__dict__.pop(_PLANNED, None)
        rest: dict[str, Any] = {"groups": groups, "bias": bias, "device": device, "dtype": dtype}
        if mirror is None and encoder is not None:
            mirror = read_mirror(encoder, out_size, self._dims, False, kernel_size, smoothness)
        if mirror is None:
            plan = plan_sizes(
                self._dims, in_size, out_size, kernel_size, stride, dilation, smoothness
            )
        else:
            check_agreement(mirror, in_channels, out_channels, in_size, stride, dilation, groups)
            plan, rest = mirror.plan, inherit(mirror.conv, bias, device, dtype)
        _check_channels(in_channels, out_channels, rest["groups"])
        if plan.artifacts:
            options = rest | {"smoothness": smoothness, "init": init}
            _warn(type(self), plan, in_channels, out_channels, options)
        # Not by setattr: Module's own is slow, and reset_parameters needs them before it is set up.
        self.__dict__.update(in_size=plan.in_size, out_size=plan.out_size, solutions=plan.solutions)
        self.__dict__.update(init=init, smoothness=smoothness)
        self.__dict__.update(round_trip_shift=mirror and mirror.round_trip_shift)
        super().__init__(in_channels, out_channels, **plan.arguments, **rest)  # pyright: ignore[reportUnknownMemberType]
        self._prepare()

    @classmethod
    @explain_mirror
    def mirror(
        cls,
        encoder: Conv,
        out_size: int | Sequence[int],
        *,
        adjoint: bool = False,
        tied: bool = False,
        kernel_size: int | Sequence[int] | None = None,
        bias: bool = True,
        smoothness: int = 0,
        init: str = "damped",
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
    ) -> Self:
        """Build the layer that takes the output of ``encoder`` back to ``out_size``.

        Channels, ``in_size``, stride, groups, bias, dtype and device come from the encoder.
        By default the mirror is clean: the solver chooses kernel and padding for that
        stride, and an axis of stride 1 keeps kernel, dilation and padding.

        Args:
            encoder: A convolution of as many dimensions.
            out_size: Spatial size to restore, the encoder's input, in pixels.
            adjoint: Keep the encoder's kernel, stride, padding and dilation, so that with the
                same weight and without biases ``(conv(x) * y).sum() == (x * mirror(y)).sum()``.
                It may overlap unevenly and need output padding. Where the encoder's
                ``padding_mode`` is not ``"zeros"``, this is the adjoint of the convolution
                with zeros in the padding: the two differ at the border.
            tied: Share the encoder's weight Parameter; needs ``adjoint=True``.
            kernel_size: Pins the kernel of a clean mirror, in taps.
            bias: Whether to have a bias where the encoder has one.
            smoothness: As in the constructor. An axis of stride 1 keeps the encoder's kernel. A
                tied mirror uses the projection of the shared weight, which is then no longer
                the exact adjoint.
            init: As in the constructor.
            device: Device, where it is not to be the encoder's.
            dtype: Data type, where it is not to be the encoder's.

        Returns:
            The layer; its ``round_trip_shift`` says, per axis and in pixels, how far it puts
            a pixel from where the encoder took it.

        Raises:
            InfeasibleError: The encoder's adjoint is no transposed convolution, or the
                pinned kernel cannot reach ``out_size``.
            TypeError: ``encoder`` is not a convolution of as many dimensions.
            ValueError: ``encoder`` is lazy, has no output at ``out_size``, or cannot be tied.

        Example:
            >>> conv = nn.Conv2d(1, 32, 3, stride=2, padding=1)
            >>> AutoConvTranspose2d.mirror(conv, 28)
            AutoConvTranspose2d(32, 1, in_size=(14, 14), out_size=(28, 28), \
kernel_size=(2, 2), stride=(2, 2), round_trip_shift=(0.5, 0.5))
        """
        check_flags(adjoint=adjoint, tied=tied)
        mirror = read_mirror(encoder, out_size, cls._dims, adjoint, kernel_size, smoothness, tied)
        shared = tied_weight(mirror.conv, adjoint, device, dtype) if tied else None
        options: dict[str, Any] = {"init": init, "device": device, "dtype": dtype}
        layer = build(cls, mirror, bias=bias, smoothness=smoothness, **options)
        if shared is not None:
            layer.weight = shared
        return layer

    def reset_parameters(self) -> None:
        """Draw weight and bias anew, as ``init`` says."""
        if self.init == "torch":
            super().reset_parameters()
            return
        strides = [s // gcd(s, d) for s, d in zip(self.stride, self.dilation, strict=True)]
        if self.init == "phase_equal":
            phase_equal_(self.weight, strides, self.groups)
        elif self.smoothness:  # The projection takes the grid off, and variance that is put back.
            free = free_taps(self.kernel_size, strides, self.smoothness)
            lecun_uniform_(self.weight, strides, self.groups)
            with torch.no_grad():
                self.weight.mul_(sqrt(prod(self.kernel_size) / free))
        else:
            grid = 1.0 if self.init == "lecun_uniform" else _DAMPED
            lecun_uniform_(self.weight, strides, self.groups, grid=grid)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def extra_repr(self) -> str:
        """Return the call's facts and what was solved, in PyTorch's style."""
        in_channels, out_channels, solved = super().extra_repr().split(", ", 2)
        text = f"{in_channels}, {out_channels}, in_size={self.in_size}, out_size={self.out_size}"
        text += f", {solved}"
        if self.smoothness:
            text += f", smoothness={self.smoothness}"
        if self.init != "damped":
            text += f", init={self.init!r}"
        if self.round_trip_shift is not None:
            text += f", round_trip_shift={self.round_trip_shift}"
        return text


class AutoConvTranspose1d(AutoConvTransposeNd, nn.ConvTranspose1d):
    """A ``nn.ConvTranspose1d`` that takes ``in_size`` to exactly ``out_size``.

    Arguments, errors and warnings are those of ``AutoConvTranspose2d``, with one spatial axis.

    Shape:
        - Input: ``(N, in_channels, L_in)`` or ``(in_channels, L_in)``
        - Output: ``(N, out_channels, L_out)`` or ``(out_channels, L_out)`` with ``L_out`` as
          in ``nn.ConvTranspose1d``; ``out_size`` where ``L_in`` is ``in_size``.

    Example:
        >>> up = AutoConvTranspose1d(16, 8, 100, 500)
        >>> up(torch.zeros(2, 16, 100)).shape
        torch.Size([2, 8, 500])
    """

    _dims = 1
    _plain = nn.ConvTranspose1d


class AutoConvTranspose2d(AutoConvTransposeNd, nn.ConvTranspose2d):
    """A ``nn.ConvTranspose2d`` that takes ``in_size`` to exactly ``out_size``.

    Kernel, stride, padding and output padding are solved for when the layer is built: no
    uncovered pixel and no uneven overlap, output padding only where nothing else reaches the
    size, and kernel = stride where that is possible. After that it is the plain layer: the
    same parameters ``weight`` and ``bias``, the same ``state_dict``, fully convolutional.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        in_size: Spatial input size, in pixels; an int or one per axis.
        out_size: Spatial output size, in pixels; an int or one per axis.
        encoder: A convolution to mirror (see ``mirror``); its channels and sizes must agree,
            and stride, groups, bias, device and dtype come from it.
        kernel_size: Pins the kernel, in taps; an int or one per axis.
        stride: Pins the stride, in pixels; an int or one per axis.
        dilation: Distance between taps, in pixels; an int or one per axis.
        groups: Blocked connections from input to output channels.
        bias: Whether to add a learnable bias; with an encoder, only where that has one.
        smoothness: Order of the guarantee against grids, which holds at every training step.
            1: no grid on constant inputs; 2: none on linear ramps in any direction either;
            0: no promise (Strang & Fix 1971, order of the zeros at the grid frequencies). The
            kernel in use is the nearest to ``weight`` that keeps it (see ``to_plain``): of
            ``k4 s2`` in two dimensions 13 or 7 of 16 taps stay free. Where the kernel is not
            pinned, at least two taps per axis do.
        init: ``"lecun_uniform"`` keeps the variance of the input (see
            ``autoup.init.lecun_uniform_``); ``"damped"`` is the same with less of a grid
            (``grid=0.4``), and alike where ``smoothness`` leaves none; ``"phase_equal"`` starts
            without one (see ``autoup.init.phase_equal_``). All start the bias at zero.
            ``"torch"`` draws the numbers that ``nn.ConvTranspose2d`` draws.
        device: Device of the parameters.
        dtype: Data type of the parameters.

    Attributes:
        in_size (tuple[int, ...]): Input size, in pixels.
        out_size (tuple[int, ...]): Output size, in pixels.
        solutions (tuple[Solution, ...]): What was solved, one per axis.
        round_trip_shift (tuple[float, ...] | None): For a mirror, per axis and in pixels, how
            far it puts a pixel from where the encoder took it; None otherwise.

    Raises:
        InfeasibleError: A pinned kernel cannot reach ``out_size``, or has too few taps for the
            smoothness.
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range, or disagrees with the encoder.

    Warns:
        ArtifactWarning: An axis has output padding, uneven overlap or uncovered pixels, or a wrong
            scale: the ends of the picture lie more than two input pixels from their place, which a
            mirror is not warned of. It names what is clean, after trying it.

    Shape:
        - Input: ``(N, in_channels, H_in, W_in)`` or ``(in_channels, H_in, W_in)``
        - Output: ``(N, out_channels, H_out, W_out)`` or ``(out_channels, H_out, W_out)`` with
          ``H_out = (H_in - 1) * stride - 2 * padding + dilation * (kernel_size - 1) + 1 +
          output_padding`` (Dumoulin & Visin 2016, Relationship 14), likewise ``W_out``;
          ``out_size`` where the input has ``in_size``.

    Example:
        >>> up = AutoConvTranspose2d(32, 1, 14, 28)
        >>> up
        AutoConvTranspose2d(32, 1, in_size=(14, 14), out_size=(28, 28), kernel_size=(2, 2), \
stride=(2, 2))
        >>> up(torch.zeros(4, 32, 14, 14)).shape
        torch.Size([4, 1, 28, 28])
    """

    _dims = 2
    _plain = nn.ConvTranspose2d


class AutoConvTranspose3d(AutoConvTransposeNd, nn.ConvTranspose3d):
    """A ``nn.ConvTranspose3d`` that takes ``in_size`` to exactly ``out_size``.

    Arguments, errors and warnings are those of ``AutoConvTranspose2d``, with three spatial axes.

    Shape:
        - Input: ``(N, in_channels, D_in, H_in, W_in)`` or ``(in_channels, D_in, H_in, W_in)``
        - Output: ``(N, out_channels, D_out, H_out, W_out)`` or
          ``(out_channels, D_out, H_out, W_out)`` with sizes as in ``nn.ConvTranspose3d``;
          ``out_size`` where the input has ``in_size``.

    Example:
        >>> up = AutoConvTranspose3d(4, 2, (4, 7, 7), (8, 14, 14))
        >>> up(torch.zeros(1, 4, 4, 7, 7)).shape
        torch.Size([1, 2, 8, 14, 14])
    """

    _dims = 3
    _plain = nn.ConvTranspose3d


AUTO: dict[int, type[AutoConvTransposeNd]] = {
    1: AutoConvTranspose1d,
    2: AutoConvTranspose2d,
    3: AutoConvTranspose3d,
}


Layer = TypeVar("Layer", bound=AutoConvTransposeNd)


def build(kind: type[Layer], mirror: Mirror, **options: Any) -> Layer:
    """Build the layer that a mirror plans, whatever its plan.

    Args:
        kind: The class of the layer.
        mirror: The plan, and the convolution that channels, groups and bias come from.
        options: ``bias``, ``smoothness``, ``init``, ``device`` and ``dtype``.

    Example:
        >>> build(AutoConvTranspose1d, read_mirror(nn.Conv1d(1, 8, 3, 2, 1), 28, 1), init="torch")
        AutoConvTranspose1d(8, 1, in_size=(14,), out_size=(28,), kernel_size=(2,), stride=(2,), \
init='torch', round_trip_shift=(0.5,))
    """
    conv, plan, layer = mirror.conv, mirror.plan, kind.__new__(kind)
    layer.__dict__[_PLANNED] = mirror  # What the constructor has no arguments for.
    sizes = plan.in_size, plan.out_size
    layer.__init__(conv.out_channels, conv.in_channels, *sizes, encoder=conv, **options)
    return layer


def _warn(kind: type[Any], plan: Plan, *arguments: Any) -> None:
    call = resizing_call(plan, *arguments)
    instead = f" Or resize for the rest: {call}." if call else ""
    warn(f"{kind.__name__}: {plan.artifacts}{instead}")


def _check_options(bias: object, init: object, dtype: object) -> None:
    if not isinstance(bias, bool):
        check_flags(bias=bias)
    check_choice("init", init, INITS)
    if dtype is not None and not isinstance(dtype, torch.dtype):
        raise TypeError(f"dtype must be a torch.dtype, got {dtype!r}.")
    if dtype is not None and not (dtype.is_floating_point or dtype.is_complex):
        raise TypeError(f"dtype must be a floating-point or complex type, got {dtype}.")


def _check_channels(in_channels: int, out_channels: int, groups: int) -> None:
    groups = as_int("groups", groups)
    if as_int("in_channels", in_channels) % groups:
        raise ValueError(f"groups ({groups}) must divide in_channels ({in_channels}).")
    if as_int("out_channels", out_channels) % groups:
        raise ValueError(f"groups ({groups}) must divide out_channels ({out_channels}).")
