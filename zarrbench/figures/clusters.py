"""Figures of clusters of sequences around drivers (Supp. Fig. 8, METHODS section 19).

Each function draws on one Axes and returns the table it draws, as in `zarrbench.figures.genes`.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from zarrbench.figures.letters import draw_letters
from zarrbench.figures.panels import grid
from zarrbench.figures.style import CUT, NEUTRAL, RIGHT, WRONG, labelled, legend, points, say
from zarrbench.statistics.sequence_clusters import Enrichment, Motif

# Square points for each driver of a cluster, and of the largest cluster at most
_AREA, _LARGEST = 12, 150
_COLUMNS = 4
_NOTHING = "no driver has bases around it to compare"


def cluster_enrichment(clusters: pd.DataFrame, ax: Axes, base: str = "reference") -> pd.DataFrame:
    """Draw how likely each cluster has so many, or so few, unsupported drivers by chance.

    Clusters in the order of their signed -log10 p: above 0 with more unsupported drivers than the
    others, below with fewer. Areas grow with size. Lines stand at p = 0.05, at 0.01, and at 0.05
    over the number of clusters.

    Parameters
    ----------
    clusters : pd.DataFrame
        `clusters.tsv`.
    base
        Which allele the drivers have: "reference" or "variant".

    Returns
    -------
    pd.DataFrame
        One row a cluster, as drawn from left to right: `cluster`, `size`, `unsupported`,
        `signed_log10_p`; the p of the lines in ``attrs["lines"]``.
    """
    rows = _of_base(clusters, base)
    tested = Enrichment(
        *(
            rows[name].to_numpy()
            for name in ("size", "unsupported", "p_more", "p_fewer", "q_more", "q_fewer")
        )
    )
    table = rows[["cluster", "size", "unsupported"]].assign(signed_log10_p=tested.signed_log10_p)
    table = table.sort_values(["signed_log10_p", "cluster"]).reset_index(drop=True)
    labelled(ax, "clusters, ordered", "signed −log₁₀ p")
    if table.empty:
        say(ax, _NOTHING)
        return table
    lines = {"p = 0.05": 0.05, "0.01": 0.01, "0.05 / clusters": 0.05 / len(table)}
    table.attrs["lines"] = list(lines.values())
    y = table["signed_log10_p"]
    area = min(_AREA, _LARGEST / table["size"].max())
    for label, colour, here in (
        ("more unsupported", WRONG, y > 0),
        ("fewer", RIGHT, y <= 0),
    ):
        for size, of_size in table[here].groupby("size"):  # one size a collection: a smaller SVG
            points(ax, of_size.index, of_size["signed_log10_p"], area * size, colour, alpha=0.75,
                   zorder=3)  # fmt: skip
        ax.scatter([], [], 30, colour, linewidths=0, label=label)
    for (label, p), style in zip(lines.items(), (":", "--", "-"), strict=True):
        for side in (1, -1):
            ax.axhline(-side * np.log10(p), color=CUT, linewidth=0.8, linestyle=style, zorder=1)
        ax.annotate(label, (0.01, -np.log10(p)), (0, 1), xycoords=("axes fraction", "data"),
                    textcoords="offset points", va="bottom", fontsize=7)  # fmt: skip
    ax.axhline(0, color=NEUTRAL, linewidth=0.8, zorder=0)
    tallest = 1.12 * max(y.abs().max(), -np.log10(min(lines.values())))
    ax.set(ylim=(-tallest, tallest), xlim=(-0.03 * len(table) - 1, 1.03 * len(table)))
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    legend(ax)
    return table


def cluster_sizes(clusters: pd.DataFrame, ax: Axes, base: str = "reference") -> pd.DataFrame:
    """Draw how many drivers each cluster has, the largest first, and how many are unsupported.

    Parameters
    ----------
    clusters, base
        As in `cluster_enrichment`.

    Returns
    -------
    pd.DataFrame
        One row a cluster: `cluster` (its number, from 0), `size`, `unsupported`.
    """
    table = _of_base(clusters, base)[["cluster", "size", "unsupported"]]
    labelled(ax, "clusters, by size", "drivers")
    if table.empty:
        say(ax, _NOTHING)
        return table
    edges = np.append(table["cluster"], len(table)) - 0.5
    for name, label, colour in (
        ("size", "drivers", NEUTRAL),
        ("unsupported", "unsupported", WRONG),
    ):
        ax.stairs(table[name], edges, fill=True, color=colour, linewidth=0, zorder=2,
                  label=f"{label} ({table[name].sum():,})")  # fmt: skip
    ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.set(xlim=(edges[0], edges[-1]), ylim=(0, 1.05 * table["size"].max()))
    legend(ax)
    return table


def cluster_logos(
    motifs: Mapping[int, Motif], clusters: pd.DataFrame, ax: Axes, base: str = "reference"
) -> pd.DataFrame:
    """Draw the motifs of some clusters, the column of the SNV underlined.

    A letter is as high as its weight times the information of its column, 2 bits less the entropy
    of the bases that are there; a column that fewer members reach is lower by its weights. With 20
    clusters give `ax` 4.6 x 4.6 inches.

    Parameters
    ----------
    motifs : mapping of int to Motif
        By cluster, as `zarrbench.stages.motifs.largest_clusters`.
    clusters, base
        As in `cluster_enrichment`.

    Returns
    -------
    pd.DataFrame
        One row a letter: `cluster`, `column` (from the SNV's), `base`, `bottom`, `height` (bits).
    """
    letters = [_stacked_letters(number, one) for number, one in motifs.items()]
    table = pd.DataFrame(columns=["cluster", "column", "base", "bottom", "height"])
    if letters:
        table = pd.concat(letters, ignore_index=True)
    labelled(ax, "", "")
    if table.empty:
        say(ax, "no cluster has two drivers that share bases")
        return table
    rows = _of_base(clusters, base)[["cluster", "size", "unsupported"]].to_numpy(int).tolist()
    counts = {number: (size, wrong) for number, size, wrong in rows}
    panels = grid(ax, -(-len(motifs) // _COLUMNS), _COLUMNS, (0.05, 0.1 if len(motifs) > 4 else 0))
    widest = table["column"].abs().max() + 0.5
    for panel, number in zip(panels, motifs, strict=False):
        of_cluster = table[table["cluster"] == number]
        draw_letters(panel, of_cluster.rename(columns={"column": "x"}))
        panel.plot([-0.5, 0.5], [-0.06, -0.06], color="black", linewidth=1.6, clip_on=False,
                   solid_capstyle="butt")  # fmt: skip
        panel.set(xlim=(-widest, widest), ylim=(0, 2), xticks=[], yticks=[0, 2])
        panel.tick_params(labelsize=7, length=2)
        panel.spines[["top", "right", "bottom"]].set_visible(False)
        size, wrong = counts[number]
        panel.set_title(f"{size:,} ({wrong:,} unsup.)", fontsize=7, pad=2)
    for panel in panels[len(motifs) :]:
        panel.set_axis_off()
    for panel in panels:
        if panel not in panels[::_COLUMNS]:
            panel.set_yticklabels([])
    panels[0].set_ylabel("bits", fontsize=7)
    return table


def _of_base(clusters: pd.DataFrame, base: str) -> pd.DataFrame:
    return clusters[clusters["base"] == base].sort_values("cluster").reset_index(drop=True)


def _stacked_letters(number: int, one: Motif) -> pd.DataFrame:
    """Return the letters of a motif, the highest of a column on top."""
    total = one.weights.sum(axis=1, keepdims=True)
    share = one.weights / np.where(total > 0, total, 1)
    entropy = -(share * np.log2(np.where(share > 0, share, 1))).sum(axis=1, keepdims=True)
    height = one.weights * (2 - entropy)
    order = np.argsort(height, axis=1, kind="stable")
    heights = np.take_along_axis(height, order, axis=1)
    letters = pd.DataFrame(
        {
            "cluster": number,
            "column": np.repeat(np.arange(len(height)) - one.snv, 4),
            "base": np.array(list("ACGT"))[order].ravel(),
            "bottom": (np.cumsum(heights, axis=1) - heights).ravel(),
            "height": heights.ravel(),
        }
    )
    return letters[letters["height"] > 0]
