"""From an encoder to its decoder.

The encoder passes through `capture` (its graph), `steps` (the graph cut where all data passes, by
its `edges`, with the `layouts` of its tensors), `classifying` (what is to be undone, as `parts`, by
`operators`, put together by `joining`), `inverses` (layers that undo one part, made by
`builders`), is put in order by `assembly` and comes out of `decoder`; `warning` tells of
artifacts, `losses` of what is left out.

Activations pass through `runs` (operators at each place alone, with `evaluating` of constants),
`activations` (what a run is, by `known` modules and by `rebuilding` it as a formula), `choosing`
(the one of a block) and `gates` (those that change the number of channels).
"""
