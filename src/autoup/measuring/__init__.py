"""How much grid there is: in pictures, in kernels, in what a model makes of constant inputs.

`meter` measures pictures, signals and volumes by their `spectrum`, and `drawing` shows them;
`phases` measures kernels, and `constant_inputs` a model.
"""
