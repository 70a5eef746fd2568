"""The decoders that packages bring, against mirrors of their encoders.

Each encoder is trained from the same weights on the same batches with its package's own decoder,
and with mirrors: PSNR of photographs, distance of spectra and signal-to-noise ratio of an
electrocardiogram, all held out. Every run is a line of the results file: stop the program when you
like, and the next call goes on. ``tables.py`` makes the tables from that file without training.
"""

import argparse
import json
import multiprocessing
import sys
import time
import warnings
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from pathlib import Path

import tables
import torch
from tqdm import tqdm

MODELS = tuple(tables.MODELS)


def prepare() -> None:
    """Set up a process: one thread, and no warnings of packages about their own insides."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")


def write(path: Path, line: dict[str, object]) -> None:
    """Append a line."""
    with path.open("a") as file:
        file.write(json.dumps(line, separators=(",", ":")) + "\n")


def describe(model: str, arm: str) -> dict[str, object]:
    """Return what needs no training."""
    import structure

    return structure.describe(model, arm)


def train(cases: list[tuple], steps: int, device: str) -> list[dict[str, object]]:
    """Train several side by side."""
    import training

    return training.run([training.Job(*case) for case in cases], steps, device)


def clock(model: str, arm: str, device: str, count: int) -> dict[str, object]:
    """Return the seconds of 100 steps."""
    import training

    name = torch.cuda.get_device_name() if device.startswith("cuda") else "CPU, one thread"
    told = training.clock(training.Job(model, arm, 0), device, count)
    return {"what": "time", "model": model, "arm": arm, "device": name, **told}


def collect(futures: dict[Future, tuple], path: Path, deadline: float, what: str) -> None:
    """Write what comes; tell of what fails, and drop what has not begun at the deadline."""
    for future in tqdm(as_completed(futures), total=len(futures), desc=what, unit="run"):
        if time.monotonic() > deadline:
            for each in futures:
                each.cancel()
        if future.cancelled():
            continue
        if error := future.exception():
            tqdm.write(f"{what} {futures[future]}: {type(error).__name__}: {error}", sys.stderr)
        else:
            made = future.result()
            for line in made if isinstance(made, list) else [made]:
                write(path, line)


def fill(options: argparse.Namespace) -> None:
    """Do what the results file lacks."""
    deadline = time.monotonic() + options.minutes * 60
    lines = tables.read(options.out)
    done = {tuple(line.get(key) for key in ("what", "model", "arm", "seed")) for line in lines}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, prepare) as pool:  # Alone, for the sake of the clock.
        cases = [(model, arm) for model in options.models for arm in options.arms]
        if options.time:
            todo = [each for each in cases if ("time", *each, None) not in done]
            futures = {
                pool.submit(clock, *each, options.device, options.count): each for each in todo
            }
            collect(futures, options.out, deadline, "timing")
    with ProcessPoolExecutor(options.jobs, context, prepare) as pool:
        if options.structure:
            todo = [each for each in cases if ("structure", *each, None) not in done]
            futures = {pool.submit(describe, *each): each for each in todo}
            collect(futures, options.out, deadline, "structure")
        todo = [(*each, seed) for seed in options.seeds for each in cases]
        todo = [each for each in todo if ("train", *each) not in done and options.steps]
        groups = [todo[n : n + options.together] for n in range(0, len(todo), options.together)]
        futures = {pool.submit(train, each, options.steps, options.device): each for each in groups}
        collect(futures, options.out, deadline, "training")


def settle(options: argparse.Namespace) -> None:
    """Fill in what was not said."""
    quick = options.quick
    options.seeds = options.seeds or ([0] if quick else [0, 1, 2])
    options.steps = (20 if quick else 1000) if options.steps is None else options.steps
    options.count = options.count or (2 if quick else 20)
    small = Path("output/mirror_or_own_quick.jsonl")
    options.out = options.out or (small if quick else tables.RESULTS)


def main() -> None:
    """Do what is not done yet, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one seed, 20 steps: two minutes")
    parser.add_argument("--steps", type=int, help="of each training: 1000; 0 for none")
    parser.add_argument("--seeds", type=int, nargs="+", help="0 1 2")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--arms", nargs="+", choices=tables.ARMS, default=tables.ARMS)
    parser.add_argument("--time", action="store_true", help="measure seconds per 100 steps too")
    parser.add_argument("--count", type=int, help="steps that are timed at once: 20")
    parser.add_argument("--no-structure", dest="structure", action="store_false")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--jobs", type=int, default=2, help="processes side by side")
    parser.add_argument("--together", type=int, default=1, help="trainings a process, on a GPU")
    parser.add_argument("--minutes", type=float, default=1e6, help="nothing is begun after them")
    parser.add_argument("--out", type=Path, help="the results file; with --quick under output/")
    options = parser.parse_args()
    settle(options)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.touch()
    fill(options)
    print(tables.compose(tables.read(options.out)))


if __name__ == "__main__":
    main()
