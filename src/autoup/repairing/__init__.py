"""Change a model's layers and keep its function.

`remedies` decides all, by the integers of `growth`, by what a model asks of a layer that it calls
with `output_size` (`output_sizes`), and with `advice` where only the source can change; `scripted`
names what nothing can. `surgery` grows a kernel inside a layer and can undo it, `folding` makes one
layer of two; a `change` is all that is done to a model, `proof` compares, and `model` does it.
"""
