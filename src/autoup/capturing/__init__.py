"""What an encoder does to its data, read from the graph of one forward pass.

`capture` exports a copy of the encoder; `operators` names what ATen's do, `edges` says who reads
whose values and what all data passes through, `layouts` what the dimensions of a tensor mean, and
`steps` puts them together: the graph, cut where all data passes. `positions` tells where the pixels
of each tensor lie: `moves` what an operator does along one dimension, `axes` which axes dimensions
hold, `ways` what several tensors make together.
"""
