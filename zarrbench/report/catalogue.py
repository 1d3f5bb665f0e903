"""Which figures a report has: each a row of METHODS section 24, what it needs, and its caption."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
import xarray as xr

from zarrbench.figures import drivers, genes, people
from zarrbench.figures.disclosure import MINIMUM_PEOPLE
from zarrbench.report.inputs import ReportInputs


@dataclass(frozen=True)
class FigureRecipe:
    """One figure of a report.

    Parameters
    ----------
    name : str
        Stem of its files.
    title : str
        What is drawn, for those who cannot see it.
    caption : str or callable
        May name attributes of the drawn table in braces; or is made from that table.
    draw : callable
        Takes the inputs, for a figure of one gene its id, and the Axes; returns the drawn table.
    needs : tuple of str
        Stages without which there is nothing to draw.
    study : str
        The figure of the study that it corresponds to.
    size : tuple of float
        Inches.
    """

    name: str
    title: str
    caption: str | Callable[[pd.DataFrame], str]
    draw: Callable[..., pd.DataFrame]
    needs: tuple[str, ...] = ()
    study: str = ""
    size: tuple[float, float] = (4.6, 3.6)

    def missing(self, inputs: ReportInputs) -> str:
        """Return why the figure cannot be drawn, empty if it can."""
        for stage in self.needs:
            there = inputs.drivers is not None if stage == "drivers" else stage in inputs.stages
            if not there:
                return inputs.absent.get(stage, f"the pipeline has no stage {stage}")
        return ""


@dataclass(frozen=True)
class Section:
    """Figures under one heading, with a note on what they have in common."""

    id: str
    heading: str
    note: str
    figures: tuple[FigureRecipe, ...]


def _drivers(inputs: ReportInputs) -> xr.Dataset:
    assert inputs.drivers is not None, "a figure of drivers needs the stage"
    return inputs.drivers.drivers


def _variants(inputs: ReportInputs, gene: str) -> pd.DataFrame:
    assert inputs.drivers is not None, "a figure of a gene's SNVs needs the drivers stage"
    return inputs.drivers.variants(gene)


def _of_people(marks: pd.DataFrame) -> str:
    """Return the caption of people: how many are in cells too sparse to show."""
    if (marks["mark"] == "person").any():
        return "Each point is one person."
    if not marks.attrs["groups"]:
        return ""
    one = marks.attrs["groups"] == 1
    return (
        f"Each cell holds {MINIMUM_PEOPLE} people or more; {marks.attrs['suppressed']:,} of "
        f"{marks.attrs['people']:,} people are in sparser ones, which are not drawn. Points: means "
        f"of {marks.attrs['groups']} group{'' if one else 's'} of {MINIMUM_PEOPLE} people or more, "
        f"by observed expression."
    )


ACROSS_GENES = Section(
    "across-genes",
    "Across genes",
    "Genes without a defined r, where predictions or expression do not vary, are left out.",
    (
        FigureRecipe(
            "fig_2a",
            "Scatter plot of r against minus log10 p, one point a gene",
            "Each point is a gene; the highest and the lowest r are named.",
            lambda inputs, ax: genes.r_against_p(inputs.statistics, ax),
            study="Fig. 2a",
        ),
        FigureRecipe(
            "r_histogram",
            "Histogram of r over genes",
            "How r is distributed over the genes that have one.",
            lambda inputs, ax: genes.r_histogram(inputs.statistics, ax),
        ),
    ),
)

OF_GENE = (
    FigureRecipe(
        "fig_1d",
        "Predicted against observed expression",
        _of_people,
        lambda inputs, gene, ax: people.predicted_against_observed(
            inputs.predicted.sel(gene=gene).compute(),
            inputs.observed.sel(gene=gene).compute(),
            ax,
            inputs.individual_points,
        ),
        study="Fig. 1d and 2b",
    ),
    FigureRecipe(
        "fig_2d",
        "Slope of expression against attribution, one point an SNV",
        "What each SNV does in the network, and in people. Rings grow with what a driver adds. "
        "{left_out:,} SNVs have no slope here or fewer than "
        f"{MINIMUM_PEOPLE} carriers, and are not drawn.",
        lambda inputs, gene, ax: drivers.slope_against_attribution(_variants(inputs, gene), ax),
        needs=("drivers",),
        study="Fig. 2d",
    ),
)

DRIVERS = Section(
    "drivers",
    "Which variants make the prediction",
    "Every SNV was put into the reference alone. Drivers are those that make the predictions of "
    "people differ; expression supports one when its eQTL slope has the same sign. All SNVs are "
    "in concordance.parquet, drivers in drivers.tsv.",
    (
        FigureRecipe(
            "fig_2e",
            "Share of supported drivers against r, one point a gene",
            "Each point is an examined gene with drivers. A driver is supported if expression "
            "rises with the allele that raises the prediction. Dotted: means of the groups.",
            lambda inputs, ax: drivers.support_against_r(_drivers(inputs), ax),
            needs=("drivers",),
            study="Fig. 2e",
        ),
        FigureRecipe(
            "fig_s7",
            "Histogram of the number of drivers of a gene",
            "How many variants make the prediction of an examined gene; 21 stands for more.",
            lambda inputs, ax: drivers.drivers_per_gene(_drivers(inputs), ax),
            needs=("drivers",),
            study="Supp. Fig. 7",
        ),
        FigureRecipe(
            "fig_2f",
            "Histogram of the distance of drivers from the TSS",
            "Where they lie. The main driver of a gene adds most to the correlation of its linear "
            "sum.",
            lambda inputs, ax: drivers.driver_distances(_drivers(inputs), ax),
            needs=("drivers",),
            study="Fig. 2f",
        ),
    ),
)


SECTIONS = (ACROSS_GENES, DRIVERS)
