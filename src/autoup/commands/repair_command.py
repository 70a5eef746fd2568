"""``repair``: what changes in a model, what stays, and a checkpoint for the result."""

import warnings
from argparse import Namespace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from autoup.commands import checkpoints, repair_texts, states
from autoup.commands.answers import DONE, FOUND, Answer, CommandError
from autoup.commands.sizes import Sizes, read_input_sizes, with_input_sizes
from autoup.commands.states import State
from autoup.commands.targets import load
from autoup.errors import ArtifactWarning, AutoupError
from autoup.repairing.model import repair


def run(options: Namespace) -> Answer:
    """Repair a model, and convert its checkpoint.

    Raises:
        CommandError: It cannot be repaired, read or written; no file has changed.
    """
    out: Path | None = options.out
    if out is not None:
        checkpoints.check_out(out, options.checkpoint, options.overwrite)
    target, checkpoint, found = load(options.model), None, list[State]()
    model = target.model
    if out is not None:
        states.check_numbers(model)
    if options.checkpoint is not None:
        checkpoint, found = states.read_states(options.checkpoint, model)
    repaired, said = _repair(model, found, options)
    rows = repair_texts.changes(model, repaired)
    sizes = read_input_sizes(options.input_size)
    texts = [repair_texts.table(type(model).__name__, rows), *said]
    texts.append(repair_texts.proof(bool(rows), sizes, options.smoothness))
    if out is None:
        texts.append("Nothing was written: --out FILE writes the checkpoint of the repaired model.")
    else:
        left = _write(out, repaired, checkpoint, found, options.checkpoint)
        optimizers = states.find_optimizers(checkpoint, _outgrown(model, repaired))
        texts.append(repair_texts.written(out, found, left, optimizers))
        if rows:
            texts.append(repair_texts.how_to_load(target, options, sizes, found))
    return Answer("\n\n".join(filter(None, texts)), FOUND if said else DONE)


def _repair(
    model: nn.Module, found: list[State], options: Namespace
) -> tuple[nn.Module, list[str]]:
    """Repair the model with each state in turn; return the last result, and what stays."""

    def act(sizes: Sizes | None) -> nn.Module:
        return repair(
            model,
            sizes,
            even=not options.output_padding_only,
            fold_resize=options.fold_resize,
            smoothness=options.smoothness,
        )

    repaired, said = model, list[str]()
    for state in found or [None]:
        if state is not None:
            states.load(state, model)
        with warnings.catch_warnings(record=True, action="always") as caught:
            try:
                repaired = with_input_sizes(options.input_size, act)
            except AutoupError as error:
                raise CommandError(str(error)) from None
        texts = [str(each.message) for each in caught if each.category is ArtifactWarning]
        said = [text.removeprefix("repair: ") for text in texts]
        if state is not None:
            state.take(model.state_dict(), repaired.state_dict())
    return repaired, said


def _outgrown(model: nn.Module, repaired: nn.Module) -> set[tuple[int, ...]]:
    """Return the shapes of Parameters that have another one now."""
    new = dict(repaired.named_parameters())
    return {
        tuple(old.shape)
        for name, old in model.named_parameters()
        if name in new and old.shape != new[name].shape
    }


def _write(
    out: Path, repaired: nn.Module, checkpoint: Any, found: list[State], source: Path | None
) -> list[str]:
    """Write the checkpoint; return what a file of tensors alone leaves out."""
    if checkpoint is None:
        checkpoint = repaired.state_dict()
        for name, each in checkpoint.items():
            checkpoint[name] = each.cpu() if isinstance(each, Tensor) else each
    left: list[str] = []
    if out.suffix == checkpoints.SAFETENSORS and found:
        if len(found) > 1:
            raise CommandError(
                f"{source} has {len(found)} states of this model ({states.places(found)}), and a "
                f"{out.suffix} file holds one: name a .pt file."
            )
        checkpoint, left = found[0].alone(checkpoint)
    checkpoints.write(out, checkpoint, checkpoints.read_metadata(source))
    return left
