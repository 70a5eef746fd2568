"""Build a U-Net on an encoder."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from autoup.capturing.capture import NoTensorError, as_map, capture
from autoup.capturing.edges import between, value_of
from autoup.capturing.steps import read_graph
from autoup.capturing.taps import Listener, entries
from autoup.checks import INITS, as_int, check_choice, check_flags, require_smoothness
from autoup.inspecting.runs import check_input_size
from autoup.progress import steps
from autoup.unets.assembling import Recipe, build_stages, plan_ways
from autoup.unets.layers import Block, Kinds, read_kinds
from autoup.unets.levels import find_levels
from autoup.unets.maps import FeatureMap, FeatureMaps
from autoup.unets.network import UNet
from autoup.unets.plan import plan_grids
from autoup.unets.selecting import check_skips, select
from autoup.unets.skips import Skip
from autoup.unets.stages import Stage


def unet(
    encoder: nn.Module,
    input_size: Sequence[int],
    out_channels: int,
    *,
    skips: int | Sequence[str] | None = None,
    widths: Sequence[int] | None = None,
    block: Block | None = None,
    image_skip: bool = False,
    deep_supervision: int = 0,
    output_activation: nn.Module | None = None,
    smoothness: int = 0,
    init: str | None = None,
) -> UNet:
    """Build a U-Net on any encoder: its maps, joined on the way back to the size of the input.

    The encoder is captured once, without arithmetic, to find a map of each resolution. The net
    runs the encoder as it is and hears these maps by hooks; sizes are taken from them at each
    call, so that it takes every size that the encoder takes.

    Args:
        encoder: Any module that takes one tensor and can be captured by ``torch.export``. It is
            used as it is, with its mode, its frozen parameters and its head, which runs too; where
            it returns maps of several resolutions, these are the skips.
        input_size: Its input, batch and channels first, as ``(1, 3, 224, 224)``.
        out_channels: Channels of the output, as one for each class.
        skips: How many of the skips to join, the deepest first; or the paths of the modules whose
            output to join. All that are found when left out; none of them is the deepest map.
        widths: Channels of the decoder's levels, the full size first; when left out 16 at full
            size, twice as many at each level below, and at most 256.
        block: ``block(in_channels, out_channels)`` returns the module behind each enlargement,
            which keeps the size; when left out twice a convolution of 3 taps, normalisation and
            activation, of the encoder's own kinds.
        image_skip: Whether the input itself is joined at full size.
        deep_supervision: How many of the coarser levels get a head of their own. In training the
            net then returns a list, the full size first.
        output_activation: Behind each head.
        smoothness: As in ``AutoConvTranspose2d``, for every layer that enlarges. Each channel has
            a kernel of its own there, with 0 as large as the stride.
        init: As in ``AutoConvTranspose2d``, likewise; when left out they start by repeating
            pixels, with smoothness as linear interpolation. The convolutions start as He et al.
            2015 have it and the heads as Glorot & Bengio 2010, or with ``"torch"`` as PyTorch's.

    Returns:
        The net, with the attributes of ``UNet``.

    Raises:
        TypeError: An argument has the wrong type, or the encoder returns no tensor.
        ValueError: The encoder refuses the size, cannot be captured, has no map, or maps of one
            resolution only; or another argument is out of range. The message names the layer.

    Shape:
        - Input: what the encoder takes, ``(N, C, *)``.
        - Output: ``(N, out_channels, *)``, with the spatial size of the input.

    Example:
        >>> encoder = nn.Sequential(nn.Conv2d(1, 8, 3, 1, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1))
        >>> net = unet(encoder, (1, 1, 28, 28), out_channels=2)
        >>> net(torch.zeros(3, 1, 31, 29)).shape
        torch.Size([3, 2, 31, 29])
        >>> [(skip.path, skip.channels) for skip in net.skips]
        [('1', 8)]
    """
    sizes = as_map(check_input_size(input_size))
    out_channels = as_int("out_channels", out_channels)
    asked = check_skips(skips)
    check_flags(image_skip=image_skip)
    if init is not None:
        check_choice("init", init, INITS)
    _check_parts(block, output_activation)
    count = as_int("deep_supervision", deep_supervision, 0)
    options: dict[str, Any] = {"smoothness": require_smoothness(smoothness), "init": init}
    with steps("unet", 2) as step:
        step("capture")
        maps = _look(encoder, sizes)
        step("build")
        chosen = select(maps, find_levels(maps), asked, image_skip=image_skip)
        value = value_of(chosen[-1].node)
        options["factory"] = {"device": value.device, "dtype": value.dtype}
        passed = between(maps.graph.edges, maps.graph.source, *(each.node for each in chosen))
        kinds = read_kinds(maps.graph, passed, len(sizes) - 2, **options)
        ways = plan_ways(plan_grids(chosen, maps.image, image_skip=image_skip), chosen)
        stages = build_stages(ways, chosen[-1].channels, Recipe(kinds, block, widths))
        head, *heads = _build_heads(stages, kinds, out_channels, count)
        used = {id(maps.graph.values[name]) for name in maps.graph.parameters_of(passed)}
        found = _describe(chosen, stages)
        return UNet(encoder, sizes, stages, found, head, heads, output_activation, used)


def _check_parts(block: Any, output_activation: Any) -> None:
    """Refuse a block that makes no modules, and what is none behind the heads."""
    if block is not None and (isinstance(block, nn.Module) or not callable(block)):
        raise TypeError(
            "block must be a function or class that is called as block(in_channels, out_channels) "
            f"and returns a module, got {block!r}."
        )
    if output_activation is not None and not isinstance(output_activation, nn.Module):
        raise TypeError(
            f"output_activation must be a module, such as nn.Sigmoid(), got {output_activation!r}."
        )


def _build_heads(
    stages: Sequence[Stage], kinds: Kinds, out_channels: int, count: int
) -> list[nn.Module]:
    """Build the head of the full size and those of some coarser levels."""
    if count >= len(stages):
        raise ValueError(
            f"deep_supervision must be at most {len(stages) - 1}, the levels below the full size, "
            f"got {count}."
        )
    widths = [stage.channels for stage in reversed(stages)]
    return [kinds.head(width, out_channels) for width in widths[: count + 1]]


def _look(encoder: nn.Module, sizes: tuple[int, ...]) -> FeatureMaps:
    """Capture an encoder, and return its maps."""
    listener = Listener()
    program = capture(encoder, sizes, _first_tensor, listener)
    taps = listener.taps(program)
    returned = [
        node for node, each in taps.items() if any(tap.is_output and not tap.path for tap in each)
    ]
    return FeatureMaps(read_graph(program, encoder, returned), taps)


def _first_tensor(returned: Any) -> torch.Tensor:
    found = (each for _, each in entries(returned) if each.is_floating_point())
    tensor = next(found, None)
    if tensor is None:
        raise NoTensorError("encoder returns no tensor of numbers, so that no map leads to it.")
    return tensor


def _describe(maps: Sequence[FeatureMap], stages: Sequence[Stage]) -> list[Skip]:
    shifts = {number: stage.shift for stage in stages for number in stage.joined}
    return [
        Skip(
            each.tap.path,
            each.channels,
            each.size,
            each.scale,
            shifts.get(number),
            each.order,
            tuple(each.hooks),
        )
        for number, each in enumerate(maps)
    ]
