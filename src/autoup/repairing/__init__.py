"""Change a model's layers and keep its function.

`remedies` decides all, by the integers of `growth`; `surgery` grows a kernel inside a layer and can
undo it, `folding` makes one layer of two; a `change` is all that is done to one model, and `model`
does it and proves it.
"""
