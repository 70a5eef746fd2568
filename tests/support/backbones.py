"""The encoders people use: torchvision's models and timm's, with and without their heads."""

import sys
from collections import OrderedDict
from functools import cache
from pathlib import Path

from torch import nn

sys.path.append(str(Path(__file__).parents[2] / "examples" / "shared"))

from foreign import import_torchvision

MODELS = [
    "alexnet", "vgg11_bn", "resnet18", "resnet50", "wide_resnet50_2", "mobilenet_v2",
    "mobilenet_v3_small", "efficientnet_b0", "convnext_tiny", "densenet121", "regnet_y_400mf",
    "googlenet", "inception_v3", "shufflenet_v2_x1_0", "squeezenet1_1", "mnasnet0_5",
    "r3d_18",
]  # fmt: skip
SLOW_TO_START = {"googlenet", "inception_v3", "vgg11_bn"}  # Of their own draws.
HEADS = {"avgpool", "dropout", "fc", "classifier", "aux1", "aux2", "AuxLogits"}


def import_timm():
    """Import timm, which imports torchvision."""
    import_torchvision()
    import timm

    return timm


@cache
def build(name):
    """Build torchvision's model of that name with random weights, in evaluation mode."""
    models = import_torchvision().models
    options = {"init_weights": False} if name in SLOW_TO_START else {}
    return models.get_model(name, weights=None, **options).eval()


def without_head(model):
    """Return the layers up to the last feature map."""
    body = [(name, child) for name, child in model.named_children() if name not in HEADS]
    return nn.Sequential(OrderedDict(body))


def strided_layers(model):
    """Return the paths of all layers that take a map to a smaller one."""
    kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.MaxPool2d, nn.AvgPool2d, nn.MaxPool3d)
    paths = []
    for path, layer in model.named_modules():
        stride = layer.stride if isinstance(layer, kinds) else 1
        if max((stride,) if isinstance(stride, int) else stride) > 1:
            paths.append(path)
    return paths
