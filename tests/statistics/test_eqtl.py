"""Labelled slopes: joins, windows, blocks, the ragged layout and what it is put together to."""

import dask
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from zarrbench.errors import GeneTableError, SampleError
from zarrbench.statistics import eqtl
from zarrbench.statistics.eqtl import cis_slopes, of_gene, tidy
from zarrbench.statistics.slopes import slopes

PAIR = ("slope", "se", "t", "p", "r", "n")
POSITIONS = {"chr1": [100, 250, 250, 400, 900], "chr2": [10, 400]}


def dosages(seed: int = 0, people: int = 30, chunks: int | None = 2) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    contigs = [name for name, at in POSITIONS.items() for _ in at]
    values = rng.binomial(2, 0.4, (len(contigs), people)).astype(np.int8)
    values[1, :3] = -1
    dataset = xr.Dataset(
        {"dosage": (("variant", "individual"), values)},
        coords={
            "variant_contig": ("variant", np.array(contigs, dtype=object)),
            "variant_position": ("variant", np.concatenate(list(POSITIONS.values()))),
            "other_allele": ("variant", np.array(list("ACCTGAA"), dtype=object)),
            "effect_allele": ("variant", np.array(list("GATCACT"), dtype=object)),
            "individual": np.array([f"P{i}" for i in range(people)], dtype=object),
        },
    )
    # the labels stay in memory, as those of a store do
    return (
        dataset
        if chunks is None
        else dataset.assign(dosage=dataset["dosage"].chunk(variant=chunks))
    )


def expression(seed: int = 1, people: int = 30) -> xr.DataArray:
    rng = np.random.default_rng(seed)
    names = [f"P{i}" for i in rng.permutation(people)]
    return xr.DataArray(
        rng.standard_normal((5, people)),
        dims=("gene", "individual"),
        coords={
            "gene": ["far", "two", "all", "none", "absent"],
            "contig": ("gene", np.array(["chr1", "chr2", "chr1", "chr1", "chr9"], dtype=object)),
            "tss": ("gene", [1000, 200, 300, 650, 300]),
            "individual": np.array(names, dtype=object),
        },
    )


def test_pairs_are_those_within_the_window():
    found = cis_slopes(dosages(), expression(), window=200)
    named = dict(zip(found["gene"].values, found["n_pairs"].values, strict=True))
    assert named == {"far": 1, "two": 2, "all": 4, "none": 0, "absent": 0}
    assert of_gene(found, "all")["variant_position"].values.tolist() == [100, 250, 250, 400]
    assert of_gene(found, "two")["distance"].values.tolist() == [-190, 200]
    # What no gene is near to is not among the variants.
    assert cis_slopes(dosages(), expression(), window=49).sizes == {
        "pair": 0, "variant": 0, "gene": 5}  # fmt: skip


@pytest.mark.parametrize("covariates", [None, 2])
def test_every_pair_is_that_of_the_kernel(covariates):
    genotypes, measured = dosages(), expression()
    extra = None
    if covariates:
        values = np.random.default_rng(3).standard_normal((covariates, 30))
        people = [f"P{i}" for i in range(30)]
        extra = xr.DataArray(
            values, dims=("covariate", "individual"), coords={"individual": people}
        )
    found = cis_slopes(genotypes, measured, 200, extra)
    for name in ("far", "two", "all"):
        part = of_gene(found, name)
        for i in range(part.sizes["variant"]):
            at = np.flatnonzero(
                (genotypes["variant_contig"] == part["variant_contig"][i])
                & (genotypes["variant_position"] == part["variant_position"][i])
                & (genotypes["effect_allele"] == part["effect_allele"][i])
            )
            y = measured.sel(gene=name, individual=genotypes["individual"].values).values
            alone = slopes(genotypes["dosage"].values[at], y,
                           covariates=None if extra is None else extra.values.T)  # fmt: skip
            for field in PAIR:
                assert part[field].values[i] == getattr(alone, field)[0], field


def test_frequencies_by_hand():
    genotypes = dosages(people=4, chunks=None)
    genotypes["dosage"][:, :] = np.array([[0, 0, 1, 2]] * 7)
    genotypes["dosage"][2] = [-1, 2, 2, 2]
    genotypes["dosage"][3] = -1
    found = cis_slopes(genotypes, expression(people=4), 200)
    assert found["effect_allele_frequency"].values[:3].tolist() == [3 / 8, 3 / 8, 1.0]
    assert found["minor_allele_frequency"].values[:3].tolist() == [3 / 8, 3 / 8, 0.0]
    assert found["carrier_frequency"].values[:3].tolist() == [0.5, 0.5, 1.0]
    assert found["n_called"].values[:4].tolist() == [4, 4, 3, 0]
    assert np.isnan(found["effect_allele_frequency"].values[3])


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 7), st.integers(1, 400), st.permutations(range(5)))
def test_chunks_blocks_and_order_change_nothing(chunks, block, order):
    whole = tidy(cis_slopes(dosages(chunks=None), expression(), 200))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(eqtl, "_BLOCK_BYTES", block)
        measured = expression().isel(gene=list(order))
        found = cis_slopes(dosages(chunks=chunks), measured, 200)
        again = tidy(found, expression()["gene"].values)
    assert whole.equals(again)
    assert found["first_pair"].dtype == np.int64


def test_nothing_is_read_before_the_result_is():
    def refuse(*_, **__):
        raise AssertionError("computed")

    with dask.config.set(scheduler=refuse):
        found = cis_slopes(dosages(), expression(), 200)
        part = of_gene(found, "all")
    assert part["slope"].chunks is not None
    assert np.isfinite(part["slope"].values).all()


def test_people_are_joined_by_label():
    some = expression().isel(individual=slice(0, 20))
    found = cis_slopes(dosages(), some, 200)
    assert found.attrs["n_individuals"] == 20
    people = [p for p in dosages()["individual"].values if p in some["individual"].values]
    same = cis_slopes(dosages().sel(individual=people), some.sel(individual=people), 200)
    assert tidy(found).equals(tidy(same))


def test_somebody_without_a_covariate_is_left_out():
    extra = xr.DataArray(np.ones((1, 30)), dims=("covariate", "individual"),
                         coords={"individual": [f"P{i}" for i in range(30)]})  # fmt: skip
    extra[0, 4] = np.nan
    found = cis_slopes(dosages(), expression(), 200, extra)
    assert found.attrs["n_individuals"] == 29


def test_what_cannot_be_joined():
    stranger = expression().assign_coords(individual=[f"Q{i}" for i in range(30)])
    with pytest.raises(SampleError, match=r"share no individual: they name 'P0', 'Q0' first"):
        cis_slopes(dosages(), stranger, 200)
    twice = expression().assign_coords(individual=["P1"] * 30)
    with pytest.raises(SampleError, match="'P1' stands twice"):
        cis_slopes(dosages(), twice, 200)


def test_variants_out_of_order():
    rows = dosages().isel(variant=[1, 0, 2, 3, 4, 5, 6])
    with pytest.raises(GeneTableError, match="chr1 are not sorted"):
        cis_slopes(rows, expression(), 200)
    with pytest.raises(GeneTableError, match="do not lie together"):
        cis_slopes(dosages().isel(variant=[0, 5, 1]), expression(), 200)


def test_unknown_gene():
    with pytest.raises(GeneTableError, match="no gene 'tow' here; did you mean 'two'"):
        of_gene(cis_slopes(dosages(), expression(), 200), "tow")
