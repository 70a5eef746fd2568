"""Generate the decoder of a whole encoder: from its output back to exactly its input's shape."""

import warnings
from collections import Counter, OrderedDict
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from typing import Any

import torch
from torch import nn
from torch.func import functional_call  # pyright: ignore[reportUnknownVariableType]

from autoup.checks import INITS, as_int, check_choice, check_flags, require_smoothness
from autoup.decoding.builders import CONV, Layers, Settings, build_norm
from autoup.decoding.capture import Output, as_map, capture
from autoup.decoding.inverses import undo
from autoup.decoding.operators import Norm
from autoup.decoding.parts import Part, read_parts
from autoup.decoding.steps import Point, read_steps, value_of, where
from autoup.decoding.warning import warn_of_artifacts
from autoup.errors import ArtifactWarning, InfeasibleError
from autoup.inspecting.runs import check_input_size
from autoup.layers.conv_transpose import AutoConvTransposeNd
from autoup.progress import steps

_STAGES = ("block", "resolution")
_FOLLOWING = ("norm", "activation")
_LAST = 0.1  # Scale of the last layer behind normalisations at the start.
_SPATIAL = ("convolution", "transposed", "resize", "block")
_WEIGHTED = ("convolution", "transposed", "linear", "block")


def mirror_decoder(
    encoder: nn.Module,
    input_size: Sequence[int],
    *,
    output: Output = None,
    stages: str = "block",
    refine: int = 0,
    adjoint: bool = False,
    tied: bool = False,
    output_activation: nn.Module | None = None,
    smoothness: int | None = None,
    init: str = "damped",
) -> nn.Sequential:
    """Build the decoder that takes the output of ``encoder`` back to exactly ``input_size``.

    The encoder is captured without arithmetic, in evaluation mode, and left as it is. What all
    data passes through one layer at a time is mirrored layer by layer; what lies between two
    such places, a residual block or the like, becomes one stage.

    Args:
        encoder: Any module that takes one tensor and can be captured by ``torch.export``.
        input_size: Its input, batch and channels first, as ``(1, 3, 224, 224)``.
        output: Which of several outputs to decode: a position, a key, or a function of them.
        stages: ``"block"`` for a stage a block; ``"resolution"`` for one a change of resolution.
        refine: Convolutions of 3 taps behind each stage but the last.
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
        ArtifactWarning: Once, with a table of the layers that need output padding.

    Shape:
        - Input: the encoder's output, at any batch size.
        - Output: ``input_size``, with the batch to match.

    Example:
        >>> encoder = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1))
        >>> decoder = mirror_decoder(encoder, (1, 1, 28, 28))
        >>> decoder(encoder(torch.zeros(5, 1, 28, 28))).shape
        torch.Size([5, 1, 28, 28])
    """
    sizes = as_map(check_input_size(input_size))
    _check_options(stages, refine, adjoint, tied, output_activation)
    check_choice("init", init, INITS)
    order = int(not adjoint) if smoothness is None else require_smoothness(smoothness)
    with steps("mirror_decoder", 3) as step:
        step("capture")
        program = capture(encoder, sizes, output)
        step("build")
        parts = read_parts(read_steps(program), fold=not adjoint, merge=stages == "resolution")
        _check_parts(parts, sizes, tied)
        end = value_of(parts[-1].after.node)
        settings = Settings(
            adjoint,
            _sharer(program, encoder, tied),
            {"smoothness": order, "init": init},
            {"device": end.device, "dtype": end.dtype},
        )
        with warnings.catch_warnings(action="ignore", category=ArtifactWarning):
            calm = init != "torch" and not tied and any(part.norm for part in parts)
            decoder = _build(parts, settings, refine, small_start=calm)
        step("check")
        _check_result(decoder, end, sizes)
    if output_activation is not None:
        decoder.add_module("output_activation", output_activation)
    warn_of_artifacts(decoder, sizes)
    return decoder


def _check_options(
    stages: object, refine: object, adjoint: object, tied: object, output_activation: object
) -> None:
    check_choice("stages", stages, _STAGES)
    as_int("refine", refine, 0)
    check_flags(adjoint=adjoint, tied=tied)
    if tied and not adjoint:
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
    if tied and not any(part.kind == "convolution" for part in parts):
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


def _build(
    parts: Sequence[Part], settings: Settings, refine: int, *, small_start: bool
) -> nn.Sequential:
    """Undo the layers from the last to the first.

    The normalisation and activation that follow a layer of the encoder follow the mirror of
    the next one, so that channels fit. The mirror of the first layer with weights, the last of
    the decoder, stays bare.
    """
    layers, following = _sort(parts)
    weighted = [number for number, part in enumerate(layers) if part.kind in _WEIGHTED]
    first = weighted[0] if weighted else len(layers)
    children = _Children()
    for number in range(len(layers) - 1, -1, -1):
        part, is_last = layers[number], number <= first
        followers = [] if is_last else _followers(part, following[number - 1])
        if part.kind == "block":
            bias = not any(each.norm for each in followers)
        else:  # In the encoder, a normalisation may stand in for the bias of its first layer.
            bias = is_last and any(each.norm for each in following[number])
        with _naming(part, parts):
            made = undo(part, settings, bias=bias)
            if small_start and number == first:
                _start_small(made)
            behind = [(each.step.name, _build_follower(each, settings)) for each in followers]
        if part.kind == "block":
            children.put(part.step.name, made + [layer for _, layer in behind])
        else:
            children.put(part.step.name, made)
            for name, layer in behind:
                children.put(name, [layer])
        if not is_last and _is_stage(part):
            children.put(f"{part.step.name}.refine", _refine(part, parts, refine, settings))
    return nn.Sequential(children.modules)


def _start_small(layers: Layers) -> None:
    """Scale the weights that a stage without activations starts from, and with them its output."""
    for _, layer in layers:
        if isinstance(layer, AutoConvTransposeNd):
            with torch.no_grad():
                layer.weight.mul_(_LAST)
            return


def _sort(parts: Sequence[Part]) -> tuple[list[Part], list[list[Part]]]:
    """Return the layers, and for each the normalisations and activations that follow it."""
    layers: list[Part] = []
    following: list[list[Part]] = []
    for part in parts:
        if part.kind not in _FOLLOWING:
            layers.append(part)
            following.append([])
        elif layers:
            following[-1].append(part)
    return layers, following


def _followers(part: Part, following: Sequence[Part]) -> list[Part]:
    """Return what follows the mirror of a part; what is missing behind a block comes from it."""
    followers = list(following)
    here = replace(part.step, after=part.before)
    if part.kind == "block" and part.norm and not any(each.norm for each in following):
        followers.insert(0, Part("norm", here, norm=_fitted(part.norm, part.before)))
    if part.kind == "block" and part.activation and not any(each.activation for each in following):
        followers.append(Part("activation", here, activation=part.activation))
    return followers


def _fitted(norm: Norm, point: Point) -> Norm:
    """Return the kind of normalisation that fits a point of the encoder other than its own."""
    order = point.map_order
    first = len(point.shape) == 2 or (order is not None and order[1] == 1)
    return replace(norm, shape=()) if first else replace(norm, kind="layer", shape=point.shape[-1:])


def _build_follower(part: Part, settings: Settings) -> tuple[str, nn.Module]:
    if part.norm:
        return "norm", build_norm(part.norm, part.after.shape, settings)
    assert part.activation
    return "activation", part.activation()


def _is_stage(part: Part) -> bool:
    """Whether a part of a map of pictures is a block, or changes the resolution."""
    order = part.before.map_order
    if order is None or list(order) != sorted(order):
        return False
    changes = part.before.shape[2:] != part.after.shape[2:]
    return part.kind == "block" or (changes and part.kind in ("convolution", "resize"))


def _refine(part: Part, parts: Sequence[Part], count: int, settings: Settings) -> Layers:
    """Return ``count`` convolutions of 3 taps with the encoder's commonest normalisation."""
    norms = Counter(each.norm for each in parts if each.norm).most_common(1)
    activate = part.activation or next((p.activation for p in parts if p.activation), None)
    channels, dims = part.before.shape[1], len(part.before.shape) - 2
    layers: Layers = []
    for _ in range(count):
        conv = CONV[dims](channels, channels, 3, padding=1, bias=not norms, **settings.factory)
        layers.append(("convolution", conv))
        if norms:
            norm = build_norm(_fitted(norms[0][0], part.before), part.before.shape, settings)
            layers.append(("norm", norm))
        layers += [("activation", activate())] if activate else []
    return layers


class _Children:
    """Modules by name, in order; several under one name become a ``nn.Sequential``."""

    def __init__(self) -> None:
        self.modules: OrderedDict[str, nn.Module] = OrderedDict()

    def put(self, path: str, layers: Layers) -> None:
        if len(layers) == 1:
            self.modules[self._free(path)] = layers[0][1]
        elif layers:
            inner = _Children()
            for word, layer in layers:
                inner.put(word, [(word, layer)])
            self.modules[self._free(path)] = nn.Sequential(inner.modules)

    def _free(self, path: str) -> str:
        """Return a name that is neither taken nor an attribute of ``nn.Sequential``."""
        name = path.replace(".", "_")
        name = f"layer_{name}" if name[0].isdigit() else name  # append() counts on from a number
        name += "_" if hasattr(nn.Sequential(), name) else ""
        numbered = (f"{name}_{number}" for number in count(2))
        return name if name not in self.modules else next(
            each for each in numbered if each not in self.modules
        )  # fmt: skip


@contextmanager
def _naming(part: Part, parts: Sequence[Part]) -> Generator[None]:
    """Tell in an error which layer of the encoder it is about."""
    try:
        yield
    except InfeasibleError as error:
        raise InfeasibleError(f"layer {part.step.name!r}: {error}") from None
    except ValueError as error:
        lost = next((each for each in parts if each.after.is_lost), None)
        if lost is None:
            raise ValueError(f"layer {part.step.name!r}: {error}") from None
        raise ValueError(
            f"encoder has no grid of pixels behind layer {lost.step.name!r}"
            f"{where(lost.step.nodes[-1])}: its output {lost.after.shape} mixes the "
            f"{lost.before.shape} before it with something else, such as a class token. "
            f"A decoder needs the grid: pass the part of the encoder before that layer, or an "
            f"encoder without the extra tokens. ({error})"
        ) from None


def _check_result(decoder: nn.Module, encoded: torch.Tensor, input_size: tuple[int, ...]) -> None:
    """Refuse a decoder that makes another shape; found out without arithmetic.

    A doubled batch shows that the decoder is not bound to the one it was made with.
    """
    tensors = {
        name: torch.empty_like(each, device="meta")
        for name, each in [*decoder.named_parameters(), *decoder.named_buffers()]
    }
    shape = (2 * encoded.shape[0], *encoded.shape[1:])
    with torch.no_grad():
        example = torch.empty(shape, device="meta", dtype=encoded.dtype)
        made: torch.Tensor = functional_call(decoder, tensors, (example,))
    if tuple(made.shape) != (2 * input_size[0], *input_size[1:]):
        raise ValueError(
            f"encoder cannot be mirrored: from its output of {shape} a decoder would make "
            f"{tuple(made.shape)}. Layers that mix the batch with other dimensions do that: "
            "pass the part of the encoder without them."
        )
