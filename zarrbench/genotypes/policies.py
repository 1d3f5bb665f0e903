"""What to do with calls that have no single obvious sequence (METHODS section 4)."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Policies:
    """How a recipe wants doubtful calls treated; recorded in every cube made with it.

    Parameters
    ----------
    indels : {'skip', 'anchor_tss'}
        With ``skip`` (the study's) only single-base substitutions are applied. With ``anchor_tss``
        alleles of any length are: a sequence is rebuilt outwards from its TSS, which keeps its
        place, and is filled with what lies further out, so that its length is fixed.
    missing : {'reference', 'zeros'}
        A missing allele keeps the reference base, or becomes a base of no letter (zero vector).
    unphased : {'refuse', 'keep_order'}
        A heterozygous call without phase is an error, or keeps the order of the VCF.
    max_ref_mismatch : int
        Records of a window whose REF may contradict the reference; they are skipped and counted.
        One more is an error.
    beyond_contig : {'refuse', 'pad'}
        A gene whose window leaves the contig is left out, or zero vectors fill its window.
    """

    indels: Literal["skip", "anchor_tss"] = "skip"
    missing: Literal["reference", "zeros"] = "reference"
    unphased: Literal["refuse", "keep_order"] = "refuse"
    max_ref_mismatch: int = 0
    beyond_contig: Literal["refuse", "pad"] = "refuse"

    def __post_init__(self) -> None:
        if self.max_ref_mismatch < 0:
            raise ValueError("max_ref_mismatch must not be negative")


#: Cases that are counted in every window, with what is counted and what is done about it.
CASES = {
    "multiallelic_sites": "positions where people carry two or more different alternative alleles",
    "mixed_site_alleles": "haplotypes with an allele that is not applied (an indel, say) where "
    "another one of the record is: reference kept",
    "excluded_records": "records without an allele that the policy applies: skipped",
    "symbolic_alleles": "alleles without a sequence (symbolic, breakend, *): skipped",
    "indel_alleles": "insertions and deletions on haplotypes: applied, the TSS keeps its place",
    "overlapping_alleles": "alleles on haplotypes that overlap an earlier one: skipped",
    "removed_tss": "haplotypes without the TSS base: the next one, as read, takes its place",
    "merged_records": "records at a position that another record has too: merged",
    "ref_mismatches": "records whose REF contradicts the reference: skipped",
    "missing_alleles": "alleles without a call: treated as the policy says",
    "unphased_calls": "heterozygous calls without phase: kept in the order of the VCF",
    "padded_bases": "bases of the window beyond the contig: zero vectors",
}
