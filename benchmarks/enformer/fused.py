"""Attention in one kernel, for JAX on an NVIDIA GPU: logits never leave the chip's caches.

A candidate: `benchmarks.enformer.attention` compares it with what runs today, and no GPU has run
it yet. Written as `zarrbench.models.enformer.transformer` says it in `keras.ops`, logits pass the
memory of the device a dozen times, which takes longer than all products. Here a program holds a
block of rows of one head, walks along the keys, and keeps the running maximum and sum of each row
(the online softmax), so that it needs each logit once.

Logits of distances go through a small buffer of the program, since only memory can be read along
diagonals: line i of n rows is written i columns to the right, which puts one key into one column.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

#: rows of a program; keys read at once; keys that the buffer has logits for
ROWS, KEYS, BUFFERED = 64, 32, 256
#: how the compiler spreads a program over warps, and how many reads it keeps under way
WARPS, STAGES = 4, 2
#: type of logits in the buffer
BUFFER = "float32"

_LOG2_E = 1.4426950408889634


def attend(
    query: Any,
    key: Any,
    value: Any,
    content_bias: Any,
    position_bias: Any,
    position_key: Any,
    interpret: bool = False,
) -> Any:
    """Let all rows attend to all rows.

    Parameters
    ----------
    query, key : float32 (batch, row, head * key)
        Queries as projected, not yet scaled.
    value : float32 (head * value, batch, row)
        Channels first: tensor cores take 32 bits only with what is summed over in a line.
    content_bias, position_bias : float32 (head, key)
    position_key : float32 (head, distance, key)
        Of distances from ``1 - rows`` to ``rows - 1``.
    interpret : bool
        Run without a GPU, to test.

    Returns
    -------
    float32 (batch, row, head * value)
    """
    import jax
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import triton

    batch, rows, _ = query.shape
    heads, key_size = content_bias.shape
    value_size = value.shape[0] // heads
    width = BUFFERED + 2 * ROWS
    # One distance more in front: blocks begin at multiples of their size.
    near = jax.numpy.pad(position_key, ((0, 0), (1, 0), (0, 0)))
    # axes of the grid: block of rows, head, sequence
    of_rows = [
        pl.BlockSpec((None, ROWS, size), lambda r, h, b: (b, r, h))
        for size in (key_size, value_size)
    ]
    bias = pl.BlockSpec((1, key_size), lambda r, h, b: (h, 0))
    call = pl.pallas_call(
        partial(_program, length=rows, barrier=_nothing if interpret else triton.debug_barrier),
        grid=(rows // ROWS, heads, batch),
        in_specs=[
            of_rows[0],
            pl.BlockSpec((None, rows, key_size), lambda r, h, b: (b, 0, h)),
            pl.BlockSpec((value_size, None, rows), lambda r, h, b: (h, b, 0)),
            bias,
            bias,
            pl.BlockSpec((None, 2 * rows, key_size), lambda r, h, b: (h, 0, 0)),
        ],
        out_specs=[
            of_rows[1],
            pl.BlockSpec((None, None, None, ROWS, width), lambda r, h, b: (b, h, r, 0, 0)),
        ],
        out_shape=[
            jax.ShapeDtypeStruct((batch, rows, heads * value_size), query.dtype),
            jax.ShapeDtypeStruct((batch, heads, rows // ROWS, ROWS, width), BUFFER),
        ],
        compiler_params=triton.CompilerParams(num_warps=WARPS, num_stages=STAGES),
        interpret=interpret,
        name="relative_attention",
    )
    return call(query, key, value, content_bias, position_bias, near)[0]


def _program(
    query: Any,
    key: Any,
    value: Any,
    content_bias: Any,
    position_bias: Any,
    near: Any,
    found: Any,
    buffer: Any,
    *,
    length: int,
    barrier: Callable[[], None],
) -> None:
    """Let one block of rows of one head attend.

    Parameters
    ----------
    query : reference, float32 (ROWS, key)
    key : reference, float32 (length, key)
    value : reference, float32 (value, length)
    content_bias, position_bias : reference, float32 (1, key)
    near : reference, float32 (2 * length, key)
        Row ``length + distance``.
    found : reference, float32 (ROWS, value)
        Written.
    buffer : reference, (ROWS, BUFFERED + 2 * ROWS)
        Written: the logit of the distance to the first key of a stretch is in column ROWS.
    """
    import jax.numpy as jnp
    from jax import lax
    from jax.experimental import pallas as pl

    scaled = query[...] * query.shape[1] ** -0.5
    by_content, by_position = scaled + content_bias[...], scaled + position_bias[...]
    first = pl.program_id(0) * ROWS
    line, column = jnp.arange(ROWS)[:, None], jnp.arange(KEYS)[None]
    parts = _powers(value.shape[0])

    def stretch(number: Any, carry: Any) -> Any:
        start = number * BUFFERED

        def measure(block: Any, _: Any) -> Any:
            of = near[pl.ds(length + start - first - ROWS + block * KEYS, KEYS), :]
            buffer[line, line + column + block * KEYS] = _product(by_position, of.T).astype(BUFFER)
            return _

        def attend_to(block: Any, carry: Any) -> Any:
            greatest, total, sums = carry
            keys = pl.ds(start + block * KEYS, KEYS)
            distance = buffer[:, pl.ds(ROWS + block * KEYS, KEYS)]
            logits = _product(by_content, key[keys, :].T) + distance.astype("float32")
            logits = logits * _LOG2_E
            greater = jnp.maximum(greatest, logits.max(axis=1))
            share = jnp.exp2(logits - greater[:, None])
            less = jnp.exp2(greatest - greater)
            sums = tuple(
                s * less[:, None] + _product(share, value[part, keys].T)
                for s, part in zip(sums, parts, strict=True)
            )
            return greater, total * less + share.sum(axis=1), sums

        barrier()  # the stretch before has been read
        lax.fori_loop(0, (BUFFERED + ROWS) // KEYS, measure, jnp.int32(0))
        barrier()  # this one is written
        return lax.fori_loop(0, BUFFERED // KEYS, attend_to, carry)

    none = (
        jnp.full(ROWS, -jnp.inf, "float32"),
        jnp.zeros(ROWS, "float32"),
        tuple(jnp.zeros((ROWS, part.stop - part.start), "float32") for part in parts),
    )
    _, total, sums = lax.fori_loop(0, length // BUFFERED, stretch, none)
    for s, part in zip(sums, parts, strict=True):
        found[:, part] = s / total[:, None]


def _product(a: Any, b: Any) -> Any:
    """Multiply matrices as exactly as the process does (`set_precision`)."""
    from jax import lax

    return lax.dot_general(a, b, (((1,), (0,)), ((), ())), preferred_element_type="float32")


def _powers(size: int) -> list[slice]:
    """Cut channels into powers of two, all that Triton knows: 192 are 128 and 64."""
    powers = [1 << bit for bit in reversed(range(size.bit_length())) if size >> bit & 1]
    ends = np.cumsum(powers).tolist()
    return [slice(end - power, end) for end, power in zip(ends, powers, strict=True)]


def _nothing() -> None:
    """Wait for nobody: what is interpreted runs in order."""


def example(rows: int, heads: int, key_size: int, value_size: int, batch: int = 1) -> list[Any]:
    """Return random arguments of `attend`; logits have a spread of about 2."""
    random = np.random.default_rng(1)
    shapes = (
        (batch, rows, heads * key_size),
        (batch, rows, heads * key_size),
        (heads * value_size, batch, rows),
        (heads, key_size),
        (heads, key_size),
        (heads, 2 * rows - 1, key_size),
    )
    given = [random.standard_normal(shape, dtype=np.float32) for shape in shapes]
    # Queries are scaled once projected, biases are not.
    given[3:5] = [bias * np.float32(key_size**-0.5) for bias in given[3:5]]
    return given
