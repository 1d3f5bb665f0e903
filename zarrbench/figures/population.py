"""Figures of all genes at once: does the model order genes by their mean expression?

After METHODS sections 6, 7 and 21. Each function draws on one Axes and returns what it draws.
"""

import pandas as pd
import xarray as xr
from matplotlib.axes import Axes

from zarrbench.figures.scatter import density_scatter, finite_genes


def reference_against_mean(
    population: xr.Dataset, ax: Axes, subset: str | None = None, track: str | None = None
) -> pd.DataFrame:
    """Draw reference predictions against mean observed expression (Fig. 1b, S1, Ext. Data 2a).

    The study's axis begins at 2, where its filter of expression ends; nothing is cut off here.

    Parameters
    ----------
    population : xr.Dataset
        Of `zarrbench.layouts.POPULATION`.
    ax : Axes
    subset, track : str, optional
        The first of the dataset by default: all genes, and the first track.

    Returns
    -------
    pd.DataFrame
        Genes of the subset with both numbers: `gene_id`, `gene_name`, `mean_observed`,
        `reference_prediction`; Pearson r in ``attrs["r"]``.

    Raises
    ------
    KeyError
        If the dataset has no such subset or track.
    """
    here = population.isel(subset=0) if subset is None else population.sel(subset=subset)
    here = here.isel(track=0) if track is None else here.sel(track=track)
    here = here.isel(gene=here["in_subset"].values)
    pseudocount = population.attrs.get("pseudocount", "none")
    logarithm = "" if pseudocount == "none" else f", log₂(mean + {pseudocount:g})"
    table = finite_genes(
        here,
        mean_observed=here["mean_observed"],
        reference_prediction=here["reference_prediction"],
    )
    labels = (f"mean observed expression{logarithm}", "reference prediction")
    return density_scatter(ax, table, "mean_observed", "reference_prediction", labels)


def weighted_reference_against_mean(
    weighted: xr.Dataset,
    ax: Axes,
    evaluation: str | None = None,
    against: str = "mean_observed",
) -> pd.DataFrame:
    """Draw the reference prediction of all tracks by weight against the mean (Fig. 1b).

    The study calls the weighted tracks fine-tuned. Genes are those that the dataset judges the
    evaluation by: of the fit, if there was one.

    Parameters
    ----------
    weighted : xr.Dataset
        Of `zarrbench.layouts.TRACK_WEIGHTS`.
    ax : Axes
    evaluation : str, optional
        The first of the dataset by default: given, or cross-validated.
    against : str
        "mean_observed", or "target": what the weights were fitted to.

    Returns
    -------
    pd.DataFrame
        `gene_id`, `gene_name`, `against`, `reference_prediction`; Pearson r in ``attrs["r"]``.

    Raises
    ------
    KeyError
        If the dataset has no such evaluation.
    """
    name = str(weighted["evaluation"].values[0]) if evaluation is None else evaluation
    here = weighted.sel(evaluation=name)
    if name != "given":
        here = here.isel(gene=here["in_fit"].values)
    columns = {against: here[against], "reference_prediction": here["reference_prediction"]}
    kind = name.replace("_", " ").replace("cross validated", "cross-validated")
    labels = (
        {"mean_observed": "mean observed expression", "target": "target of the fit"}[against],
        f"reference prediction, weighted tracks ({kind})",
    )
    table = finite_genes(here, **columns)
    return density_scatter(ax, table, against, "reference_prediction", labels)
