"""Figures of the genotypes of a gene's window (Supp. Fig. 2), after METHODS section 22.

Genotypes are of people: the histogram hides small groups, the heat map needs leave.
"""

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes

from zarrbench.figures.disclosure import MINIMUM_PEOPLE, people_in_bins
from zarrbench.figures.style import RIGHT, colour_bar, labelled, say
from zarrbench.statistics.variants import heat_map, variants_carried


def snvs_carried(dosage: xr.DataArray, ax: Axes) -> pd.DataFrame:
    """Draw how many SNVs of the window people carry, in at most 40 bins.

    Bars of fewer than `MINIMUM_PEOPLE` people are left out, and bins are wider where too many would
    be; the axis ends with what is shown.

    Parameters
    ----------
    dosage : xr.DataArray
        ``(variant, individual)``: 0 to 2 copies, -1 = missing, which counts as none.

    Returns
    -------
    pd.DataFrame
        One row a bar: `start` (inclusive), `end` (exclusive), `individuals`; how many people are
        left out in ``attrs["suppressed"]``.
    """
    carried = variants_carried(dosage.transpose("variant", "individual").values)
    counts, edges = (
        people_in_bins(carried) if dosage.sizes["variant"] else people_in_bins(carried[:0])
    )
    bars = pd.DataFrame({"start": edges[:-1], "end": edges[1:], "individuals": counts})
    bars = bars[bars["individuals"] > 0].reset_index(drop=True).astype(int)
    bars.attrs["suppressed"] = hidden = len(carried) - int(counts.sum())
    labelled(ax, "SNVs carried in the window", "people")
    if not dosage.sizes["variant"]:
        say(ax, "no SNV in the window")
    elif bars.empty:
        say(ax, f"no number of SNVs is that of {MINIMUM_PEOPLE} people or more:\nnot drawn")
    else:
        ax.bar(bars["start"], bars["individuals"], 0.94 * (bars["end"] - bars["start"]),
               align="edge", color=RIGHT, linewidth=0)  # fmt: skip
        few = f"fewer than {MINIMUM_PEOPLE}" if 0 < hidden < MINIMUM_PEOPLE else f"{hidden:,}"
        ax.set_title(f"{dosage.sizes['variant']:,} SNVs, {len(carried):,} people, "
                     f"{few} not shown", fontsize=9)  # fmt: skip
    return bars


def genotype_heat_map(
    dosage: xr.DataArray, ax: Axes, individual_points: bool = False
) -> pd.DataFrame:
    """Draw the genotypes of the window: groups of linked SNVs by groups of like people.

    It shows people, hence nothing unless `individual_points` is set; no id is drawn. Carriers of an
    SNV are more than a tenth of the people (`zarrbench.statistics.variants.heat_map`).

    Parameters
    ----------
    dosage : xr.DataArray
        ``(variant, individual)``: 0 to 2 copies, -1 = missing.
    ax : Axes
    individual_points : bool

    Returns
    -------
    pd.DataFrame
        One row a cell: `snv_group` and `individual_group` (from 0, in the order of the drawing),
        `dosage` (mean).
    """
    labelled(ax, "groups of people", "groups of linked SNVs")
    columns = ["snv_group", "individual_group", "dosage"]
    nothing = pd.DataFrame(columns=columns)
    if not individual_points:
        say(ax, "genotypes of single people:\nonly drawn with individual_points: true")
        return nothing
    values = heat_map(dosage.transpose("variant", "individual").values).values
    if not values.size:
        say(ax, "no common SNV that enough people carry")
        return nothing
    image = ax.imshow(values, cmap="Purples", vmin=0, vmax=2, aspect="auto",
                      interpolation="nearest")  # fmt: skip
    colour_bar(ax, image, "mean dosage")
    ax.set_title(f"{values.shape[0]:,} groups of SNVs, {values.shape[1]:,} of people", fontsize=9)
    rows, across = np.indices(values.shape)
    cells = (rows.ravel(), across.ravel(), values.ravel())
    return pd.DataFrame(dict(zip(columns, cells, strict=True)))
