"""Read what was given as an image: a tensor with channels first, or the call that makes one."""

# PyTorch leaves as_tensor's argument without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from typing import Any, cast

import torch
from torch import Tensor

from autoup.errors import first_line

SHAPES = {
    1: "(L), (C, L) or (N, C, L)",
    2: "(H, W), (C, H, W) or (N, C, H, W)",
    3: "(D, H, W), (C, D, H, W) or (N, C, D, H, W)",
}
OTHERS = "dims=1 is for signals, dims=2 for pictures, dims=3 for volumes."
_MOST_CHANNELS = 4  # That lie last in what is no tensor by its making.


def read_pixels(name: str, given: Any, dims: int) -> Tensor:
    """Return what was given as a batch ``(N, C, *size)`` on the CPU, integers as doubles.

    Args:
        name: Of the argument.
        given: A tensor, an array, or nested lists of numbers, channels first.
        dims: Number of spatial axes.

    Raises:
        TypeError: It is a file's name, a picture of another library, or a list of pictures; or
            complex. The message has the call that makes a tensor of it.
        ValueError: It has another shape, its channels lie last, or it holds NaN or infinity.

    Example:
        >>> read_pixels("image", torch.zeros(64, 64, 3), 2)
        Traceback (most recent call last):
        ValueError: image has shape (64, 64, 3), its channels last, and (H, W), (C, H, W) or \
(N, C, H, W) is read: pass image.permute(2, 0, 1).
    """
    if not isinstance(given, Tensor):
        _refuse(name, given, dims)
    try:
        pixels = torch.as_tensor(given).detach().cpu()
    except Exception as error:
        raise TypeError(
            f"{name} must be a tensor of shape {SHAPES[dims]}, got {type(given).__name__}: "
            f"{first_line(error)}."
        ) from error
    shape = tuple(pixels.shape)
    if pixels.is_complex():
        raise TypeError(f"{name} must be real, got {pixels.dtype}.")
    if order := _channels_first(shape, dims):
        array = name if isinstance(given, Tensor) else f"torch.as_tensor({name})"
        raise ValueError(
            f"{name} has shape {shape}, its channels last, and {SHAPES[dims]} is read: pass "
            f"{array}{order}."
        )
    if not dims <= pixels.ndim <= dims + 2 or not pixels.numel():
        raise ValueError(
            f"{name} must have shape {SHAPES[dims]} with dims={dims}, got {shape}: {OTHERS}"
        )
    pixels = pixels if pixels.is_floating_point() else pixels.double()
    if not pixels.isfinite().all():
        raise ValueError(f"{name} must be finite, but it holds NaN or infinity.")
    return pixels.reshape((1,) * (dims + 2 - pixels.ndim) + shape)


def check_scales(image: Any, target: Any) -> None:
    """Refuse an image in [0, 1] or so beside a target in [0, 255], or the reverse.

    Raises:
        ValueError: One holds integers up to 255 or so, the other small floats.

    Example:
        >>> check_scales(torch.rand(9), torch.rand(9))
    """
    pairs = (("image", image, "target", target), ("target", target, "image", image))
    for name, whole, other, floats in pairs:
        whole, floats = torch.as_tensor(whole), torch.as_tensor(floats)
        if whole.is_floating_point() or not floats.is_floating_point():
            continue
        most, small = float(whole.double().max()), float(floats.double().abs().max())
        if most > 16 and small <= 4:
            raise ValueError(
                f"{name} holds integers up to {most:g} and {other} floats up to {small:.3g}, which "
                f"are not of one scale: pass {name} / 255."
            )


def _channels_first(shape: Sequence[int], dims: int) -> str:
    """Return the call that puts channels first where the last axis can be nothing else, else ''."""
    if not dims < len(shape) <= dims + 2 or shape[-1] > _MOST_CHANNELS:
        return ""
    if min(shape[-dims - 1 : -1]) <= 2 * _MOST_CHANNELS:
        return ""
    *before, channels = range(len(shape))
    return f".permute{(*before[:-dims], channels, *before[-dims:])}"


def _refuse(name: str, given: Any, dims: int) -> None:
    """Refuse what is known to be given in the place of a tensor, with the call that makes one."""
    what = hint = ""
    if isinstance(given, str | bytes | PathLike):
        path = repr(fspath(cast("str", given)))
        opened = f"np.array(PIL.Image.open({path}).convert('RGB'))"
        what = f"the name of a file, {path}"
        hint = f"torch.from_numpy({opened}).permute(2, 0, 1) / 255"
    elif _is_pil(given):
        what, hint = f"a PIL image of mode {given.mode}", _from_pil(name, given)
    elif isinstance(given, Mapping):
        keys = ", ".join(map(repr, cast("Mapping[object, object]", given)))
        what, hint = f"a {type(given).__name__} of {keys}", f"{name}[...], one of these"
    elif isinstance(given, list | tuple):
        several = cast("Sequence[Any]", given)
        parts = [each for each in several if getattr(each, "shape", ()) or _is_pil(each)]
        if parts:
            what = f"a {type(given).__name__} of {len(several)}, one a {type(parts[0]).__name__}"
            hint = _from_several(name, several, parts, dims)
    if hint:
        raise TypeError(f"{name} must be a tensor, got {what}: pass {hint}.")


def _is_pil(given: Any) -> bool:
    return hasattr(given, "getbands")  # Without an import: PIL's images have bands, and no shape.


def _from_pil(name: str, image: Any) -> str:
    """Return the call that makes a tensor of a PIL image."""
    coloured = image.mode == "P" or len(image.getbands()) > 1
    eight_bits = image.mode[:1] not in ("1", "I", "F")
    array = f"np.array({name}{'.convert(' + repr('RGB') + ')' if image.mode == 'P' else ''})"
    order = ".permute(2, 0, 1)" if coloured else ""
    return f"torch.from_numpy({array}){order}{' / 255' if eight_bits else ''}"


def _from_several(name: str, given: Sequence[Any], parts: Sequence[Any], dims: int) -> str:
    """Return the call that makes a batch of several pictures, or the one that is a picture."""
    shapes = {getattr(each, "size" if _is_pil(each) else "shape") for each in parts}
    first = next(n for n, each in enumerate(given) if each is parts[0])
    if len(shapes) > 1 or len(parts) < len(given):
        return f"one that is a picture or a batch, as {name}[{first}]; they have different shapes"
    if _is_pil(parts[0]):
        made = _from_pil("each", parts[0])
        channel = "" if "permute" in made else "[:, None]"
        return f"torch.stack([{made} for each in {name}]){channel}"
    shape = (len(given), *parts[0].shape)
    order = (
        _channels_first(shape, dims)
        if len(shape) == dims + 2
        else "[:, None]" * (len(shape) == dims + 1)
    )
    stack = "torch.stack({})" if isinstance(parts[0], Tensor) else "torch.from_numpy(np.stack({}))"
    return f"{stack.format(name)}{order}"
