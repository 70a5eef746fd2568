"""The kernel in use is the one of a forward pass, and looking at it leaves no trace."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

import autoup
from autoup.inspecting.modules import kernel_in_use


def old(norm):
    def make(layer):
        with warnings.catch_warnings(action="ignore"):
            return norm(layer)

    return make


MADE = {
    "plain": lambda layer: layer,
    "old weight norm": old(nn.utils.weight_norm),
    "old spectral norm": old(nn.utils.spectral_norm),
    "weight norm": parametrizations.weight_norm,
    "spectral norm": parametrizations.spectral_norm,
    "pruned": lambda layer: prune.random_unstructured(layer, "weight", 0.5),
}


def build(made, smoothness=0):
    torch.manual_seed(0)
    layer = autoup.AutoConvTranspose2d(3, 2, 7, 14, kernel_size=4, smoothness=smoothness)
    return MADE[made](layer.double())


@pytest.mark.parametrize("made", MADE)
@pytest.mark.parametrize("smoothness", [0, 1])
def test_kernel_in_use_is_the_one_of_a_forward_pass_in_evaluation_mode(made, smoothness):
    layer, x = build(made, smoothness), torch.randn(1, 3, 7, 7, dtype=torch.float64)
    state = {name: torch.randn_like(each).abs() for name, each in layer.state_dict().items()}
    if made != "pruned":  # What a hook left as `weight` is out of date from here on.
        layer.load_state_dict(state)
    kernel = kernel_in_use(layer)
    made_of_it = nn.functional.conv_transpose2d(x, kernel, layer.bias, 2, 1)
    assert torch.allclose(made_of_it, layer.eval()(x), atol=1e-12)


@pytest.mark.parametrize("made", MADE)
def test_looking_leaves_no_trace(made):
    layer = build(made).train()
    held = {path: {**vars(each)} for path, each in layer.named_modules()}
    before = {name: each.clone() for name, each in layer.state_dict().items()}
    kernel_in_use(layer)
    for path, each in layer.named_modules():
        now = vars(each)
        assert now.keys() == held[path].keys()
        assert all(now[name] is value for name, value in held[path].items())
    assert all(torch.equal(each, before[name]) for name, each in layer.state_dict().items())


def test_spread_and_audit_agree_after_loading_an_old_weight_norm():
    layer = MADE["old weight norm"](nn.ConvTranspose2d(8, 4, 4, 2, 1))
    even = nn.init.ones_(torch.empty(8, 4, 4, 4))
    layer.load_state_dict({**layer.state_dict(), "weight_v": even})
    assert autoup.phase_spread(layer) < 1e-6
    assert autoup.audit(layer)[0].spread < 1e-6


def test_a_hook_that_raises_leaves_the_mode_as_it_was():
    layer = build("old weight norm").train()
    del layer.weight_g
    with pytest.raises(AttributeError, match="weight_g"):
        autoup.phase_spread(layer)
    assert layer.training
