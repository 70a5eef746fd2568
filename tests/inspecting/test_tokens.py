"""Tokens whose features are their last axis: enlarged, spread over blocks, and left as they are."""

import pytest
import torch
from torch import nn

from autoup import audit


class Tokens(nn.Module):
    """Tokens that become pictures by a linear layer, as a masked autoencoder's do."""

    def __init__(self, patch):
        super().__init__()
        self.patch = patch
        self.embed = nn.Conv2d(3, 8, patch, patch)
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 3 * patch**2)

    def forward(self, x):
        x = self.embed(x)
        n, _, h, w = x.shape
        x, p = self.head(self.norm(x.flatten(2).transpose(1, 2))), self.patch
        x = x.reshape(n, h, w, p, p, 3).permute(0, 5, 1, 3, 2, 4)
        return x.reshape(n, 3, h * p, w * p)


def test_patches_of_tokens_are_a_shuffle():
    (row,) = audit(Tokens(4), (2, 3, 16, 24))
    assert (row.kind, row.stride, row.out_size) == ("shuffle", (4.0, 4.0), (16, 24))
    assert row.multiply_adds == 2 * (4 * 6) * 8 * 48


def test_zeros_between_tokens_are_as_far_apart_as_they_lie():
    class Between(nn.Module):
        def __init__(self):
            super().__init__()
            self.before, self.behind = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x):
            made = x.new_zeros(x.shape[0], 2 * x.shape[1] - 1, 8)
            made[:, ::2] = self.before(x)
            return self.behind(made)

    (row,) = audit(Between(), (1, 7, 8))
    assert (row.kind, row.stride, row.severity) == ("zeros", (2.0,), "severe")


class Expanding(nn.Module):
    """A step of a Swin U-Net: tokens, twice as many along each axis, of fewer features."""

    def __init__(self, norm):
        super().__init__()
        self.expand, self.norm = nn.Linear(8, 16), norm

    def forward(self, x):
        n, _, h, w = x.shape
        x = self.expand(x.flatten(2).transpose(1, 2)).view(n, h, w, 2, 2, 4)
        x = x.permute(0, 1, 3, 2, 4, 5).reshape(n, 4 * h * w, 4)
        return self.norm(x)


@pytest.mark.parametrize("norm", [nn.LayerNorm(4), nn.Identity()])
def test_tokens_that_become_more_are_seen(norm):
    (row,) = audit(Expanding(norm), (1, 8, 6, 5))
    assert (row.kind, row.severity) == ("shuffle", "note")


def test_heads_of_attention_are_no_step():
    model = nn.TransformerEncoderLayer(16, 4, batch_first=True)
    assert [*audit(model, (2, 9, 16))] == []
    assert [*audit(nn.MultiheadAttention(16, 4, batch_first=True), [(2, 9, 16)] * 3)] == []


class Heads(nn.Module):
    """Attention by hand, of several heads."""

    def __init__(self, product):
        super().__init__()
        self.inner, self.outer, self.product = nn.Linear(16, 48), nn.Linear(16, 16), product

    def forward(self, x):
        n, t, _ = x.shape
        q, k, v = self.inner(x).reshape(n, t, 3, 4, 4).permute(2, 0, 3, 1, 4)
        x = self.product(self.product(q, k.transpose(2, 3)).softmax(-1), v)
        return self.outer(x.transpose(1, 2).reshape(n, t, 16))


@pytest.mark.parametrize("product", [
    torch.matmul, lambda a, b: a @ b, lambda a, b: torch.einsum("nhij,nhjk->nhik", a, b),
    lambda a, b: torch.bmm(a.flatten(0, 1), b.flatten(0, 1)).unflatten(0, (-1, 4)),
])  # fmt: skip
def test_heads_by_hand_are_no_step(product):
    assert [*audit(Heads(product), (2, 9, 16))] == []
