"""enformer-pytorch, the port that most people use, on whole sequences: seconds of one.

    python -m benchmarks.enformer.peer [--batches 1 2 4 8]

Random weights at the released size, every bin and both heads, TF32 where a GPU has it, one-hot
input already on the device, output sliced there to the five bins about the TSS.
"""

import argparse
import time
from statistics import median

import enformer_pytorch
import torch

LENGTH, BINS = 196_608, slice(446, 451)


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.enformer.peer")
    parser.add_argument("--batches", type=int, nargs="+", default=[1])
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = enformer_pytorch.Enformer.from_hparams(use_tf_gamma=True).to(device).eval()
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    print(f"enformer-pytorch, torch {torch.__version__}, on {name}")
    for size in arguments.batches:
        try:
            seconds = median(timed(model, size, device) for _ in range(arguments.repeats + 1))
        except torch.cuda.OutOfMemoryError:
            print(f"batch {size}: does not fit")
            break
        print(f"batch {size}: {seconds / size:.4f} s a sequence", flush=True)


def timed(model: torch.nn.Module, size: int, device: str) -> float:
    codes = torch.randint(0, 4, (size, LENGTH), device=device)
    one_hot = torch.nn.functional.one_hot(codes, 4).float()
    began = time.perf_counter()
    with torch.inference_mode():
        model(one_hot)["human"][:, BINS].cpu()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
