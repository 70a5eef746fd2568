"""What the benchmarks share: facts of the machine, timing in turns, ratios with their spread."""

import math
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch.utils.benchmark import Timer

FORMATS = {"NCHW": torch.contiguous_format, "channels last": torch.channels_last}
MODES = ("inference", "training")


def devices() -> list[str]:
    """Return the CPU, and the CUDA device where there is one."""
    return ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def machine(device: str) -> str:
    """Return what the numbers were taken on, in one line."""
    if device == "cuda":
        name = torch.cuda.get_device_name()
    else:
        models = [
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ] if Path("/proc/cpuinfo").exists() else []  # fmt: skip
        name = models[0] if models else platform.processor() or platform.machine()
        name += f", {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"
    return f"{name}, torch {torch.__version__}, Python {platform.python_version()}"


def take_turns(sides: Mapping[str, Callable[[], object]], seconds: float) -> torch.Tensor:
    """Return rows of seconds a call, one column a side; in every row each side had its turn."""
    timers = [
        Timer("call()", globals={"call": call}, num_threads=torch.get_num_threads())
        for call in sides.values()
    ]
    for timer in timers:
        timer.timeit(2)
    number = max(1, round(0.002 / min(timer.timeit(2).mean for timer in timers)))
    rows, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(rows) < 5:
        rows.append([timer.timeit(number).mean for timer in timers])
    return torch.tensor(rows, dtype=torch.float64)


def quartiles(values: torch.Tensor) -> tuple[float, float, float]:
    """Return the lower quartile, the median and the upper quartile."""
    low, middle, high = values.quantile(torch.tensor([0.25, 0.5, 0.75], dtype=values.dtype))
    return float(low), float(middle), float(high)


def geometric_mean(values: Sequence[float]) -> float:
    """Return the geometric mean."""
    return math.exp(sum(map(math.log, values)) / len(values))


def step(call: Callable[[], torch.Tensor], parameters: Sequence[torch.Tensor], train: bool):
    """Return a function that runs ``call`` without gradients, or forward and backward."""
    if not train:

        def infer() -> None:
            with torch.inference_mode():
                call()

        return infer
    cotangent = torch.randn_like(call())

    def train_step() -> None:
        call().backward(cotangent)
        for each in parameters:
            each.grad = None

    return train_step


def difference(made: torch.Tensor, wanted: torch.Tensor) -> float:
    """Return the largest difference, as a part of the largest value."""
    made, wanted = made.detach().double(), wanted.detach().double()
    return float((made - wanted).abs().max() / wanted.abs().max())


def milliseconds(value: float) -> str:
    """Return seconds as milliseconds with three digits."""
    return f"{float(f'{1e3 * value:.3g}'):g}"
