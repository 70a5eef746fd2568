"""An autoencoder of photographs, trained by any number of processes on any number of machines.

The engine is PyTorch's own: ``torchrun`` starts the processes, DistributedDataParallel or FSDP2
(``fully_shard``) connects them, through gloo on CPU and nccl on CUDA. The encoder's decoder comes
from ``mirror_decoder(..., smoothness=1)``. The data are 32-pixel tiles of scikit-image's
photographs; their order follows from ``--seed`` and the step alone, and each process takes its
part of the batch. So the losses are those of one process, up to rounding.

One process::

    python examples/distributed_train.py

One machine, two processes::

    torchrun --nproc-per-node 2 examples/distributed_train.py --engine fsdp

Two machines, the same line on both; HOST is the name of one of them, and the checkpoint lies in a
folder that both see::

    torchrun --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint HOST:29500 \
        examples/distributed_train.py --batch 256 --checkpoint /shared/run

The same line with ``--resume`` goes on at the newest checkpoint, with the losses of a run that was
never stopped. Another number of processes or the other engine may go on, too.
"""

import argparse
import math
import os
import sys
from pathlib import Path
from typing import Any

import skimage.data
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.fsdp import fully_shard
from torch.nn import functional as F  # noqa: N812
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from autoup import mirror_decoder

SIZE = 32
PHOTOGRAPHS = "astronaut", "chelsea", "coffee", "rocket"


def load_tiles() -> torch.Tensor:
    """Return scikit-image's photographs in tiles that do not overlap: (858, 3, 32, 32)."""
    tiles = []
    for name in PHOTOGRAPHS:
        image = torch.tensor(getattr(skimage.data, name)()).permute(2, 0, 1).float() / 255
        cut = image.unfold(1, SIZE, SIZE).unfold(2, SIZE, SIZE)
        tiles.append(cut.permute(1, 2, 0, 3, 4).reshape(-1, 3, SIZE, SIZE))
    return torch.cat(tiles)


def pick(tiles: torch.Tensor, seed: int, batch: int, step: int) -> torch.Tensor:
    """Return the whole batch of a step: each epoch is a new permutation, drawn from the seed."""
    epoch, place = divmod(step, len(tiles) // batch)
    order = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    indices = torch.randperm(len(tiles), generator=order)
    return tiles[indices[place * batch : (place + 1) * batch]]


def build_model(seed: int) -> nn.Sequential:
    """Return encoder and decoder, 32 -> 16 -> 8 -> 16 -> 32 pixels, the same in every process."""
    torch.manual_seed(seed)
    encoder = nn.Sequential(
        nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 16, 3, 2, 1), nn.ReLU()
    )
    return nn.Sequential(encoder, mirror_decoder(encoder, (1, 3, SIZE, SIZE), smoothness=1))


def start() -> torch.device:
    """Join the processes of torchrun, or be a group of one; return the device of this one."""
    cuda = torch.cuda.is_available()
    backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
    if "RANK" in os.environ:
        dist.init_process_group(backend)
    else:
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    if not cuda:
        return torch.device("cpu")
    torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cuda", torch.cuda.current_device())


def connect(model: nn.Sequential, engine: str, device: torch.device) -> nn.Module:
    """Hand the model to the engine; with FSDP2 each half is gathered when it is used."""
    model = model.to(device)
    if engine == "ddp":
        return DistributedDataParallel(model)
    for half in model:
        fully_shard(half)
    return fully_shard(model)


def leave(status: int) -> None:
    """End this process when all have come here.

    It does not return to Python: FSDP2 keeps gloo's threads, and one that has yet to put its last
    tensor away when Python ends aborts the process (PyTorch's issue 190489).
    """
    dist.barrier()
    dist.destroy_process_group()
    sys.stdout.flush()
    os._exit(status)


def agree(value: Any) -> Any:
    """Return the value that the first process has."""
    box = [value]
    dist.broadcast_object_list(box)
    return box[0]


def stop_for(problem: str | None) -> None:
    """End all processes where the first has a problem; it alone says which."""
    if problem and dist.get_rank() == 0:
        print(f"distributed_train.py: {problem}", file=sys.stderr, flush=True)
    if agree(problem):
        leave(2)


def newest(folder: Path | None) -> Path | None:
    """Return the last checkpoint that was written to its end; its metadata comes last."""
    done = folder.glob("step-*/.metadata") if folder else ()
    return max((path.parent for path in done), default=None)


def read_progress(path: Path | None) -> dict[str, int]:
    """Return step, seed and batch of a checkpoint; step 0 without one."""
    state = {"progress": {"step": 0, "seed": 0, "batch": 0}}
    if path:
        dcp.load(state, checkpoint_id=path)
    return state["progress"]


def find_problem(
    options: argparse.Namespace, count: int, path: Path | None, saved: dict[str, int]
) -> str | None:
    """Return what is wrong with the options, or None."""
    world = dist.get_world_size()
    if options.batch % world or options.batch > count:
        return (
            f"--batch {options.batch} must be a multiple of the {world} processes, "
            f"and at most the {count} tiles."
        )
    if options.resume and path is None:
        place = options.checkpoint or "--checkpoint, which was not given"
        return f"--resume finds no checkpoint in {place}: leave --resume out to start anew."
    if path and not options.resume:
        return f"{path} is there already: add --resume, or name another folder."
    if path and (saved["seed"], saved["batch"]) != (options.seed, options.batch):
        return f"{path} was made with --seed {saved['seed']} --batch {saved['batch']}."
    if saved["step"] >= options.steps:
        return f"{path} is there already: --steps must be above {saved['step']}."
    return None


def gather(model: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """Return weights and moments, under names that do not depend on the engine."""
    weights, moments = get_state_dict(model, optimiser)
    return {"model": weights, "optimiser": moments}


def save(
    model: nn.Module, optimiser: torch.optim.Optimizer, step: int, options: argparse.Namespace
) -> None:
    """Write all that a run needs to go on after ``step`` steps; each process writes its part."""
    progress = {"step": step, "seed": options.seed, "batch": options.batch}
    state = {**gather(model, optimiser), "progress": progress}
    dcp.save(state, checkpoint_id=options.checkpoint / f"step-{step:08}")


def restore(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Load weights and moments, whichever engine and number of processes saved them."""
    state = gather(model, optimiser)
    dcp.load(state, checkpoint_id=path)
    weights, moments = state["model"], state["optimiser"]
    set_state_dict(model, optimiser, model_state_dict=weights, optim_state_dict=moments)


def train(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    tiles: torch.Tensor,
    first: int,
    options: argparse.Namespace,
    device: torch.device,
) -> list[float]:
    """Train from step ``first`` on; return the loss of each whole batch."""
    rank, world = dist.get_rank(), dist.get_world_size()
    losses = torch.zeros(options.steps - first, dtype=torch.float64, device=device)
    bar = tqdm(range(first, options.steps), desc="training", unit="step", disable=rank > 0)
    for step in bar:
        batch = pick(tiles, options.seed, options.batch, step)[rank::world].to(device)
        loss = F.mse_loss(model(batch), batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses[step - first] = loss.detach()
        done = step + 1
        if options.checkpoint and (done % options.save_every == 0 or done == options.steps):
            save(model, optimiser, done, options)
    dist.all_reduce(losses)  # Each process has the mean of its own, equally large part.
    return (losses / world).tolist()


def tabulate(losses: list[float], first: int, steps: int) -> str:
    """Return about ten rows, at the same steps whether the run was resumed or not."""
    rows = [f"{'step':>8}{'loss':>12}{'PSNR dB':>10}"]
    for step, loss in enumerate(losses, start=first + 1):
        if step % math.ceil(steps / 10) == 0 or step == steps:
            rows.append(f"{step:>8}{loss:>12.8f}{-10 * math.log10(loss):>10.2f}")
    return "\n".join(rows)


def positive(text: str) -> int:
    """Return a whole number above zero, as argparse wants it read."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, got {text!r}")
    return int(text)


def read_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", choices=("ddp", "fsdp"), default="ddp")
    parser.add_argument("--steps", type=positive, default=400, help="in all, resumed or not")
    parser.add_argument("--batch", type=positive, default=32, help="tiles a step, all processes'")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoint", type=Path, help="folder for checkpoints")
    parser.add_argument("--save-every", type=positive, default=100, help="in steps")
    parser.add_argument("--resume", action="store_true", help="go on at the newest checkpoint")
    return parser.parse_args()


def run(options: argparse.Namespace, device: torch.device) -> None:
    """Load, train, print the table."""
    tiles, path = load_tiles(), agree(newest(options.checkpoint))
    saved = read_progress(path)
    stop_for(find_problem(options, len(tiles), path, saved))
    model = connect(build_model(options.seed), options.engine, device)
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)
    if path:
        restore(path, model, optimiser)
    losses = train(model, optimiser, tiles, saved["step"], options, device)
    if dist.get_rank() > 0:
        return
    print(f"{options.engine}, processes: {dist.get_world_size()}, {device.type}.", end=" ")
    print(f"Resumed from {path}." if path else f"Started with seed {options.seed}.")
    print(tabulate(losses, saved["step"], options.steps))
    written = newest(options.checkpoint)
    print(f"Checkpoint: {written}" if written else "No checkpoint: --checkpoint names no folder.")


def main() -> None:
    """Join the group, train, leave it."""
    options, device = read_options(), start()
    run(options, device)
    leave(0)  # After `run`: a model of DDP that outlives its group can hang.


if __name__ == "__main__":
    main()
