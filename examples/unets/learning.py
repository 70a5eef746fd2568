"""One training of a U-Net, what it says of pictures it has not seen, its time and its memory."""

import statistics
import time
from collections.abc import Callable
from functools import cache

import torch
from nets import ARMS, SIZE
from scenes import CLASSES, batch, boundaries
from torch import nn
from torch.nn import functional as F  # noqa: N812

BATCH = 8
RATE = 1e-3
WARM_UP = 0.05  # Of all steps: the rate rises, then falls as a cosine.
HELD_OUT = 256  # Pictures.
ODD = (71, 97)
POINTS = 20  # Of the loss along the training.


def dice(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Return one minus the mean overlap of what is said and what is so (Milletari et al. 2016)."""
    said = logits.softmax(1)
    so = F.one_hot(wanted, logits.shape[1]).permute(0, 3, 1, 2).to(said.dtype)
    both, each = (said * so).sum((0, 2, 3)), (said + so).sum((0, 2, 3))
    return 1 - ((2 * both + 1) / (each + 1)).mean()


def loss(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Return cross entropy plus dice."""
    return F.cross_entropy(logits, wanted) + dice(logits, wanted)


class Trial:
    """A model in training.

    Args:
        model: What to train.
        seed: Of what it sees.
        steps: How long the rate rises and falls.
        autocast: Whether to run in bfloat16 where PyTorch thinks it safe.
    """

    def __init__(self, model: nn.Module, seed: int, steps: int, *, autocast: bool = False) -> None:
        self.model, self.seed, self.autocast = model.train(), seed, autocast
        self.optimiser = torch.optim.AdamW(model.parameters(), RATE, weight_decay=1e-2)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, RATE, steps, pct_start=WARM_UP, cycle_momentum=False
        )
        self.losses: list[float] = []

    def learn(self, images: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """Train on a batch, and return its loss."""
        self.optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.autocast):
            logits = self.model(images)
        made = loss(logits.float(), wanted)
        made.backward()
        self.optimiser.step()
        return made.detach()

    def step(self) -> None:
        """Train on the next batch."""
        seed = (self.seed, len(self.losses))
        self.losses.append(float(self.learn(*batch("training", (SIZE, SIZE), BATCH, seed))))
        self.schedule.step()

    def curve(self) -> list[float]:
        """Return the mean loss of each of ``POINTS`` parts of the training."""
        parts = torch.tensor(self.losses).chunk(POINTS)
        return [round(float(each.mean()), 4) for each in parts]


def pad(model: nn.Module, images: torch.Tensor, mode: str) -> torch.Tensor:
    """Pad pictures below and to the right to a multiple of 32, and cut what comes of it."""
    h, w = images.shape[2:]
    return model(F.pad(images, (0, -w % 32, 0, -h % 32), mode=mode))[..., :h, :w]


def resize(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Resize pictures to the nearest multiple of 32, and the logits back."""
    size = [round(n / 32) * 32 for n in images.shape[2:]]
    small = F.interpolate(images, size, mode="bilinear", antialias=True)
    return F.interpolate(model(small), images.shape[2:], mode="bilinear")


WAYS: dict[str, Callable[[nn.Module, torch.Tensor], torch.Tensor]] = {
    "as it is": lambda model, images: model(images),
    "padded with zeros": lambda model, images: pad(model, images, "constant"),
    "padded by reflection": lambda model, images: pad(model, images, "reflect"),
    "resized": resize,
}


@cache
def held_out(size: tuple[int, int], count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the pictures that models are measured on."""
    return batch("held out", size, count, (0,))


@torch.no_grad()
def measure(
    model: nn.Module, size: tuple[int, int], way: str = "as it is", pictures: int = HELD_OUT
) -> dict[str, object]:
    """Return IoU, its mean over the classes, and the share of pixels that are wrong.

    At boundaries and in the interior apart, in percent.
    """
    images, wanted = held_out(size, pictures)
    said = torch.cat([WAYS[way](model.eval(), each) for each in images.split(32)]).argmax(1)
    count = len(CLASSES)
    table = torch.bincount((wanted * count + said).flatten(), minlength=count**2)
    table = table.reshape(count, count).double()
    iou = table.diag() / (table.sum(0) + table.sum(1) - table.diag())
    edge, wrong = boundaries(wanted), said != wanted
    return {
        "iou": round(float(iou.mean()), 4),
        "classes": [round(float(each), 4) for each in iou],
        "boundary": round(100 * float(wrong[edge].double().mean()), 3),
        "interior": round(100 * float(wrong[~edge].double().mean()), 3),
    }


def clock(seed: int, count: int, size: tuple[int, int] = (SIZE, SIZE)) -> dict[str, list[float]]:
    """Return the seconds of single steps on one batch, the models in turns."""
    trials = {arm: Trial(build(seed), seed, count + 3) for arm, build in ARMS.items()}
    pictures = batch("training", size, BATCH, (seed,))
    times: dict[str, list[float]] = {arm: [] for arm in ARMS}
    for number in range(count + 2):
        for arm in list(ARMS)[:: 1 if number % 2 else -1]:
            start = time.perf_counter()
            trials[arm].learn(*pictures)
            if number >= 2:
                times[arm].append(time.perf_counter() - start)
    return times


def peak(model: nn.Module) -> float:
    """Return the most memory that the ways forward and back hold, gradients included, in MiB."""
    images, wanted = batch("training", (SIZE, SIZE), BATCH, (0,))
    loss(model(images), wanted).backward()  # What is made once, is.
    model.zero_grad()
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        loss(model(images), wanted).backward()
    held = most = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return round(most / 2**20, 1)


def ratio(times: dict[str, list[float]]) -> float:
    """Return the median of the ratios of steps that were taken one after the other."""
    own, peer = times.values()
    return statistics.median(a / b for a, b in zip(own, peer, strict=True))
