"""Encoders as people write them, small: layers by name and a forward pass of their own."""

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812


class Module(nn.Module):
    """Layers by name, and a forward pass that is given as a function of them."""

    def __init__(self, forward, **layers):
        super().__init__()
        self.run = forward
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x):
        return self.run(self, x)


def conv(i, o, k=3, s=2, p=1, **rest):
    return nn.Conv2d(i, o, k, s, p, **rest)


def functional(m, x):
    x = F.leaky_relu(m.a(x), 0.2, inplace=True)
    x = F.max_pool2d(F.relu(m.norm(m.b(x))), 2)
    return m.head(x.mean((2, 3)))


def residual(m, x):
    x = F.relu(m.norm(m.a(x)))
    return F.relu(m.skip(x) + m.c(F.relu(m.b(x))))


def gated(m, x):
    x = m.a(x)
    return x * torch.sigmoid(m.b(F.relu(m.c(x.mean((2, 3), keepdim=True)))))


def in_place(m, x):
    y = m.a(x)
    y.relu_()
    y[:, :4] *= 2
    return m.b(y)


def scattered(m, x):
    y = torch.zeros(x.shape[0], 16, *[-(-size // 2) for size in x.shape[2:]])
    y[:, :8] = m.a(x)
    y[:, 8:] = m.b(x)
    return y


def tokens(m, x):
    x = m.a(x).flatten(2).transpose(1, 2)
    return m.norm(m.block(x)).mean(1)


def channels_last(m, x):
    x = m.a(x).permute(0, 2, 3, 1)
    return m.head(x + m.c(F.gelu(m.b(m.norm(x)))))


def in_time(m, x):
    n, t = x.shape[:2]
    return m.head(F.relu(m.a(x.flatten(0, 1))).mean((2, 3)).view(n, t, -1))


def padded(m, x):
    return m.b(F.pad(m.a(F.pad(x, (0, 1, 0, 1))), (1, 1, 1, 1)))


ENCODERS = {
    "functional": lambda: Module(
        functional, a=conv(3, 8), b=conv(8, 16), norm=nn.BatchNorm2d(16), head=nn.Linear(16, 5)
    ),
    "residual": lambda: Module(
        residual, a=conv(3, 8), norm=nn.GroupNorm(2, 8), b=conv(8, 16), c=conv(16, 16, 3, 1),
        skip=conv(8, 16, 1, 2, 0),
    ),
    "gated": lambda: Module(gated, a=conv(3, 8), b=conv(4, 8, 1, 1, 0), c=conv(8, 4, 1, 1, 0)),
    "in place": lambda: Module(in_place, a=conv(3, 8), b=conv(8, 8)),
    "scattered": lambda: Module(scattered, a=conv(3, 8), b=conv(3, 8)),
    "tokens": lambda: Module(
        tokens, a=conv(3, 16, 4, 4, 0), norm=nn.LayerNorm(16),
        block=nn.TransformerEncoderLayer(16, 2, 32, batch_first=True),
    ),
    "channels last": lambda: Module(
        channels_last, a=conv(3, 8, 4, 4, 0), norm=nn.LayerNorm(8), b=nn.Linear(8, 32),
        c=nn.Linear(32, 8), head=nn.Linear(8, 4),
    ),
    "padded": lambda: Module(padded, a=nn.Conv2d(3, 8, 3, 2), b=nn.Conv2d(8, 8, 3)),
    "circular": lambda: nn.Sequential(conv(3, 8, padding_mode="circular"), nn.GELU(), conv(8, 4)),
    "pooled": lambda: nn.Sequential(conv(3, 8), nn.ReLU(), nn.AdaptiveAvgPool2d(5), nn.Flatten()),
    "uneven padding": lambda: nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), conv(3, 8, 1, 1, 0)),
    "weight norm": lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(conv(3, 8))),
    "transposed": lambda: nn.Sequential(conv(3, 8), nn.ConvTranspose2d(8, 4, 3, 2, 1)),
}  # fmt: skip
