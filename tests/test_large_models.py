"""Audits and repairs of large models: the work grows in step with the number of modules."""

from functools import partial

import pytest
from support.costs import count_bytecodes
from torch import nn

from autoup import audit, repair

pytestmark = pytest.mark.slow
BLOCKS = 20


def model(blocks):
    """Return blocks in a row, of which nothing repeats as an object, and one layer to find."""
    chain = [
        nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU())
        for _ in range(blocks)
    ]
    return nn.Sequential(*chain, nn.ConvTranspose2d(2, 2, 3, 2, 1, 1)).eval()


@pytest.mark.parametrize("sizes", [(), ((1, 2, 4, 4),)], ids=["no size", "a size"])
@pytest.mark.parametrize("act", [audit, repair])
def test_twice_as_many_modules_take_at_most_about_twice_as_much(act, sizes):
    act(model(1), *sizes)  # Loads what is loaded once.
    few, more, most = (count_bytecodes(partial(act, model(n * BLOCKS), *sizes)) for n in (1, 2, 4))
    assert most - more < 1.1 * 2 * (more - few)
