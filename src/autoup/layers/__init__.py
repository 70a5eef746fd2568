"""All that stands in a user's model.

`conv_transpose` has the three layers, built on `base`, which runs them. `mirroring` plans a layer
from a convolution, `smoothness` projects kernels, `dispatch` decides in which way a call is
computed, and `subpixel` is the way that is not PyTorch's. `permute` is what decoders need besides.
"""
