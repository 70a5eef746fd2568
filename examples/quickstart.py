"""The two sizes you know in, the four parameters you would guess out."""

import warnings

import torch
from torch import nn

import autoup
from autoup import AutoConvTranspose2d

# 1. You have 14 pixels and want 28.
up = AutoConvTranspose2d(32, 1, 14, 28)
print(up)
picture = up(torch.randn(4, 32, 14, 14))
assert picture.shape == (4, 1, 28, 28)

# 2. It is the plain layer: a subclass with the same state_dict and the same numbers.
plain = nn.ConvTranspose2d(32, 1, 2, stride=2)
plain.load_state_dict(up.state_dict())
features = torch.randn(4, 32, 14, 14)
assert isinstance(up, nn.ConvTranspose2d)
assert torch.equal(up(features), plain(features))

# 3. Awkward sizes, one per axis.
up = AutoConvTranspose2d(64, 32, (13, 55), (28, 224))
assert up(torch.randn(1, 64, 13, 55)).shape == (1, 32, 28, 224)
for axis in up.solutions:
    print(axis.explain())

# 4. Mirror a convolution: channels, stride, groups, dtype and device come from it.
conv = nn.Conv2d(3, 16, kernel_size=3, stride=2, padding=1)
down_up = nn.Sequential(conv, AutoConvTranspose2d.mirror(conv, 32))
image = torch.randn(2, 3, 32, 32)
assert down_up(image).shape == image.shape

# 5. The exact transpose, sharing the encoder's weight. It overlaps unevenly, and warns of it;
#    strict mode refuses it.
with warnings.catch_warnings(action="ignore", category=autoup.ArtifactWarning):
    adjoint = AutoConvTranspose2d.mirror(conv, 32, adjoint=True, tied=True)
assert adjoint.weight is conv.weight

with warnings.catch_warnings(action="error", category=autoup.ArtifactWarning):
    try:
        AutoConvTranspose2d.mirror(conv, 32, adjoint=True, tied=True)
    except autoup.ArtifactWarning as refusal:
        print("Refused in strict mode:", refusal)
        reason = str(refusal)
assert "output_padding=1 shifts the picture 0.5 px" in reason

# 6. No layer at hand? Ask the solver.
assert autoup.solve(7, 15).output_padding == 1
assert autoup.solve(7, 14).uniform
