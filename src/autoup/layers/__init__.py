"""All that stands in a user's model.

`conv_transpose` has the three layers, built on `base`, which runs them. `mirroring` plans a layer
from a convolution, `smoothness` projects kernels, `dispatch` decides in which way a call is
computed, and `subpixel` and `one_pixel` are ways that are not PyTorch's. `slips` refuses calls in
the habit of PyTorch's constructor, `resizing` words the call for sizes without a clean layer.
`permute` and `formula` are what decoders need besides.
"""
