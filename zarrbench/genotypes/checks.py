"""What a genotype store must satisfy before anything is predicted from it."""

from dataclasses import dataclass

import dask
import dask.array as da
import numpy as np
import sgkit

from zarrbench.errors import (
    ContigError,
    GenotypeError,
    ReferenceMismatchError,
    SampleError,
    UnphasedGenotypeError,
)
from zarrbench.genome.bases import OTHER, encode
from zarrbench.genome.coordinates import Window, from_one_based
from zarrbench.genome.reference import Reference
from zarrbench.genotypes.store import GenotypeStore
from zarrbench.haplotypes.policies import Policies


@dataclass(frozen=True)
class GenotypeChecks:
    """Counts over a whole genotype store. `call_rate` is the share of calls without a missing allele."""

    n_variants: int
    n_snvs: int
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

    REF alleles of every record (its first base) are compared with the reference; a record beyond
    the end of its contig counts as a mismatch.

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
    ReferenceMismatchError
        If a tenth of the REF alleles contradict the reference: it is of another build. Fewer are
        judged gene by gene, by ``max_ref_mismatch``; with that at 0 a single one is refused here.
    """
    checks = _count(store, reference)
    where = f"the genotype store {store.path}"
    if not store.contigs and store.n_variants:
        raise ContigError(
            f"no contig of {where} ({', '.join(store.unmapped_contigs[:3])}) is in the reference "
            f"({', '.join(list(reference.lengths)[:3])}); use a FASTA of the same build and naming"
        )
    duplicated = sorted({s for s in store.samples if store.samples.count(s) > 1})
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
            f"(0/1 instead of 0|1){_example_unphased(store)}; phase the VCF (for example with Eagle, "
            f"SHAPEIT or Beagle), or set 'unphased: keep_order' in the recipe's policies"
        )
    _refuse_mismatches(checks, policies, where)
    return checks


def _refuse_mismatches(checks: GenotypeChecks, policies: Policies, where: str) -> None:
    share = checks.n_ref_mismatches / max(1, checks.n_variants)
    if share > 0.1:
        raise ReferenceMismatchError(
            f"{checks.n_ref_mismatches:,} of {checks.n_variants:,} REF alleles of {where} "
            f"contradict the reference: it is probably of another genome build"
        )
    if checks.n_ref_mismatches and policies.max_ref_mismatch == 0:
        raise ReferenceMismatchError(
            f"{checks.n_ref_mismatches:,} of {checks.n_variants:,} REF alleles of {where} "
            f"contradict the reference; correct them ('bcftools norm --check-ref'), or allow some a "
            f"window with 'max_ref_mismatch' in the recipe's policies"
        )


def _count(store: GenotypeStore, reference: Reference) -> GenotypeChecks:
    dataset = store.dataset()
    genotype = dataset["call_genotype"].data
    first, second = genotype[..., 0], genotype[..., 1]
    if "call_genotype_phased" in dataset:
        phased = dataset["call_genotype_phased"].data
    else:
        phased = da.zeros(first.shape, dtype=bool, chunks=first.chunks)
    statistics = sgkit.variant_stats(dataset, merge=False)
    frequency = statistics["variant_allele_frequency"].data
    # Threads, not the run's cluster: this is a scan of one local store.
    with dask.config.set(scheduler="threads"), np.errstate(invalid="ignore", divide="ignore"):
        counted = dask.compute(
            ((genotype == -1).any(axis=-1)).sum(),
            ((first != second) & ~phased & (second != -2)).sum(),
            (second == -2).sum(),
            ((1 - da.nanmax(frequency, axis=1)) >= 0.05).sum(),
            dataset["variant_contig"].data,
            dataset["variant_position"].data,
            dataset["variant_allele"].data,
        )
    missing, unphased, haploid, common, contig, position, allele = counted
    lengths = np.vectorize(len, otypes=[np.int64])(allele.astype(object)) if allele.size else allele
    n_snvs = int(((lengths[:, 0] == 1) & (lengths[:, 1:].max(axis=1, initial=0) == 1)).sum())
    names = [str(name) for name in dataset["contig_id"].values]
    per_contig = {n: int((contig == i).sum()) for i, n in enumerate(names)}
    mismatches = sum(
        _mismatches(position[contig == names.index(n)], allele[contig == names.index(n), 0],
                    target, reference)
        for n, target in store.contig_map.items()
    )  # fmt: skip
    calls = store.n_variants * len(store.samples)
    return GenotypeChecks(
        n_variants=store.n_variants,
        n_snvs=n_snvs,
        n_samples=len(store.samples),
        contigs={target: per_contig[n] for n, target in store.contig_map.items()},
        contig_map=dict(store.contig_map),
        unmapped_contigs={n: per_contig[n] for n in store.unmapped_contigs},
        call_rate=1.0 - int(missing) / calls if calls else 1.0,
        n_missing_calls=int(missing),
        n_unphased_heterozygous=int(unphased),
        n_haploid=int(haploid),
        n_common_variants=int(common),
        n_ref_mismatches=int(mismatches),
    )


def _mismatches(positions: np.ndarray, refs: np.ndarray, contig: str, reference: Reference) -> int:
    """Count REF alleles whose first base is not the reference's."""
    if positions.size == 0:
        return 0
    zero_based = from_one_based(positions)
    first = encode("".join(str(ref)[:1] or "N" for ref in refs))
    count = 0
    step = 1 << 24
    for start in range(int(zero_based.min()) // step * step, int(zero_based.max()) + 1, step):
        inside = (zero_based >= start) & (zero_based < start + step)
        if not inside.any():
            continue
        stop = max(start, min(start + step, reference.lengths[contig]))
        codes = np.full(step, OTHER, dtype=np.uint8)
        codes[: stop - start] = reference.codes(Window(contig, start, stop))
        count += int((codes[zero_based[inside] - start] != first[inside]).sum())
    return count


def _example_unphased(store: GenotypeStore) -> str:
    """Name the first record with an unphased heterozygous call; no sample id."""
    dataset = store.dataset()
    if "call_genotype_phased" not in dataset:
        return ": the store holds no call_genotype_phased at all"
    genotype, phased = dataset["call_genotype"].data, dataset["call_genotype_phased"].data
    bad = ((genotype[..., 0] != genotype[..., 1]) & ~phased).any(axis=1)
    row = int(bad.argmax().compute(scheduler="threads"))
    contig = str(dataset["contig_id"].values[int(dataset["variant_contig"][row])])
    return f", the first at {contig}:{int(dataset['variant_position'][row])}"
