"""What holds for every test."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _same_numbers_in_any_order():
    torch.manual_seed(0)
