"""The three ways to what an SNV does: the stock model, our forward, and the task."""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from benchmarks.attributions.gene import Gene, SomeSnvs
from benchmarks.enformer.networks import Networks
from zarrbench.attributions.worker import Attributed, AttributionJob, predict_part, prepare_part
from zarrbench.genome.bases import ONE_HOT, Codes
from zarrbench.genotypes.policies import Policies
from zarrbench.models.enformer.architecture import Architecture
from zarrbench.models.enformer.cost import stock_flops
from zarrbench.models.enformer.forward import Forward
from zarrbench.models.enformer.saved_model import Released, Stock, open_released
from zarrbench.models.enformer.stand_in import write_saved_model
from zarrbench.models.enformer.weights import random_weights
from zarrbench.models.enformer_model import EnformerModel, EnformerRecipe
from zarrbench.models.protocol import LoadableModel, loaded
from zarrbench.predictions.readouts import NAMED
from zarrbench.sources import Source

#: METHODS section 11
TRACK, READOUT = 4980, NAMED["attribution"]
BINS = range(447, 450)


@dataclass(frozen=True)
class Contenders:
    """What is compared.

    Attributes
    ----------
    job : AttributionJob
    networks : Networks
        Those of the task and of `whole`, and what times its parts.
    released : Released
    """

    job: AttributionJob
    networks: Networks
    released: Released

    def task(self, gene: Gene, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the attributions of some SNVs of a gene, as a worker makes them."""
        chosen = tuple(rows.tolist())
        task = SomeSnvs("GENE", gene.window, gradients=False, profiles=False, rows=chosen)
        found = cast(Attributed, predict_part(self.job, task, prepare_part(self.job, task)))
        return found.arrays["ism"][:, 0]

    def every_bin(self, codes: Codes) -> NDArray[np.float32]:
        """Call the model as it stands, one-hot in, all of both heads out; return the track."""
        released = self.released
        beside = (released.context_length - released.input_length) // 2
        bases = np.zeros((1, released.context_length, 4), dtype=np.float32)
        bases[0, beside : beside + codes.size] = ONE_HOT[codes]
        human = released.loaded.model.predict_on_batch(tf.constant(bases))["human"]
        return human[0, :, TRACK].numpy()

    def stock(self, codes: Codes) -> float:
        """Return the readout of a whole sequence, uint8 (base,)."""
        return _read(self.every_bin(codes)[BINS.start : BINS.stop])

    def whole(self, codes: Codes) -> float:
        """Return the same by our forward."""
        [outputs] = self.networks.forward.sequences(codes[None], BINS)
        return _read(outputs[0, :, 0])


def made(folder: Path, sizes: Architecture, gene: Gene, memory_gib: float) -> Contenders:
    """Write a SavedModel of random weights, and open it for all three."""
    model, targets = folder / "enformer", folder / "targets.txt"
    write_saved_model(sizes, random_weights(sizes), model)
    tracks = [f"{i}\tT{i}\ttrack {i}" for i in range(sizes.tracks)]
    targets.write_text("\n".join(["index\tidentifier\tdescription", *tracks, ""]))
    recipe = EnformerRecipe(
        Source(model.name), Source(targets.name), tracks=(f"T{TRACK}",), memory_gib=memory_gib
    )
    job = AttributionJob(
        store=folder / "attributions.zarr",
        genotypes=gene.people.genotypes,
        reference=gene.people.reference,
        policies=Policies(),
        model=LoadableModel(recipe, ((model.name, model), (targets.name, targets))),
        readout=READOUT,
        tracks=(0,),
        numbers_hash="benchmark",
    )
    network = cast(EnformerModel, loaded(job.model))
    if network.remark:
        raise SystemExit(network.remark)
    forward = cast(Forward, network._network)
    released = open_released(model)
    networks = Networks(
        stock=Stock(released, 1),
        stock_is="a SavedModel like the released one, as it is",
        stock_batch=1,
        stock_flops=stock_flops(sizes),
        forward=forward,
        parity=None,
    )
    return Contenders(job, networks, released)


def _read(outputs: NDArray[np.float32]) -> float:
    return float(outputs.astype(np.float64).sum())
