"""Which layer to enlarge with, on six tasks: quality, grid, time, over seeds.

Every run is a line of the results file: stop the program when you like, and the next call goes on.
What it compares: all kinds of layers from the same start; starts, for the plain kernels of 2 and
4; kinds with decoders of equal size; kinds that are given equal time. At its end it writes tables
and figures, which ``report.py`` remakes from the results file without training.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

import report
import torch
from decoders import KINDS, Recipe, count_parameters, equal_widths
from generators import GENERATING
from measures import pack
from tasks import RESTORING
from tqdm import tqdm

TASKS = {name: (RESTORING | GENERATING)[name] for name in report.TASKS}
# Memory that is freed stays with the process, as in a long run.
MEMORY = {"MALLOC_MMAP_THRESHOLD_": "1073741824", "MALLOC_TRIM_THRESHOLD_": "2147483647"}
QUICK = ("k3 s2 op1", "k2 s2", "k4 s2", "nearest + conv3", "k4 points 1")
PROMISED = tuple(kind for kind in KINDS if kind.endswith("1") and kind.startswith("k4"))
NO_BOTTLENECK = ("k2 s2", "k4 s2", *PROMISED, "nearest + conv3")
EQUAL_SIZE = ("k2 s2", "sub-pixel conv3, ICNR", "nearest + conv3", "bilinear + conv3")
EQUAL_TIME = (*EQUAL_SIZE, "k4 points 1")
COMMON = "torch"
STARTS = {
    "k2 s2": ("fan-in", "damped", "phase-equal"),
    "k4 s2": ("fan-in", "damped", "phase-equal", "projected"),
    "k4 points 1": ("fan-in", "phase-equal"),
}
# Where a decoder adds to what is there already, others too start calm.
CALM = {"super_resolution": ("k3 s2 op1", *report.FREE, "k4 points 2")}


@dataclass(frozen=True, slots=True)
class Job:
    """One training.

    Args:
        task: A key of ``TASKS``.
        compare: What it is for: "kinds", "starts", "parameters" or "time".
        kind: Of the enlarging layers.
        start: Of the enlarging layers.
        seed: Of everything random.
    """

    task: str
    compare: str
    kind: str
    start: str
    seed: int


def plan_task(task: str, seed: int) -> Iterator[Job]:
    """Yield the trainings of a task for a seed."""
    start = "dcgan" if task == "gan" else COMMON
    for kind in NO_BOTTLENECK if task == "no_bottleneck" else KINDS:
        yield Job(task, "kinds", kind, start, seed)
    if task == "gan":
        yield from (Job(task, "starts", kind, "phase-equal", seed) for kind in ("k2 s2", "k4 s2"))
    elif task != "no_bottleneck":
        for kind in CALM.get(task, ()):
            yield Job(task, "starts", kind, f"{COMMON}, calm", seed)
        for kind, starts in STARTS.items():
            yield Job(task, "starts", kind, f"{COMMON}, calm", seed)
            for each in starts:
                yield Job(task, "starts", kind, each, seed)
                yield Job(task, "starts", kind, f"{each}, calm", seed)
    if task in ("photographs", "vae"):
        yield from (Job(task, "parameters", kind, start, seed) for kind in EQUAL_SIZE)
        yield from (Job(task, "time", kind, start, seed) for kind in EQUAL_TIME)


def widths_of(task: str, kind: str, compare: str) -> tuple[int, ...]:
    """Return the widths of the decoder."""
    trial = TASKS[task]
    return equal_widths(kind, trial.widths, trial.dims) if compare == "parameters" else trial.widths


def shorten(values: dict[str, float]) -> dict[str, float]:
    """Return the numbers with five digits."""
    return {key: float(f"{value:.5g}") for key, value in values.items()}


def train(job: Job, steps: int) -> dict[str, object]:
    """Train, and return the line of the results file."""
    widths = widths_of(job.task, job.kind, job.compare)
    start = time.perf_counter()
    trial = TASKS[job.task](Recipe(job.kind, job.start), job.seed, steps, widths)
    for _ in range(steps):
        trial.step()
    line = asdict(job) | {"steps": steps} | shorten(trial.measure())
    if job.seed == 0 and job.compare == "kinds":
        line["shown"] = {name: pack(each) for name, each in trial.show().items()}
    return line | {"s": round(time.perf_counter() - start, 1)}


def look_at_originals(task: str) -> dict[str, object]:
    """Return the line of what the measures say of the data."""
    shown = {name: pack(each) for name, each in TASKS[task].show_originals().items()}
    return {"task": "originals", "of": task, "shown": shown} | shorten(TASKS[task].originals())


def clock(task: str, cases: list[tuple[str, str]], rounds: int) -> list[dict[str, object]]:
    """Return the time of a training step of kinds, in turns on one thread, medians.

    Processor time, in which others on the machine count little.
    """
    start = "dcgan" if task == "gan" else COMMON
    trials = {
        case: TASKS[task](Recipe(case[0], start), 0, rounds, widths_of(task, *case))
        for case in cases
    }
    times: dict[tuple[str, str], list[float]] = {case: [] for case in cases}
    for _ in range(rounds):
        for case, trial in trials.items():
            before = time.process_time()
            trial.step()
            times[case].append(1e3 * (time.process_time() - before))
    return [
        {
            "task": "time",
            "of": task,
            "kind": kind,
            "compare": compare,
            "ms": round(statistics.median(times[kind, compare][rounds // 5 :]), 3),
            "parameters": count_parameters(trial.decoder),
            "widths": widths_of(task, kind, compare),
        }
        for (kind, compare), trial in trials.items()
    ]


def timed_cases(task: str, jobs: list[Job]) -> list[tuple[str, str]]:
    """Return kinds and sizes to time: those of the jobs, and k4."""
    cases = [("k4 s2", "kinds")]
    for job in jobs:
        if job.task == task:
            cases.append((job.kind, "parameters" if job.compare == "parameters" else "kinds"))
    return list(dict.fromkeys(cases))


def prepare() -> None:
    """Make a worker one of a single thread."""
    torch.set_num_threads(1)


def count_steps(job: Job, base: int, lines: list[dict]) -> int:
    """Return how many steps a training has: with "time", as many as k4 has time for."""
    if job.compare != "time":
        return base
    here = ("time", job.task, "kinds")
    ms = {line["kind"]: line["ms"] for line in lines
          if (line["task"], line.get("of"), line.get("compare")) == here}  # fmt: skip
    return max(1, round(base * ms["k4 s2"] / ms[job.kind]))


def write(path: Path, line: dict[str, object]) -> None:
    """Append a line."""
    with path.open("a") as file:
        file.write(json.dumps(line, separators=(",", ":")) + "\n")


def fill(path: Path, jobs: list[Job], options: argparse.Namespace) -> None:
    """Do what the results file lacks."""
    context = multiprocessing.get_context("spawn")
    lines = report.read(path)
    with ProcessPoolExecutor(1, context, prepare) as pool:  # Alone, for the sake of the clock.
        known = {(line["of"], line["kind"], line["compare"]) for line in lines
                 if line["task"] == "time"}  # fmt: skip
        for task in tqdm(dict.fromkeys(job.task for job in jobs), desc="timing", unit="task"):
            cases = timed_cases(task, jobs)
            if known.issuperset((task, *case) for case in cases):
                continue
            write(path, pool.submit(look_at_originals, task).result())
            for line in pool.submit(clock, task, cases, 3 if options.quick else 40).result():
                write(path, line)
    lines = report.read(path)
    done = {tuple(line.get(key) for key in Job.__slots__) for line in lines}
    with ProcessPoolExecutor(options.workers, context, prepare) as pool:
        futures = []
        for job in jobs:
            if tuple(asdict(job).values()) not in done:
                base = options.steps or TASKS[job.task].steps // (60 if options.quick else 1)
                futures.append(pool.submit(train, job, count_steps(job, base, lines)))
        for future in tqdm(as_completed(futures), total=len(futures), desc="runs", unit="run"):
            write(path, future.result())


def main() -> None:
    """Do what is not done yet, then write the tables and the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few kinds and steps: a minute")
    parser.add_argument("--steps", type=int, help="of every training; not into the full results")
    parser.add_argument("--seeds", type=int, help="5, or 1 with --quick")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--kinds", nargs="+", choices=KINDS)
    parser.add_argument("--compare", nargs="+", choices=report.COMPARE, default=report.COMPARE)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--results", type=Path, help="the file; with --quick one under output/")
    parser.add_argument("--output", type=Path, default=Path("output/evidence"))
    options = parser.parse_args()
    small = options.quick or options.steps is not None
    folder = options.output.with_name(options.output.name + "_quick" * small)
    folder.mkdir(parents=True, exist_ok=True)
    path = options.results or (folder / "results.jsonl" if small else report.RESULTS)
    path.touch()
    if (text := path.read_bytes()) and not text.endswith(b"\n"):
        path.write_bytes(text + b"\n")  # An interrupted line must not swallow the next.
    kinds = options.kinds or (QUICK if options.quick else KINDS)
    seeds = options.seeds or (1 if options.quick else 5)
    jobs = [job for seed in range(seeds) for task in options.tasks for job in plan_task(task, seed)
            if job.kind in kinds and job.compare in options.compare]  # fmt: skip
    os.environ |= MEMORY
    fill(path, jobs, options)
    print(report.write(path, folder))


if __name__ == "__main__":
    main()
