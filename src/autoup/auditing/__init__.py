"""Find the upsampling steps of a model and say what is wrong with them.

`model` goes from a model to its `report`; `reading` fills one row, an `upsampling`, from `counts`,
the `convolution` beside the step and the `verdict`. `positions` follows where pixels lie.
"""
