"""From an encoder to its decoder.

The encoder, captured and cut into steps, passes through `classifying` (what is to be undone:
`parts`, which `joining` simplifies) and `padding` (how it pads, a `concatenation` too).

Its activations are `runs` of operators, with `evaluating` of constants: the `known` ones, those of
its own, or formulas that `rebuilding` writes (`activations`); `choosing` takes one of a whole
block, and `losses` tells what is not in the decoder as it was.

Then `inverses` undoes one part, by layers of `builders` and `borders`, `residuals` a block way by
way, `gates` what lies beside a gate; `assembly` puts them in order, `shapes` tells where they lead,
`from_encoder` returns them, and `warning` tells of artifacts.
"""
