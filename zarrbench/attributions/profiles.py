"""Profiles of gradients as the store of attributions holds them: of one gene, and of all in brief.

METHODS section 23.
"""

import numpy as np
import xarray as xr

from zarrbench.genome.genes import one_gene
from zarrbench.statistics.gradient_profiles import in_stretches, standardised, window_sd

#: bases of a window; bases to either side of the TSS that are kept more finely, and how finely
WINDOW, NEAR, FINE = 128, 10_000, 10
# Genes read at once
_BLOCK = 8


def profile_of(
    attributions: xr.Dataset, gene: str, track: str, strand_aware: bool
) -> xr.DataArray | None:
    """Return the attribution of every base of a gene's window, None without profiles.

    The gradient of the base that is there less the mean of the others, along the forward strand.

    Parameters
    ----------
    attributions : Dataset
        As `zarrbench.attributions.store.open_attributions`.
    gene, track : str
    strand_aware : bool
        Whether the model reads genes of the minus strand as reverse complement: of `ModelSpec`.

    Returns
    -------
    DataArray or None
        ``(distance,)``: position - TSS, along the forward strand.

    Raises
    ------
    GeneTableError
        If there is no such gene.
    """
    if "gradient_profile" not in attributions:
        return None
    one = one_gene(attributions, gene)
    reverse = strand_aware and str(one["strand"].values) == "-"
    profile = one["gradient_profile"].sel(track=track).load()
    distance = -profile["offset"].values if reverse else profile["offset"].values
    values = profile.values.astype(np.float64)
    return xr.DataArray(values, {"distance": distance}, ("distance",)).sortby("distance")


def profile_windows(attributions: xr.Dataset, track: str) -> xr.Dataset | None:
    """Return what profiles of all genes are drawn from, None without profiles.

    Profiles are divided by their standard deviation, and lie in the direction in which the model
    reads. Genes are read a few at a time, each once; 20 kB a gene of what is returned.

    Parameters
    ----------
    attributions : Dataset
        As `zarrbench.attributions.store.open_attributions`.
    track : str

    Returns
    -------
    Dataset or None
        `sd` and `size` (gene, start): standard deviation, and mean magnitude, in windows of
        `WINDOW` bases side by side from the first of the model's window, NaN for a gene without a
        profile; `near` (gene, near_start): mean magnitude in stretches of `FINE` bases up to `NEAR`
        bases from the TSS. `start` and `near_start` are offsets of first bases from the TSS; the
        window ends before ``attrs["end"]``.
    """
    if "gradient_profile" not in attributions:
        return None
    profiles = attributions["gradient_profile"].sel(track=track)
    offsets = profiles["offset"].values
    near = np.flatnonzero((offsets >= -NEAR) & (offsets < NEAR))
    n_genes = profiles.sizes["gene"]
    sd, size = np.full((2, n_genes, len(offsets[::WINDOW])), np.nan, np.float32)
    fine = np.full((n_genes, len(near[::FINE])), np.nan, np.float32)
    for first in range(0, n_genes, _BLOCK):
        here = slice(first, first + _BLOCK)
        scaled = standardised(profiles.isel(gene=here).values)
        sd[here] = window_sd(scaled, WINDOW)
        size[here] = in_stretches(np.abs(scaled), WINDOW)
        fine[here] = in_stretches(np.abs(scaled[:, near]), FINE)
    return xr.Dataset(
        {
            "sd": (("gene", "start"), sd),
            "size": (("gene", "start"), size),
            "near": (("gene", "near_start"), fine),
        },
        {
            "gene": attributions["gene"].values,
            "start": offsets[::WINDOW],
            "near_start": offsets[near[::FINE]],
        },
        {"end": int(offsets[-1]) + 1, "near_end": int(offsets[near[-1]]) + 1},
    )
