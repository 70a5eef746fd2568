"""The limits of time that autoup keeps: each with what was measured here, medians.

``python benchmarks/limits.py`` prints them as a table; the exit status is 1 where one is broken.
``--quick`` measures each once, on smaller models where they are large.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import timing
import torch
from torch import nn

import autoup
from autoup.decoding import decoder
from autoup.solving.solver import best_solutions


def seconds(act: Callable[[], object], rounds: int) -> float:
    """Return the median of some rounds."""
    found: list[float] = []
    for _ in range(rounds):
        start = time.perf_counter()
        act()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def solving(rounds: int, *sizes: int, **pins: int) -> float:
    """Return the seconds of one solution that is not kept from before."""

    def act() -> None:
        best_solutions.cache_clear()
        autoup.solve(*sizes, **pins)

    return seconds(act, rounds)


def importing(rounds: int) -> float:
    """Return the seconds that ``import autoup`` adds to ``import torch``, compiled before."""
    code = (
        "import torch, time; start = time.perf_counter(); import autoup; "
        "print(time.perf_counter() - start)"
    )
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": folder}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)

        def run() -> float:
            done = subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, env=environment
            )
            return float(done.stdout)

        run()
        return statistics.median(run() for _ in range(rounds))


def building(rounds: int) -> float:
    """Return how many times as long as the plain layer one of the same shape takes to build."""
    torch.manual_seed(0)
    sides = {
        "autoup": lambda: autoup.AutoConvTranspose2d(64, 32, 14, 28, init="torch"),
        "plain": lambda: nn.ConvTranspose2d(64, 32, 2, stride=2),
    }
    rows = timing.take_turns(sides, 0.1 * rounds)
    return float((rows[:, 0] / rows[:, 1]).median())


def auditing(rounds: int, layers: int) -> float:
    """Return the seconds of an audit without sizes, four modules a layer."""
    blocks = (
        nn.Sequential(nn.ConvTranspose2d(64, 64, 3, 2, 1, 1), nn.BatchNorm2d(64), nn.ReLU())
        for _ in range(layers)
    )
    model = nn.Sequential(*blocks)
    return seconds(lambda: autoup.audit(model), rounds)


def mirroring(rounds: int, depth: int) -> float:
    """Return the seconds of a decoder besides the capture of its encoder, a chain of layers."""
    layers = [
        layer
        for _ in range(depth)
        for layer in (nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU())
    ]
    encoder = nn.Sequential(nn.Conv2d(3, 64, 7, 2, 3), *layers)
    captured: list[float] = []
    capture = decoder.capture

    def timed(*arguments: object) -> object:
        start = time.perf_counter()
        program = capture(*arguments)
        captured.append(time.perf_counter() - start)
        return program

    decoder.capture = timed
    try:
        whole = seconds(lambda: autoup.mirror_decoder(encoder, (1, 3, 1024, 1024)), rounds)
    finally:
        decoder.capture = capture
    return whole - statistics.median(captured)


def measure(quick: bool) -> list[tuple[str, float, float, str]]:
    """Return what, its measure, its limit and the unit of every limit."""
    n = 1 if quick else 7
    return [
        ("import autoup, beside torch", 1e3 * importing(n), 50, "ms"),
        ("solve 10^9 -> 2*10^9 + 1", 1e3 * solving(n, 10**9, 2 * 10**9 + 1), 2, "ms"),
        ("solve 1 -> 10^7, dilation 4", 1e3 * solving(n, 1, 10**7, dilation=4), 20, "ms"),
        ("solve 10^6 -> 10^9, kernel 1003, dilation 3",
         1e3 * solving(n, 10**6, 10**9, kernel_size=1003, dilation=3), 200, "ms"),
        ("build a layer, over the plain one", building(n), 1.1, "times"),
        ("audit 2,001 modules", auditing(n, 50 if quick else 500), 2, "s"),
        ("mirror 150 layers at 1024 px, besides the capture",
         mirroring(n, 5 if quick else 50), 1, "s"),
    ]  # fmt: skip


def main() -> int:
    """Print the table; return 1 where a limit is broken and all was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="once each, on smaller models")
    quick: bool = parser.parse_args().quick
    print(f"Limits of time on {timing.machine('cpu')}\n")
    print("| what | measured | limit |\n|---|---|---|")
    rows = measure(quick)
    for what, measured, limit, unit in rows:
        broken = " **broken**" if measured > limit else ""
        print(f"| {what} | {measured:.3g} {unit}{broken} | {limit:g} {unit} |")
    return 0 if quick else int(any(measured > limit for _, measured, limit, _ in rows))


if __name__ == "__main__":
    sys.exit(main())
