"""What a report is made of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd
import xarray as xr

from zarrbench.report.gene_views import GeneViews
from zarrbench.statistics.sequence_clusters import Motif


@dataclass(frozen=True, eq=False)
class ReportInputs:
    """What a report is made of.

    Parameters
    ----------
    title : str
        Heading of the page.
    statistics : xr.Dataset
        A dataset of `zarrbench.layouts.GENE_STATISTICS`.
    predicted, observed : xr.DataArray
        ``(gene, individual)``, labelled; only the genes that are drawn are computed.
    facts : Mapping[str, Mapping[str, str]]
        Every choice, count and version: section title -> label -> value. "What was run" and
        "Samples joined" stand near the top, the others at the end.
    warnings : Sequence[str]
        Sentences, shown below the headline.
    individual_points : bool
        Draw single people in the plots of genes; never their ids.
    genes : Sequence[str]
        Ids of the genes that are shown one by one; empty: those of highest and lowest r.
    unfinished : str, optional
        A sentence for the top of the page when not all genes were done.
    views : GeneViews, optional
        What single genes show in the explorer; without, it shows all genes and none alone.
    stages : Mapping[str, xr.Dataset]
        What further stages found, by the name of the stage.
    absent : Mapping[str, str]
        Why a stage that is not among them cannot be shown.
    variants : Callable[[str], pd.DataFrame], optional
        Rows of the concordance table of a gene, where there is a stage of drivers.
    dosage : Callable[[str], xr.DataArray], optional
        ``(variant, individual)`` of the SNVs in the window of a gene, -1 where a call is missing.
    profile : Callable[[str], xr.DataArray | None], optional
        ``(distance,)``, the gradient along the window of a gene; None without profiles.
    profile_windows : Callable[[], xr.Dataset | None], optional
        Those of all genes in brief, as `zarrbench.attributions.profiles.profile_windows`.
    clusters : pd.DataFrame, optional
        The table of clusters of the motifs stage.
    cluster_motifs : Callable[[], Mapping[int, Motif]], optional
        The motifs of the largest of them, by number.
    """

    title: str
    statistics: xr.Dataset
    predicted: xr.DataArray
    observed: xr.DataArray
    facts: Mapping[str, Mapping[str, str]]
    warnings: Sequence[str] = ()
    individual_points: bool = False
    genes: Sequence[str] = ()
    unfinished: str | None = None
    views: GeneViews | None = None
    stages: Mapping[str, xr.Dataset] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
    variants: Callable[[str], pd.DataFrame] | None = None
    dosage: Callable[[str], xr.DataArray] | None = None
    profile: Callable[[str], xr.DataArray | None] | None = None
    profile_windows: Callable[[], xr.Dataset | None] | None = None
    clusters: pd.DataFrame | None = None
    cluster_motifs: Callable[[], Mapping[int, Motif]] | None = None
