"""Figures of what r depends on: tracks, augmentation and other choices, fine-mapped variants.

After METHODS sections 7, 17 and 20. Each function draws on one Axes and returns what it draws.
"""

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes

from zarrbench.figures.scatter import density_scatter, finite_genes
from zarrbench.figures.style import (
    NEUTRAL,
    RIGHT,
    identity_line,
    labelled,
    legend,
    points,
    r_and_number,
    say,
)
from zarrbench.statistics.fine_mapping import compare_flagged
from zarrbench.statistics.sensitivity import agreement


def weighted_against_track(genes: xr.Dataset, ax: Axes) -> pd.DataFrame:
    """Draw r of all tracks by weight against r of the one track (Ext. Data 1a).

    Parameters
    ----------
    genes : xr.Dataset
        Of `zarrbench.layouts.GENE_TABLE`.

    Returns
    -------
    pd.DataFrame
        Genes with both: `gene_id`, `gene_name`, `r_track`, `r_finetuned`; their correlation in
        ``attrs["r"]``.
    """
    names = ("r_track", "r_finetuned")
    table = finite_genes(genes, **{name: genes[name] for name in names})
    labels = ("r of the track", "r of the weighted tracks")
    return density_scatter(ax, table, *names, labels, identity=True)


def choice_against_main(sensitivity: xr.Dataset, ax: Axes, choice: str) -> pd.DataFrame:
    """Draw r under another choice against r as chosen (Ext. Data 1b for an ensemble of inputs).

    Parameters
    ----------
    sensitivity : xr.Dataset
        Of `zarrbench.attribution_layouts.SENSITIVITY`.
    ax : Axes
    choice : str
        One of the dataset.

    Returns
    -------
    pd.DataFrame
        Genes with both: `gene_id`, `gene_name`, `r_main`, `r_choice`, `significant` (as chosen);
        ``attrs["agreement"]`` is the `zarrbench.statistics.sensitivity.Agreement` of the two.

    Raises
    ------
    KeyError
        If the dataset has no such choice.
    """
    main, other = sensitivity["r"].isel(choice=0), sensitivity["r"].sel(choice=choice)
    table = finite_genes(
        sensitivity, r_main=main, r_choice=other, significant=sensitivity["significant"]
    )
    chosen = table["significant"]
    found = agreement(table["r_main"], table["r_choice"], chosen)
    table.attrs["agreement"] = found
    labelled(ax, f"r, {sensitivity['choice'].values[0]}", f"r, {choice}")
    if table.empty:
        say(ax, "no gene has r under both choices")
        return table
    for label, colour, members in (
        ("not significant", NEUTRAL, ~chosen),
        ("significant", RIGHT, chosen),
    ):
        drawn = points(ax, table["r_main"][members], table["r_choice"][members], 16, colour,
                       alpha=0.7, zorder=2)  # fmt: skip
        drawn.set_label(f"{label} ({members.sum():,})")
    identity_line(ax)
    kept = f"sign kept by {found.same_sign:.0%} of genes"
    if found.n_significant:
        kept += f", {found.same_sign_significant:.0%} of the significant"
    legend(ax, f"{r_and_number(found.pearson_r, found.n_genes, 'genes')}\n{kept}")
    return table


def fine_mapped_genes(genes: xr.Dataset, ax: Axes, variant_list: str | None = None) -> pd.DataFrame:
    """Draw |r| of genes with a fine-mapped variant beside the rest (Ext. Data 1c).

    Boxes span the quartiles about the median, whiskers reach to the last gene within one and a
    half times that span, genes beyond are points. p is of Wilcoxon's rank-sum test.

    Parameters
    ----------
    genes : xr.Dataset
        Of `zarrbench.layouts.GENE_TABLE`.
    ax : Axes
    variant_list : str, optional
        The first of the dataset by default.

    Returns
    -------
    pd.DataFrame
        Genes with r: `gene_id`, `gene_name`, `r`, `absolute_r`, `fine_mapped`;
        ``attrs["comparison"]`` is the `zarrbench.statistics.fine_mapping.FlagComparison`.

    Raises
    ------
    KeyError
        If the dataset has no such list.
    """
    labelled(ax, "fine-mapped variant", "|r| across people")
    if "fine_mapped" not in genes or not genes.sizes["variant_list"]:
        say(ax, "no list of fine-mapped variants was given")
        columns = ["gene_id", "gene_name", "r", "absolute_r", "fine_mapped"]
        return pd.DataFrame(columns=columns)
    name = str(genes["variant_list"].values[0]) if variant_list is None else variant_list
    listed = genes["fine_mapped"].sel(variant_list=name)
    r = genes["r_track"]
    table = finite_genes(genes, r=r, absolute_r=abs(r), fine_mapped=listed != "")
    flagged = table["fine_mapped"].to_numpy()
    compared = compare_flagged(table["r"], flagged)
    table.attrs["comparison"] = compared
    if table.empty:
        say(ax, "no gene has a defined r")
        return table
    ax.set_xlabel(f"fine-mapped variant ({name})", fontsize=9, parse_math=False)
    negative = {False: compared.n_rest_negative, True: compared.n_flagged_negative}
    ticks = []
    for place, (label, members, colour) in enumerate(
        (("none", ~flagged, NEUTRAL), ("at least one", flagged, RIGHT))
    ):
        below = int(negative[bool(place)])
        ticks.append(f"{label}\n{members.sum():,} genes, {below:,} with r < 0")
        if members.any():
            ax.boxplot(
                table["absolute_r"][members], positions=[place], widths=0.55, patch_artist=True,
                manage_ticks=False, boxprops={"facecolor": colour, "alpha": 0.55, "linewidth": 0.8},
                medianprops={"color": "black", "linewidth": 1.4},
                whiskerprops={"linewidth": 0.8}, capprops={"linewidth": 0.8},
                flierprops={"marker": ".", "markersize": 3, "markeredgecolor": colour},
            )  # fmt: skip
    ax.set_xticks([0, 1], ticks, fontsize=8)
    ax.set_xlim(-0.6, 1.6)
    p = float(compared.p)
    shown = "undefined" if np.isnan(p) else f"= {p:.2g}"
    ax.set_title(f"rank-sum p {shown}", fontsize=9)
    return table
