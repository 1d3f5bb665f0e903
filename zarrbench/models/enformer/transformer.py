"""The transformer: layers of attention with relative positions, and of perceptrons."""

from typing import Any

from zarrbench.models.enformer.architecture import EPSILON, ROWS_AT_ONCE, Architecture, Weights
from zarrbench.models.enformer.convolution import multiply
from zarrbench.models.keras_network import ops


def position_keys(architecture: Architecture, weights: Weights) -> list[Any]:
    """Return what attention compares queries with to weigh distances: no input changes it.

    Parameters
    ----------
    architecture : Architecture
    weights : Weights

    Returns
    -------
    list of float32 (head, distance, key), one a layer
    """
    features = weights["positions"]
    names = [f"transformer/{layer}/attention/position" for layer in range(architecture.layers)]
    return [
        _of_heads(ops.matmul(features, weights[name])[None], architecture.heads)[0]
        for name in names
    ]


def transformer(
    architecture: Architecture,
    weights: Weights,
    keys: list[Any],
    x: Any,
    rows: range | None = None,
) -> Any:
    """Run all layers.

    Parameters
    ----------
    architecture : Architecture
    weights : Weights
    keys : list of float32 (head, distance, key)
        From `position_keys`.
    x : float32 (batch, row, channel)
        From `zarrbench.models.enformer.trunk.trunk`, all rows.
    rows : range, optional
        Neighbouring rows to return; the last layer makes no others. All by default.

    Returns
    -------
    float32 (batch, asked row, channel)
    """
    every = range(architecture.bins)
    for layer in range(architecture.layers):
        asked = rows if rows is not None and layer == architecture.layers - 1 else every
        name = f"transformer/{layer}"
        x = x[:, asked.start : asked.stop] + attention(
            weights, f"{name}/attention", keys[layer], x, asked
        )
        x = x + _perceptron(weights, f"{name}/perceptron", x)
    return x


def attention(weights: Weights, name: str, position_key: Any, x: Any, rows: range) -> Any:
    """Let `rows` attend to all rows of x (batch, row, channel); (batch, asked row, channel)."""
    x = _normalised(weights, name, x)
    content_bias, position_bias = weights[f"{name}/content_bias"], weights[f"{name}/position_bias"]
    query = multiply(x[:, rows.start : rows.stop], weights[f"{name}/query"])
    key, value = (multiply(x, weights[f"{name}/{part}"]) for part in ("key", "value"))
    joined = attend(query, key, value, content_bias, position_bias, position_key, rows)
    return multiply(joined, weights[f"{name}/kernel"]) + weights[f"{name}/bias"]


def attend(
    query: Any,
    key: Any,
    value: Any,
    content_bias: Any,
    position_bias: Any,
    position_key: Any,
    rows: range | None = None,
) -> Any:
    """Weigh values by how queries compare with keys and distances.

    Parameters
    ----------
    query : float32 (batch, asked row, head * key)
        As projected, not yet scaled.
    key : float32 (batch, row, head * key)
    value : float32 (batch, row, head * value)
    content_bias, position_bias : float32 (head, key)
    position_key : float32 (head, distance, key)
        Of distances from ``1 - rows`` to ``rows - 1``.
    rows : range, optional
        Neighbouring rows that queries belong to; all by default.

    Returns
    -------
    float32 (batch, asked row, head * value)
    """
    length = key.shape[1]
    rows = range(length) if rows is None else rows
    heads, key_size = content_bias.shape
    key = ops.transpose(_of_heads(key, heads), (0, 1, 3, 2))
    value = _of_heads(value, heads)
    query = _of_heads(query, heads) * key_size**-0.5
    found = []
    for start in range(0, len(rows), ROWS_AT_ONCE):
        block, of = rows[start : start + ROWS_AT_ONCE], query[:, :, start : start + ROWS_AT_ONCE]
        content = ops.matmul(of + content_bias[:, None], key)
        distance = _by_distance(of + position_bias[:, None], position_key, block)
        share = ops.softmax(content + _by_key(distance, length))
        found.append(ops.matmul(share, value))
    of_rows = ops.transpose(ops.concatenate(found, axis=2), (0, 2, 1, 3))
    return ops.reshape(of_rows, (-1, len(rows), heads * value.shape[-1]))


def _by_distance(query: Any, position_key: Any, rows: range) -> Any:
    """Return the logits of the distances that `rows` have to any row.

    The first is that of the last of `rows` to the first of all, the last one that of the first
    of `rows` to the last of all: float32 (batch, head, asked row, row + asked row - 1).
    """
    length = (position_key.shape[1] + 1) // 2
    near = position_key[:, length - rows.stop : 2 * length - 1 - rows.start]
    return ops.matmul(query, ops.transpose(near, (0, 2, 1)))


def _by_key(distance: Any, length: int) -> Any:
    """Turn logits by distance into logits by key.

    Row i of n asked ones has the distance of key j in column ``j - i + n - 1``. Read as one vector,
    in lines one element longer, each line begins where the one before it did less one: the
    diagonals become columns without a gather.

    Parameters
    ----------
    distance : float32 (batch, head, n, length + n - 1)
    length : int
        Keys.

    Returns
    -------
    float32 (batch, head, n, length)
    """
    _, heads, n, width = distance.shape
    longer = ops.pad(distance, ((0, 0), (0, 0), (0, 0), (0, 1)))
    vector = ops.reshape(longer, (-1, heads, n * (width + 1)))[:, :, n - 1 : n - 1 + n * width]
    return ops.reshape(vector, (-1, heads, n, width))[..., :length]


def _perceptron(weights: Weights, name: str, x: Any) -> Any:
    x = _normalised(weights, name, x)
    wide = ops.relu(multiply(x, weights[f"{name}/wide_kernel"]) + weights[f"{name}/wide_bias"])
    return multiply(wide, weights[f"{name}/kernel"]) + weights[f"{name}/bias"]


def _normalised(weights: Weights, name: str, x: Any) -> Any:
    """Normalise each row over its channels."""
    x = x - ops.mean(x, axis=-1, keepdims=True)
    variance = ops.mean(ops.square(x), axis=-1, keepdims=True)
    return x * ops.rsqrt(variance + EPSILON) * weights[f"{name}/scale"] + weights[f"{name}/offset"]


def _of_heads(x: Any, heads: int) -> Any:
    """Split (batch, row, head * channel) into (batch, head, row, channel)."""
    _, rows, channels = x.shape
    return ops.transpose(ops.reshape(x, (-1, rows, heads, channels // heads)), (0, 2, 1, 3))
