"""The quantities that the study printed, computed from its released tables by our kernels.

What was printed stands in `printed` and is not read here, nor in the claims of drivers and motifs.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from zarrbench.errors import SourceError
from zarrbench.reproduction.driver_claims import driver_claims
from zarrbench.reproduction.motif_claims import motif_claims
from zarrbench.reproduction.recomputed import Recomputed
from zarrbench.reproduction.tables import PublishedTables
from zarrbench.statistics.correlation import pearson, two_sided_p
from zarrbench.statistics.fine_mapping import compare_flagged, flag_genes
from zarrbench.statistics.multiple_testing import CountRule, benjamini_hochberg, significant
from zarrbench.statistics.null import STATISTICS, NullTest, Statistic, null_test_from_moments
from zarrbench.statistics.population import in_gene_set, population_average

# The study's parameters (METHODS sections 0, 9 and 10), none of which its tables hold
INDIVIDUALS, _DRAWS, ALPHA, _CUT, _DECIMALS = 839, 50, 0.05, 0.2, 3


def recompute(tables: PublishedTables) -> dict[str, Recomputed]:
    """Return every quantity by its key; keys are those of `printed.PRINTED`.

    Raises
    ------
    SourceError
        If a gene that the study names is not in the tables exactly once.
    """
    parts: tuple[Callable[[PublishedTables], dict[str, Recomputed]], ...] = (
        _correlations, _headline, _released_columns, _gene_set, _predixcan, _population,
        _fine_mapping, driver_claims, motif_claims,
    )  # fmt: skip
    return {key: found for part in parts for key, found in part(tables).items()}


def _correlations(tables: PublishedTables) -> dict[str, Recomputed]:
    track, finetuned = tables.genes["r_track"], tables.genes["r_finetuned"]
    ranges = "; ".join(
        f"{name} {r.min():.3f} to {r.max():.3f}"
        for name, r in (("track", track), ("fine-tuned", finetuned))
    )
    ddx11, gstm3 = _gene(tables, "DDX11"), _gene(tables, "GSTM3")
    return {
        "n_genes": Recomputed(len(track), f"rows; r is defined for {track.notna().sum():,}"),
        "mean_r": Recomputed(track.mean(), ranges),
        "r_ddx11": Recomputed(ddx11["r_finetuned"], f"fine-tuned; track {ddx11['r_track']:.3f}"),
        "r_gstm3": Recomputed(gstm3["r_track"], f"track; fine-tuned {gstm3['r_finetuned']:.3f}"),
        "p_gstm3": Recomputed(
            float(two_sided_p(gstm3["r_track"], INDIVIDUALS)),
            f"two-sided p of r = {gstm3['r_track']:.3f} of {INDIVIDUALS} people",
        ),
    }


def _gene(tables: PublishedTables, name: str) -> pd.Series:
    found = tables.genes[tables.genes["gene_name"] == name]
    if len(found) != 1:
        raise SourceError(
            f"Supplementary Table 1 holds {len(found)} genes named {name}, expected one; fetch the "
            "released file again"
        )
    return found.iloc[0]


def _headline(tables: PublishedTables) -> dict[str, Recomputed]:
    negative = tables.genes["r_track"].to_numpy() < 0
    found = {}
    rules: tuple[CountRule, ...] = ("strict_above_cut", "q_le_alpha")
    for statistic in STATISTICS:
        for rule in rules:
            if statistic == "empirical" or (statistic != "published" and rule == rules[0]):
                continue
            counted = counted_genes(tables, statistic, rule)
            name = f"{statistic}, {rule}"
            found[f"significant ({name})"] = Recomputed(counted.sum(), name)
            found[f"significant, negative ({name})"] = Recomputed((counted & negative).sum(), name)
    counted = counted_genes(tables, "published", "strict_above_cut")
    share = 100 * (counted & negative).sum() / counted.sum() if counted.any() else np.nan
    return {**found, "percent_negative": Recomputed(share, "published, strict_above_cut")}


def tested_against_null(tables: PublishedTables) -> NullTest:
    """Return every null statistic of r of the track, from the released moments of the null."""
    genes = tables.genes
    r, mean, sd = (genes[name].to_numpy() for name in ("r_track", "null_mean", "null_sd"))
    return null_test_from_moments(r, mean, sd, _DRAWS, round_r=_DECIMALS)


def counted_genes(tables: PublishedTables, statistic: Statistic, rule: CountRule) -> np.ndarray:
    """Return which genes are significant by a statistic and a rule of counting, (gene,)."""
    p = tested_against_null(tables).p[:, STATISTICS.index(statistic)]
    return significant(p, benjamini_hochberg(p), ALPHA, rule)


def _released_columns(tables: PublishedTables) -> dict[str, Recomputed]:
    tested, genes = tested_against_null(tables), tables.genes
    column = STATISTICS.index("published")
    p = tested.p[:, column]
    log10_p, log10_q = -np.log10(p), -np.log10(benjamini_hochberg(p))
    recomputed = {"t": tested.t[:, column], "log10_p": log10_p, "log10_q": log10_q}
    # half a unit of the last released digit, and what float64 adds
    tolerance = 0.5 * 10.0**-_DECIMALS + 1e-9
    return {
        f"released {name}": Recomputed(
            (np.abs(values - genes[name].to_numpy()) <= tolerance).sum(),
            f"genes of {genes[name].notna().sum():,} with a released value",
        )
        for name, values in recomputed.items()
    }


def _gene_set(tables: PublishedTables) -> dict[str, Recomputed]:
    r = tables.genes["r_track"].abs().to_numpy()
    chosen = counted_genes(tables, "published", "strict_above_cut") & (r > _CUT)
    ours, released = set(tables.genes.index[chosen]), set(tables.gene_set)
    return {
        "gene_set": Recomputed(len(ours), f"strict_above_cut and |r| > {_CUT}"),
        "gene_set_difference": Recomputed(len(ours ^ released), "genes in one of the two alone"),
    }


def _predixcan(tables: PublishedTables) -> dict[str, Recomputed]:
    models = tables.predixcan.drop_duplicates("gene").set_index("gene")["r"]
    r = tables.genes["r_track"]
    both = pd.DataFrame({"predixcan": models.reindex(r.index), "enformer": r}).dropna()
    predixcan, enformer = both["predixcan"], both["enformer"]
    counted = pd.Series(counted_genes(tables, "published", "q_le_alpha"), r.index)[both.index]
    in_table = tables.genes["r_predixcan"]
    both_tables_agree = np.isclose(models.reindex(r.index), in_table, 0, 1e-9, equal_nan=True)
    n = f"of {len(both):,} genes with both"
    joined = pearson(predixcan, enformer.abs())
    return {
        "predixcan_models": Recomputed(
            tables.predixcan["r"].notna().sum(),
            f"rows with a number; {models.notna().sum():,} distinct genes",
        ),
        "released predixcan": Recomputed(
            both_tables_agree.sum(), "genes for which both files say the same"
        ),
        "predixcan_both": Recomputed(len(both), "genes with both r"),
        "predixcan_above": Recomputed((predixcan > _CUT).sum(), f"signed r > {_CUT}, {n}"),
        "enformer_above": Recomputed((enformer > _CUT).sum(), f"signed r > {_CUT}, {n}"),
        "enformer_above (absolute)": Recomputed(
            (enformer.abs() > _CUT).sum(), f"|r| > {_CUT}, {n}"
        ),
        "enformer_above (false discovery rate)": Recomputed(
            counted.sum(), f"published, q_le_alpha, {n}"
        ),
        "predixcan_mean": Recomputed(predixcan.mean(), n),
        "enformer_mean": Recomputed(enformer.mean(), n),
        "predixcan_correlation": Recomputed(
            float(joined.r), f"Pearson r of |Enformer r| with signed PrediXcan r, {n}"
        ),
    }


def _population(tables: PublishedTables) -> dict[str, Recomputed]:
    observed, predicted = (tables.population[name].to_numpy() for name in ("observed", "predicted"))
    held_out = in_gene_set(tables.population.index, tables.test_genes)
    everything = population_average(predicted, observed)
    test = population_average(predicted[held_out], observed[held_out])
    return {
        "population_r": Recomputed(
            float(everything.pearson), f"{everything.n:,} genes; Spearman {everything.spearman:.3f}"
        ),
        "population_n": Recomputed(int(everything.n), "genes in the released table"),
        "population_r_test": Recomputed(
            float(test.pearson), f"{test.n:,} genes; Spearman {test.spearman:.3f}"
        ),
        "population_n_test": Recomputed(int(test.n), "of them in the list of test genes"),
    }


def _fine_mapping(tables: PublishedTables) -> dict[str, Recomputed]:
    genes, found = tables.genes, {}
    for tissue in ("cortex", "brain"):
        listed = genes[f"fine_mapped_{tissue}"]
        listed = listed[listed != ""]
        flagged = flag_genes(genes.index, listed.index, listed)
        compared = compare_flagged(genes["r_track"].to_numpy(), flagged)
        note = f"{tissue} column; |r| against the rest: z {compared.z:.2f}, p {compared.p:.1e}"
        found[f"fine_mapped ({tissue})"] = Recomputed(int(compared.n_flagged), note)
        found[f"fine_mapped, negative ({tissue})"] = Recomputed(
            int(compared.n_flagged_negative), f"{tissue} column"
        )
    return found
