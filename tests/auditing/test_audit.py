"""What an audit of a whole model costs."""

import time

from torch import nn

from autoup import audit


def test_2000_modules_are_audited_in_2_seconds():
    blocks = [
        nn.Sequential(nn.ConvTranspose2d(64, 64, 3, 2, 1, 1), nn.BatchNorm2d(64), nn.ReLU())
        for _ in range(500)
    ]
    model = nn.Sequential(*blocks)
    assert len([*model.modules()]) > 2000
    times = []
    for _ in range(3):  # The quickest, as other processes may be at work.
        start = time.perf_counter()
        report = audit(model)
        times.append(time.perf_counter() - start)
    assert min(times) < 2
    assert len(report) == 500
