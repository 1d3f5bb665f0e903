"""GenVarLoader and bcftools, each through its public API with its best settings."""

import contextlib
import importlib.util
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.haplotypes.cohort import LENGTH, Cohort
from benchmarks.haplotypes.contenders import BATCH, CODES, DTYPES, EYE, Buffers, Contender
from zarrbench.genome.bases import Codes, encode

BACKENDS = ("vcf", "svar2", "svar")
SEQPRO, TABLE, BYTES = "seqpro", "table", "bytes"
CONSENSUS = "samtools faidx | bcftools consensus"


def genvarloader_installed() -> bool:
    return importlib.util.find_spec("genvarloader") is not None


def bcftools_installed() -> bool:
    return bool(shutil.which("bcftools") and shutil.which("samtools"))


def genvarloader(cohort: Cohort, backend: str, buffers: Buffers) -> tuple[list[Contender], float]:
    """Return GenVarLoader's ways on one backend, and the seconds that its ingest took."""
    import seqpro

    dataset, seconds = _dataset(cohort, backend)
    assert list(dataset.samples) == list(cohort.samples)
    people = BATCH // 2

    def letters(i: int) -> Iterator[NDArray[Any]]:
        for first in range(0, len(cohort.samples), people):
            read = dataset[i, first : first + people]
            yield read.view(np.uint8).reshape(-1, LENGTH)

    def by_seqpro(i: int, out: NDArray[Any]) -> Iterator[NDArray[Any]]:
        for batch in letters(i):
            encoded = seqpro.ohe(batch.view("S1"), seqpro.DNA)
            if out.dtype == encoded.dtype:
                yield encoded
            else:
                np.copyto(out[: len(batch)], encoded)
                yield out[: len(batch)]

    def by_table(i: int, out: NDArray[Any]) -> Iterator[NDArray[Any]]:
        # One row of four channels for every letter
        table = EYE.astype(out.dtype)[encode(bytes(range(256)))]
        for batch in letters(i):
            # 'clip' lets NumPy write into `out` without a buffer of its own.
            yield np.take(table, batch, axis=0, out=out[: len(batch)], mode="clip")

    name = f"GenVarLoader {backend}"
    found = [Contender(f"{name} {BYTES}", CODES, letters)]
    for what in DTYPES:
        out = buffers[what]
        found += [
            Contender(f"{name} + {SEQPRO}", what, partial(by_seqpro, out=out), most=8 * BATCH),
            Contender(f"{name} + {TABLE}", what, partial(by_table, out=out), most=16 * BATCH),
        ]
    return found, seconds


def _dataset(cohort: Cohort, backend: str) -> tuple[Any, float]:
    import genvarloader
    import loguru
    import polars

    loguru.logger.remove()
    path = cohort.folder / f"{backend}.gvl"
    bed = polars.DataFrame(
        {
            "chrom": [window.contig for window in cohort.windows],
            "chromStart": [window.start for window in cohort.windows],
            "chromEnd": [window.end for window in cohort.windows],
        }
    )
    began = time.perf_counter()
    with contextlib.redirect_stdout(sys.stderr):
        variants = _variants(cohort, backend)
        genvarloader.write(path, bed, variants=variants)
        dataset = genvarloader.Dataset.open(path, cohort.fasta)
    seconds = time.perf_counter() - began
    return dataset.with_seqs("haplotypes").with_len(LENGTH), seconds


def _variants(cohort: Cohort, backend: str) -> Path:
    """Write the variant store that a backend reads."""
    import genoray

    if backend == "vcf":
        return cohort.vcf
    store = cohort.folder / f"variants.{backend}"
    if backend == "svar":
        genoray.SparseVar.from_vcf(store, genoray.VCF(cohort.vcf), max_mem="4g", n_jobs=1)
    else:
        genoray.SparseVar2.from_vcf(store, cohort.vcf, cohort.fasta, threads=1, log_level="off")
    return store


def bcftools(cohort: Cohort) -> Contender:
    """Return ``samtools faidx | bcftools consensus -H 1/2``, one sequence a call."""

    def batches(i: int) -> Iterator[NDArray[Any]]:
        for sample in cohort.samples[:4]:
            yield np.stack([_consensus(cohort, i, sample, h) for h in (1, 2)])

    return Contender(CONSENSUS, CODES, batches)


def _consensus(cohort: Cohort, i: int, sample: str, haplotype: int) -> Codes:
    extract = ["samtools", "faidx", str(cohort.fasta), str(cohort.windows[i])]
    apply = ["bcftools", "consensus", "-H", str(haplotype), "-s", sample, str(cohort.vcf)]
    with subprocess.Popen(extract, stdout=subprocess.PIPE) as faidx:
        done = subprocess.run(apply, stdin=faidx.stdout, capture_output=True, check=True)
    _, _, sequence = done.stdout.partition(b"\n")
    return encode(sequence.replace(b"\n", b""))
