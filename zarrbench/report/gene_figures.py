"""Which figures a report has of one gene (METHODS section 24)."""

from typing import Literal

import pandas as pd
import xarray as xr

from zarrbench.figures import attributions, drivers, genotypes, motifs, people, profiles
from zarrbench.figures.disclosure import MINIMUM_PEOPLE
from zarrbench.report.figure_recipes import FigureRecipe
from zarrbench.report.inputs import ReportInputs

# Bases to either side of the TSS where a figure looks closer, as in the study
_NEAR = 4_000


def of_gene(inputs: ReportInputs, gene: str) -> list[FigureRecipe]:
    """Return the figures of one gene, closer ones only where its window is longer."""
    far = inputs.variants is not None and inputs.variants(gene)["distance"].abs().max() > _NEAR
    found = [
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
            "fig_1e",
            "What each SNV does to the prediction, along the window",
            lambda table: f"The dashed line is the TSS. {_left_out(table)}",
            lambda inputs, gene, ax: attributions.ism_along_window(_variants(inputs, gene), ax),
            ("drivers",),
            "Fig. 1e",
        ),
        *([_near()] if far else []),
        FigureRecipe(
            "fig_2d",
            "Slope of expression against attribution, one point an SNV",
            lambda table: (
                f"What each SNV does in the network, and in people. Rings grow with what a driver "
                f"adds. {_left_out(table, f'{drivers.RARE:.0%} or fewer carry it, ')}"
            ),
            lambda inputs, gene, ax: drivers.slope_against_attribution(_variants(inputs, gene), ax),
            ("drivers",),
            "Fig. 2d",
        ),
        _scan("driver"),
        _scan("tss", zoom=50),
        FigureRecipe(
            "gene_profile",
            "Gradient along the window, SNVs as points",
            "Grey: what the base that is there does. Below: mean and standard deviation in windows "
            "of 128 bases. A diamond marks the main driver.",
            lambda inputs, gene, ax: profiles.gene_profile(
                _profile(inputs, gene), _variants(inputs, gene), ax
            ),
            ("attributions", "drivers"),
        ),
    ]
    if inputs.dosage is not None:
        found.append(
            FigureRecipe(
                "fig_s2",
                "Histogram of the SNVs of the window that a person carries",
                f"Bars of fewer than {MINIMUM_PEOPLE} people are not drawn.",
                lambda inputs, gene, ax: genotypes.snvs_carried(_dosage(inputs, gene), ax),
                study="Supp. Fig. 2",
            )
        )
        if inputs.individual_points:
            found.append(
                FigureRecipe(
                    "fig_s2_heat_map",
                    "Heat map of groups of linked SNVs by groups of people",
                    "Mean dosage.",
                    lambda inputs, gene, ax: genotypes.genotype_heat_map(
                        _dosage(inputs, gene), ax, inputs.individual_points
                    ),
                    study="Supp. Fig. 2",
                )
            )
    return found


def _near() -> FigureRecipe:
    return FigureRecipe(
        "fig_1e_near",
        "What each SNV does to the prediction, near the TSS",
        f"The same, {_NEAR:,} bases to either side of the TSS.",
        lambda inputs, gene, ax: attributions.ism_along_window(
            _variants(inputs, gene), ax, zoom=_NEAR
        ),
        ("drivers",),
        "Fig. 1e",
    )


def _scan(around: Literal["driver", "tss"], zoom: int | None = None) -> FigureRecipe:
    which = "the main driver" if around == "driver" else "the TSS"
    return FigureRecipe(
        f"fig_s3_{around}",
        f"Letters of what the network reads around {which}",
        f"Letters: minus the mean change by the four bases around {which}, over the largest change "
        f"around the TSS. Stems: SNVs of people.",
        lambda inputs, gene, ax: motifs.scan_logo(
            inputs.stages["motifs"], gene, _variants(inputs, gene), ax, around=around, zoom=zoom
        ),
        ("motifs", "drivers"),
        "Supp. Fig. 3",
    )


def _left_out(table: pd.DataFrame, also: str = "") -> str:
    number = table.attrs["left_out"]
    if not number:
        return ""
    return (
        f"{number:,} SNVs are not drawn: fewer than {MINIMUM_PEOPLE} people carry the rarer "
        f"allele, {also}or a number is undefined."
    )


def _of_people(marks: pd.DataFrame) -> str:
    """Return the caption of people: how many are in cells too sparse to show."""
    if (marks["mark"] == "person").any():
        return "Each point is one person."
    if not marks.attrs["groups"]:
        return ""
    one, hidden = marks.attrs["groups"] == 1, marks.attrs["suppressed"]
    some = f"fewer than {MINIMUM_PEOPLE}" if 0 < hidden < MINIMUM_PEOPLE else f"{hidden:,}"
    return (
        f"Each cell holds {MINIMUM_PEOPLE} people or more; {some} of "
        f"{marks.attrs['people']:,} people are in sparser ones, which are not drawn. Points: means "
        f"of {marks.attrs['groups']} group{'' if one else 's'} of {MINIMUM_PEOPLE} people or more, "
        f"by observed expression."
    )


def _variants(inputs: ReportInputs, gene: str) -> pd.DataFrame:
    assert inputs.variants is not None, "a figure of a gene's SNVs needs the drivers stage"
    return inputs.variants(gene)


def _profile(inputs: ReportInputs, gene: str) -> xr.DataArray | None:
    return None if inputs.profile is None else inputs.profile(gene)


def _dosage(inputs: ReportInputs, gene: str) -> xr.DataArray:
    assert inputs.dosage is not None, "a figure of genotypes needs them"
    return inputs.dosage(gene)
