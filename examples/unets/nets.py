"""Both U-Nets over a ResNet-18 with the same random weights."""

import sys
from pathlib import Path

import torch
from torch import nn

from autoup import unet

sys.path.append(str(Path(__file__).parents[1] / "shared"))

from foreign import import_torchvision

SIZE = 64
CLASSES = 5


def encoder(seed: int) -> nn.Module:
    """Return torchvision's ResNet-18 with the random weights of a seed."""
    import_torchvision()
    from torchvision.models import resnet18

    torch.manual_seed(seed)
    return resnet18()


def peer(seed: int) -> nn.Module:
    """Return the Unet of segmentation_models.pytorch (Iakubovskii 2019) as it is by default."""
    weights = encoder(seed).state_dict()
    import segmentation_models_pytorch

    torch.manual_seed(seed + 1000)
    model = segmentation_models_pytorch.Unet("resnet18", encoder_weights=None, classes=CLASSES)
    model.encoder.load_state_dict(weights)
    return model


def own(seed: int, **options: object) -> nn.Module:
    """Return autoup's."""
    model = encoder(seed)
    torch.manual_seed(seed + 1000)
    return unet(model, (8, 3, SIZE, SIZE), CLASSES, **options)


ARMS = {"autoup": own, "smp": peer}


def parameters(model: nn.Module) -> int:
    """Return how many parameters a model uses; the head of the ResNet is not among them."""
    named = model.named_parameters()
    return sum(each.numel() for name, each in named if not name.startswith("encoder.fc."))
