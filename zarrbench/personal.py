"""Anybody's sequence, around the TSS of a gene or over a region, straight from the stores."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from zarrbench.errors import ContigError
from zarrbench.genome.bases import decode
from zarrbench.genome.coordinates import Window, parse_region
from zarrbench.genome.genes import sel_gene, window_around
from zarrbench.haplotypes.sequences import PersonalWindow, personal_window, whole_region
from zarrbench.recipes import nearest
from zarrbench.stores import StoreFamily

#: what Enformer reads; the TSS is the first base of its second half
WINDOW_LENGTH = 196_608


def gene_window(
    stores: StoreFamily,
    gene: str,
    length: int = WINDOW_LENGTH,
    tss_index: int | None = None,
    strand_aware: bool = False,
) -> Window:
    """Return the window around the TSS of a gene.

    Parameters
    ----------
    stores : StoreFamily
    gene : str
        Id, with or without version, or name.
    length : int
        Bases.
    tss_index : int, optional
        0-based index of the TSS base in the window as it is read; ``length // 2`` by default.
    strand_aware : bool
        Whether a gene of the minus strand is read as reverse complement.

    Raises
    ------
    RecipeError
        If there is no such gene, or several.
    ContigError
        If the window leaves its contig, unless the policy pads it.
    """
    index = length // 2 if tss_index is None else tss_index
    window = window_around(sel_gene(stores.genes, gene), length, index, strand_aware)
    if stores.recipe.policies.beyond_contig == "refuse":
        _refuse_beyond(stores, window)
    return window


def personal_sequences(
    stores: StoreFamily, window: Window, individuals: Sequence[str] | None = None
) -> PersonalWindow:
    """Read the distinct sequences that people carry in a window, by the policies of the stores.

    Parameters
    ----------
    stores : StoreFamily
    window : Window
        For example that of `gene_window`.
    individuals : sequence of str, optional
        Sample ids; everybody by default.

    Returns
    -------
    PersonalWindow
        Its `codes` and `one_hot` give sequences, its `rows` say which ones are whose.

    Raises
    ------
    SampleError
        If somebody is not in the genotype store.
    GenotypeError, ReferenceMismatchError, UnphasedGenotypeError
        If calls of the window are refused by the policies.
    """
    rows = None if individuals is None else stores.genotypes.rows_of(individuals)
    return personal_window(stores.genotypes, stores.reference, window, stores.recipe.policies, rows)


def gene_fasta(stores: StoreFamily, gene: str, individual: str, length: int) -> str:
    """Return both haplotypes of somebody around the TSS of a gene as FASTA, forward strand."""
    window = gene_window(stores, gene, length)
    personal = personal_sequences(stores, window, [individual])
    what = f"{window} {gene} TSS={length // 2 + 1}"
    return _fasta(individual, what, [personal.haplotype(0, haplotype) for haplotype in (0, 1)])


def region_fasta(stores: StoreFamily, region: str, individual: str) -> str:
    """Return both haplotypes of somebody over ``CONTIG:START-END`` (1-based) as FASTA.

    With insertions and deletions applied they are as long as they are.
    """
    contig, start, end = parse_region(region)
    lengths = stores.reference.lengths
    if contig not in lengths:
        raise ContigError(f"the reference has no contig {contig!r}{nearest(contig, lengths)}")
    window = Window(contig, start, lengths[contig] if end is None else end)
    _refuse_beyond(stores, window)
    row = int(stores.genotypes.rows_of([individual])[0])
    sequences = whole_region(
        stores.genotypes, stores.reference, window, stores.recipe.policies, row
    )
    return _fasta(individual, str(window), sequences)


def _refuse_beyond(stores: StoreFamily, window: Window) -> None:
    length = stores.reference.lengths[window.contig]
    if not window.inside(length):
        raise ContigError(
            f"{window} leaves the contig, which ends at {length}; ask for fewer bases, or set "
            f"'beyond_contig: pad' in the policies of {stores.recipe_file} for a gene's window"
        )


def _fasta(individual: str, what: str, haplotypes: Sequence[NDArray[np.uint8]]) -> str:
    records = []
    for number, codes in enumerate(haplotypes, start=1):
        letters = decode(codes)
        records.append(f">{individual} haplotype={number} {what}")
        records += [letters[at : at + 60] for at in range(0, len(letters), 60)]
    return "\n".join(records) + "\n"
