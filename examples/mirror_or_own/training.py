"""One training of an encoder with a decoder, and the time that a step takes."""

import statistics
import time
import warnings
from dataclasses import asdict, dataclass
from functools import cache

import torch
from material import load
from pairs import PAIRS
from torch import nn
from torch.nn import functional as F  # noqa: N812

from autoup import mirror_decoder

ARMS: dict[str, dict[str, object] | None] = {  # None is the package's own decoder.
    "own": None,
    "mirror": {},
    "mirror, smoothness 0": {"smoothness": 0},
    "mirror, residual=False": {"residual": False},
}
RATE = 2e-3
WARM_UP = 12  # Steps before a graph is captured, or a clock started.
POINTS = 10  # Of the loss along the training.
WINDOWS = (32, 64, 128, 256)  # Of the spectra, in samples.


@dataclass(frozen=True, slots=True)
class Job:
    """One training.

    Args:
        model: A key of ``PAIRS``.
        arm: A key of ``ARMS``.
        seed: Of the encoder, and of what it sees.
    """

    model: str
    arm: str
    seed: int


def build(model: str, arm: str, seed: int, size: tuple[int, ...] | None = None) -> nn.Sequential:
    """Return encoder and decoder; for a seed the encoders of all arms are equal."""
    pair, options = PAIRS[model], ARMS[arm]
    torch.manual_seed(seed)
    encoder, decoder = pair.build()
    if options is not None:
        torch.manual_seed(seed + 1000)
        close = pair.activation() if pair.activation else None
        with warnings.catch_warnings(action="ignore"):
            decoder = mirror_decoder(encoder, size or pair.size, output_activation=close, **options)
    return nn.Sequential(encoder, decoder)


@cache
def hann_window(window: int, device: torch.device) -> torch.Tensor:
    """Return the window, made once: a captured step makes nothing anew."""
    return torch.hann_window(window, device=device)


def spectra(x: torch.Tensor, window: int) -> torch.Tensor:
    """Return the logarithm of the magnitudes at each time and frequency, (N, F, T)."""
    shape = hann_window(window, x.device)
    made = torch.stft(x[:, 0], window, window // 4, window=shape, return_complex=True)
    return (made.real.square() + made.imag.square() + 1e-6).log() / 2


def spectral(made: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Return the mean distance of the logarithms of magnitudes, over windows of several lengths."""
    distances = [F.l1_loss(spectra(made, each), spectra(wanted, each)) for each in WINDOWS]
    return torch.stack(distances).mean()


def sound_loss(made: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Return the distance of the spectra, and that of the samples in units of their mean size."""
    return spectral(made, wanted) + F.l1_loss(made, wanted) / wanted.abs().mean()


LOSS = {"picture": F.mse_loss, "sound": sound_loss}


def decibels(made: torch.Tensor, wanted: torch.Tensor, power: float) -> float:
    """Return 10 log10(power / mean squared error)."""
    return float(10 * torch.log10(power / F.mse_loss(made, wanted)))


@torch.no_grad()
def measure(model: nn.Module, kind: str, wanted: torch.Tensor) -> dict[str, float]:
    """Return what is told of a trained model, on what it has not seen."""
    made = torch.cat([model(each) for each in wanted.split(32)])
    if made.shape != wanted.shape:
        raise ValueError(f"{tuple(made.shape)} was made of {tuple(wanted.shape)}")
    if kind == "picture":
        return {"psnr": decibels(made, wanted, 4)}  # From -1 to 1: the peak is 2.
    return {
        "spectral": float(spectral(made, wanted)),
        "snr": decibels(made, wanted, float(wanted.square().mean())),
    }


def synchronise(device: str) -> None:
    """Wait for the device."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


class Trial:
    """A model in training with Adam, the learning rate falling to 0 in a straight line.

    Args:
        job: What to train.
        steps: How long the learning rate falls.
        device: Where.
        captured: Whether a step is captured as a CUDA graph, which frees it of Python's time.
    """

    def __init__(self, job: Job, steps: int, device: str, *, captured: bool) -> None:
        pair = PAIRS[job.model]
        self.kind, self.steps, self.done = pair.kind, steps, 0
        self.model = build(job.model, job.arm, job.seed).to(device).train()
        pool, self.held_out = load(pair.kind, pair.size)
        self.pool, self.held_out = pool.to(device), self.held_out.to(device)
        generator = torch.Generator().manual_seed(job.seed)
        picks = torch.randint(len(pool), (steps, pair.size[0]), generator=generator)
        self.picks = picks.to(device)
        self.batch = torch.zeros(pair.size, device=device)
        self.losses = torch.zeros(steps, device=device)
        on_gpu = device.startswith("cuda")
        rate = torch.tensor(RATE, device=device) if on_gpu else RATE
        self.optimiser = torch.optim.Adam(self.model.parameters(), rate, capturable=on_gpu)
        self.graph: torch.cuda.CUDAGraph | None = None
        self.captured = captured and on_gpu
        self.stream = torch.cuda.Stream() if on_gpu else None
        synchronise(device)  # What lies ready was made on another stream.

    def load_next(self) -> None:
        """Put the next batch and the next learning rate in their places."""
        number = self.done % self.steps
        self.batch.copy_(self.pool[self.picks[number]])
        group, rate = self.optimiser.param_groups[0], RATE * (1 - number / self.steps)
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate

    def learn(self) -> torch.Tensor:
        """Train on the batch, and return its loss."""
        self.optimiser.zero_grad()
        loss = LOSS[self.kind](self.model(self.batch), self.batch)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        return loss.detach()

    def capture(self) -> None:
        """Capture a step."""
        self.graph = torch.cuda.CUDAGraph()
        self.optimiser.zero_grad()
        with torch.cuda.graph(self.graph, stream=self.stream):
            self.loss = self.learn()

    def step(self) -> None:
        """Train once, on a stream of its own, beside the trials of others."""
        if self.captured and self.done == WARM_UP:
            torch.cuda.synchronize()
            self.capture()
        with torch.cuda.stream(self.stream):
            self.load_next()
            if self.graph is None:
                loss = self.learn()
            else:
                self.graph.replay()
                loss = self.loss
            self.losses[self.done % self.steps] = loss
        self.done += 1

    def curve(self) -> list[float]:
        """Return the mean loss of each tenth of the training."""
        return [round(float(each.mean()), 5) for each in self.losses.chunk(POINTS)]


def warm_up(job: Job, steps: int, device: str) -> Trial:
    """Return a trial after its first steps; one that cannot be captured goes on without."""
    trial = Trial(job, steps, device, captured=True)
    try:
        while trial.done < min(steps, WARM_UP + 1):
            trial.step()
    except RuntimeError:
        if not trial.captured:
            raise
        return Trial(job, steps, device, captured=False)
    return trial


def run(jobs: list[Job], steps: int, device: str) -> list[dict[str, object]]:
    """Train side by side, and return the lines of results."""
    trials = [warm_up(job, steps, device) for job in jobs]
    synchronise(device)
    while behind := [trial for trial in trials if trial.done < steps]:
        for trial in behind:
            trial.step()
    synchronise(device)
    lines = []
    for job, trial in zip(jobs, trials, strict=True):
        told = measure(trial.model.eval(), trial.kind, trial.held_out)
        told = {name: round(value, 4) for name, value in told.items()}
        about = {"steps": steps, "device": device, "graph": trial.graph is not None}
        lines.append({"what": "train", **asdict(job), **about, **told, "loss": trial.curve()})
    return lines


def seconds(trial: Trial, device: str, count: int) -> float:
    """Return the seconds of 100 steps, the median of three repeats of ``count`` steps."""
    times = []
    for _ in range(3):
        synchronise(device)
        start = time.perf_counter()
        for _ in range(count):
            trial.step()
        synchronise(device)
        times.append((time.perf_counter() - start) / count)
    return round(100 * statistics.median(times), 3)


def clock(job: Job, device: str, count: int) -> dict[str, float]:
    """Return the seconds of 100 steps, and on a GPU those of captured ones as well."""
    trial = Trial(job, 1000, device, captured=False)
    for _ in range(WARM_UP if device.startswith("cuda") else 2):
        trial.step()
    told = {"seconds": seconds(trial, device, count)}
    if device.startswith("cuda"):
        trial = warm_up(job, 1000, device)
        if trial.graph is not None:
            told["captured"] = seconds(trial, device, 5 * count)
    return told
