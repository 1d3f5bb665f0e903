"""Slopes of a whole chromosome from a genotype store on disk: seconds and memory as it grows.

    python -m benchmarks.statistics.scale [--genes 5000 10000 20000] [--people 839] [--threads 2]

Genes lie as densely as 20,000 on 250 Mb; every variant within 98,304 bp of a TSS is a pair. What
the stage `eqtl` does is done: dosages from the VCF Zarr, regressions, the store and the table.
Each size has a process of its own, so that its peak memory is its own. About ten minutes.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

#: bases of a piece that is simulated, and then laid down again and again, people in another order
PIECE = 10_000_000
GENES_PER_PIECE = 800


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.statistics.scale")
    parser.add_argument("--genes", type=int, nargs="+", default=[5_000, 10_000, 20_000])
    parser.add_argument("--people", type=int, default=839)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--of", type=Path, help=argparse.SUPPRESS)  # a store that is there
    arguments = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.threads])
    if arguments.of:
        print(json.dumps(measured(arguments.of, arguments.genes[0])))
        return
    print(f"{arguments.people} people, {arguments.threads} threads")
    print("  genes    variants        pairs  seconds  pairs/s  peak GiB")
    with tempfile.TemporaryDirectory() as folder:
        for genes in arguments.genes:
            store = Path(folder) / f"{genes}.vcz"
            write_store(store, -(-genes // GENES_PER_PIECE), arguments.people)
            command = [sys.executable, "-m", __spec__.name, "--of", str(store)]
            command += ["--genes", str(genes), "--threads", str(arguments.threads)]
            found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
            print(
                f"{genes:7,} {found['variants']:11,} {found['pairs']:12,} {found['seconds']:8.1f} "
                f"{found['pairs'] / found['seconds']:8,.0f} {found['peak_gib']:9.2f}",
                flush=True,
            )


def write_store(path: Path, pieces: int, people: int, seed: int = 1) -> None:
    """Write a VCF Zarr of one chromosome, piece by piece."""
    import msprime
    import numpy as np
    import zarr

    ancestry = msprime.sim_ancestry(
        people, population_size=10_000, sequence_length=PIECE, recombination_rate=1e-8,
        random_seed=seed,
    )  # fmt: skip
    model = msprime.BinaryMutationModel()
    mutated = msprime.sim_mutations(ancestry, rate=1e-8, model=model, random_seed=seed)
    position = mutated.sites_position.astype(np.int32) + 1
    kept = np.concatenate([[True], np.diff(position) > 0])
    calls = mutated.genotype_matrix().astype(np.int8)[kept].reshape(-1, people, 2)
    position = position[kept]
    n = pieces * len(position)
    group = zarr.create_group(path, zarr_format=2, attributes={"vcf_zarr_version": "0.4"})
    rng, plain = np.random.default_rng(seed), {"fill_value": None}
    arrays = {
        "sample_id": (np.array([f"P{i}" for i in range(people)], "U8"), ("samples",)),
        "contig_id": (np.array(["chr1"]), ("contigs",)),
        "contig_length": (np.array([pieces * PIECE]), ("contigs",)),
        "variant_contig": (np.zeros(n, np.int8), ("variants",)),
        "variant_allele": (np.tile(np.array([["A", "C"]]), (n, 1)), ("variants", "alleles")),
        "variant_position": (
            np.concatenate([position + piece * PIECE for piece in range(pieces)]),
            ("variants",),
        ),
    }
    for name, (values, dims) in arrays.items():
        array = group.create_array(name, shape=values.shape, dtype=values.dtype, **plain)
        array[:] = values
        array.attrs["_ARRAY_DIMENSIONS"] = list(dims)
    genotype = group.create_array(
        "call_genotype", shape=(n, people, 2), chunks=(10_000, 1_000, 2), dtype=np.int8, **plain
    )
    genotype.attrs["_ARRAY_DIMENSIONS"] = ["variants", "samples", "ploidy"]
    for piece in range(pieces):
        rows = slice(piece * len(position), (piece + 1) * len(position))
        genotype[rows] = calls[:, rng.permutation(people)]
    zarr.consolidate_metadata(path, zarr_format=2)


def measured(path: Path, genes: int) -> dict[str, float]:
    """Do what the stage does; return variants, pairs, seconds and the most memory."""
    import numpy as np
    import xarray as xr

    from benchmarks.haplotypes.tiles import peak_mib
    from zarrbench.genotypes.dosage import allele_dosages
    from zarrbench.genotypes.store import GenotypeStore
    from zarrbench.layouts import EQTL
    from zarrbench.stages.eqtl import _write_table
    from zarrbench.statistics.eqtl import cis_slopes, open_eqtl
    from zarrbench.storage import write_dataset

    rng = np.random.default_rng(0)
    store = GenotypeStore(path, ["chr1"])
    length = -(-genes // GENES_PER_PIECE) * PIECE
    coords = {
        "gene": np.array([f"G{i}" for i in range(genes)], dtype=object),
        "gene_name": ("gene", np.array([f"N{i}" for i in range(genes)], dtype=object)),
        "contig": ("gene", np.full(genes, "chr1", dtype=object)),
        "tss": ("gene", np.sort(rng.integers(1, length, genes))),
        "strand": ("gene", np.full(genes, "+", dtype=object)),
        "individual": np.array(store.samples, dtype=object),
    }
    y = rng.standard_normal((genes, len(store.samples)))
    expression = xr.DataArray(y, dims=("gene", "individual"), coords=coords)
    began = time.perf_counter()
    slopes = cis_slopes(allele_dosages(store), expression, 98_304)
    write_dataset(slopes.assign_attrs(inputs=""), path.with_suffix(".zarr"), EQTL)
    found = open_eqtl(path.with_suffix(".zarr"))
    _write_table(found, path.with_suffix(".parquet"))
    return {
        "variants": store.n_variants,
        "pairs": found.sizes["pair"],
        "seconds": time.perf_counter() - began,
        "peak_gib": peak_mib() / 1024,
    }


if __name__ == "__main__":
    main()
