"""PrediXcan's sums against cases by hand and plain loops, its training against scikit-learn."""

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from sklearn.impute import SimpleImputer
from sklearn.linear_model import ElasticNet, ElasticNetCV
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from zarrbench.errors import SampleError
from zarrbench.statistics.null import gene_generator
from zarrbench.statistics.predixcan import (
    compare,
    predict_expression,
    train_elastic_net,
    weighted_dosage,
)

FOLDS = 4


def refuse_to_compute(*args, **kwargs):
    raise AssertionError("something computed")


def by_loops(dosage, weights, swapped):
    """The sum for every person, one call after the other."""
    totals = []
    for person in range(dosage.shape[1]):
        total = 0.0
        for calls, weight, swap in zip(dosage, weights, swapped, strict=True):
            called = [int(d) for d in calls if d >= 0]
            if np.isnan(weight) or not called:
                continue
            d = calls[person] if calls[person] >= 0 else sum(called) / len(called)
            total += weight * (2 - d if swap else d)
        totals.append(np.nan if np.isnan(weights).all() else total)
    return totals


def cohort(seed, n=60, variants=25, missing=0.0):
    rng = np.random.default_rng(seed)
    dosage = rng.binomial(2, rng.uniform(0.1, 0.9, (variants, 1)), (variants, n)).astype(np.int8)
    dosage[rng.random(dosage.shape) < missing] = -1
    return dosage, rng


def test_the_effect_allele_is_the_alternative():
    assert weighted_dosage(np.array([[0, 1, 2]]), [0.5]).tolist() == [0.0, 0.5, 1.0]


def test_the_effect_allele_is_the_reference():
    assert weighted_dosage(np.array([[0, 1, 2]]), [0.5], [True]).tolist() == [1.0, 0.5, 0.0]


def test_a_missing_call_takes_the_mean_of_the_effect_allele():
    dosage = np.array([[0, 2, 2, -1]])
    np.testing.assert_allclose(weighted_dosage(dosage, [3.0])[3], 3 * 4 / 3)
    np.testing.assert_allclose(weighted_dosage(dosage, [3.0], [True])[3], 3 * (2 - 4 / 3))


def test_a_variant_without_any_call_contributes_nothing():
    dosage = np.array([[-1, -1, -1], [0, 1, 2]])
    for swap in (False, True):
        found = weighted_dosage(dosage, [7.0, 1.0], [swap, False])
        assert found.tolist() == [0.0, 1.0, 2.0]


def test_no_model_is_nan_and_one_without_found_variants_is_zero():
    dosage = np.full((2, 3), -1)
    assert np.isnan(weighted_dosage(dosage, [np.nan, np.nan])).all()
    assert np.isnan(weighted_dosage(np.zeros((0, 3)), [])).all()
    assert weighted_dosage(dosage, [np.nan, 1.0]).tolist() == [0.0, 0.0, 0.0]


def test_other_numbers_of_variants_are_refused():
    with pytest.raises(ValueError, match="differ in variants"):
        weighted_dosage(np.zeros((2, 3)), [1.0])


@given(
    dosage=hnp.arrays(np.int8, (4, 6), elements=st.integers(-1, 2)),
    weights=hnp.arrays(float, 4, elements=st.one_of(st.just(np.nan), st.floats(-9, 9))),
    swapped=hnp.arrays(bool, 4),
)
def test_equals_plain_loops(dosage, weights, swapped):
    found = weighted_dosage(dosage, weights, swapped)
    np.testing.assert_allclose(found, by_loops(dosage, weights, swapped), rtol=1e-9, atol=1e-9)


def test_swapping_both_alleles_and_counts_changes_nothing():
    dosage, rng = cohort(1, missing=0.1)
    weights, swapped = rng.normal(size=len(dosage)), rng.random(len(dosage)) < 0.5
    flipped = np.where(dosage >= 0, 2 - dosage, -1)
    np.testing.assert_allclose(
        weighted_dosage(flipped, weights, ~swapped), weighted_dosage(dosage, weights, swapped)
    )


def labelled(seed=2):
    """Dosages of v0..v9 and weights of v3..v12 for three genes, the second without a model."""
    dosage, rng = cohort(seed, n=8, variants=10, missing=0.2)
    dosage[4] = -1
    weights = rng.normal(size=(3, 10))
    weights[rng.random(weights.shape) < 0.3] = np.nan
    weights[1], weights[0, 1], weights[2, 1] = np.nan, 2.0, -1.0
    known, asked = [f"v{i}" for i in range(10)], [f"v{i}" for i in range(3, 13)]
    genes = ["A", "B", "C"]
    coords = {"gene": genes, "variant": asked}
    return (
        xr.DataArray(
            dosage,
            {"variant": known, "individual": [f"P{i}" for i in range(8)]},
            ("variant", "individual"),
        ),
        xr.DataArray(weights, coords, ("gene", "variant")),
        xr.DataArray(rng.random(weights.shape) < 0.5, coords, ("gene", "variant")),
    )


def test_labelled_variants_are_joined_and_counted():
    dosage, weights, swapped = labelled()
    found = predict_expression(dosage, weights, swapped)
    rows = {str(v): dosage.sel(variant=v).values for v in dosage.variant.values}
    nobody = np.full(8, -1)
    for gene in weights.gene.values:
        w, s = weights.sel(gene=gene).values, swapped.sel(gene=gene).values
        calls = np.array([rows.get(str(v), nobody) for v in weights.variant.values])
        one = found.sel(gene=gene)
        np.testing.assert_allclose(one.prediction, by_loops(calls, w, s))
        called = (calls >= 0).any(axis=1)
        assert one.n_model == np.isfinite(w).sum()
        assert one.n_found == (np.isfinite(w) & called).sum()
        assert one.n_swapped == (np.isfinite(w) & called & s).sum()
        assert one.n_absent == (np.isfinite(w) & ~called).sum()
    assert np.isnan(found.prediction.sel(gene="B")).all()
    assert found.n_absent.sel(gene="A") > 0


@settings(max_examples=25)
@given(genes=st.sampled_from([1, 2, 3]), variants=st.integers(1, 10), people=st.integers(1, 8))
def test_any_chunking_gives_the_same(genes, variants, people):
    dosage, weights, swapped = labelled()
    with dask.config.set(scheduler=refuse_to_compute):
        lazy = predict_expression(
            dosage.chunk(variant=variants, individual=people),
            weights.chunk(gene=genes, variant=variants),
            swapped.chunk(variant=variants),
        )
    assert isinstance(lazy.prediction.data, da.Array)
    xr.testing.assert_allclose(
        lazy.compute(scheduler="synchronous"), predict_expression(dosage, weights, swapped)
    )


@pytest.mark.parametrize("which", [0, 1])
def test_a_variant_that_stands_twice_is_refused(which):
    arrays = list(labelled())
    names = arrays[which]["variant"].values.copy()
    names[3] = names[1]
    arrays[which] = arrays[which].assign_coords(variant=names)
    if which == 1:
        arrays[2] = arrays[2].assign_coords(variant=names)
    with pytest.raises(SampleError, match=f"hold the variant '{names[1]}' more than once"):
        predict_expression(*arrays)


class Chosen(ElasticNetCV):
    """scikit-learn's choice of alpha, with weights from its other solver of one alpha."""

    def fit(self, x, y):
        super().fit(x, y)
        one = ElasticNet(alpha=self.alpha_, l1_ratio=0.5, tol=1e-9, max_iter=10**6).fit(x, y)
        self.coef_, self.intercept_ = one.coef_, one.intercept_
        return self


def network(seed):
    inner = KFold(FOLDS, shuffle=True, random_state=seed)
    net = Chosen(l1_ratio=0.5, eps=0.01, cv=inner, tol=1e-3)
    return make_pipeline(SimpleImputer(missing_values=-1), StandardScaler(), net)


def test_training_equals_scikit_learn():
    dosage, rng = cohort(3, missing=0.1)
    y = 4 + dosage[3] - 0.5 * dosage[11] + rng.normal(size=dosage.shape[1])
    found = train_elastic_net(dosage, y, FOLDS, gene_generator(1, "G"))
    seeds = gene_generator(1, "G").integers(2**31, size=FOLDS + 2)
    x = dosage.T.astype(float)
    whole = network(int(seeds[-1])).fit(x, y)
    imputed, scale, net = whole[0].transform(x), whole[1], whole[2]
    np.testing.assert_allclose(found.weights, net.coef_ / scale.scale_, atol=2e-4)
    np.testing.assert_allclose(
        found.intercept + imputed @ found.weights, whole.predict(x), atol=5e-4
    )
    assert found.alpha == pytest.approx(net.alpha_)
    assert 0 < np.count_nonzero(found.weights) < len(dosage)
    outer = list(KFold(FOLDS, shuffle=True, random_state=int(seeds[0])).split(x))
    deviation = np.empty_like(y)
    for (kept, left), seed in zip(outer, seeds[1:-1], strict=True):
        one = network(int(seed)).fit(x[kept], y[kept])
        np.testing.assert_allclose(found.out_of_fold[left], one.predict(x[left]), atol=5e-4)
        deviation[left] = one.predict(x[left]) - y[kept].mean()
    r, p = stats.pearsonr(deviation, y)
    np.testing.assert_allclose([found.r, found.p], [r, p], rtol=2e-3)
    sse, sst = ((y - found.out_of_fold) ** 2).sum(), ((y - y.mean()) ** 2).sum()
    assert found.r2 == pytest.approx(1 - sse / sst)
    assert found.n == y.size
    # another order of folds than the stream's gives other predictions: the comparison can fail
    other = cross_val_predict(network(0), x, y, cv=KFold(FOLDS, shuffle=True, random_state=0))
    assert not np.allclose(other, found.out_of_fold)


def test_the_weights_are_the_minimum_of_what_is_said():
    """The subgradient of the objective holds 0, whatever solver made the weights."""
    dosage, rng = cohort(4, missing=0.1)
    y = dosage[2].clip(0) + rng.normal(size=dosage.shape[1])
    found = train_elastic_net(dosage, y, FOLDS, gene_generator(2, "G"))
    x = np.array([np.where(v < 0, v[v >= 0].mean(), v) for v in dosage])
    residual = y - found.intercept - found.weights @ x
    sd = x.std(axis=1)
    z = (x - x.mean(axis=1, keepdims=True)) / sd[:, None]
    b = found.weights * sd
    slope = z @ residual / y.size - found.alpha * b / 2
    chosen = b != 0
    assert chosen.any()
    tolerance = 1e-3 * found.alpha
    np.testing.assert_allclose(slope[chosen], found.alpha / 2 * np.sign(b[chosen]), atol=tolerance)
    assert (np.abs(slope[~chosen]) <= found.alpha / 2 + tolerance).all()
    assert residual.mean() == pytest.approx(0, abs=1e-9)


def test_what_can_be_predicted_is_predicted():
    dosage, _ = cohort(5, n=300, variants=40, missing=0.02)
    causal = dosage[7].clip(0) * 1.5 - dosage[20].clip(0)
    found = train_elastic_net(dosage[:, :200], causal[:200], 5, gene_generator(1, "G"))
    held_out = weighted_dosage(dosage[:, 200:], found.weights)
    assert stats.pearsonr(held_out, causal[200:]).statistic > 0.97
    assert found.r > 0.95
    assert found.r2 > 0.9
    assert np.argsort(-np.abs(found.weights))[:2].tolist() == [7, 20]
    assert found.weights[7] > 0 > found.weights[20]


def test_noise_is_not_predicted():
    """Over many genes r of the people left out lies about 0, and p below 0.05 is rare."""
    found = []
    for seed in range(40):
        dosage, rng = cohort(100 + seed, n=60, variants=10)
        found.append(train_elastic_net(dosage, rng.normal(size=60), 4, gene_generator(1, "G")))
    r = np.array([one.r for one in found])
    assert np.isfinite(r).sum() >= 20
    assert abs(np.nanmean(r)) < 0.1
    assert sum(one.p < 0.05 and one.r > 0 for one in found) <= 5


def test_the_stream_alone_decides():
    dosage, rng = cohort(6)
    y = dosage[1] + rng.normal(size=dosage.shape[1])
    first, again, other = (
        train_elastic_net(dosage, y, FOLDS, gene_generator(seed, "G")) for seed in (1, 1, 2)
    )
    assert np.array_equal(first.weights, again.weights)
    assert np.array_equal(first.out_of_fold, again.out_of_fold)
    assert not np.array_equal(first.out_of_fold, other.out_of_fold)


def test_people_left_out_leave_no_trace():
    """What is predicted for a person of a fold does not depend on that person's expression."""
    dosage, rng = cohort(7)
    y = dosage[1] + rng.normal(size=dosage.shape[1])
    found = train_elastic_net(dosage, y, FOLDS, gene_generator(1, "G"))
    changed = y.copy()
    changed[9] += 50
    again = train_elastic_net(dosage, changed, FOLDS, gene_generator(1, "G"))
    assert again.out_of_fold[9] == found.out_of_fold[9]
    assert not np.allclose(np.delete(again.out_of_fold, 9), np.delete(found.out_of_fold, 9))


def test_people_without_expression_are_left_out():
    dosage, rng = cohort(8)
    y = dosage[1] + rng.normal(size=dosage.shape[1])
    y[[4, 30]] = np.nan
    found = train_elastic_net(dosage, y, FOLDS, gene_generator(1, "G"))
    kept = np.isfinite(y)
    alone = train_elastic_net(dosage[:, kept], y[kept], FOLDS, gene_generator(1, "G"))
    assert np.array_equal(found.weights, alone.weights)
    assert np.array_equal(found.out_of_fold[kept], alone.out_of_fold)
    assert np.isnan(found.out_of_fold[~kept]).all()
    assert found.n == kept.sum()


@pytest.mark.parametrize(
    "case", ["constant y", "no variant", "monomorphic", "missing", "few", "none"]
)
def test_nothing_to_train_on(case):
    dosage, rng = cohort(9, n=20, variants=5)
    y = rng.normal(size=20)
    if case == "constant y":
        y[:] = 3.25
    elif case == "no variant":
        dosage = dosage[:0]
    elif case == "monomorphic":
        dosage[:] = 2
    elif case == "missing":
        dosage[:] = -1
    elif case == "few":
        y[2 * FOLDS - 1 :] = np.nan
    else:
        y[:] = np.nan
    found = train_elastic_net(dosage, y, FOLDS, gene_generator(1, "G"))
    assert not found.weights.any()
    assert found.weights.shape == (len(dosage),)
    assert np.isnan([found.r, found.p, found.alpha]).all()
    assert np.isnan(found.r2)
    assert found.n == np.isfinite(y).sum()


def test_a_fold_in_which_nothing_varies():
    """One person carries the only variant: the fold without that person has nothing to go by."""
    dosage = np.zeros((1, 12), dtype=np.int8)
    dosage[0, 5] = 1
    y = np.arange(12.0)
    found = train_elastic_net(dosage, y, 3, gene_generator(1, "G"))
    assert np.isfinite(found.out_of_fold).all()


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="differ in people"):
        train_elastic_net(np.zeros((2, 5)), np.zeros(4), 2, gene_generator(1, "G"))
    with pytest.raises(ValueError, match="at least two folds"):
        train_elastic_net(np.zeros((2, 5)), np.zeros(5), 1, gene_generator(1, "G"))


def test_the_comparison_counts_signs_and_ignores_genes_without_both():
    x = [0.3, 0.2, -0.4, np.nan, 0.5]
    y = [-0.3, 0.21, 0.1, 0.9, np.nan]
    found = compare(x, y)
    assert (found.n, found.n_predixcan, found.n_network) == (3, 1, 1)
    assert (found.n_predixcan_either_sign, found.n_network_either_sign) == (2, 2)
    assert found.mean_predixcan == pytest.approx(0.1 / 3)
    assert found.mean_network == pytest.approx(0.01 / 3)
    assert found.r == pytest.approx(stats.pearsonr([0.3, 0.2, -0.4], [0.3, 0.21, 0.1]).statistic)


@pytest.mark.parametrize("genes", [0, 2])
def test_a_comparison_of_too_few_genes(genes):
    found = compare([0.3] * genes, [0.1] * genes)
    assert found.n == genes
    assert np.isnan(found.r)
    assert np.isnan(found.mean_network) == (genes == 0)


def test_the_comparison_of_the_study(published):
    """Fig. 2c, from the released r of PrediXcan and of the network, joined by gene."""
    name = "PrediXcanCorrelationWithExpressionENSG.tsv"
    predixcan = pd.read_csv(published / name, sep="\t", header=None, index_col=0)[1]
    assert predixcan.notna().sum() == 1570  # one of them twice
    predixcan = predixcan[~predixcan.index.duplicated()]
    table = pd.read_csv(published / "SupplementaryTable1.tsv", sep="\t", index_col="gene_id")
    network = table["PearsonRCAGE,adult,brain"].reindex(predixcan.index)
    found = compare(predixcan, network)
    assert found.n == 1568
    assert found.n_predixcan == 921
    assert found.n_network == 162
    assert found.mean_predixcan == pytest.approx(0.26, abs=0.005)
    assert found.mean_network == pytest.approx(0.02, abs=0.005)
    assert found.r == pytest.approx(0.58, abs=0.005)
