"""Read and write checkpoints: no code of theirs is run, and no file is left half-written."""

import os
import re
import shutil
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from autoup.commands.answers import CommandError, listed
from autoup.errors import first_line

SAFETENSORS = ".safetensors"


def read(path: Path) -> Any:
    """Return what a checkpoint holds, on the CPU.

    Tensors of PyTorch's own format stay in the file until they are looked at.

    Raises:
        CommandError: It cannot be read without running code.
    """
    if not path.is_file():
        there = f"{path} is a folder" if path.is_dir() else f"there is no file {path}"
        raise CommandError(f"{there}: a checkpoint is one file.")
    try:
        if path.suffix == SAFETENSORS:
            return _safetensors(path, "reading").load_file(path)
        is_zip = zipfile.is_zipfile(path)
        with warnings.catch_warnings(action="ignore"):  # Of archives that it then refuses.
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except UnpicklingError as error:
        if refused := _refused(path, error):
            raise CommandError(_how_to_clean(path, refused)) from None
        reason = "it is no file of torch.save"
    except CommandError:
        raise
    except Exception as error:  # Of safetensors, zip files and pickles, of all kinds.
        reason = first_line(error).partition(". ")[0]
        reason = "it is a TorchScript archive" if "TorchScript" in reason else reason
        reason = "it is empty" if isinstance(error, EOFError) else reason
    raise CommandError(f"cannot read {path} as a checkpoint: {reason}.")


def _refused(path: Path, error: UnpicklingError) -> list[str]:
    """Return the names of what is neither a tensor nor plain Python."""
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except (ValueError, RuntimeError):  # It looks into zip files alone.
        return re.findall(r"GLOBAL (\S+)", str(error))


def _how_to_clean(path: Path, refused: list[str]) -> str:
    clean = path.with_name(f"{path.stem}_weights{path.suffix}")
    return (
        f"{path} holds more than weights: {listed(refused)}. Reading that runs code of the file, "
        "so it is refused (weights_only=True). If you trust the file, write its weights alone "
        "into a new one, and give that:\n"
        "  import torch\n"
        f"  held = torch.load({str(path)!r}, weights_only=False)\n"
        "  state = held['state_dict']  # of a whole model held.state_dict()\n"
        f"  torch.save(state, {str(clean)!r})"
    )


def check_out(out: Path, checkpoint: Path | None, overwrite: bool) -> None:
    """Refuse to write where something would be lost, or nothing can be written.

    Raises:
        CommandError: The file is there already, or its folder is not.
    """
    if out.is_dir() or not out.parent.is_dir():
        there = "is a folder" if out.is_dir() else f"has no folder: there is no {out.parent}"
        raise CommandError(f"--out {out} {there}.")
    if out.suffix == SAFETENSORS:
        _safetensors(out, "writing")
    if overwrite or not os.path.lexists(out):
        return
    same = checkpoint is not None and checkpoint.exists() and out.exists()
    what = "exists already"
    if same and checkpoint is not None and out.samefile(checkpoint):
        what = f"is the checkpoint {checkpoint} itself"
    raise CommandError(f"--out {out} {what}: name another file, or add --overwrite.")


def write(out: Path, content: Any, metadata: Mapping[str, str]) -> None:
    """Write a checkpoint as a whole, or not at all.

    Args:
        out: Where; the suffix decides the format.
        content: For ``.safetensors`` a mapping of tensors.
        metadata: What ``.safetensors`` says of itself.

    Raises:
        CommandError: It cannot be written; the file is what it was.
    """
    if out.suffix == SAFETENSORS:
        tensors = {name: _alone(each) for name, each in content.items()}
        save = _safetensors(out, "writing").save_file
        _replace(out, lambda part: save(tensors, part, {"format": "pt", **metadata}))
    else:
        _replace(out, lambda part: _save(content, part))


def read_metadata(path: Path | None) -> dict[str, str]:
    """Return what a ``.safetensors`` file says of itself; nothing of others."""
    if path is None or path.suffix != SAFETENSORS:
        return {}
    import safetensors

    opened: Any = safetensors.safe_open
    with opened(path, framework="pt") as file:
        return file.metadata() or {}


def _alone(values: Tensor) -> Tensor:
    """Copy a tensor, as safetensors takes none that share memory."""
    return values.detach().clone(memory_format=torch.contiguous_format)


def _save(content: Any, part: Path) -> None:
    with part.open("wb") as file:  # Of a name, PyTorch does not tell why it cannot be written.
        torch.save(content, file)


def _replace(out: Path, save: Callable[[Path], Any]) -> None:
    """Save under another name beside the file, then put that in its place at once."""
    target = out.resolve()  # Of a link what it points at.
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        save(part)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, part)
        os.replace(part, target)
    except Exception as error:  # PyTorch and safetensors have errors of their own.
        causes = [each for each in (error, error.__context__) if isinstance(each, OSError)]
        reason = causes[0].strerror if causes else first_line(error)
        raise CommandError(f"cannot write {out}: {reason}.") from None
    finally:
        part.unlink(missing_ok=True)


def _safetensors(path: Path, doing: str) -> Any:
    try:
        import safetensors.torch
    except ImportError:
        raise CommandError(
            f"{doing} {path} takes the safetensors package: pip install safetensors."
        ) from None
    return safetensors.torch
