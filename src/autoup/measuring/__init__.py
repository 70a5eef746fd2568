"""How much grid there is: in pictures, in kernels, in what a model makes of constant inputs.

`meter` measures pictures by their `spectrum`, `phases` kernels, and `constant_inputs` a model.
"""
