"""A forward pass is recorded as in evaluation, and leaves nothing behind."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from autoup import audit
from autoup.inspecting.recording import record


def test_model_that_looks_at_numbers_runs_on_real_ones():
    class Looks(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = nn.ConvTranspose2d(1, 1, 2, 2)
            self.kept = None

        def forward(self, x):
            self.kept = x.relu() if self.kept is None else self.kept
            return self.up(x) if float(self.kept.sum()) > -1 else x

    model, state = Looks(), torch.get_rng_state()
    assert audit(model, (1, 1, 8, 8))[0].out_size == (16, 16)
    assert torch.equal(state, torch.get_rng_state())
    assert model.kept is None


def test_functions_have_the_path_of_the_module_that_is_known_and_runs():
    class Raises(nn.Module):
        def forward(self, _):
            raise ArithmeticError

    class Makes(nn.Module):
        def forward(self, x):
            return nn.ConvTranspose2d(1, 1, 2, 2)(x)

    class Tries(nn.Module):
        def __init__(self):
            super().__init__()
            self.raises, self.makes = Raises(), Makes()

        def forward(self, x):
            try:
                return self.raises(x)
            except ArithmeticError:
                return self.makes(x).relu()

    class Outer(nn.Module):
        def __init__(self, looks):
            super().__init__()
            self.looks, self.tries = looks, Tries()

        def forward(self, x):
            if self.looks:  # So that it runs on real numbers.
                x = x * float(x.sum())
            return F.interpolate(self.tries(x), scale_factor=2)

    for looks, inner in (True, "tries"), (False, "tries.raises"):  # PyTorch does not tell.
        calls = record(Outer(looks), ((1, 1, 4, 4),)).calls[2 * looks :]
        assert [call.path for call in calls] == ["tries.makes", inner, ""]


def test_forward_that_raises_names_layer_and_size():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(5, 4, 3))
    with pytest.raises(ValueError, match=r"input_size=\(1, 3, 8, 8\) in layer '1'.*torch.randn"):
        audit(model, (1, 3, 8, 8))


@pytest.mark.parametrize(("size", "error"), [
    (3, TypeError), ("1", TypeError), ((), ValueError), ((1, 0), ValueError),
    ((1, 2.5), TypeError), ([(1, 2), 3], TypeError),
])  # fmt: skip
def test_wrong_sizes(size, error):
    with pytest.raises(error, match="input_size"):
        audit(nn.ReLU(), size)


def test_shapes_are_not_left_in_the_caches_of_a_model():
    """A cache that asks whether it is being compiled, as transformers' do, keeps no fake tensor."""
    kept = {}

    class Caches(nn.Module):
        def forward(self, x):
            if torch.compiler.is_compiling():
                return F.interpolate(x, scale_factor=2)
            return kept.setdefault("made", F.interpolate(x, scale_factor=2))

    audit(Caches(), (1, 1, 32, 32))
    assert type(kept["made"]) is torch.Tensor
    assert not torch.compiler.is_compiling()


def test_forward_pass_is_that_of_evaluation():
    """In training mode, a normalisation over a batch of one raises."""
    model = nn.Sequential(
        nn.Linear(3, 4),
        nn.BatchNorm1d(4),
        nn.Unflatten(1, (1, 2, 2)),
        nn.ConvTranspose2d(1, 1, 2, 2),
    ).train()
    assert audit(model, (1, 3))[0].out_size == (4, 4)
    assert model.training
