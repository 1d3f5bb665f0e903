"""Pearson correlation against scipy, its invariances, and the joining of labels."""

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from zarrbench.errors import GeneTableError, SampleError
from zarrbench.statistics.correlation import (
    correlate,
    is_constant,
    n_differing,
    pearson,
    people_who_differ,
)

OUTPUTS = {
    "r": "f",
    "p_r": "f",
    "n_individuals": "i",
    "mean_observed": "f",
    "sd_observed": "f",
    "mean_predicted": "f",
    "sd_predicted": "f",
}


def refuse_to_compute(*args, **kwargs):
    raise AssertionError("something computed")


def labelled(values, genes, people):
    coords = {"gene": list(genes), "individual": list(people)}
    return xr.DataArray(values, coords, ("gene", "individual"))


@pytest.fixture
def rng():
    return np.random.default_rng(20230)


@pytest.mark.parametrize("noise", [1e-4, 0.3, 1.0, 30.0])
@pytest.mark.parametrize("n", [3, 4, 10, 839])
def test_pearson_equals_scipy(rng, n, noise):
    x = rng.normal(size=(5, n))
    y = -x + noise * rng.normal(size=(5, n))
    ours, theirs = pearson(x, y), stats.pearsonr(x, y, axis=-1)
    np.testing.assert_allclose(ours.r, theirs.statistic, rtol=1e-12)
    # within 1e-8 of |r| = 1 one rounding of r moves p by more than the rest
    np.testing.assert_allclose(ours.p, theirs.pvalue, rtol=1e-6, atol=1e-300)
    assert ours.n.tolist() == [n] * 5


def test_p_is_that_of_student_t():
    x = np.arange(6.0)
    y = np.array([0.0, 2.0, 1.0, 3.0, 5.0, 4.0])
    result = pearson(x, y)
    t = result.r * np.sqrt(4 / (1 - result.r**2))
    assert result.p == pytest.approx(2 * stats.t.sf(t, 4), rel=1e-12)


def test_perfect_correlation_is_one_with_p_zero():
    result = pearson([[1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0]], [0.1, 0.2, 0.3, 0.4])
    np.testing.assert_allclose(result.r, [1.0, -1.0], rtol=1e-15)
    np.testing.assert_allclose(result.p, 0.0, atol=1e-12)


def test_rounding_never_takes_r_beyond_one(rng):
    x = rng.normal(size=(1000, 11))
    assert np.abs(pearson(x, -0.1 * x + 3).r).max() == 1.0


def test_large_offsets_cost_no_digits(rng):
    x = rng.normal(size=500)
    y = x + rng.normal(size=500)
    assert pearson(x + 1e6, y - 1e6).r == pytest.approx(pearson(x, y).r, rel=1e-8)


def test_missing_values_leave_out_the_pair(rng):
    x, y = rng.normal(size=(2, 4, 30))
    x[0, 3] = y[0, 7] = x[1, 0] = np.nan
    y[1, 5] = np.inf
    x[2, :28] = np.nan
    result = pearson(x, y)
    assert result.n.tolist() == [28, 28, 2, 30]
    for gene in (0, 1):
        pairs = np.isfinite(x[gene]) & np.isfinite(y[gene])
        expected = stats.pearsonr(x[gene, pairs], y[gene, pairs])
        assert result.r[gene] == pytest.approx(expected.statistic, rel=1e-12)
        assert result.p[gene] == pytest.approx(expected.pvalue, rel=1e-9)
    assert np.isnan(result.r[2])
    assert np.isnan(result.p[2])


@pytest.mark.parametrize("n", [0, 1, 2])
def test_fewer_than_three_pairs_are_nan(n):
    result = pearson(np.arange(n), np.arange(n) ** 2)
    assert np.isnan(result.r)
    assert np.isnan(result.p)
    assert result.n == n


def test_constancy_is_judged_numerically():
    y = np.array([1.0, 2.0, 4.0, 8.0])
    spread = np.array([0.0, 1.0, -1.0, 0.5])
    x = np.stack([spread * 0.0, 5 + spread * 1e-10, 1e6 + spread * 1e-4, 5 + spread * 1e-7])
    assert np.isnan(pearson(x, y).r).tolist() == [True, True, True, False]
    assert np.isnan(pearson(y, x).p).tolist() == [True, True, True, False]


def test_the_constancy_rule():
    assert is_constant([0.0, 0.0, 100.0, 100.0], [1e-9, 1.1e-9, 1e-7, 1.1e-7]).tolist() == [
        *(True, False),
        *(True, False),
    ]
    assert is_constant(np.nan, np.nan)


def test_leading_axes_broadcast(rng):
    x, y = rng.normal(size=(3, 1, 20)), rng.normal(size=(4, 20))
    result = pearson(x, y)
    assert result.r.shape == result.p.shape == result.n.shape == (3, 4)
    assert result.r[2, 1] == pytest.approx(stats.pearsonr(x[2, 0], y[1]).statistic, rel=1e-12)


def test_a_batch_gives_what_single_genes_give(rng):
    x, y = rng.normal(size=(2, 7, 40)).astype(np.float32)
    together = pearson(x, y)
    for gene in range(7):
        alone = pearson(x[gene], y[gene])
        assert (alone.r, alone.p, alone.n) == (
            *(together.r[gene], together.p[gene]),
            together.n[gene],
        )


PAIRS = hnp.arrays(
    np.float64,
    st.tuples(st.just(2), st.integers(3, 30)),
    elements=st.integers(-1000, 1000).map(lambda k: k / 8),
)


@settings(max_examples=60, deadline=None)
@given(
    pairs=PAIRS,
    scale=st.floats(0.01, 100),
    shift=st.floats(-100, 100),
    flip=st.booleans(),
    order=st.randoms(use_true_random=False),
)
def test_r_is_invariant_to_scale_shift_and_order_of_people(pairs, scale, shift, flip, order):
    x, y = pairs
    sign = -1 if flip else 1
    shuffled = list(range(x.size))
    order.shuffle(shuffled)
    plain = pearson(x, y)
    moved = pearson((sign * scale * x + shift)[shuffled], y[shuffled])
    np.testing.assert_allclose(moved.r, sign * plain.r, rtol=1e-6, atol=1e-9)
    assert np.isnan(plain.r) == (np.ptp(x) == 0 or np.ptp(y) == 0)
    assert np.isnan(plain.r) or -1 <= plain.r <= 1


def test_correlate_gives_the_moments_of_the_people_with_both_values(rng):
    predicted = labelled(rng.normal(3, 2, (2, 6)), ["a", "b"], "uvwxyz")
    observed = labelled(rng.normal(-1, 5, (2, 6)), ["a", "b"], "uvwxyz")
    predicted[0, 1] = observed[0, 4] = np.nan
    predicted.attrs["units"] = observed.attrs["units"] = "log2"
    result = correlate(predicted, observed)
    assert {name: result[name].dtype.kind for name in result} == OUTPUTS
    assert not any(result[name].attrs for name in result)
    assert all(result[name].dims == ("gene",) for name in OUTPUTS)
    both = [0, 2, 3, 5]
    p, o = predicted[0, both], observed[0, both]
    gene = result.sel(gene="a")
    assert gene.n_individuals == 4
    for name, expected in {
        "r": stats.pearsonr(p, o).statistic,
        "p_r": stats.pearsonr(p, o).pvalue,
        "mean_observed": np.mean(o.values),
        "sd_observed": np.std(o.values),
        "mean_predicted": np.mean(p.values),
        "sd_predicted": np.std(p.values),
    }.items():
        assert float(gene[name]) == pytest.approx(float(expected), rel=1e-12), name


@settings(max_examples=25, deadline=None)
@given(people=st.permutations("stuvwxyz"), genes=st.permutations("abc"))
def test_the_join_does_not_depend_on_the_order_of_labels(people, genes):
    rng = np.random.default_rng(7)
    predicted = labelled(rng.normal(size=(3, 8)), "abc", "stuvwxyz")
    observed = labelled(rng.normal(size=(3, 8)), "abc", "stuvwxyz")
    plain = correlate(predicted, observed)
    shuffled = correlate(predicted, observed.sel(gene=genes, individual=people))
    assert shuffled.gene.values.tolist() == ["a", "b", "c"]
    xr.testing.assert_allclose(shuffled, plain, rtol=1e-10)


def test_only_common_labels_count(rng):
    predicted = labelled(rng.normal(size=(2, 5)), ["a", "b"], "vwxyz")
    observed = labelled(rng.normal(size=(2, 6)), ["b", "c"], "zyxwut")
    result = correlate(predicted, observed)
    assert result.gene.values.tolist() == ["b"]
    assert result.n_individuals.item() == 4
    common = list("wxyz")
    expected = stats.pearsonr(
        predicted.sel(gene="b", individual=common), observed.sel(gene="b", individual=common)
    )
    assert result.r.item() == pytest.approx(expected.statistic, rel=1e-12)


def test_unshared_dimensions_broadcast_and_coordinates_of_the_prediction_stay(rng):
    predicted = labelled(rng.normal(size=(2, 9)), ["a", "b"], "qrstuvwxy").expand_dims(track=[1, 2])
    predicted = predicted.assign_coords(gene_name=("gene", ["A", "B"]))
    observed = labelled(rng.normal(size=(2, 9)), ["a", "b"], "qrstuvwxy")
    observed = observed.assign_coords(gene_name=("gene", ["?", "?"]))
    result = correlate(predicted, observed)
    assert result.r.dims == ("track", "gene")
    assert result.gene_name.values.tolist() == ["A", "B"]


def test_another_name_for_the_dimension_of_people(rng):
    predicted = labelled(rng.normal(size=(2, 9)), ["a", "b"], "qrstuvwxy")
    observed = labelled(rng.normal(size=(2, 9)), ["a", "b"], "qrstuvwxy")
    renamed = correlate(
        predicted.rename(individual="sample"), observed.rename(individual="sample"), dim="sample"
    )
    xr.testing.assert_equal(renamed, correlate(predicted, observed))


def test_dask_arrays_stay_lazy_and_give_the_same(rng):
    predicted = labelled(rng.normal(size=(4, 12)), "abcd", "klmnopqrstuv")
    observed = labelled(rng.normal(size=(4, 12)), "dcba", "vutsrqponmlk")
    names = ("gene", da.from_array(np.array(list("WXYZ")), chunks=2))
    lazy_predicted = predicted.chunk(gene=3, individual=5).assign_coords(gene_name=names)
    lazy_observed = observed.chunk(gene=1, individual=7).assign_coords(gene_name=names)
    with dask.config.set(scheduler=refuse_to_compute):
        lazy = correlate(lazy_predicted, lazy_observed)
        with pytest.raises(AssertionError, match="something computed"):
            lazy.r.compute()
    assert all(lazy[name].chunks for name in OUTPUTS)
    eager = correlate(predicted, observed)
    computed = lazy.compute(scheduler="synchronous").drop_vars("gene_name")
    xr.testing.assert_allclose(computed, eager, rtol=1e-12)
    assert {name: computed[name].dtype for name in OUTPUTS} == {
        name: eager[name].dtype for name in OUTPUTS
    }


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], 0),
        ([np.nan, np.inf], 0),
        ([2.5] * 9, 0),
        ([1.0] * 9 + [3.0], 1),
        ([1.0] * 9 + [3.0, 3.0, np.nan], 2),
        ([1.0, 1.0 + 1e-9, 1.0 - 1e-9, 1.0, 3.0], 1),  # float noise is nothing beside an effect
        ([1.0, 1.0 + 1e-9, 1.0 - 1e-9], 2),
        ([0.0, 1.0, 2.0, 3.0, 4.0], 4),
    ],
)
def test_who_differs_from_the_median(values, expected):
    assert n_differing(values) == expected
    assert n_differing([values, values]).tolist() == [expected] * 2


def test_only_people_with_both_values_differ(rng):
    people = [f"P{i}" for i in range(8)]
    values = np.ones((2, 8))
    values[0, :3], values[1, 7] = 2.0, np.nan
    predicted = xr.DataArray(values, dims=("gene", "individual"),
                             coords={"gene": ["a", "b"], "individual": people})  # fmt: skip
    observed = predicted.copy(data=rng.normal(size=(2, 8)))[:, ::-1]
    observed[0, 7] = np.nan  # the first person
    found = people_who_differ(predicted, observed)
    assert found.dims == ("gene",)
    assert found.values.tolist() == [2, 0]
    lazy = people_who_differ(predicted.chunk(individual=3, gene=1), observed)
    assert lazy.chunks is not None
    xr.testing.assert_identical(lazy.compute(), found)


def test_a_repeated_person_is_refused(rng):
    predicted = labelled(rng.normal(size=(1, 4)), ["a"], ["HG1", "HG2", "HG2", "HG3"])
    observed = labelled(rng.normal(size=(1, 4)), ["a"], ["HG1", "HG2", "HG3", "HG4"])
    for pair, role in (
        ((predicted, observed), "predicted"),
        ((observed, predicted), "observed"),
        ((predicted, predicted), "predicted"),
    ):
        with pytest.raises(SampleError, match=f"{role} values hold individual 'HG2' more than"):
            correlate(*pair)


def test_a_repeated_gene_is_refused(rng):
    predicted = labelled(rng.normal(size=(2, 3)), ["a", "a"], "xyz")
    with pytest.raises(GeneTableError, match="hold gene 'a' more than once"):
        correlate(predicted, predicted)


def test_arrays_without_labels_are_refused(rng):
    predicted = labelled(rng.normal(size=(2, 3)), ["a", "b"], "xyz")
    with pytest.raises(SampleError, match="'individual' of the observed values has no labels"):
        correlate(predicted, predicted.drop_vars("individual"))
    with pytest.raises(GeneTableError, match="'gene' of the predicted values has no labels"):
        correlate(predicted.drop_vars("gene"), predicted)


def test_arrays_without_the_dimension_are_refused(rng):
    predicted = labelled(rng.normal(size=(2, 3)), ["a", "b"], "xyz")
    with pytest.raises(SampleError, match="need the dimension 'individual'"):
        correlate(predicted, predicted.rename(individual="sample"))


def test_nothing_in_common_is_refused(rng):
    predicted = labelled(rng.normal(size=(2, 3)), ["a", "b"], ["HG1", "HG2", "HG3"])
    strangers = predicted.assign_coords(individual=["NA1", "NA2", "NA3"])
    with pytest.raises(SampleError, match=r"share no individual .*'HG1' and 'NA1'"):
        correlate(predicted, strangers)
    with pytest.raises(GeneTableError, match="share no gene"):
        correlate(predicted, predicted.assign_coords(gene=["c", "d"]))
