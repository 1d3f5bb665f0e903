import numpy as np
import pytest

from zarrbench.models.enformer.architecture import TINY
from zarrbench.models.enformer.transformer import attention, transformer
from zarrbench.models.keras_network import ops

X = np.random.default_rng(1).standard_normal((2, TINY.bins, TINY.channels), dtype=np.float32)


def slow_attention(arrays, features, x, row: int) -> np.ndarray:
    """The attention of one row of one sequence, key by key, in float64."""
    part = {name.rpartition("/")[2]: w.astype(float) for name, w in arrays.items()
            if name.startswith("transformer/0/attention/")}  # fmt: skip
    normal = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
    normal = normal * part["scale"] + part["offset"]
    found = []
    for head in range(TINY.heads):
        keys = slice(head * TINY.key_size, (head + 1) * TINY.key_size)
        values = slice(head * TINY.value_size, (head + 1) * TINY.value_size)
        query = normal[row] @ part["query"][:, keys] / np.sqrt(TINY.key_size)
        logits = []
        for other in range(TINY.bins):
            key = normal[other] @ part["key"][:, keys]
            position = features[other - row + TINY.bins - 1] @ part["position"][:, keys]
            logits.append(
                (query + part["content_bias"][head]) @ key
                + (query + part["position_bias"][head]) @ position
            )
        share = np.exp(logits - np.max(logits))
        found.append((share / share.sum()) @ (normal @ part["value"][:, values]))
    return np.concatenate(found) @ part["kernel"] + part["bias"]


@pytest.mark.parametrize("block", [128, 7])
@pytest.mark.parametrize("rows", [range(TINY.bins), range(29, 32), range(1), range(50, 64)])
def test_attention_key_by_key(tiny, rows, block, monkeypatch):
    monkeypatch.setattr("zarrbench.models.enformer.transformer.ROWS_AT_ONCE", block)
    x = ops.convert_to_tensor(X)
    found = np.asarray(attention(tiny.weights, "transformer/0/attention", tiny.keys[0], x, rows))
    assert found.shape == (2, len(rows), TINY.channels)
    for row in {rows[0], rows[len(rows) // 2], rows[-1]}:
        expected = slow_attention(tiny.arrays, tiny.arrays["positions"], X[1].astype(float), row)
        np.testing.assert_allclose(found[1, row - rows.start], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("rows", [range(29, 34), range(1), range(63, 64), range(TINY.bins)])
def test_asked_rows_are_those_of_all(tiny, rows):
    x = ops.convert_to_tensor(X)
    whole = np.asarray(transformer(TINY, tiny.weights, tiny.keys, x))
    asked = np.asarray(transformer(TINY, tiny.weights, tiny.keys, x, rows))
    assert (whole.shape, asked.shape) == (X.shape, (2, len(rows), TINY.channels))
    np.testing.assert_allclose(asked, whole[:, rows.start : rows.stop], rtol=0, atol=1e-5)
