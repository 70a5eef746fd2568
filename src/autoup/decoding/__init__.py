"""From an encoder to its decoder.

The encoder passes through `capture` (its graph), `steps` (the graph cut where all data passes, with
the `layouts` of its tensors), `parts` (what is to be undone, by `operators`), `padding` (how it
pads), `inverses` (layers that undo one part, made by `builders`; `borders` continues their maps),
is put in order by `assembly` and comes out of `decoder`; `warning` tells of artifacts.
"""
