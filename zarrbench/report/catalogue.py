"""Which figures a report has: each a row of METHODS section 24, what it needs, and its caption."""

import re
from collections.abc import Callable, Mapping

import pandas as pd
import xarray as xr
from matplotlib.axes import Axes

from zarrbench.figures import (
    attributions,
    choices,
    clusters,
    drivers,
    genes,
    motifs,
    population,
    predixcan,
    profiles,
)
from zarrbench.report.figure_recipes import TALL, FigureRecipe, Section
from zarrbench.report.inputs import ReportInputs
from zarrbench.statistics.sequence_clusters import Motif

# Bases to either side of the TSS where distances are looked at closer, as in the study
_NEAR = 19_999
# Groups of gradient profiles: one of the study's five numbers
_GROUPS = 5
_BRIGHT = "The brighter, the more genes are near."


def across_genes(inputs: ReportInputs) -> list[FigureRecipe]:
    """Return the figures in which a point or a count is a gene."""
    statistic = str(inputs.statistics.attrs["statistic"])
    return [
        FigureRecipe(
            "fig_2a",
            "Scatter plot of r against minus log10 p, one point a gene",
            f"Each point is a gene, coloured by its mean prediction. p is that of {statistic}. The "
            f"highest and the lowest r are named.",
            lambda inputs, ax: genes.r_against_p(inputs.statistics, ax),
            study="Fig. 2a",
        ),
        FigureRecipe(
            "r_histogram",
            "Histogram of r over genes",
            "How r is distributed over the genes that have one.",
            lambda inputs, ax: genes.r_histogram(inputs.statistics, ax),
        ),
        *_population(inputs),
        FigureRecipe(
            "mean_and_sd_observed",
            "Standard deviation against mean of observed expression, one point a gene",
            f"How much expression varies across people, by its mean. {_BRIGHT}",
            lambda inputs, ax: genes.moments(inputs.statistics, "mean_observed", "sd_observed", ax),
        ),
        FigureRecipe(
            "mean_and_sd_predicted",
            "Standard deviation against mean of predictions, one point a gene",
            f"How much predictions vary across people, by their mean. {_BRIGHT}",
            lambda inputs, ax: genes.moments(
                inputs.statistics, "mean_predicted", "sd_predicted", ax
            ),
        ),
        FigureRecipe(
            "sd_observed_and_predicted",
            "Standard deviation of predictions against that of expression, one point a gene",
            f"Whether predictions vary where expression does. {_BRIGHT}",
            lambda inputs, ax: genes.moments(inputs.statistics, "sd_observed", "sd_predicted", ax),
        ),
        FigureRecipe(
            "personal_and_reference",
            "Mean prediction of the people against that of the reference, one point a gene",
            f"On the line both are the same. {_BRIGHT}",
            lambda inputs, ax: genes.personal_against_reference(inputs.statistics, ax),
        ),
    ]


def _population(inputs: ReportInputs) -> list[FigureRecipe]:
    """Return reference predictions against means: of all genes, of each subset, of weights."""
    needs, studied = ("population",), "Fig. 1b, Supp. Fig. 1, Ext. Data 2a"
    track = str(inputs.statistics.attrs["track"])
    subsets: list[str] = []
    if "population" in inputs.stages:
        subsets = [str(name) for name in inputs.stages["population"]["subset"].values]

    def of_subset(subset: str | None) -> Callable[[ReportInputs, Axes], pd.DataFrame]:
        return lambda inputs, ax: population.reference_against_mean(
            inputs.stages["population"], ax, subset, track
        )

    title = "Prediction for the reference against mean expression, one point a gene"
    found = [
        FigureRecipe(
            f"fig_1b{_stem(subset)}" if number else "fig_1b",
            f"{title}{f': {subset}' if number else ''}",
            f"Genes: {subset or 'all'}. {_BRIGHT}",
            of_subset(subset),
            needs,
            studied,
        )
        for number, subset in enumerate(subsets or [None])
    ]
    weighted = FigureRecipe(
        "fig_1b_weighted",
        "Weighted prediction for the reference against mean expression, one point a gene",
        "The same of all tracks by weight.",
        lambda inputs, ax: population.weighted_reference_against_mean(
            inputs.stages["track_weights"], ax
        ),
        ("track_weights",),
        "Fig. 1b",
    )
    return [*found, weighted]


def of_drivers(inputs: ReportInputs) -> list[FigureRecipe]:
    """Return the figures of what drives predictions, over examined genes."""
    needs = ("drivers",)
    return [
        FigureRecipe(
            "fig_2e",
            "Share of supported drivers against r, one point a gene",
            "Each point is an examined gene with drivers, whose prediction follows the linear sum "
            "of its SNVs. A driver is supported if expression rises with the allele that raises "
            "the prediction. Dotted: means of the groups.",
            lambda inputs, ax: drivers.support_against_r(_drivers(inputs), ax),
            needs,
            "Fig. 2e",
        ),
        FigureRecipe(
            "fig_s7",
            "Histogram of the number of drivers of a gene",
            "How many variants make the prediction of an examined gene (21 stands for more). "
            "Lines: the cumulative share of genes.",
            lambda inputs, ax: drivers.drivers_per_gene(_drivers(inputs), ax),
            needs,
            "Supp. Fig. 7",
        ),
        *_distances(inputs),
        FigureRecipe(
            "fig_s5",
            "Histogram of the correlation of in-silico mutagenesis and gradient",
            "Over the SNVs of a gene.",
            lambda inputs, ax: attributions.ism_against_gradient(_drivers(inputs), ax),
            needs,
            "Supp. Fig. 5",
        ),
        FigureRecipe(
            "fig_s6",
            "Histogram of the correlation of linear sum and prediction",
            "How far the effects of single SNVs add up to the prediction of a person.",
            lambda inputs, ax: attributions.linearity(_drivers(inputs), ax),
            needs,
            "Supp. Fig. 6",
        ),
    ]


def _distances(inputs: ReportInputs) -> list[FigureRecipe]:
    """Return where drivers lie: near the TSS, and over the full range where that is longer."""
    title = "Histogram of the distance of drivers from the TSS"
    note = "The main driver of a gene adds most to the correlation of its linear sum."

    def within(zoom: int | None) -> Callable[[ReportInputs, Axes], pd.DataFrame]:
        return lambda inputs, ax: drivers.driver_distances(_drivers(inputs), ax, zoom)

    known = inputs.stages.get("drivers")
    if known is not None and (abs(known["distance"]) > _NEAR).any():
        return [
            FigureRecipe("fig_2f", f"{title}, near it", f"Where they lie. {note}",
                         within(_NEAR), ("drivers",), "Fig. 2f"),
            FigureRecipe("fig_s9", title, "The same over the full range.",
                         within(None), ("drivers",), "Supp. Fig. 9"),
        ]  # fmt: skip
    return [
        FigureRecipe("fig_2f", title, f"Where they lie. {note}",
                     within(None), ("drivers",), "Fig. 2f and Supp. Fig. 9"),
    ]  # fmt: skip


def of_motifs(inputs: ReportInputs) -> list[FigureRecipe]:
    """Return the figures of what surrounds drivers, and of gradients along windows."""
    needs = ("motifs",)
    return [
        FigureRecipe(
            "fig_s11",
            "Reverse-cumulative histograms of what main drivers disturb",
            "The share of main drivers that have at least so much.",
            lambda inputs, ax: motifs.motif_histograms(inputs.stages["motifs"], ax),
            needs,
            "Supp. Fig. 11",
            TALL,
        ),
        FigureRecipe(
            "fig_s8",
            "Enrichment of unsupported drivers in clusters of sequences",
            "Clusters of the 13 bases around drivers, in the order of their signed p.",
            lambda inputs, ax: clusters.cluster_enrichment(_clusters(inputs), ax),
            needs,
            "Supp. Fig. 8",
        ),
        FigureRecipe(
            "fig_s8_sizes",
            "Sizes of clusters of sequences",
            "How many drivers each holds.",
            lambda inputs, ax: clusters.cluster_sizes(_clusters(inputs), ax),
            needs,
            "Supp. Fig. 8",
        ),
        FigureRecipe(
            "fig_s8_logos",
            "Letters of the largest clusters of sequences",
            "What the drivers of a cluster lie in.",
            lambda inputs, ax: clusters.cluster_logos(
                _cluster_motifs(inputs), _clusters(inputs), ax
            ),
            needs,
            "Supp. Fig. 8",
            TALL,
        ),
        *(_profiles(zoom) for zoom in (None, 2_000)),
    ]


def _profiles(zoom: int | None) -> FigureRecipe:
    return FigureRecipe(
        "fig_s10_near" if zoom else "fig_s10",
        f"Gradient profiles of genes in groups that are alike{', near the TSS' if zoom else ''}",
        "Filled: mean magnitude; line: standard deviation in windows of 128 bases. Bars: genes "
        "with r > 0, and the others.",
        lambda inputs, ax: profiles.grouped_profiles(
            _windows(inputs), _r_of_genes(inputs), ax, _GROUPS, zoom
        ),
        ("attributions",),
        "Supp. Fig. 10",
        TALL,
    )


def of_choices(inputs: ReportInputs) -> list[FigureRecipe]:
    """Return the figures of other models and other choices on the same people."""
    return [
        *(
            FigureRecipe(
                name,
                f"{'|r|' if absolute else 'r'} of the network against r of PrediXcan",
                f"Dark points: q of the network of {inputs.statistics.attrs['alpha']} or less. Red "
                f"lines stand at 0.2, the cross at the means.",
                _predixcan(absolute),
                ("predixcan",),
                study,
            )
            for name, absolute, study in (
                ("fig_2c", False, "Fig. 2c"),
                ("fig_s4", True, "Supp. Fig. 4"),
            )
        ),
        FigureRecipe(
            "fig_ed1a",
            "r of the weighted tracks against r of the track, one point a gene",
            "All tracks by weight, beside the one.",
            lambda inputs, ax: choices.weighted_against_track(inputs.stages["gene_table"], ax),
            ("gene_table", "track_weights"),
            "Ext. Data 1a",
        ),
        *_sensitivity(inputs),
        *_fine_mapped(inputs),
    ]


def _predixcan(absolute: bool) -> Callable[[ReportInputs, Axes], pd.DataFrame]:
    def draw(inputs: ReportInputs, ax: Axes) -> pd.DataFrame:
        q = inputs.statistics["null_q"].sel(statistic=inputs.statistics.attrs["statistic"])
        return predixcan.network_against_predixcan(
            inputs.stages["predixcan"], q <= inputs.statistics.attrs["alpha"], ax, absolute
        )

    return draw


def _sensitivity(inputs: ReportInputs) -> list[FigureRecipe]:
    names: list[str] = [""]
    if "sensitivity" in inputs.stages:
        names = [str(name) for name in inputs.stages["sensitivity"]["choice"].values[1:]]

    def of_choice(choice: str) -> Callable[[ReportInputs, Axes], pd.DataFrame]:
        return lambda inputs, ax: choices.choice_against_main(
            inputs.stages["sensitivity"], ax, choice
        )

    return [
        FigureRecipe(
            f"fig_ed1b{_stem(name)}",
            f"r under another choice against r as chosen{f': {name}' if name else ''}",
            "On the line both are the same.",
            of_choice(name),
            ("sensitivity",),
            "Ext. Data 1b",
        )
        for name in names
    ]


def _fine_mapped(inputs: ReportInputs) -> list[FigureRecipe]:
    table = inputs.stages.get("gene_table", xr.Dataset())
    names = [str(name) for name in table["variant_list"].values] if "variant_list" in table else []

    def of_list(name: str) -> Callable[[ReportInputs, Axes], pd.DataFrame]:
        return lambda inputs, ax: choices.fine_mapped_genes(inputs.stages["gene_table"], ax, name)

    return [
        FigureRecipe(
            f"fig_ed1c{_stem(name)}",
            f"|r| of genes with a fine-mapped variant beside the rest: {name}",
            f"List of variants: {name}.",
            of_list(name),
            ("gene_table",),
            "Ext. Data 1c",
        )
        for name in names
    ]


SECTIONS = (
    Section(
        "across-genes",
        "Across genes",
        "Genes without a defined r, where predictions or expression do not vary, are left out.",
        across_genes,
    ),
    Section(
        "drivers",
        "Which variants make the prediction",
        "Every SNV was put into the reference alone. Drivers are those that make the predictions "
        "of people differ; expression supports one when its eQTL slope has the same sign. All SNVs "
        "are in concordance.parquet, drivers in drivers.tsv.",
        of_drivers,
    ),
    Section(
        "motifs",
        "What drivers disturb",
        "Scans of every base around main drivers and TSS, and the sequences around drivers.",
        of_motifs,
    ),
    Section(
        "other-choices",
        "Beside other models and choices",
        "The same people, predicted in another way.",
        of_choices,
    ),
)


def _stem(name: str | None) -> str:
    return f"_{re.sub(r'[^A-Za-z0-9.-]+', '_', name)}" if name else ""


def _drivers(inputs: ReportInputs) -> xr.Dataset:
    return inputs.stages["drivers"]


def _clusters(inputs: ReportInputs) -> pd.DataFrame:
    assert inputs.clusters is not None, "the motifs stage writes a table of clusters"
    return inputs.clusters


def _cluster_motifs(inputs: ReportInputs) -> Mapping[int, Motif]:
    return {} if inputs.cluster_motifs is None else inputs.cluster_motifs()


def _windows(inputs: ReportInputs) -> xr.Dataset | None:
    return None if inputs.profile_windows is None else inputs.profile_windows()


def _r_of_genes(inputs: ReportInputs) -> pd.Series:
    r = inputs.statistics["r"]
    return pd.Series(r.values, [str(gene) for gene in r["gene"].values])
