"""The device that the network runs on: its name, the memory it needed, who else is there."""

import os
from pathlib import Path

import keras

from benchmarks.haplotypes.tiles import peak_mib


def load() -> float:
    """Return how many processes want the machine: more than this one make figures worse."""
    return round(os.getloadavg()[0], 1)


def gpu() -> str | None:
    """Return the name of the GPU that the backend uses, if any."""
    match keras.backend.backend():
        case "tensorflow":
            import tensorflow as tf

            for device in tf.config.list_physical_devices("GPU"):
                return str(tf.config.experimental.get_device_details(device)["device_name"])
        case "jax":
            import jax

            if jax.default_backend() == "gpu":
                return str(jax.devices()[0].device_kind)
    return None


def described() -> str:
    """Return the device and the backend."""
    return f"{gpu() or _cpu()} ({keras.backend.backend()})"


def peak_memory() -> dict[str, float]:
    """Return the most memory in GiB that this process had, and that it had on a GPU."""
    found = {"process": round(peak_mib() / 1024, 2)}
    if gpu():
        found["gpu"] = round(_peak_of_gpu() / 2**30, 2)
    return found


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if "model name" in line), "CPU")
    return f"{len(os.sched_getaffinity(0))} cores of {model}"


def _peak_of_gpu() -> int:
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])
    import jax

    return int(jax.devices()[0].memory_stats()["peak_bytes_in_use"])
