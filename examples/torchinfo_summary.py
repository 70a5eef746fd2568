"""How the layer reads in a torchinfo summary, beside the plain layer.

torchinfo counts the multiply-adds of any layer with "Conv" in its name by *output* positions.
A transposed convolution multiplies at *input* positions, so the column reads stride * stride
high for it, plain or not.
"""

import torchinfo
from torch import nn

from autoup import AutoConvTranspose2d

COLUMNS = ("output_size", "kernel_size", "num_params", "mult_adds")

decoder = nn.Sequential(
    AutoConvTranspose2d(64, 32, 7, 14),
    nn.ReLU(),
    AutoConvTranspose2d(32, 1, 14, 28),
)
plain = nn.Sequential(
    nn.ConvTranspose2d(64, 32, 2, stride=2),
    nn.ReLU(),
    nn.ConvTranspose2d(32, 1, 2, stride=2),
)
ours, theirs = (
    torchinfo.summary(model, (1, 64, 7, 7), col_names=COLUMNS, verbose=0)
    for model in (decoder, plain)
)
print(ours)
assert ours.total_params == theirs.total_params
assert ours.total_mult_adds == theirs.total_mult_adds
assert len(ours.summary_list) == len(theirs.summary_list)

true = sum(
    layer.weight.numel() * layer.in_size[0] * layer.in_size[1]
    for layer in decoder
    if isinstance(layer, AutoConvTranspose2d)
)
print(f"Multiply-adds at input positions, without biases: {true:,}")
