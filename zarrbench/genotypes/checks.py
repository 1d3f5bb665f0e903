"""What a genotype store must satisfy before anything is predicted from it."""

from collections import Counter
from dataclasses import dataclass

import dask
import dask.array as da
import numpy as np
import sgkit
import xarray as xr
from numpy.typing import NDArray

from zarrbench.errors import (
    ContigError,
    GenotypeError,
    ReferenceMismatchError,
    SampleError,
    UnphasedGenotypeError,
)
from zarrbench.genome.bases import encode
from zarrbench.genome.coordinates import Window, from_one_based
from zarrbench.genome.reference import Reference
from zarrbench.genotypes.policies import Policies
from zarrbench.genotypes.store import GenotypeStore
from zarrbench.remote import reading

# Differs from every base code, N included: what lies beyond the end of a contig
_NO_BASE = 255


@dataclass(frozen=True)
class GenotypeChecks:
    """Counts over a whole genotype store.

    `n_snvs` counts records whose alleles are all single bases, `n_indels` those with an allele of
    another length than REF, `n_symbolic` those with an allele without a sequence (``<DEL>``, a
    breakend, ``*``), `call_rate` is the share of calls
    without a missing allele, and a common variant has a minor allele frequency of 0.05 or more.
    """

    n_variants: int
    n_snvs: int
    n_indels: int
    n_symbolic: int
    n_samples: int
    contigs: dict[str, int]
    contig_map: dict[str, str]
    unmapped_contigs: dict[str, int]
    call_rate: float
    n_missing_calls: int
    n_unphased_heterozygous: int
    n_haploid: int
    n_common_variants: int
    n_ref_mismatches: int


def check_genotypes(
    store: GenotypeStore, reference: Reference, policies: Policies
) -> GenotypeChecks:
    """Count what matters in a genotype store and refuse what the policies refuse.

    REF alleles of every record (its first base; all of them with ``indels: anchor_tss``) are
    compared with the reference; a record beyond the end of its contig counts as a mismatch.

    Raises
    ------
    ContigError
        If no contig of the store is in the reference.
    SampleError
        If a sample id stands twice.
    GenotypeError
        For haploid calls.
    UnphasedGenotypeError
        For heterozygous calls without phase, unless the policy keeps VCF order.
    SourceError
        If a store behind a URL cannot be read.
    ReferenceMismatchError
        If more than a tenth of the REF alleles contradict the reference: it is of another build.
        Fewer are judged gene by gene, by ``max_ref_mismatch``; with that at 0 a single one is
        refused here.
    """
    checks = _count(store, reference, policies)
    where = f"the genotype store {store.path}"
    if not store.contigs and store.n_variants:
        raise ContigError(
            f"no contig of {where} ({', '.join(store.unmapped_contigs[:3])}) is in the reference "
            f"({', '.join(list(reference.lengths)[:3])}); use a FASTA of the same build and naming"
        )
    duplicated = [name for name, n in Counter(store.samples).items() if n > 1]
    if duplicated:
        raise SampleError(f"{where} names the sample {duplicated[0]!r} twice; rename one of them")
    if checks.n_haploid:
        raise GenotypeError(
            f"{where} has {checks.n_haploid:,} haploid calls; only diploid autosomes can be made "
            f"into two haplotypes: choose them with 'regions' in the recipe"
        )
    if checks.n_unphased_heterozygous and policies.unphased == "refuse":
        raise UnphasedGenotypeError(
            f"{where} has {checks.n_unphased_heterozygous:,} heterozygous calls without phase "
            f"(0/1 instead of 0|1){_example_unphased(store)}; phase the VCF (for example with "
            f"Eagle, SHAPEIT or Beagle), or set 'unphased: keep_order' in the recipe's policies"
        )
    _refuse_mismatches(checks, policies, where)
    return checks


def _refuse_mismatches(checks: GenotypeChecks, policies: Policies, where: str) -> None:
    compared = sum(checks.contigs.values())
    found = (
        f"{checks.n_ref_mismatches:,} of {compared:,} REF alleles of {where} contradict the "
        f"reference"
    )
    if checks.n_ref_mismatches > 0.1 * compared:
        raise ReferenceMismatchError(
            f"{found}: it is probably of another genome build; use the FASTA that the variants "
            f"were called on"
        )
    if checks.n_ref_mismatches and policies.max_ref_mismatch == 0:
        raise ReferenceMismatchError(
            f"{found}; correct them ('bcftools norm --check-ref'), or allow some a window with "
            f"'max_ref_mismatch' in the recipe's policies"
        )


def _count(store: GenotypeStore, reference: Reference, policies: Policies) -> GenotypeChecks:
    dataset = store.dataset()
    genotype = dataset["call_genotype"].data
    alleles = sgkit.count_variant_alleles(dataset, merge=False)["variant_allele_count"].data
    # Threads, not the run's cluster: this is a scan of one store.
    with reading(store.path):
        counted = dask.compute(
            (genotype == -1).any(axis=-1).sum(),
            _unphased_heterozygous(dataset).sum(),
            # A lone "." is read as -1, -2: a missing call, not a haploid one.
            ((genotype[..., 0] != -1) & (genotype[..., 1] == -2)).sum(),
            alleles,
            dataset["variant_contig"].data,
            dataset["variant_position"].data,
            dataset["variant_allele"].data,
            scheduler="threads",
        )
        names = [str(name) for name in dataset["contig_id"].values]
    missing, unphased, haploid, alleles, contig, position, allele = counted
    called = alleles.sum(axis=1)
    common = (called > 0) & (called - alleles.max(axis=1) >= 0.05 * called)
    per_contig = {n: int((contig == i).sum()) for i, n in enumerate(names)}
    # Only where insertions and deletions are applied do the further bases of REF matter.
    used = None if policies.indels == "anchor_tss" else 1
    refs = np.array([str(ref)[:used] or "N" for ref in allele[:, 0]], dtype=object)
    mismatches = 0
    for name, target in store.contig_map.items():
        rows = np.flatnonzero(contig == names.index(name))
        mismatches += _mismatches(position[rows], list(refs[rows]), target, reference)
    n_indels, n_symbolic = _count_indels(allele.astype(np.dtypes.StringDType()))
    calls = store.n_variants * len(store.samples)
    return GenotypeChecks(
        n_variants=store.n_variants,
        n_snvs=_count_snvs(allele.astype(object)),
        n_indels=n_indels,
        n_symbolic=n_symbolic,
        n_samples=len(store.samples),
        contigs={target: per_contig[n] for n, target in store.contig_map.items()},
        contig_map=dict(store.contig_map),
        unmapped_contigs={n: per_contig[n] for n in store.unmapped_contigs},
        call_rate=1.0 - int(missing) / calls if calls else 1.0,
        n_missing_calls=int(missing),
        n_unphased_heterozygous=int(unphased),
        n_haploid=int(haploid),
        n_common_variants=int(common.sum()),
        n_ref_mismatches=int(mismatches),
    )


def _unphased_heterozygous(dataset: xr.Dataset) -> da.Array:
    """Return which calls have two different alleles and no phase, (variants, samples)."""
    genotype = dataset["call_genotype"].data
    first, second = genotype[..., 0], genotype[..., 1]
    heterozygous = (first != second) & (second != -2)
    if "call_genotype_phased" not in dataset:
        return heterozygous
    return heterozygous & ~dataset["call_genotype_phased"].data


def _count_snvs(alleles: NDArray) -> int:
    base = np.isin(alleles, list("ACGTacgt"))
    only_bases = (base | (alleles == "")).all(axis=1)
    return int((only_bases & base[:, 1:].any(axis=1)).sum())


def _count_indels(alleles: NDArray) -> tuple[int, int]:
    """Count records with an allele of another length than REF, and with one without a sequence."""
    lengths = np.strings.str_len(alleles)
    symbolic = (alleles == "*") | (np.strings.startswith(alleles, "<"))
    for mark in "[]":  # breakends
        symbolic |= np.strings.find(alleles, mark) >= 0
    changes = (lengths > 0) & (lengths != lengths[:, :1]) & ~symbolic
    return int(changes.any(axis=1).sum()), int(symbolic.any(axis=1).sum())


def _mismatches(positions: NDArray, refs: list[str], contig: str, reference: Reference) -> int:
    """Count the REF alleles that are not what the reference has there."""
    if positions.size == 0:
        return 0
    lengths = np.array([len(ref) for ref in refs])
    record = np.repeat(np.arange(lengths.size), lengths)
    within = np.arange(record.size) - (np.cumsum(lengths) - lengths)[record]
    zero_based, bases = from_one_based(positions)[record] + within, encode("".join(refs))
    wrong = np.zeros(lengths.size, dtype=bool)
    step = 1 << 24
    for start in range(int(zero_based.min()) // step * step, int(zero_based.max()) + 1, step):
        inside = np.flatnonzero((zero_based >= start) & (zero_based < start + step))
        if inside.size == 0:
            continue
        stop = max(start, min(start + step, reference.lengths[contig]))
        codes = np.full(step, _NO_BASE, dtype=np.uint8)
        codes[: stop - start] = reference.codes(Window(contig, start, stop))
        wrong[record[inside[codes[zero_based[inside] - start] != bases[inside]]]] = True
    return int(wrong.sum())


def _example_unphased(store: GenotypeStore) -> str:
    """Name the first record with an unphased heterozygous call; no sample id."""
    dataset = store.dataset()
    if "call_genotype_phased" not in dataset:
        return ": the store holds no call_genotype_phased at all"
    affected = _unphased_heterozygous(dataset).any(axis=1)
    row = int(affected.argmax().compute(scheduler="threads"))
    contig = str(dataset["contig_id"].values[int(dataset["variant_contig"][row])])
    return f", the first at {contig}:{int(dataset['variant_position'][row])}"
