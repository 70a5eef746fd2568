"""Two sizes to parameters, in plain integers: no file here imports torch.

`sizes` has the size formulas and `overlap` counts taps; a `solution` is one solved axis, and the
`solver` finds the best. `reach` says what a pinned kernel reaches, `flaws` what a viewer sees, and
a `plan` holds all axes of a layer.

Of a chain of layers, `rungs` has one in closed form and `strides` those it may have; `climbing`
finds the best, and `ladders` is what it is and how it reads.
"""
