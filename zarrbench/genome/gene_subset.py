"""Some of the genes: by a list of ids, or by the regions that they lie in."""

from dataclasses import dataclass
from typing import Literal

from zarrbench.sources import Source

TestRule = Literal["tss_in_region", "window_in_region"]
#: name of the whole among the subsets of the population stage
ALL_GENES = "all"


@dataclass(frozen=True)
class GeneSubset:
    """Some of the genes, named by a list or by the regions that they lie in.

    Parameters
    ----------
    name : str
        In the table, such as ``test``.
    genes : Source, optional
        Ids in the first column of a text table without header, or an array of them (``.npy``). A
        repeated one counts once, and versions make no difference.
    regions : Source, optional
        A BED file, as that of a model's held-out regions.
    label : str, optional
        Take only the regions with this text in the fourth column.
    test_rule : {'tss_in_region', 'window_in_region'}
        What must lie in a region: the base of the TSS, or all that the model reads.
    outside : bool
        Take the other genes instead.
    """

    name: str
    genes: Source | None = None
    regions: Source | None = None
    label: str | None = None
    test_rule: TestRule = "tss_in_region"
    outside: bool = False

    def __post_init__(self) -> None:
        if (self.genes is None) == (self.regions is None):
            raise ValueError(f"the subset {self.name!r} needs either genes or regions")
        if self.regions is None and self.label is not None:
            raise ValueError(f"the label of the subset {self.name!r} needs regions")
        if self.name in ("", ALL_GENES):
            raise ValueError(f"the name of a subset cannot be {self.name!r}; choose another")
