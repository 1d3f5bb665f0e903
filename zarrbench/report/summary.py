"""What a run found, in sentences with their numbers."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from zarrbench.report.inputs import ReportInputs


def sentences(inputs: ReportInputs) -> list[str]:
    """Return what the stages of a run found, one sentence or two a stage, nothing of the absent.

    Numbers are of the genes that the report shows: r across people is of one gene, r across genes
    of all.
    """
    found = [*_across_people(inputs.statistics)]
    if "population" in inputs.stages:
        found += _across_genes(inputs.stages["population"], str(inputs.statistics.attrs["track"]))
    if "track_weights" in inputs.stages:
        found += _weighted(inputs.stages["track_weights"])
    if "drivers" in inputs.stages:
        found += _drivers(inputs.stages["drivers"])
    if "predixcan" in inputs.stages:
        found += _predixcan(inputs.stages["predixcan"])
    if "sensitivity" in inputs.stages:
        found += _sensitivity(inputs.stages["sensitivity"])
    return found


def significant_genes(statistics: xr.Dataset) -> dict[str, dict[str, int]]:
    """Return how many genes are significant, by null statistic: `total`, and by the sign of r."""
    r = statistics["r"]
    counts = {}
    for name in statistics["statistic"].values:
        significant = statistics["significant"].sel(statistic=name)
        of_name = {
            "total": significant,
            "right": significant & (r > 0),
            "wrong": significant & (r < 0),
        }
        counts[str(name)] = {which: int(genes.sum()) for which, genes in of_name.items()}
    return counts


def _across_people(statistics: xr.Dataset) -> Iterator[str]:
    r = statistics["r"].values
    defined = np.isfinite(r)
    if not defined.any():
        return
    yield (
        f"Across people, r is {_r(np.mean(r[defined]))} on average over "
        f"{_genes(defined.sum())}; {_share(int(np.sum(r < 0)), int(defined.sum()))} have r < 0."
    )
    chosen = str(statistics.attrs["statistic"])
    counts = significant_genes(statistics)
    here = counts.pop(chosen)
    told = "no gene"
    if here["total"]:
        told = f"{_genes(here['total'])}, {here['wrong']:,} of them with r < 0"
    if counts:
        others = [of_name["total"] for of_name in counts.values()]
        told += f" ({min(others):,} to {max(others):,} under the other statistics)"
    yield f"Significant against its own null, under the statistic {chosen}: {told}."


def _across_genes(population: xr.Dataset, track: str) -> Iterator[str]:
    every = population.isel(subset=0).sel(track=track)
    if np.isfinite(every["pearson_r"]):
        yield (
            f"Across genes, the predictions for the reference follow mean expression by r = "
            f"{_r(every['pearson_r'].item())} ({_genes(every['n_genes'].item())})."
        )


def _weighted(weighted: xr.Dataset) -> Iterator[str]:
    r = weighted["pearson_r"].values
    if np.isfinite(r).any():
        yield (
            f"All tracks by weight reach r = {_r(np.nanmean(r))} across people on average "
            f"({_genes(np.isfinite(r).sum())})."
        )


def _drivers(drivers: xr.Dataset) -> Iterator[str]:
    group, share = drivers["group"].values, drivers["fraction_supported"].values
    for sign, which in ((1, "above"), (-1, "below")):
        here = (group == sign) & np.isfinite(share)
        if here.any():
            yield (
                f"In the {_genes(here.sum())} compared whose r is clearly {which} 0, expression "
                f"supports {100 * np.mean(share[here]):.0f} % of the drivers on average."
            )


def _predixcan(compared: xr.Dataset) -> Iterator[str]:
    linear, network = compared["r_predixcan"].values, compared["r_network"].values
    both = np.isfinite(linear) & np.isfinite(network)
    if both.any():
        yield (
            f"On the same people, a linear model of the gene's variants (PrediXcan) has r = "
            f"{_r(np.mean(linear[both]))} on average and the network {_r(np.mean(network[both]))} "
            f"({_genes(both.sum())} with both)."
        )


def _sensitivity(compared: xr.Dataset) -> Iterator[str]:
    told = [
        f"{name}, {100 * same:.0f} % of {_genes(genes)}"
        for name, same, genes in zip(
            compared["choice"].values[1:],
            compared["same_sign"].values[1:],
            compared["n_genes"].values[1:],
            strict=True,
        )
        if genes
    ]
    if told:
        yield f"Predicted in another way, r keeps its sign: {'; '.join(told)} tried."


def _r(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _genes(number: int) -> str:
    return f"{int(number):,} gene{'' if number == 1 else 's'}"


def _share(part: int, whole: int) -> str:
    return f"{int(part):,} ({100 * part / whole:.0f} %)"
