"""Packages of others that do not always import."""

import sys
from types import ModuleType

import torch


def import_torchvision() -> ModuleType:
    """Import torchvision, which others import; declare what a binary for another PyTorch lacks."""
    try:
        import torchvision
    except RuntimeError:
        for name in [each for each in sys.modules if each.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        operators = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision

        torchvision.declared = operators  # They go when it goes.
    return torchvision
