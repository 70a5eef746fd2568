"""Limits of time and memory that this package keeps: each by name, measured medians beside it.

The exit status is 1 where a limit is broken. What does not depend on the clock (instructions,
operators, captures) is held by the tests.

    python benchmarks/limits.py [--quick]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from timing import machine, take_turns
from torch import nn
from tqdm import tqdm

from autoup import AutoConvTranspose2d, audit, repair, solve
from autoup.solving.solver import best_solutions

TESTS = Path(__file__).parents[1] / "tests"
IMPORT = """
import gc, json
from time import perf_counter
start = perf_counter()
import torch
first = perf_counter() - start
gc.collect()  # Else a collection of all that torch has made may fall into what is timed.
start = perf_counter()
import autoup
print(json.dumps([(perf_counter() - start) / first]))
"""
MIRROR = """
import json, resource, sys
from time import perf_counter
import torch
from autoup.decoding import from_encoder as decoders
from support.backbones import build

capture, captured = decoders.capture, []

def timed(*arguments):
    start = perf_counter()
    program = capture(*arguments)
    captured.append(perf_counter() - start)
    return program

decoders.capture = timed
encoder, size = build(sys.argv[1]), int(sys.argv[2])
resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = perf_counter()
decoder = decoders.mirror_decoder(encoder, (1, 3, size, size))
total = perf_counter() - start
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - resident
weights = sum(4 * parameter.numel() for parameter in decoder.parameters())
print(json.dumps([total, total - captured[0], (1024 * grown - weights) / 2**20]))
"""

UNET = """
import json, statistics, sys
from time import process_time
from support.backbones import build
import autoup
from autoup.capturing.capture import capture

def timed(run):
    start = process_time()
    run()
    return process_time() - start

encoder, size = build(sys.argv[1]), (1, 3, int(sys.argv[2]), int(sys.argv[2]))
runs = lambda: autoup.unet(encoder, size, 2), lambda: capture(encoder, size, None)
whole, alone = ([*each][1:] for each in zip(*([timed(run) for run in runs] for _ in range(6))))
print(json.dumps([statistics.median(a / b for a, b in zip(whole, alone))]))
"""


class Row(NamedTuple):
    """A limit by its name, and what was measured, in the same unit."""

    name: str
    limit: float
    unit: str
    measured: list[float]

    @property
    def median(self) -> float:
        """Return the median of what was measured."""
        return statistics.median(self.measured)


def run(code: str, *arguments: object) -> list[float]:
    """Return the numbers that a process of its own prints."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    folders = [TESTS, *sys.path[1:]]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # An installed package is compiled once.
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def seconds(call: Callable[[], object], rounds: int) -> list[float]:
    """Return how long each of some calls takes."""
    taken = []
    for _ in range(rounds):
        start = perf_counter()
        call()
        taken.append(perf_counter() - start)
    return taken


def imports(rounds: int) -> Iterator[Row]:
    """Import the package after torch, both compiled before."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PYTHONPYCACHEPREFIX"] = folder
        run(IMPORT)
        found = [run(IMPORT)[0] for _ in range(rounds)]
        del os.environ["PYTHONPYCACHEPREFIX"]
    yield Row("import, of torch's", 0.1, "times", found)


def solves(rounds: int) -> Iterator[Row]:
    """Solve an axis that was never solved before."""
    cases = {
        (10**12, 7 * 10**12 - 5): (2, {}),
        (1, 10**7): (20, {"dilation": 4}),
        (10**6, 10**9): (20, {"dilation": 3}),
        (10**6, 10**9 + 1): (200, {"kernel_size": 1003, "dilation": 3}),
    }
    for sizes, (limit, pins) in cases.items():

        def call(sizes=sizes, pins=pins) -> None:
            best_solutions.cache_clear()
            solve(*sizes, **pins)

        words = [f"{sizes[0]:.3g} -> {sizes[1]:.3g}", *(f"{k}={v}" for k, v in pins.items())]
        found = [1e3 * each for each in seconds(call, 5 * rounds)]
        yield Row(f"solve {', '.join(words)}", limit, "ms", found)


def constructions(rounds: int) -> Iterator[Row]:
    """Build a layer of sizes that were solved before, and the plain one."""
    for channels in ((32, 1), (64, 32)):
        cases = {  # What is asked for: the limit, the kernel of the plain layer.
            "as PyTorch's starts": ({"init": "torch"}, 1.1, 2),
            "the default start": ({}, 4, 2),
            "smoothness=1": ({"smoothness": 1}, 12, 4),
        }
        for case, (options, limit, kernel) in cases.items():
            sides = {
                "layer": partial(AutoConvTranspose2d, *channels, 14, 28, **options),
                "plain": partial(nn.ConvTranspose2d, *channels, kernel, stride=2),
            }
            times = take_turns(sides, 0.2 * rounds)
            name = f"construction {channels[0]}→{channels[1]}, {case}, of the plain layer's"
            yield Row(name, limit, "times", (times[:, 0] / times[:, 1]).tolist())


def audits(rounds: int, blocks: int) -> Iterator[Row]:
    """Audit a model of four modules a block."""
    model = nn.Sequential(
        *(
            nn.Sequential(nn.ConvTranspose2d(64, 64, 3, 2, 1, 1), nn.BatchNorm2d(64), nn.ReLU())
            for _ in range(blocks)
        )
    )
    name = f"audit of {len([*model.modules()])} modules"
    yield Row(name, 2, "s", seconds(partial(audit, model), rounds))


def repairs(rounds: int, size: int) -> Iterator[Row]:
    """Repair a U-Net of even layers, which has to be looked at and no more, and audit it."""
    net = nn.Sequential(nn.Conv2d(512, 512, 4, 2, 1), nn.ConvTranspose2d(512, 512, 4, 2, 1))
    for channels, below in ((256, 512), (128, 256), (64, 128), (3, 64)):
        down, up = nn.Conv2d(channels, below, 4, 2, 1), nn.ConvTranspose2d(below, channels, 4, 2, 1)
        net = nn.Sequential(down, nn.BatchNorm2d(below), nn.LeakyReLU(0.2), net, up)
    calls = [partial(act, net.eval(), (1, 3, size, size)) for act in (repair, audit)]
    seconds(calls[0], 1)  # Loads what runs without numbers.
    turns = [[seconds(call, 1)[0] for call in calls] for _ in range(rounds)]
    found = [looked / audited for looked, audited in turns]
    yield Row(f"repair at {size}², nothing to change, of the audit's", 0.5, "times", found)


def mirrors(rounds: int, backbone: str, size: int) -> Iterator[Row]:
    """Mirror a large backbone at a large size, each time in a process of its own."""
    columns = zip(*(run(MIRROR, backbone, size) for _ in range(rounds)), strict=True)
    names = ("in all", "besides its capture", "besides its weights")
    for name, limit, unit, found in zip(
        names, (15, 1, 500), ("s", "s", "MiB"), columns, strict=True
    ):
        yield Row(f"mirror of {backbone} at {size}², {name}", limit, unit, [*found])


def unets(rounds: int, *backbones: str) -> Iterator[Row]:
    """Build a U-Net on a backbone, in turns with its capture alone, in processor time."""
    for backbone in backbones:
        found = [run(UNET, backbone, 224)[0] for _ in range(rounds)]
        yield Row(f"U-Net on {backbone}, of its capture alone", 2, "times", found)


def main() -> int:
    """Print the table; return 1 where a limit is broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one round, small models")
    options = parser.parse_args()
    rounds = 1 if options.quick else options.rounds
    parts = [
        imports(rounds),
        solves(rounds),
        constructions(rounds),
        audits(rounds, 5 if options.quick else 500),
        repairs(rounds, 32 if options.quick else 256),
        mirrors(rounds, *(("resnet18", 64) if options.quick else ("resnet152", 1024))),
        unets(rounds, *(("resnet18",) if options.quick else ("resnet18", "densenet121"))),
    ]
    print(f"\n{machine('cpu')}; medians\n")
    print("| what | limit | median | lowest | highest | kept |\n|---|---|---|---|---|---|")
    broken = 0
    for row in tqdm((row for part in parts for row in part), total=18, unit="limit"):
        kept = row.median <= row.limit
        broken += not kept
        numbers = [f"{each:.3g}" for each in (row.median, min(row.measured), max(row.measured))]
        cells = [row.name, f"{row.limit:g} {row.unit}", *numbers, "yes" if kept else "NO"]
        print(f"| {' | '.join(cells)} |", flush=True)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
