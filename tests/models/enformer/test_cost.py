from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import prod
from typing import Any

import keras
import numpy as np
import pytest

from zarrbench.models.enformer.architecture import ROWS_AT_ONCE, TINY, Architecture
from zarrbench.models.enformer.cost import (
    Work,
    edge_flops,
    rest_flops,
    stock_flops,
    tile_flops,
    trunk_flops,
)
from zarrbench.models.enformer.forward import tiling_of
from zarrbench.models.enformer.network import after_trunk
from zarrbench.models.enformer.stand_in import MOUSE_TRACKS, _Model
from zarrbench.models.enformer.trunk import trunk

RELEASED = Architecture()
GIGA = 10**9


def test_the_released_model_costs_what_others_counted():
    # a FLOP counter of torch on enformer-pytorch: ENFORMER.md, section 3
    assert stock_flops(RELEASED) == 3_293_120_495_616
    assert stock_flops(RELEASED) == stock_flops(RELEASED, MOUSE_TRACKS)


def test_its_parts_cost_what_others_measured():
    layers = [replace(RELEASED, layers=n) for n in (10, 11)]
    layer = stock_flops(layers[1]) - stock_flops(layers[0])
    assert layer / GIGA == pytest.approx(63.4, abs=0.05)
    mouse = stock_flops(RELEASED) - stock_flops(RELEASED, 0)
    assert mouse / GIGA == pytest.approx(9.0, abs=0.05)
    # 2,549 GF with two logits of each pair; 232 and 25 of stem and tower 0 are one of them
    pooling = sum(
        2 * (RELEASED.input_length >> stage + 1) * filters**2
        for stage, filters in enumerate(RELEASED.filters)
    )
    trunk = trunk_flops(RELEASED, RELEASED.bins, "same")
    assert (trunk + pooling) / GIGA == pytest.approx(2549, abs=0.5)


def test_what_follows_the_trunk():
    three = rest_flops(RELEASED, 3, RELEASED.tracks)
    # 644 GF with the keys of distances in ten layers, and all logits of distances in every one
    keys = 10 * 2 * 3071 * 192 * 512
    logits = 10 * 2 * 512 * 1536 * (3071 - (1536 + ROWS_AT_ONCE - 1)) + 2 * 512 * 3 * (3071 - 1538)
    assert (three + keys + logits) / GIGA == pytest.approx(644, abs=0.5)
    every = rest_flops(RELEASED, RELEASED.output_bins, RELEASED.tracks)
    assert three < every < stock_flops(RELEASED)
    assert rest_flops(RELEASED, 3, 1) < three


@pytest.mark.parametrize(("k", "overhead"), [(1, 4.51), (4, 1.88), (16, 1.22), (64, 1.06)])
def test_tiles_cost_their_halo(k, overhead):
    # the same ratio within 2%: pooling by one product weighs the stages a little differently
    whole = trunk_flops(RELEASED, RELEASED.bins, "same")
    assert tile_flops(RELEASED, k) / (whole * k / RELEASED.bins) == pytest.approx(
        overhead, rel=0.02
    )


def test_edges_are_padded_beyond_their_halo():
    assert edge_flops(RELEASED) == trunk_flops(RELEASED, 7, "same")


def test_work_counts_each_distinct_thing_once():
    work = Work(sequences=10, distinct=4, tiles=70, edges=3)
    assert work.stock(TINY) == 10 * stock_flops(TINY)
    parts = 4 * rest_flops(TINY, 5, 2) + 70 * tile_flops(TINY) + 3 * edge_flops(TINY)
    assert work.shared(TINY, 5, 2) == parts


def in_graph(function: Callable[..., Any], *arguments: Any) -> int:
    """Count the convolutions and matrix products of the graph that TensorFlow traces."""
    tf = pytest.importorskip("tensorflow")
    graph = tf.function(function, autograph=False).get_concrete_function(*arguments).graph
    total = 0
    for op in graph.get_operations():
        if op.type == "Conv2D":
            total += prod(op.outputs[0].shape) * prod(op.inputs[1].shape[:-1])
        elif op.type in ("MatMul", "BatchMatMulV2"):
            [flipped] = (
                op.get_attr(name) for name in ("transpose_a", "adj_x") if name in op.node_def.attr
            )
            total += prod(op.outputs[0].shape) * op.inputs[0].shape[-2 if flipped else -1]
    return 2 * total


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="reads TensorFlow's graph")
def test_graphs_hold_what_was_counted(make_enformer):
    sizes, bins = replace(TINY, bins=192), range(4, 9)  # more than one block of rows attends
    tiny = make_enformer(sizes)
    stand_in = _Model(sizes, tiny.arrays, 5)
    context = np.zeros((1, 2 * sizes.input_length, 4), np.float32)
    assert in_graph(stand_in._predict, context) == stock_flops(sizes, 5)

    rows = np.zeros((1, sizes.bins, sizes.channels), np.float32)
    rest = partial(after_trunk, sizes, bins=bins)
    found = in_graph(lambda x: rest(tiny.weights, tiny.keys, x), rows)
    assert found == rest_flops(sizes, len(bins), sizes.tracks)

    tiling = tiling_of(sizes)
    for length, padding, expected in (
        (tiling.tile_length, "valid", tile_flops(sizes)),
        (tiling.edge_length, "same", edge_flops(sizes)),
    ):
        of_trunk = partial(trunk, sizes, tiny.weights, padding=padding)
        assert in_graph(lambda x, f=of_trunk: f(x), np.zeros((1, length), np.uint8)) == expected
