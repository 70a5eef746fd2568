"""The points that all data passes through, against the definition: without them nothing arrives."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from autoup.capturing.edges import between, dominators, read_edges


@st.composite
def graphs(draw):
    """Return which earlier nodes each node reads; node 0 is the input."""
    count = draw(st.integers(1, 12))
    return [
        draw(st.lists(st.integers(max(0, n - 4), n - 1), min_size=1, max_size=3, unique=True))
        for n in range(1, count + 1)
    ]


def arrives(reads, without):
    """Tell whether data reaches the last node where one node takes none."""
    reached = {0} - {without}
    for node, read in enumerate(reads, 1):
        if node != without and reached & {*read}:
            reached.add(node)
    return len(reads) in reached


@given(graphs())
def test_dominators_are_the_nodes_without_which_nothing_arrives(reads):
    graph = torch.fx.Graph()
    nodes = [graph.placeholder("x")]
    nodes += [graph.call_function(torch.neg, (nodes[0],)) for _ in reads]
    for node in nodes:
        node.meta["val"] = torch.empty(1)
    edges = {nodes[0]: []}
    edges |= {nodes[n]: [nodes[each] for each in read] for n, read in enumerate(reads, 1)}
    found = dominators(between(edges, nodes[0], nodes[-1]), edges)
    assert found == [node for n, node in enumerate(nodes) if not arrives(reads, without=n)]


def test_operators_with_underscores_at_both_ends_write_nothing():
    graph = torch.fx.Graph()
    x = graph.placeholder("x")
    positive = graph.call_function(torch.ops.aten.gt.Scalar, (x, 0))
    both = graph.call_function(torch.ops.aten.__and__.Tensor, (positive, positive))
    last = graph.call_function(torch.ops.aten.mul.Tensor, (both, positive))
    assert read_edges([*graph.nodes], x)[last] == [both, positive]
