"""What ``repair`` says: the table of layers, what was proved, and how to load the result."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

from torch import nn

from autoup.commands.answers import listed
from autoup.commands.checkpoints import SAFETENSORS
from autoup.commands.sizes import Sizes
from autoup.commands.states import State, places
from autoup.commands.targets import Target
from autoup.inspecting.modules import modules_by_path

_SETTINGS = ("kernel_size", "padding", "output_padding", "dilation")
_WIDTH, _TEXT = 100, 90
Row = tuple[str, str, str]


def changes(model: nn.Module, repaired: nn.Module) -> list[Row]:
    """Return every layer that changed: its name, and what it was and is, as source has it.

    Example:
        >>> changes(nn.Sequential(nn.ReLU()), nn.Sequential(nn.Identity()))
        [('0', 'ReLU()', 'Identity()')]
    """
    rows: list[Row] = []
    for name, old in modules_by_path(model).items():
        new = repaired.get_submodule(name)
        before, after = str(old), str(new)
        if type(old).__name__ == type(new).__name__:
            differing = {each for each in _SETTINGS if _differ(old, new, each)}
            names = [each for each in _SETTINGS if each in {*differing, *_SETTINGS[:3]}]
            before, after = (_settings(each, names) if differing else "" for each in (old, new))
        if before != after:
            rows.append((name or "(model)", before, after))
    return rows


def _differ(old: nn.Module, new: nn.Module, name: str) -> bool:
    return getattr(old, name, None) != getattr(new, name, None)


def _settings(layer: Any, names: Sequence[str]) -> str:
    values = [getattr(layer, name) for name in names]
    shown = [value[0] if len(set(value)) == 1 else value for value in values]
    return ", ".join(f"{name}={value}" for name, value in zip(names, shown, strict=True))


def table(model: str, rows: Sequence[Row]) -> str:
    """Return the first line, and the layers below it; one below the other where they are long.

    Example:
        >>> print(table("Net", [("up", "a=1", "a=2")]))
        Net: 1 layer changes.
        <BLANKLINE>
          layer  before  after
          up     a=1     a=2
    """
    if not rows:
        return f"{model}: no layer changes."
    count = "1 layer changes" if len(rows) == 1 else f"{len(rows)} layers change"
    lines = [("layer", "before", "after"), *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    if sum(widths) > _WIDTH:
        laid = [f"{name}\n    before  {old}\n    after   {new}" for name, old, new in rows]
    else:
        laid = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            for line in lines
        ]
    return "\n".join([f"{model}: {count}.", "", *(f"  {each}".rstrip() for each in laid)])


def proof(changed: bool, sizes: Sizes | None, smoothness: int | None) -> str:
    """Say what was proved, and what was not looked at.

    Example:
        >>> print(proof(True, [(1, 8)], None))
        Proved: on random input of (1, 8) both models return the same, up to rounding.
    """
    if sizes is None:
        return fill(
            "Nothing was proved: with --input-size both models run on random input and must agree, "
            "functions such as interpolate are seen too, and so is a layer that is called with "
            "output_size, which may refuse sizes that it took before.",
            _TEXT,
        )
    if not changed:
        return ""
    shown = " and ".join(map(str, sizes))
    said = f"Proved: on random input of {shown} both models return the same, up to rounding"
    if smoothness:
        said += (
            f", before smoothness={smoothness} takes the nearest kernels without a grid. That "
            "changes the outputs: fine-tune the model"
        )
    return fill(f"{said}.", _TEXT)


def written(
    out: Path, found: Sequence[State], left: Sequence[str], optimizers: Sequence[str]
) -> str:
    """Say where the weights stand, and what does not fit them.

    Example:
        >>> print(written(Path("out.pt"), [State((), {}, "module.", {})], [], ["['optimizer']"]))
        Written to out.pt. The weights are where they were: names keep 'module.'.
        The state of an optimiser, ['optimizer'], is kept and has shapes of the old kernels: make
        the optimiser of the repaired model anew.
    """
    texts = [f"Written to {out}."]
    if not found:
        texts[0] += " Without --checkpoint these are the weights that MODEL comes with."
    elif where := places(found, alone=out.suffix == SAFETENSORS):
        texts[0] += f" The weights are where they were: {where}."
    if left:
        texts.append(f"Left out, as {out.suffix} holds tensors alone: {listed(left)}.")
    elif optimizers and out.suffix != SAFETENSORS:
        texts.append(
            f"The state of an optimiser, {listed(optimizers)}, is kept and has shapes of the old "
            "kernels: make the optimiser of the repaired model anew."
        )
    return "\n".join(fill(text, _TEXT) for text in texts)


def how_to_load(
    target: Target, options: Namespace, sizes: Sizes | None, found: Sequence[State]
) -> str:
    """Return the lines of Python that load the checkpoint."""
    name = repr(str(options.out))
    is_safe = options.out.suffix == SAFETENSORS
    reading = f"load_file({name})" if is_safe else f"torch.load({name}, weights_only=True)"
    lines = [
        "import autoup",
        "from safetensors.torch import load_file" if is_safe else "import torch",
        *target.importing,
        f"model = {_repairing(target.making, options, sizes)}",
        f"held = {reading}",
        f"model.load_state_dict({found[0].reading('held', is_safe) if found else 'held'})",
    ]
    return "\n".join([
        "To load it, repair the model in the same way first:",
        *(f"  {line}" for line in lines),
        'Or give the layers in the source what stands under "after", and load it as before.',
    ])  # fmt: skip


def _repairing(making: str, options: Namespace, sizes: Sizes | None) -> str:
    arguments = [making]
    if sizes is not None:
        arguments.append(str(sizes if len(sizes) > 1 else sizes[0]))
    arguments += ["even=False"] if options.output_padding_only else []
    arguments += ["fold_resize=True"] if options.fold_resize else []
    arguments += [] if options.smoothness is None else [f"smoothness={options.smoothness}"]
    return f"autoup.repair({', '.join(arguments)})"
