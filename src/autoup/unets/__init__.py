"""U-Nets on any encoder.

`model` has it captured, with what passes in and out of its modules; `maps` are its feature maps,
of which `levels` finds one of each resolution and `selecting` takes what the user asks for. `plan`
says how to get from the deepest to the image, in whole numbers, and `assembling` builds that, of
`layers` of the encoder's kinds. What then runs is `network`, of `stages`, fed by hooks (`stash`).
"""
