"""Kernels grow inside a model, whatever makes or shares them, or nothing changes."""

import copy

import pytest
import torch
from support.comparing import (
    distance,
    quietly,
)
from torch import nn
from torch.nn.utils import parametrizations, prune

import autoup
from autoup import repair

MAKERS = {
    "weight norm": parametrizations.weight_norm,
    "spectral norm": parametrizations.spectral_norm,
    "old weight norm": lambda layer: quietly(lambda: nn.utils.weight_norm(layer)),
    "old spectral norm": lambda layer: quietly(lambda: nn.utils.spectral_norm(layer)),
    "pruning": lambda layer: prune.random_unstructured(layer, "weight", 0.5),
    "one's own": lambda layer: nn.utils.parametrize.register_parametrization(
        layer, "weight", Half()
    ),
}


class TestWhatMakesTheWeight:
    @pytest.mark.parametrize("maker", MAKERS)
    def test_grows_with_it(self, maker):
        torch.manual_seed(0)
        layer = MAKERS[maker](nn.ConvTranspose2d(3, 4, 3, 2, 1, 1)).double().train()
        model = nn.Sequential(layer, nn.Tanh())
        x = torch.randn(2, 3, 5, 6, dtype=torch.float64)
        model(x)
        repaired = repair(model, (2, 3, 5, 6))
        assert repaired[0].kernel_size == (4, 4)
        assert repaired.training
        for _ in range(3):  # Training steps of a norm go the same way.
            assert distance([model(x)], [repaired(x)]) <= 1e-12
        assert distance([model.eval()(x)], [repaired.eval()(x)]) <= 1e-12
        missing = repaired.state_dict().keys() ^ model.state_dict().keys()
        assert not missing

    def test_stays_where_zeros_would_not(self):
        layer = nn.ConvTranspose2d(3, 4, 3, 2, 1, 1)
        nn.utils.parametrize.register_parametrization(layer, "weight", Plus())
        model = nn.Sequential(layer)
        with pytest.warns(autoup.ArtifactWarning, match="does not keep zero taps at zero"):
            repaired = repair(model)
        x = torch.randn(1, 3, 4, 4)
        assert repaired[0].kernel_size == (3, 3)
        assert torch.equal(model(x), repaired(x))


class Half(nn.Module):
    def forward(self, weight):
        return weight / 2


class Plus(nn.Module):
    def forward(self, weight):
        return weight + 1


class TestSharing:
    def test_shared_layer_is_repaired_once_and_stays_shared(self):
        layer = nn.ConvTranspose2d(2, 2, 3, 2, 1, 1)
        model = nn.Sequential(layer, nn.ReLU(), layer)
        repaired = repair(model, (1, 2, 4, 4))
        assert repaired[0] is repaired[2]
        assert repaired[0].kernel_size == (4, 4)

    def test_shared_weight_grows_once_for_layers_of_the_same_kind(self):
        model = nn.Sequential(*(nn.ConvTranspose2d(2, 2, 3, 2, 1, 1) for _ in range(2)))
        model[1].weight = model[0].weight
        repaired = repair(model, (1, 2, 4, 4))
        assert repaired[0].weight is repaired[1].weight
        assert repaired[0].weight.shape == (2, 2, 4, 4)

    def test_shared_weight_that_something_makes_stays_in_both(self):
        model = nn.Sequential(*(nn.ConvTranspose2d(2, 2, 3, 2, 1, 1) for _ in range(2)))
        nn.utils.parametrize.register_parametrization(model[0], "weight", Plus())
        model[1].weight = model[0].parametrizations.weight.original
        with pytest.warns(autoup.ArtifactWarning, match="shares its weight with 0"):
            repaired = repair(model)
        x = torch.randn(1, 2, 4, 4)
        assert torch.equal(model(x), repaired(x))

    def test_weight_tied_to_an_encoder_stays(self):
        conv = nn.Conv2d(3, 8, 3, 2, 1)
        mirror = quietly(
            lambda: autoup.AutoConvTranspose2d.mirror(conv, 16, adjoint=True, tied=True)
        )
        model = nn.Sequential(conv, mirror)
        with pytest.warns(autoup.ArtifactWarning, match="1: stays, as it shares its weight with 0"):
            repaired = repair(model, (1, 3, 16, 16))
        assert repaired[0].weight is repaired[1].weight
        assert repaired[1].kernel_size == (3, 3)

    def test_copy_shares_nothing_with_the_model(self):
        model = nn.Sequential(nn.ConvTranspose2d(2, 2, 3, 2, 1, 1), nn.BatchNorm2d(2))
        repaired = repair(model)
        pointers = {each.data_ptr() for each in model.state_dict().values()}
        assert not pointers & {each.data_ptr() for each in repaired.state_dict().values()}
        assert model[0].kernel_size == (3, 3)


class TestInPlace:
    def test_parameters_stay_in_the_optimisers_groups(self):
        model = nn.Sequential(nn.ConvTranspose2d(2, 2, 3, 2, 1, 1))
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(1, 2, 4, 4)
        before, weight = model(x).detach(), model[0].weight
        model(x).square().mean().backward()
        old = weight.grad.clone()
        assert repair(model, (1, 2, 4, 4), inplace=True) is model
        assert model[0].weight is weight
        assert torch.equal(weight.grad[..., :3, :3], old)
        assert not weight.grad[..., 3, :].any()
        assert torch.allclose(model(x), before, atol=1e-6)
        model(x).square().mean().backward()
        optimiser.step()
        assert weight[..., 3, :].any()

    @pytest.mark.parametrize("inplace", [False, True])
    def test_nothing_changes_where_the_proof_fails(self, inplace):
        class Reads(nn.Sequential):
            def forward(self, x):
                return super().forward(x) * self[0].kernel_size[0]

        model = Reads(nn.ConvTranspose2d(2, 2, 3, 2, 1, 1), nn.ConvTranspose2d(2, 2, 3, 2, 1, 1))
        before = copy.deepcopy(model)
        with pytest.raises(autoup.AutoupError, match=r"changed the output.*\(1, 2, 4, 4\)"):
            repair(model, (1, 2, 4, 4), inplace=inplace)
        assert str(model) == str(before)
        for a, b in zip(model.parameters(), before.parameters(), strict=True):
            assert torch.equal(a, b)

    def test_nothing_changes_where_the_second_layer_fails(self, monkeypatch):
        from autoup.repairing import change as repairing

        model = nn.Sequential(*(nn.ConvTranspose2d(2, 2, 3, 2, 1, 1) for _ in range(2)))
        before = copy.deepcopy(model)
        count = iter(range(9))
        whole = repairing.grow_layer

        def broken(layer, growths, journal, grown):
            reason = whole(layer, growths, journal, grown)
            if layer is model[1]:
                raise MemoryError(next(count))
            return reason

        monkeypatch.setattr(repairing, "grow_layer", broken)
        checkpoint = {name: each + 1 for name, each in model.state_dict().items()}
        with pytest.raises(MemoryError):
            repair(model, (1, 2, 4, 4), inplace=True, state_dict=checkpoint)
        assert str(model) == str(before)
        for a, b in zip(model.parameters(), before.parameters(), strict=True):
            assert torch.equal(a, b)
