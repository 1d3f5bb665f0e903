"""Attention on a GPU under JAX: what runs today beside one fused kernel, a layer at full size.

    KERAS_BACKEND=jax python -m benchmarks.enformer.attention [--batch 8] [--precision ...]

On an H100 attention's logits, 75 MB a sequence and layer that pass memory a dozen times, are most
of what follows the trunk (5.4 ms a sequence). Prints milliseconds a sequence and layer, and how
far each is from float32, relative to the range. Replace `transformer.attend` by the kernel once a
setting of it wins.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import jax
import numpy as np

from benchmarks.enformer import fused
from zarrbench.models.enformer.architecture import Architecture
from zarrbench.models.enformer.precision import set_precision
from zarrbench.models.enformer.transformer import attend

#: ROWS, KEYS, BUFFERED, WARPS, STAGES, BUFFER
SETTINGS = (
    (64, 32, 256, 4, 2, "float32"),
    (128, 32, 256, 8, 2, "float32"),
    (64, 32, 512, 4, 2, "float32"),
    (128, 32, 512, 8, 3, "float32"),
    (64, 64, 512, 8, 2, "float32"),
    (64, 32, 1536, 4, 2, "float32"),
    (64, 32, 256, 4, 1, "float32"),
    (64, 32, 512, 4, 2, "float16"),
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.enformer.attention")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument(
        "--precision", default="tensorfloat32", choices=("float32", "tensorfloat32")
    )
    arguments = parser.parse_args()
    if jax.default_backend() != "gpu":
        raise SystemExit("JAX sees no GPU here, and the kernel runs on no other device")
    full = Architecture()
    sizes = (full.bins, full.heads, full.key_size, full.value_size)
    given = [jax.numpy.asarray(a) for a in fused.example(*sizes, batch=arguments.batch)]
    with jax.default_matmul_precision("float32"):
        exact = np.asarray(jax.jit(plain)(*given))
    set_precision(arguments.precision)
    report("plain", plain, given, exact)
    for setting in SETTINGS:
        names = ("ROWS", "KEYS", "BUFFERED", "WARPS", "STAGES", "BUFFER")
        for name, value in zip(names, setting, strict=True):
            setattr(fused, name, value)
        try:
            report(f"fused {setting}", lambda *a: fused.attend(*a), given, exact)
        except Exception as error:  # whatever a compiler may say: the next one may do
            print(f"fused {setting}: {' '.join(str(error).split())[:200]}", flush=True)


def plain(query: Any, key: Any, value: Any, *others: Any) -> Any:
    return attend(query, key, value.transpose(1, 2, 0), *others)


def report(name: str, function: Callable[..., Any], given: list[Any], exact: np.ndarray) -> None:
    call = jax.jit(function)
    off = np.abs(np.asarray(call(*given)) - exact).max() / np.ptp(exact)
    times = []
    for _ in range(20):
        began = time.perf_counter()
        jax.block_until_ready(call(*given))
        times.append(time.perf_counter() - began)
    milliseconds = 1e3 * median(times) / len(given[0])
    print(f"{name}: {milliseconds:.3f} ms a sequence and layer, off by {off:.1e}", flush=True)


if __name__ == "__main__":
    main()
