"""What an audit of a whole model costs."""

from support.counting import count_lines
from torch import nn

from autoup import audit


def test_cost_grows_with_the_modules_and_no_faster():
    def cost(count):
        blocks = [
            nn.Sequential(nn.ConvTranspose2d(4, 4, 3, 2, 1, 1), nn.BatchNorm2d(4), nn.ReLU())
            for _ in range(count)
        ]
        return count_lines(lambda: audit(nn.Sequential(*blocks)))

    cost(1)  # What is looked up once in a process.
    assert cost(80) < 1.1 * 4 * cost(20)
