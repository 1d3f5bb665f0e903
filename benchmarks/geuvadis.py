"""The real chr22 run, from VCF to report, beside the network alone on the same sequences.

    python -m benchmarks.geuvadis [SOURCES, default ../shared/realdata]

Prints one JSON line: seconds of every stage, sequences predicted instead of haplotypes, and the
ratio of the predict stage to the bare network in one process (below 1: processes in parallel gain
more than reading, starting and writing cost; start-up of the workers is included).
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from zarrbench.ledger import entries, ledger_of
from zarrbench.models.protocol import loaded
from zarrbench.predictions.cube import read_attributes
from zarrbench.recipes import find
from zarrbench.stages.workspace import Workspace


def main() -> None:
    sources = Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/realdata")
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        began = time.perf_counter()
        command = [sys.executable, "-m", "zarrbench", "run", "geuvadis_chr22", "--json",
                   "--sources", str(sources), "--data", str(data)]  # fmt: skip
        printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        whole = time.perf_counter() - began
        stages = json.loads(printed)["seconds"]
        workspace = Workspace.open(find("pipelines", "geuvadis_chr22"), data, sources)
        recipe = read_attributes(workspace.cube)["recipe_hash"]
        done = entries(ledger_of(workspace.cube), recipe).values()
        sequences = sum(entry.sequences for entry in done)
        model = loaded(workspace.model)
        codes = np.random.default_rng(1).integers(0, 4, (sequences, model.spec.input_length))
        batch = codes.astype(np.uint8)
        model.predict(batch[: model.spec.batch_size], "")
        began = time.perf_counter()
        model.predict(batch, "")
        alone = time.perf_counter() - began
    result = {
        "benchmark": "geuvadis_chr22",
        "seconds": {**{name: round(value, 1) for name, value in stages.items()},
                    "whole": round(whole, 1)},
        "haplotypes": 2 * 358 * len(done),
        "sequences": sequences,
        "network_alone_seconds": round(alone, 1),
        "predict_to_network_alone": round(stages["predict"] / alone, 2),
    }  # fmt: skip
    print(json.dumps(result))


if __name__ == "__main__":
    main()
