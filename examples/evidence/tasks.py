"""Tasks that restore a given picture or signal: photographs, enlarging, heartbeats, digits.

A trial is one model in training: ``step()`` trains it once, ``measure()`` and ``show()`` tell
what came of it. ``Trial.widths`` are those of the enlarging layers.
"""

import itertools
from collections.abc import Callable

import torch
from data import SIZE, digits, heartbeats, photographs
from decoders import Recipe, build_decoder
from measures import constants_of, decibels, grid_of
from torch import nn
from torch.nn import functional as F  # noqa: N812


class Trial:
    """A model in training with Adam, the learning rate falling to 0."""

    steps = 800
    batch = 32
    dims = 2
    widths: tuple[int, ...]
    rate = 2e-3

    def __init__(
        self, recipe: Recipe, seed: int, steps: int, widths: tuple[int, ...] | None = None
    ) -> None:
        self.total, self.done = steps, 0
        self.generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)
        self.encoder = self.build_encoder()
        torch.manual_seed(seed + 1000)
        self.decoder = build_decoder(recipe, widths or self.widths, self.dims)
        self.model = self.assemble()
        self.optimiser = torch.optim.Adam(self.model.parameters(), self.rate, fused=True)

    def build_encoder(self) -> nn.Module:
        """Return what is the same for every kind."""
        raise NotImplementedError

    def assemble(self) -> nn.Module:
        """Return the model that is trained."""
        return nn.Sequential(self.encoder, self.decoder)

    def draw(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what goes in and what should come out."""
        raise NotImplementedError

    def pick(self, count: int) -> torch.Tensor:
        """Return a batch of numbers below ``count``."""
        return torch.randint(count, (self.batch,), generator=self.generator)

    def loss(self) -> torch.Tensor:
        """Return the loss of the next batch."""
        given, wanted = self.draw()
        return F.mse_loss(self.model(given), wanted)

    def step(self) -> float:
        """Train on one batch, and return its loss."""
        self.optimiser.param_groups[0]["lr"] = self.rate * (1 - self.done / self.total)
        loss = self.loss()
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.done += 1
        return float(loss.detach())

    def measure(self) -> dict[str, float]:
        """Return the quality and the grids."""
        raise NotImplementedError

    def show(self) -> dict[str, torch.Tensor]:
        """Return what figures are made of."""
        raise NotImplementedError

    @classmethod
    def originals(cls) -> dict[str, float]:
        """Return what the same measures say of the data, where that is a question."""
        return {}

    @classmethod
    def show_originals(cls) -> dict[str, torch.Tensor]:
        """Return what figures set beside what is made."""
        return {}


def convolve(*widths: int, dims: int = 2) -> nn.Sequential:
    """Return 3-tap convolutions of stride 2 with ReLU between."""
    conv, layers = (nn.Conv1d, nn.Conv2d)[dims - 1], []
    for before, after in itertools.pairwise(widths):
        layers += [conv(before, after, 3, 2, 1), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Photographs(Trial):
    """An autoencoder of crops of photographs through 64 x 4 x 4 numbers."""

    widths = (64, 32, 16, 3)

    def build_encoder(self) -> nn.Module:
        """Return three convolutions."""
        return convolve(3, 16, 32, 64)

    def draw(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return crops twice."""
        images = photographs()[0]
        batch = images[self.pick(len(images))]
        return batch, batch

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Return PSNR on crops held out, and the grid."""
        _, held_out, large = photographs()
        made = torch.cat([self.model(each) for each in large.split(32)])[..., 16:-16, 16:-16]
        return {
            "psnr": decibels(self.model(held_out), held_out),
            "residual": grid_of(made, large[..., 16:-16, 16:-16]),
            "constants": constants_of(self.model, 3, 3 * SIZE),
        }

    @torch.no_grad()
    def show(self) -> dict[str, torch.Tensor]:
        """Return four errors, and a constant of twice white, in grey."""
        wanted = photographs()[1][:4]
        flat = self.model(torch.full((1, 3, 3 * SIZE, 3 * SIZE), 2.0))
        middle = slice(SIZE, 2 * SIZE)
        flat = (flat - flat[..., middle, middle].mean((2, 3), keepdim=True)).mean(1)
        return {"errors": (self.model(wanted) - wanted).mean(1), "flat": flat[:, middle, middle]}


class Enlarger(nn.Module):
    """Convolutions at low resolution and an enlarging layer, beside a bilinear enlargement."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (N, 3, 2 H, 2 W)."""
        plain = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        return plain + self.decoder(self.encoder(x))


class SuperResolution(Photographs):
    """Enlarging photographs that were averaged to half their size."""

    steps = 500
    batch = 16
    widths = (24, 3)

    def build_encoder(self) -> nn.Module:
        """Return FSRCNN's (Dong et al. 2016): features, fewer channels, mapping, more channels."""
        return nn.Sequential(
            nn.Conv2d(3, 24, 5, padding=2), nn.ReLU(),
            nn.Conv2d(24, 12, 1), nn.ReLU(),
            nn.Conv2d(12, 12, 3, padding=1), nn.ReLU(),
            nn.Conv2d(12, 12, 3, padding=1), nn.ReLU(),
            nn.Conv2d(12, 24, 1), nn.ReLU(),
        )  # fmt: skip

    def assemble(self) -> nn.Module:
        """Return the enlarger."""
        return Enlarger(self.encoder, self.decoder)

    def draw(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return crops at half their size, and the crops."""
        wanted = super().draw()[0]
        return F.avg_pool2d(wanted, 2), wanted

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Return PSNR on crops held out, and the grid."""
        _, held_out, large = photographs()
        made = torch.cat([self.model(F.avg_pool2d(each, 2)) for each in large.split(32)])
        return {
            "psnr": decibels(self.model(F.avg_pool2d(held_out, 2)), held_out),
            "residual": grid_of(made[..., 8:-8, 8:-8], large[..., 8:-8, 8:-8]),
            "constants": constants_of(self.model, 3, SIZE),
        }

    @torch.no_grad()
    def show(self) -> dict[str, torch.Tensor]:
        """Return four errors in grey."""
        wanted = photographs()[1][:4]
        return {"errors": (self.model(F.avg_pool2d(wanted, 2)) - wanted).mean(1)}


class Heartbeats(Trial):
    """An autoencoder of 256 samples of an electrocardiogram through 2 x 32 numbers."""

    dims = 1
    window = 256
    widths = (32, 24, 16, 1)

    def build_encoder(self) -> nn.Module:
        """Return convolutions into the code, and one out of it."""
        return nn.Sequential(
            convolve(1, 16, 32, 2, dims=1), nn.Conv1d(2, self.widths[0], 3, padding=1), nn.ReLU()
        )

    def draw(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return windows twice."""
        signal = heartbeats()[0].unfold(0, self.window, 1)
        batch = signal[self.pick(len(signal)), None]
        return batch, batch

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Return the signal-to-noise ratio of the last minute, and the grid."""
        signal = heartbeats()[1]
        windows = signal[: len(signal) // self.window * self.window].view(-1, 1, self.window)
        large = torch.stack([signal[n : n + 20480] for n in range(8)])[:, None]
        return {
            "snr": decibels(self.model(windows), windows, float(windows.var())),
            "residual": grid_of(self.model(large)[..., 64:-64], large[..., 64:-64], 1),
            "constants": constants_of(self.model, 1, 3 * self.window, 1),
        }

    @torch.no_grad()
    def show(self) -> dict[str, torch.Tensor]:
        """Return two windows restored."""
        return {"made": self.model(self.show_originals()["made"][:, None])[:, 0]}

    @classmethod
    def show_originals(cls) -> dict[str, torch.Tensor]:
        """Return two windows."""
        return {"made": heartbeats()[1][: 2 * cls.window].view(2, -1)}


class NoBottleneck(Trial):
    """An autoencoder of digits whose code has as many numbers as the picture has pixels."""

    widths = (16, 32, 1)

    def build_encoder(self) -> nn.Module:
        """Return two convolutions."""
        return nn.Sequential(convolve(1, 32, 16), nn.ReLU())

    def draw(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return digits twice."""
        images = digits()[0]
        batch = images[self.pick(len(images))]
        return batch, batch

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Return PSNR on digits held out, and the grid."""
        wanted = digits()[2]
        made = self.model(wanted)
        return {"psnr": decibels(made, wanted), "residual": grid_of(made, wanted)}

    @torch.no_grad()
    def show(self) -> dict[str, torch.Tensor]:
        """Return three digits restored."""
        return {"made": self.model(digits()[2][:3])[:, 0]}

    @classmethod
    def show_originals(cls) -> dict[str, torch.Tensor]:
        """Return three digits."""
        return {"made": digits()[2][:3, 0]}


RESTORING: dict[str, Callable[..., Trial]] = {
    "photographs": Photographs,
    "super_resolution": SuperResolution,
    "ecg": Heartbeats,
    "no_bottleneck": NoBottleneck,
}
