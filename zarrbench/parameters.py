"""What each stage after the prediction can be told: the keys of its mapping in a pipeline file."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from zarrbench.expression.preparation import Expression as Expression
from zarrbench.genome.gene_subset import ALL_GENES as ALL_GENES
from zarrbench.genome.gene_subset import GeneSubset as GeneSubset
from zarrbench.predictdb import Build
from zarrbench.sources import Source
from zarrbench.statistics.multiple_testing import CountRule, NanPolicy
from zarrbench.statistics.null import Statistic
from zarrbench.statistics.track_weights import HaplotypeCombine

#: name of the union of the lists of fine-mapped variants
ANY_LIST = "any"


@dataclass(frozen=True)
class GenotypeQuality:
    """Frequency, completeness and Hardy-Weinberg p of variants; completeness, ancestry and kinship
    of people.

    Components and kinship are made of common variants that are not linked.

    Parameters
    ----------
    n_components : int
        Principal components of the genotypes; 0 for none.
    min_maf : float
        Least minor allele frequency of a common variant.
    max_missing : float
        Largest share of people without a call of it.
    ld_window : int
        Bases within which no two of them may correlate.
    max_r2 : float
        By more than this r².
    min_kinship : float
        Pairs of people from this KING kinship on are flagged: 0.0884 is the usual bound of the
        second degree.
    """

    n_components: int = 10
    min_maf: float = 0.05
    max_missing: float = 0.05
    ld_window: int = 500_000
    max_r2: float = 0.2
    min_kinship: float = 0.0884

    def __post_init__(self) -> None:
        if self.n_components < 0:
            raise ValueError("n_components must not be negative")
        if not 0 < self.min_maf <= 0.5:
            raise ValueError("min_maf must be above 0 and at most 0.5")
        if not 0 <= self.max_missing < 1:
            raise ValueError("max_missing must be from 0 to below 1")
        if self.ld_window < 0:
            raise ValueError("ld_window must not be negative")
        if not 0 < self.max_r2 <= 1:
            raise ValueError("max_r2 must be above 0 and at most 1")
        if not 0 < self.min_kinship <= 0.5:
            raise ValueError("min_kinship must be above 0 and at most 0.5")


@dataclass(frozen=True)
class Null:
    """The gene-specific null (METHODS section 9).

    Parameters
    ----------
    statistic : str
        Which of the five fills the null columns of the gene table; all are computed.
    draws : int
        Random predictors a gene.
    window : 'model' or int
        Variants of the model's window, or those within so many bases of the TSS.
    seed : int
    positive : bool
        Use the absolute values of the random weights.
    rng : {'per_gene', 'legacy_sequential'}
        A stream for each gene, or as in the study NumPy's legacy one for all genes in the order of
        their ids: slow, since one gene waits for the other, and every null depends on which genes
        there are.
    """

    statistic: Statistic = "signed"
    draws: int = 50
    window: Literal["model"] | int = "model"
    seed: int = 1
    positive: bool = False
    rng: Literal["per_gene", "legacy_sequential"] = "per_gene"

    def __post_init__(self) -> None:
        if self.draws < 2:
            raise ValueError("draws must be at least 2")
        if self.window != "model" and self.window < 1:
            raise ValueError("window must be 'model' or a positive number of bases")


@dataclass(frozen=True)
class Statistics:
    """Correlation across individuals, null and false discovery rate.

    Parameters
    ----------
    track : str, optional
        Identifier or description; needed if the model has several.
    haplotypes : {'mean', 'sum'}
    null_test : Null
        (`null` alone is no text in YAML.)
    alpha : float
        Bound of the false discovery rate.
    count_rule : {'q_le_alpha', 'strict_above_cut'}
    nan_policy : {'p1', 'drop'}
        Genes without an r stay in the correction as not significant, or are left out of it.
    round_r : int, optional
        Decimals that r is rounded to before it is tested: 3 in the study. The r of the tables keeps
        all of them.
    """

    track: str | None = None
    haplotypes: Literal["mean", "sum"] = "mean"
    null_test: Null = field(default_factory=Null)
    alpha: float = 0.05
    count_rule: CountRule = "q_le_alpha"
    nan_policy: NanPolicy = "p1"
    round_r: int | None = None

    def __post_init__(self) -> None:
        if self.round_r is not None and self.round_r < 1:
            raise ValueError("round_r must be a positive number of decimals")
        if not 0 < self.alpha < 1:
            raise ValueError("alpha must lie between 0 and 1")


@dataclass(frozen=True)
class Population:
    """Predictions for the reference against mean expression, across genes (METHODS section 6).

    Parameters
    ----------
    subsets : list of GeneSubset
        Beside all genes.
    pseudocount : float, optional
        Take log2 of each gene's mean expression plus this, for units that are no logarithms (RPKM,
        TPM). By default the mean counts as it stands.
    """

    subsets: tuple[GeneSubset, ...] = ()
    pseudocount: float | None = None

    def __post_init__(self) -> None:
        names = [subset.name for subset in self.subsets]
        if len(set(names)) < len(names):
            raise ValueError("subsets names one more than once")
        if self.pseudocount is not None and not self.pseudocount > 0:
            raise ValueError("pseudocount must be a positive number")


@dataclass(frozen=True)
class WeightedTracks:
    """One prediction from all tracks, the study's "fine-tuning" (METHODS section 7).

    Parameters
    ----------
    weights : Source, optional
        Weights in the form of the study's GTExWeights.csv, to be applied. Without it they are
        fitted.
    target : Source, optional
        What they are fitted to, instead of the cohort's mean expression: a table with a header, of
        gene ids and mean expression.
    readout : str, optional
        Name among the `more_readouts` of the predict stage; by default its `readout`. The study's
        weights are for ``released_finetuned``.
    haplotype_combine : {'mean', 'sum'}
        The study adds the two haplotypes up, offset and all.
    l1_ratio : float
        Share of the absolute values in the penalty, above 0 up to 1.
    folds : int
        Of the cross-validation; no contig is split between them.
    """

    weights: Source | None = None
    target: Source | None = None
    readout: str | None = None
    haplotype_combine: HaplotypeCombine = "mean"
    l1_ratio: float = 0.5
    folds: int = 10

    def __post_init__(self) -> None:
        if self.weights is not None and self.target is not None:
            raise ValueError("given weights are not fitted: leave out either weights or target")
        if not 0 < self.l1_ratio <= 1:
            raise ValueError("l1_ratio must be above 0 and at most 1")
        if self.folds < 2:
            raise ValueError("folds must be at least 2")

    @property
    def variable(self) -> str:
        """Variable of the cube that the weights apply to."""
        return "prediction" if self.readout is None else f"prediction_{self.readout}"


@dataclass(frozen=True)
class Eqtl:
    """Slopes of every gene on every variant near it (METHODS section 15).

    Parameters
    ----------
    window : int
        Bases on each side of the TSS.
    covariates : 'all' or list of str, optional
        Covariates of the expression store to adjust for; none by default, as in the study, whose
        expression is adjusted beforehand.
    genotype_components : int
        Adjust for so many components of the genotype_quality stage, too.
    """

    window: int = 100_000
    covariates: Literal["all"] | tuple[str, ...] | None = None
    genotype_components: int = 0

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError("window must be a positive number of bases")
        if self.genotype_components < 0:
            raise ValueError("genotype_components must not be negative")


@dataclass(frozen=True)
class TrainingPeople:
    """The people that PrediXcan's weights are trained on; they are never evaluated.

    Parameters
    ----------
    samples : Source
        A list of individuals, one a line; or a table of two columns, individual and ``train`` or
        anything else, without header; or, with `column`, any table with a header.
    column : str, optional
        Column of the table whose value is ``train`` for them; the first column has the individuals.
    """

    samples: Source
    column: str | None = None

    @classmethod
    def from_text(cls, text: str) -> "TrainingPeople":
        return cls(Source(text))


@dataclass(frozen=True)
class PrediXcan:
    """PrediXcan beside the network, on the same people (METHODS section 10).

    Parameters
    ----------
    weights : Source, optional
        A PredictDB database, to be applied. Without it weights are trained.
    train : TrainingPeople, optional
        Whom weights are trained on, or whom the given ones were trained on: they are left out of
        both correlations.
    window : int
        Bases on each side of the TSS from which variants are taken for training, and in which
        variants that a database names by rsid alone are looked for.
    folds : int
        Of the nested cross-validation.
    min_cv_r, max_cv_p : float
        A trained gene has a model only if its cross-validated r is above the first, and the p of
        it below the second: PredictDB's rule. -1 and 1 keep all.
    build : {'b38', 'b37'}
        Genome build in the keys of trained weights.
    min_coverage : float
        Share of all variants of the models that the genotypes must hold.
    seed : int
        Splits people into folds, by a stream of its own for each gene.
    """

    weights: Source | None = None
    train: TrainingPeople | None = None
    window: int = 1_000_000
    folds: int = 10
    min_cv_r: float = 0.1
    max_cv_p: float = 0.05
    build: Build = "b38"
    min_coverage: float = 0.1
    seed: int = 1

    def __post_init__(self) -> None:
        if self.weights is None and self.train is None:
            raise ValueError("give weights, or with train whom to train them on")
        if self.window < 1:
            raise ValueError("window must be a positive number of bases")
        if self.folds < 2:
            raise ValueError("folds must be at least 2")
        if not 0 <= self.min_coverage <= 1:
            raise ValueError("min_coverage must lie between 0 and 1")
        if self.seed < 0:
            raise ValueError("seed must not be negative")


@dataclass(frozen=True)
class GeneTable:
    """The per-gene table (METHODS section 25), and genes with a fine-mapped variant (section 20).

    Parameters
    ----------
    fine_mapped : mapping of str to Source
        Lists of genes and variants by name, such as ``brain``: a column of the table for each.
        Text tables with columns ``gene`` and ``variant`` (others are passed over), or of these two
        without a header; variants as ``chr1_12345_A_G_b38``, 1-based.
    """

    fine_mapped: Mapping[str, Source] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.fine_mapped:
            if not re.fullmatch(r"\w+", name) or name == ANY_LIST:
                raise ValueError(
                    f"the name of a list of fine-mapped variants cannot be {name!r}: it must be "
                    f"letters, digits or _, and not {ANY_LIST!r}, which is all lists together"
                )


@dataclass(frozen=True)
class Report:
    """The HTML page.

    Parameters
    ----------
    title : str
    individual_points : bool
        Show single people as points. Off by default: the page is then safe to pass on.
    genes : tuple of str
        Genes that are shown one by one, by id or name; those of highest and lowest r by default.
    """

    title: str = ""
    individual_points: bool = False
    genes: tuple[str, ...] = ()
