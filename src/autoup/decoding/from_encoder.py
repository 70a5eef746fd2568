"""Generate the decoder of a whole encoder: from its output back to exactly its input's shape."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from autoup.capturing.capture import Output, as_map, capture
from autoup.capturing.edges import value_of
from autoup.capturing.steps import read_steps
from autoup.checks import INITS, as_int, check_choice, check_flags, require_smoothness
from autoup.decoding.assembly import assemble
from autoup.decoding.builders import Settings
from autoup.decoding.classifying import Reading, Tell
from autoup.decoding.losses import Losses
from autoup.decoding.padding import read_borders
from autoup.decoding.parts import Part, flatten
from autoup.decoding.shapes import shape_made
from autoup.decoding.warning import warn_of_artifacts
from autoup.errors import ArtifactWarning
from autoup.inspecting.runs import check_input_size
from autoup.progress import steps

_STAGES = ("block", "resolution")
_SPATIAL = ("convolution", "transposed", "resize", "block", "residual")


def mirror_decoder(
    encoder: nn.Module,
    input_size: Sequence[int],
    *,
    output: Output = None,
    stages: str = "block",
    refine: int = 0,
    residual: bool = True,
    adjoint: bool = False,
    tied: bool = False,
    output_activation: nn.Module | None = None,
    smoothness: int | None = None,
    init: str = "damped",
) -> nn.Sequential:
    """Build the decoder that takes the output of ``encoder`` back to exactly ``input_size``.

    The encoder is captured without arithmetic, in evaluation mode, and left as it is. What all
    data passes through one layer at a time is mirrored layer by layer; what lies between two
    such places is a block. A residual one is undone way by way, another becomes one stage.

    Args:
        encoder: Any module that takes one tensor and can be captured by ``torch.export``.
        input_size: Its input, batch and channels first, as ``(1, 3, 224, 224)``.
        output: Which of several outputs to decode: a position, a key, or a function of them.
        stages: ``"block"`` for a stage a block; ``"resolution"`` for one a change of resolution.
        refine: Convolutions of 3 taps behind each stage but the last.
        residual: Whether a block that adds up a branch and a shortcut becomes such a stage: the
            branch undone layer by layer, from a start at zero, beside the input or one layer of
            one tap with pixels repeated. Otherwise, and with ``stages="resolution"``, it becomes
            one layer, as any block.
        adjoint: Whether convolutions get their adjoint instead of a clean mirror.
        tied: Whether these share the encoder's weights; needs ``adjoint=True``.
        output_activation: Closes the decoder.
        smoothness: As in ``AutoConvTranspose2d.mirror``, for every layer that enlarges a map of
            more than one pixel; when left out 1, and 0 with ``adjoint``, which keeps the
            encoder's kernels.
        init: As in ``AutoConvTranspose2d``. What undoes pooling starts by repeating pixels. Behind
            normalisations the last layer starts at a tenth, unless it is ``"torch"`` or tied: noise
            of unit variance would come out of it.

    Returns:
        The decoder; its children are named after what they mirror.

    Raises:
        InfeasibleError: A convolution has no adjoint.
        TypeError: An argument has the wrong type, or the encoder returns no tensor.
        ValueError: The encoder refuses the size, cannot be captured, has no spatial layer, or
            loses the grid of pixels; the message names the layer.

    Warns:
        ArtifactWarning: Once, with a table of the layers that need output padding or overlap
            unevenly, and the nearest size or option that is clean, where building the decoder
            anew with it found one.
        MirrorWarning: Once, with what acts between layers and cannot be kept: what depends on
            position, on neighbours or on chance.

    Shape:
        - Input: the encoder's output, at any batch size.
        - Output: ``input_size``, with the batch to match.

    Example:
        >>> encoder = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1))
        >>> decoder = mirror_decoder(encoder, (1, 1, 28, 28))
        >>> decoder(encoder(torch.zeros(5, 1, 28, 28))).shape
        torch.Size([5, 1, 28, 28])
    """
    sizes = _read_size(input_size)
    _check_options(stages, refine, output_activation, residual=residual, adjoint=adjoint, tied=tied)
    check_choice("init", init, INITS)
    order = None if smoothness is None else require_smoothness(smoothness)
    make = partial(
        _make, stages=stages, refine=refine, residual=residual, smoothness=order, init=init
    )
    with steps("mirror_decoder", 3) as step:
        step("capture")
        program = capture(encoder, sizes, output)
        step("build")
        losses = Losses()
        share = _sharer(program, encoder, tied)
        decoder = make(program, encoder, sizes, adjoint, tied=tied, share=share, tell=losses.tell)
        if not tied and not any(each.requires_grad for each in encoder.parameters()):
            decoder.requires_grad_(True)  # What activations bring from a frozen encoder.
        if output_activation is not None:
            decoder.add_module("output_activation", output_activation)
        step("check")
        losses.warn()
        remake = _remaker(make, program, sizes, encoder, output)
        warn_of_artifacts(decoder, sizes, remake, adjoint=adjoint, tied=tied)
    return decoder


def _read_size(input_size: object) -> tuple[int, ...]:
    if isinstance(input_size, torch.Tensor):
        raise TypeError(
            "input_size must be a size, got a tensor: pass its shape, x.shape, here "
            f"{tuple(input_size.shape)}."
        )
    return as_map(check_input_size(input_size))


def _remaker(
    make: Callable[..., nn.Sequential],
    program: torch.export.ExportedProgram,
    sizes: tuple[int, ...],
    encoder: nn.Module,
    output: Output,
) -> Callable[[tuple[int, ...], bool], nn.Module | None]:
    """Return what makes the decoder of another size, with or without adjoints, without numbers."""

    def remake(other: tuple[int, ...], adjoint: bool) -> nn.Module | None:
        try:
            again = program if other == sizes else capture(encoder, other, output)
            return make(again, encoder, other, adjoint, device="meta")
        except (TypeError, ValueError):
            return None

    return remake


def _make(
    program: torch.export.ExportedProgram,
    encoder: nn.Module,
    sizes: tuple[int, ...],
    adjoint: bool,
    *,
    stages: str,
    refine: int,
    residual: bool,
    smoothness: int | None,
    init: str,
    tied: bool = False,
    share: Callable[[object], nn.Parameter | None] = lambda _: None,
    device: str | None = None,
    tell: Tell = lambda _step, _what: None,
) -> nn.Sequential:
    """Make the decoder of a captured encoder, on its device or another, and check its shape."""
    merge = stages == "resolution"
    reading = Reading(not adjoint, merge, residual and not merge, not adjoint, tell)
    whole = read_steps(program, encoder)
    parts = reading.parts(whole)
    _check_parts(parts, sizes, tied)
    end = value_of(parts[-1].after.node)
    order = int(not adjoint) if smoothness is None else smoothness
    settings = Settings(
        adjoint,
        share,
        {"smoothness": order, "init": init},
        {"device": device or end.device, "dtype": end.dtype},
        tied,
        read_borders(whole, [*flatten(parts)], causal=not adjoint),
    )
    calm = init != "torch" and not tied and any(part.norm for part in flatten(parts))
    with warnings.catch_warnings(action="ignore", category=ArtifactWarning):
        decoder = assemble(parts, settings, refine, small_start=calm)
    _check_result(decoder, end, sizes)
    return decoder


def _check_options(
    stages: object, refine: object, output_activation: object, **flags: object
) -> None:
    check_choice("stages", stages, _STAGES)
    as_int("refine", refine, 0)
    check_flags(**flags)
    if flags["tied"] and not flags["adjoint"]:
        raise ValueError(
            "tied=True needs adjoint=True: a clean mirror has a kernel of its own; "
            "pass adjoint=True, or leave tied out."
        )
    if output_activation is not None and not isinstance(output_activation, nn.Module):
        raise TypeError(
            f"output_activation must be an nn.Module such as nn.Sigmoid(), "
            f"got {output_activation!r}."
        )


def _check_parts(parts: Sequence[Part], input_size: tuple[int, ...], tied: bool) -> None:
    """Refuse an encoder that has no spatial layer, or no convolution whose weight to share."""
    spatial = [part for part in parts if part.kind in _SPATIAL and part.before.map_order]
    if not spatial:
        raise ValueError(
            "encoder has no spatial layer: mirror_decoder needs at least one convolution or "
            f"pooling that sees the axes {input_size[2:]} of the input."
        )
    if tied and not any(part.kind == "convolution" for part in flatten(parts)):
        raise ValueError(
            "tied=True shares the weights of convolutions that all data passes through, and this "
            "encoder has none outside of its blocks: leave tied out."
        )


def _sharer(program: torch.export.ExportedProgram, encoder: nn.Module, tied: bool) -> Any:
    """Return the function that finds the encoder's Parameter behind a node; None for others."""
    paths: Mapping[str, str] = program.graph_signature.inputs_to_parameters if tied else {}

    def share(node: Any) -> nn.Parameter | None:
        path = paths.get(node.name)
        return None if path is None else encoder.get_parameter(path.removeprefix("encoder."))

    return share


def _check_result(decoder: nn.Module, encoded: torch.Tensor, input_size: tuple[int, ...]) -> None:
    """Refuse a decoder that makes another shape; found out without arithmetic.

    A doubled batch shows that the decoder is not bound to the one it was made with.
    """
    shape = (2 * encoded.shape[0], *encoded.shape[1:])
    try:
        made = shape_made(decoder, shape, encoded.dtype)
    except ValueError as error:
        raise ValueError(
            f"encoder cannot be mirrored: its decoder would not run on {shape}: {error}."
        ) from None
    if made != (2 * input_size[0], *input_size[1:]):
        raise ValueError(
            f"encoder cannot be mirrored: from its output of {shape} a decoder would make "
            f"{made}. Layers that mix the batch with other dimensions do that: "
            "pass the part of the encoder without them."
        )
