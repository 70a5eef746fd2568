"""Tasks that generate digits: a variational autoencoder and an adversarial network.

What the adversarial one makes is judged by a classifier that was trained on the originals.
"""

from functools import cache

import torch
from data import digits
from decoders import Recipe, build_decoder
from measures import frechet, grid_of
from tasks import Trial, convolve
from torch import nn
from torch.nn import functional as F  # noqa: N812

CODE = 16
NOISE = 64
SHOWN = 6


def codes(count: int, size: int, seed: int = 0) -> torch.Tensor:
    """Return codes from the prior, the same in every run."""
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed))


class Variational(Trial):
    """A variational autoencoder through 16 numbers, Bernoulli likelihood."""

    steps = 1000
    batch = 64
    widths = (32, 16, 1)
    rate = 1e-3

    def build_encoder(self) -> nn.Module:
        """Return two convolutions and a dense layer."""
        return nn.Sequential(
            convolve(1, 16, 32), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 49, 2 * CODE)
        )

    def assemble(self) -> nn.Module:
        """Put a dense layer before the decoder, the same for every kind."""
        torch.manual_seed(self.generator.initial_seed() + 2000)
        first = self.widths[0]
        widen = nn.Linear(CODE, first * 49), nn.ReLU(), nn.Unflatten(1, (first, 7, 7))
        self.generate = nn.Sequential(*widen, self.decoder)
        return nn.ModuleList([self.encoder, self.generate])

    def step(self) -> float:
        """Train on one batch; the learning rate stays."""
        self.total = float("inf")
        return super().step()

    def loss(self) -> torch.Tensor:
        """Return the negative evidence lower bound of a batch, a picture."""
        images = digits()[0]
        return self.bound(images[self.pick(len(images))], self.generator)

    def bound(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return the negative evidence lower bound in nats, a picture."""
        mean, log_variance = self.encoder(images).chunk(2, 1)
        noise = torch.randn(mean.shape, generator=generator)
        logits = self.generate(mean + noise * (log_variance / 2).exp())
        likelihood = F.binary_cross_entropy_with_logits(logits, images, reduction="sum")
        divergence = (mean**2 + log_variance.exp() - 1 - log_variance).sum() / 2
        return (likelihood + divergence) / len(images)

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Return the bound of the digits held out, and the grid in the logits of samples."""
        generator = torch.Generator().manual_seed(0)
        drawn = codes(256, CODE)
        return {
            "nats": float(self.bound(digits()[2], generator)),
            "samples": grid_of(self.generate(drawn)),
            "far": grid_of(self.generate(3 * drawn)),
        }

    @torch.no_grad()
    def show(self) -> dict[str, torch.Tensor]:
        """Return the logits of samples."""
        return {"logits": self.generate(codes(SHOWN, CODE))[:, 0]}

    @classmethod
    def originals(cls) -> dict[str, float]:
        """Return the spread that as many digits have of their own, in pixels."""
        return {"samples": grid_of(digits()[2][:256])}


class Classifier(nn.Module):
    """A small convolutional classifier of digits, in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            convolve(1, 12, 24), nn.ReLU(), nn.Flatten(), nn.Linear(24 * 49, 64), nn.ReLU()
        )
        self.head = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (N, 10)."""
        return self.head(self.features(x))


@cache
@torch.enable_grad()
def classifier() -> Classifier:
    """Return the classifier, trained for a few seconds; the same in every process."""
    images, labels, _, _ = digits()
    state, generator = torch.get_rng_state(), torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    judge = Classifier()
    torch.set_rng_state(state)
    optimiser = torch.optim.Adam(judge.parameters(), 3e-3, fused=True)
    for step in range(600):
        optimiser.param_groups[0]["lr"] = 3e-3 * (1 - step / 600)
        some = torch.randint(len(images), (64,), generator=generator)
        loss = F.cross_entropy(judge(images[some]), labels[some])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return judge.eval()


@torch.no_grad()
def judge(images: torch.Tensor) -> dict[str, float]:
    """Return confidence, diversity in bits and Fréchet distance of pictures in [0, 1]."""
    shares = classifier()(images).softmax(1)
    overall = shares.mean(0)
    features = classifier().features
    return {
        "confidence": float(shares.amax(1).mean()),
        "diversity": float(-(overall * overall.clamp(min=1e-12).log2()).sum()),
        "distance": frechet(features(images), features(digits()[2])),
    }


class Adversarial(Trial):
    """A generator like DCGAN's with batch norm, against two convolutions."""

    steps = 1200
    batch = 32
    widths = (48, 24, 1)

    def __init__(
        self, recipe: Recipe, seed: int, steps: int, widths: tuple[int, ...] | None = None
    ) -> None:
        self.total, self.done = steps, 0
        self.generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 16, 4, 2, 1), nn.LeakyReLU(0.2),
            nn.Conv2d(16, 32, 4, 2, 1, bias=False), nn.BatchNorm2d(32), nn.LeakyReLU(0.2),
            nn.Flatten(), nn.Linear(32 * 49, 1),
        )  # fmt: skip
        widths, first = widths or self.widths, (widths or self.widths)[0]
        widen = nn.Linear(NOISE, first * 49), nn.Unflatten(1, (first, 7, 7))
        for layer in (*self.encoder, *widen):
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.normal_(layer.weight, 0, 0.02)
        torch.manual_seed(seed + 1000)
        self.decoder = build_decoder(recipe, widths, norm=True)
        self.generate = nn.Sequential(*widen, nn.BatchNorm2d(first), nn.ReLU(), self.decoder)
        self.optimisers = [
            torch.optim.Adam(model.parameters(), 2e-4, (0.5, 0.999), fused=True)
            for model in (self.encoder, self.generate)
        ]

    def step(self) -> float:
        """Train the discriminator on one batch, then the generator; return the latter's loss."""
        images = digits()[0]
        real = 2 * images[self.pick(len(images))] - 1
        made = self.generate(torch.randn(self.batch, NOISE, generator=self.generator)).tanh()
        loss = F.softplus(-self.encoder(real)).mean()
        loss = loss + F.softplus(self.encoder(made.detach())).mean()
        self.update(0, loss)
        loss = F.softplus(-self.encoder(made)).mean()
        self.update(1, loss)
        self.done += 1
        return float(loss.detach())

    def update(self, which: int, loss: torch.Tensor) -> None:
        """Take one step of the discriminator (0) or the generator (1)."""
        self.optimisers[which].zero_grad()
        loss.backward()
        self.optimisers[which].step()

    @torch.no_grad()
    def make(self, count: int) -> torch.Tensor:
        """Return samples before the tanh."""
        self.generate.eval()
        made = self.generate(codes(count, NOISE))
        self.generate.train()
        return made

    def measure(self) -> dict[str, float]:
        """Return what the classifier says of 512 samples, and their grid."""
        made = self.make(512)
        grids = {"before": grid_of(made), "after": grid_of(made.tanh())}
        return judge((made.tanh() + 1) / 2) | grids

    def show(self) -> dict[str, torch.Tensor]:
        """Return samples before the tanh."""
        return {"samples": self.make(SHOWN)[:, 0]}

    @classmethod
    def originals(cls) -> dict[str, float]:
        """Return what the same measures say of the digits that the generator learns from."""
        images = digits()[0][:512]
        return judge(images) | {"after": grid_of(images)}


GENERATING = {"vae": Variational, "gan": Adversarial}
