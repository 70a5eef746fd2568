"""What is no model to look at is refused."""

import warnings

import pytest
import torch
from support.comparing import quietly
from torch import nn

from autoup import audit
from autoup.inspecting.copies import copy_model, evaluate
from autoup.inspecting.recording import record
from autoup.inspecting.runs import shapes


def test_no_module():
    with pytest.raises(TypeError, match=r"model must be an nn.Module, got 3"):
        audit(3)


def test_lazy():
    with pytest.raises(ValueError, match=r"lazy parameter, 0.weight"):
        audit(nn.Sequential(nn.LazyConvTranspose2d(3, 2)))


def test_scripted():
    with warnings.catch_warnings(action="ignore"):
        model = torch.jit.script(nn.ReLU())
    with pytest.raises(TypeError, match="ScriptModule"):
        audit(model)


@pytest.mark.parametrize("numbers", [False, True])
def test_scripted_parts_are_copied_and_run(numbers):
    layer = nn.ConvTranspose2d(1, 2, 3, 2, 1)
    with warnings.catch_warnings(action="ignore"):
        model = nn.Sequential(nn.BatchNorm2d(1), torch.jit.script(nn.Sequential(layer))).train()
    assert shapes(model, ((1, 1, 4, 4),), numbers=numbers) == [(1, 2, 7, 7)]
    assert record(model, ((1, 1, 4, 4),)).calls[0].made == (1, 1, 4, 4)
    assert model[1].training
    assert not any(each.training for each in evaluate(copy_model("model", model)).modules())


def test_compiled_is_read_through():
    model = quietly(lambda: torch.compile(nn.ConvTranspose2d(1, 1, 3, 2)))
    assert len(audit(model)) == 1


def test_class_instead_of_a_model_is_refused():
    with pytest.raises(TypeError, match="got the class ReLU: make one"):
        audit(nn.ReLU)
