"""What the tests compare: a model before and after, and outputs of any structure."""

import warnings

import torch
from torch import nn

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def quietly(make):
    with warnings.catch_warnings(action="ignore"):
        return make()


def snapshot(model):
    return {
        name: (id(each), each.clone()) for name, each in model.state_dict(keep_vars=True).items()
    }


def assert_same(model, before):
    after = model.state_dict(keep_vars=True)
    assert after.keys() == before.keys()
    for name, (identity, values) in before.items():
        assert id(after[name]) == identity, name
        assert torch.equal(after[name], values), name


def leaves(value):
    if isinstance(value, torch.Tensor):
        yield value
    else:
        for each in value.values() if isinstance(value, dict) else value:
            if each is not None:
                yield from leaves(each)


def run(model, x):
    torch.manual_seed(0)
    with warnings.catch_warnings(action="ignore"):
        return [each for each in leaves(model(x)) if each.is_floating_point()]


def distance(before, after):
    assert len(before) == len(after)
    return max(
        float((a - b).detach().abs().max() / a.detach().abs().max().clamp(min=1e-30))
        for a, b in zip(before, after, strict=True)
    )


def layers_of(model):
    return {name: each for name, each in model.named_modules() if isinstance(each, TRANSPOSED)}
