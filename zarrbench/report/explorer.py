"""The part of a page that one explores: what stands in the file, and what was thinned to fit."""

import base64
import json
import zlib
from dataclasses import dataclass, replace
from importlib import resources
from itertools import islice
from typing import Any

import xarray as xr

from zarrbench.figures.disclosure import MINIMUM_PEOPLE
from zarrbench.report import plots
from zarrbench.report.gene_views import GeneViews, rounded

_MOST = 9_900_000  # characters of a whole file
# Characters of a view in a file, as measured (benchmarks/report): upper bounds
_OF_GENE, _OF_SNV, _OF_PERSON = 420, 15, 13
_MOST_SNVS = 2_000  # of one gene, however few there are: more are no plot that one reads
_DIGITS = 3  # of the numbers of SNVs in a file: a plot shows no more
_GENES_A_PACK = 25  # packed together, for likeness; unpacked when one of them is chosen


@dataclass(frozen=True)
class Thinning:
    """What of the views a file holds: at most so many SNVs a gene, and people as points or not."""

    most_snvs: int
    individual_points: bool


def thinning(n_genes: int, n_people: int, individual_points: bool, room: int) -> Thinning:
    """Return how the views of genes are thinned so that they fit into `room` characters.

    Single people give way first: they need more than the cells that stand for them otherwise.
    """
    share = room / max(n_genes, 1) - _OF_GENE
    points = individual_points and share >= _OF_PERSON * n_people
    left = share - _OF_PERSON * n_people if points else share
    return Thinning(max(10, min(_MOST_SNVS, int(left / _OF_SNV))), points)


def packed(views: GeneViews, kept: Thinning) -> tuple[list[str], int]:
    """Return the views of all genes as texts, and how many SNVs were left out to fit.

    Each text holds some genes: JSON, deflated (zlib), in base64.
    """
    thinned = replace(views, individual_points=kept.individual_points)
    found = thinned.views(views.genes, kept.most_snvs, _DIGITS)
    packs, left_out = [], 0
    while pack := list(islice(found, _GENES_A_PACK)):
        text = json.dumps(pack, allow_nan=False, separators=(",", ":"))
        packs.append(base64.b64encode(zlib.compress(text.encode(), 9)).decode())
        left_out += sum(view["snvs"]["thinned"] for view in pack if view["snvs"])
    return packs, left_out


def explored(
    statistics: xr.Dataset, views: GeneViews | None, embed: bool, used: int
) -> dict[str, Any]:
    """Return what the template of the explorer needs.

    Parameters
    ----------
    statistics : xr.Dataset
        A dataset of `zarrbench.layouts.GENE_STATISTICS`, as the page shows it.
    views : GeneViews, optional
        Without, the page shows all genes, and none alone.
    embed : bool
        Put the views into the page; else its script asks the server for each gene.
    used : int
        Characters of the rest of the page, which leave the less to the views.
    """
    here = resources.files("zarrbench.report")
    made = {
        "style": here.joinpath("explorer.css").read_text("utf-8"),
        "script": here.joinpath("explorer.js").read_text("utf-8"),
        "library": plots.library(),
        "plots": plots.document(),
    }
    kept, packs, left_out = None, None, 0
    if views is not None and embed:
        sizes = len(views.genes), views.predicted.sizes["individual"]
        room = _MOST - used - sum(len(str(part)) for part in made.values())
        kept = thinning(*sizes, views.individual_points, room)
        packs, left_out = packed(views, kept)
    return {
        **made,
        "packs": packs,
        "kept": kept,
        "thinned": left_out,
        "facts": {
            "genes_a_pack": _GENES_A_PACK,
            "served": views is not None and not embed,
            "minimum_people": MINIMUM_PEOPLE,
            "draws": int(statistics.attrs["draws"]),
            "null_edges": rounded([*statistics["null_bin"].values, 1.0])
            if "null_count" in statistics
            else [],
            "individual_points": views is not None and views.individual_points,
        },
    }
