"""The candidate for attention interpreted, and lowered for a GPU: none compiles it here."""

from importlib.util import find_spec

import numpy as np
import pytest

from benchmarks.enformer import fused
from zarrbench.models.enformer import transformer
from zarrbench.models.keras_network import ops

pytestmark = pytest.mark.skipif(find_spec("jax") is None, reason="jax is not installed")

BLOCKS = ("ROWS", "KEYS", "BUFFERED")


@pytest.fixture
def exact():
    import jax

    with jax.default_matmul_precision("float32"):
        yield


@pytest.fixture
def block(monkeypatch, request):
    """Set the sizes of blocks."""
    for name, size in zip(BLOCKS, request.param, strict=True):
        monkeypatch.setattr(fused, name, size)


def rows_first(value):
    return value.transpose(1, 2, 0)


@pytest.mark.parametrize(
    ("block", "sizes", "batch"),
    [
        ((16, 16, 32), (64, 2, 16, 48), 2),  # values of 32 and 16 channels
        ((32, 16, 64), (192, 3, 16, 16), 2),
        ((64, 32, 128), (256, 2, 32, 192), 1),
        ((32, 32, 64), (64, 1, 64, 64), 3),  # one stretch
    ],
    indirect=["block"],
)
def test_as_plain_attention(block, sizes, batch, exact):
    query, key, value, *others = fused.example(*sizes, batch=batch)
    found = np.asarray(fused.attend(query, key, value, *others, interpret=True))
    tensors = (ops.convert_to_tensor(a) for a in (query, key, rows_first(value), *others))
    expected = np.asarray(transformer.attend(*tensors))
    assert found.shape == (batch, sizes[0], sizes[1] * sizes[3])
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("block", [(16, 16, 32)], indirect=True)
def test_large_logits_do_not_overflow(block, exact):
    query, key, value, *others = fused.example(64, 1, 16, 16)
    found = np.asarray(fused.attend(100 * query, 10 * key, value, *others, interpret=True))
    expected = np.asarray(transformer.attend(100 * query, 10 * key, rows_first(value), *others))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)


def test_lowered_for_a_gpu_at_full_size():
    import jax
    from jax import sharding

    if not hasattr(sharding, "AbstractDevice"):
        pytest.skip("this JAX lowers for the GPU at hand only")
    given = fused.example(1536, 8, 64, 192, batch=1)
    device = sharding.AbstractDevice("NVIDIA H100", None, "gpu")
    with sharding.use_abstract_mesh(sharding.AbstractMesh((1,), ("x",), abstract_device=device)):
        lowered = jax.jit(fused.attend).trace(*given).lower(lowering_platforms=("cuda",))
    assert "xla.gpu.triton" in lowered.as_text()
