"""Profiles of one gene and of all in brief, against those of plain loops."""

import numpy as np
import pytest
import xarray as xr

from zarrbench.attributions.profiles import FINE, NEAR, WINDOW, profile_of, profile_windows
from zarrbench.errors import GeneTableError


def made_store(n_genes: int = 3, before: int = 700, after: int = 300, seed: int = 0) -> xr.Dataset:
    """What a store of attributions holds of profiles, of two tracks."""
    rng = np.random.default_rng(seed)
    offset = np.arange(-before, after)
    profile = rng.normal(0.1, 1, (n_genes, 2, offset.size)).astype(np.float32)
    return xr.Dataset(
        {"gradient_profile": (("gene", "track", "offset"), profile)},
        {
            "gene": np.array([f"ENSG{i:04d}" for i in range(n_genes)], object),
            "strand": ("gene", np.array(["+", "-"] * n_genes, object)[:n_genes]),
            "track": np.array(["T0", "T1"], object),
            "offset": offset,
        },
    )


@pytest.mark.parametrize("strand_aware", [True, False])
@pytest.mark.parametrize("gene", [0, 1])
def test_a_profile_lies_along_the_forward_strand(gene, strand_aware):
    store = made_store()
    found = profile_of(store, f"ENSG{gene:04d}", "T1", strand_aware)
    sign = -1 if strand_aware and gene == 1 else 1
    assert (np.diff(found["distance"]) == 1).all()
    stored = dict(
        zip(store["offset"].values, store["gradient_profile"].values[gene, 1], strict=True)
    )
    for distance, value in zip(found["distance"].values, found.values, strict=True):
        assert value == stored[sign * distance]


def test_a_store_without_profiles_and_a_gene_that_is_not_there():
    store = made_store()
    assert profile_of(store.drop_vars("gradient_profile"), "ENSG0000", "T0", False) is None
    assert profile_windows(store.drop_vars("gradient_profile"), "T0") is None
    with pytest.raises(GeneTableError):
        profile_of(store, "ENSG9999", "T0", False)


@pytest.mark.parametrize(("before", "after"), [(700, 300), (12_000, 11_003), (3, 5)])
def test_windows_of_all_genes(before, after):
    store = made_store(70, before, after)
    profiles = store["gradient_profile"].values[:, 1].astype(float)
    profiles[1] = np.nan
    profiles[2, 5:7] = np.nan
    store["gradient_profile"][:, 1] = profiles
    found = profile_windows(store, "T1")
    assert found.sizes["gene"] == 70
    offset = store["offset"].values
    for gene in (0, 2, 69):
        scaled = profiles[gene].astype(np.float32) / np.nanstd(profiles[gene])
        for number, start in enumerate(found["start"].values):
            here = scaled[(offset >= start) & (offset < start + WINDOW)]
            np.testing.assert_allclose(found["sd"][gene, number], np.nanstd(here), rtol=1e-4)
            size = np.nanmean(np.abs(here))
            np.testing.assert_allclose(found["size"][gene, number], size, rtol=1e-4)
        fine = found["near"].values[gene]
        for start, value in list(zip(found["near_start"].values, fine, strict=True))[::17]:
            within = (offset >= start) & (offset < min(start + FINE, NEAR))
            np.testing.assert_allclose(value, np.nanmean(np.abs(scaled[within])), rtol=1e-4)
    for name in ("sd", "size", "near"):
        assert np.isnan(found[name][1]).all()
    assert found["start"].values[0] == -before
    assert found.attrs["end"] == after
    assert found["near_start"].values[0] == max(-NEAR, -before)
    assert found.attrs["near_end"] == min(NEAR, after)


def test_no_gene():
    assert profile_windows(made_store(0), "T0").sizes["gene"] == 0
