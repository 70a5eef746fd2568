"""What an audit of a whole model costs."""

from support.costs import count_bytecodes
from torch import nn

from autoup import audit


def build(blocks):
    """Return a model of four modules a block, and one more."""
    return nn.Sequential(
        *(
            nn.Sequential(nn.ConvTranspose2d(4, 4, 3, 2, 1, 1), nn.BatchNorm2d(4), nn.ReLU())
            for _ in range(blocks)
        )
    )


def test_cost_grows_in_step_with_the_modules():
    assert len(audit(build(20))) == 20
    ten, twenty, thirty = (
        count_bytecodes(lambda model=model: audit(model)) for model in map(build, (10, 20, 30))
    )
    assert thirty - twenty == twenty - ten
