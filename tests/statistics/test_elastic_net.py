"""The elastic net against scikit-learn's own pipeline, its optimality conditions, and its edges."""

import numpy as np
import pytest
import xarray as xr
from sklearn.linear_model import ElasticNet
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from zarrbench.errors import ExpressionError, GeneTableError, ModelInputError, RecipeError
from zarrbench.statistics.elastic_net import fit_elastic_net, fit_tracks
from zarrbench.statistics.population import correlate_across_genes
from zarrbench.statistics.track_weights import apply_track_weights


@pytest.fixture
def rng():
    return np.random.default_rng(2005)


def simulated(rng, genes=150, tracks=30):
    scale = 10 ** rng.uniform(-3, 3, tracks)
    x = (rng.normal(size=(genes, tracks)) + rng.normal(size=(genes, 1))) * scale + 5 * scale
    beta = np.where(rng.random(tracks) < 0.3, rng.normal(size=tracks), 0.0) / scale
    t = x @ beta + rng.normal(size=genes) + 3
    return x, t, rng.integers(0, 22, genes)


@pytest.mark.parametrize("l1_ratio", [0.5, 1.0, 0.1])
def test_fit_and_choice_equal_scikit_learn(rng, l1_ratio):
    x, t, group = simulated(rng)
    alphas = np.geomspace(1, 1e-3, 15)
    ours = fit_elastic_net(x, t, group, l1_ratio, alphas=alphas)
    model = make_pipeline(
        StandardScaler(), ElasticNet(l1_ratio=l1_ratio, tol=1e-10, max_iter=100_000)
    )
    folds = GroupKFold(10)
    # The mean over folds that GridSearchCV takes weighs folds, ours genes: choose from predictions.
    held_out = [
        cross_val_predict(model.set_params(elasticnet__alpha=a), x, t, groups=group, cv=folds)
        for a in alphas
    ]
    errors = [np.mean((p - t) ** 2) for p in held_out]
    best = int(np.argmin(errors))
    assert ours.alpha == alphas[best]
    np.testing.assert_allclose(ours.errors, errors, rtol=1e-4)
    np.testing.assert_allclose(ours.cross_validated, held_out[best], atol=2e-3)
    fitted = model.set_params(elasticnet__alpha=alphas[best]).fit(x, t)
    np.testing.assert_allclose(ours.in_sample, fitted.predict(x), atol=2e-3)
    weights = fitted[-1].coef_ / fitted[0].scale_
    np.testing.assert_allclose(ours.weights * x.std(axis=0), weights * x.std(axis=0), atol=2e-3)
    assert ours.offset == pytest.approx(fitted.predict(np.zeros((1, 30)))[0], abs=2e-2)
    search = GridSearchCV(model, {"elasticnet__alpha": alphas}, cv=folds,
                          scoring="neg_mean_squared_error").fit(x, t, groups=group)  # fmt: skip
    assert abs(list(alphas).index(search.best_params_["elasticnet__alpha"]) - best) <= 1


def test_the_fit_is_optimal(rng):
    x, t, group = simulated(rng)
    fit = fit_elastic_net(x, t, group)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    b = fit.weights * x.std(axis=0)
    residual = t - t.mean() - z @ b
    gradient = z.T @ residual / t.size - fit.alpha * 0.5 * b
    active = b != 0
    assert 0 < active.sum() < 30
    np.testing.assert_allclose(gradient[active], fit.alpha * 0.5 * np.sign(b[active]), atol=1e-3)
    assert (np.abs(gradient[~active]) <= fit.alpha * 0.5 + 1e-3).all()
    np.testing.assert_allclose(fit.in_sample, x @ fit.weights + fit.offset)


def test_the_largest_alpha_leaves_no_track(rng):
    x, t, group = simulated(rng)
    fit = fit_elastic_net(x, t, group)
    assert (np.diff(fit.alphas) < 0).all()
    only = fit_elastic_net(x, t, group, alphas=[fit.alphas[0]])
    np.testing.assert_allclose(only.weights * x.std(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(only.in_sample, t.mean())
    assert fit_elastic_net(x, t, group, alphas=[fit.alphas[0] * 0.98]).weights.any()


def test_alphas_are_tried_until_the_error_has_risen(rng):
    x, t, group = simulated(rng)
    fit = fit_elastic_net(x, t, group)
    best = int(np.argmin(fit.errors))
    assert fit.alpha == fit.alphas[best]
    assert len(fit.errors) == len(fit.alphas) in (60, 90, 120)
    assert best < len(fit.alphas) - 15
    assert fit.errors[-1] > fit.errors[best]
    # A longer list finds nothing better.
    longer = np.append(fit.alphas, fit.alphas[-1] * np.array([0.5, 0.2, 0.1]))
    assert fit_elastic_net(x, t, group, alphas=longer).alpha == fit.alpha
    noise = fit_elastic_net(rng.normal(size=(150, 30)), rng.normal(size=150), group)
    assert len(noise.alphas) == 30


def test_units_of_a_track_change_no_prediction(rng):
    x, t, group = simulated(rng)
    scale = 10 ** rng.uniform(-4, 4, 30)
    plain, scaled = fit_elastic_net(x, t, group), fit_elastic_net(x * scale + 7, t, group)
    np.testing.assert_allclose(scaled.cross_validated, plain.cross_validated, atol=1e-3)
    np.testing.assert_allclose(scaled.weights * scale * x.std(axis=0),
                               plain.weights * x.std(axis=0), atol=1e-3)  # fmt: skip


def test_held_out_genes_are_predicted_by_a_fit_that_did_not_see_their_contig(rng):
    x, t, group = simulated(rng)
    alphas = [0.05]
    before = fit_elastic_net(x, t, group, alphas=alphas)
    changed = t.copy()
    changed[group == 3] += 50
    after = fit_elastic_net(x, changed, group, alphas=alphas)
    here = group == 3
    np.testing.assert_array_equal(after.cross_validated[here], before.cross_validated[here])
    assert (after.in_sample[here] != before.in_sample[here]).all()


def test_pure_noise_shows_in_the_evaluation(rng):
    x, t, group = rng.normal(size=(120, 200)), rng.normal(size=120), np.arange(120) % 22
    fit = fit_elastic_net(x, t, group, alphas=[0.05])
    assert np.corrcoef(fit.in_sample, t)[0, 1] > 0.9
    assert abs(np.corrcoef(fit.cross_validated, t)[0, 1]) < 0.3


def test_constant_tracks_get_no_weight(rng):
    x, t, group = simulated(rng)
    padded = np.insert(x, [0, 5], [[3.0, 0.1 + 0.2]], axis=1)
    padded[t > np.median(t), 6] = 0.3  # in step with the target, but for rounding constant
    fit = fit_elastic_net(padded, t, group)
    np.testing.assert_allclose(fit.weights[[0, 6]], 0.0)
    np.testing.assert_allclose(fit.in_sample, fit_elastic_net(x, t, group).in_sample, atol=1e-6)


def test_fewer_groups_than_folds(rng):
    x, t, _ = simulated(rng)
    assert np.isfinite(fit_elastic_net(x, t, np.arange(150) % 3).cross_validated).all()


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        ({"l1_ratio": 0.0}, RecipeError, "l1_ratio must be above 0"),
        ({"l1_ratio": 1.5}, RecipeError, "found 1.5"),
        ({"folds": 1}, RecipeError, "found 1 and 22"),
        ({"group": np.zeros(150)}, RecipeError, "found 10 and 1"),
        ({"alphas": [0.1, 0.0]}, RecipeError, "every alpha must be positive"),
        ({"alphas": []}, RecipeError, "every alpha"),
        ({"target": np.full(150, 2.0)}, ExpressionError, "all 150 genes have one mean"),
        ({"target": np.append(np.arange(149.0), np.nan)}, ExpressionError, "1 of 150 .* row 149"),
        ({"summaries": np.ones((150, 4))}, ExpressionError, "no track varies"),
        ({"summaries": np.ones((3, 4))}, ValueError, "differ"),
    ],
)
def test_what_cannot_be_fitted_is_refused(rng, change, error, sentence):
    x, t, group = simulated(rng)
    group[:22] = np.arange(22)
    with pytest.raises(error, match=sentence):
        fit_elastic_net(**{"summaries": x, "target": t, "group": group, **change})


def labelled(rng):
    x, t, group = simulated(rng, tracks=6)
    genes = [f"ENSG{k:011}" for k in range(len(t))]
    described = {
        "track_index": ("track", np.arange(6)),
        "track_description": ("track", list("aabcd,")),
    }
    summaries = xr.DataArray(x, {"gene": genes, **described}, ("gene", "track"))
    target = xr.DataArray(t, {"gene": genes}, ("gene",))
    return summaries, target, xr.DataArray([f"chr{g}" for g in group], {"gene": genes}, ("gene",))


def test_labels_join_and_order_does_not_matter(rng):
    summaries, target, contig = labelled(rng)
    weights, predictions = fit_tracks(summaries, target, contig)
    expected = fit_elastic_net(summaries.values, target.values, contig.values)
    assert predictions["evaluation"].values.tolist() == ["cross_validated", "in_sample"]
    np.testing.assert_allclose(predictions["prediction"][0], expected.cross_validated, rtol=1e-9)
    assert weights.tracks == tuple("aabcd;")
    shuffled = summaries.isel(track=[3, 1, 5, 0, 2, 4])
    # contigs of the kind in which Zarr reads texts
    again, _ = fit_tracks(shuffled, target[::-1], contig.astype(np.dtypes.StringDType()))
    np.testing.assert_allclose(again.weights, weights.weights)
    r = correlate_across_genes(predictions["prediction"], predictions["target"])["pearson_r"]
    assert r.sel(evaluation="in_sample") > r.sel(evaluation="cross_validated") > 0.3


def test_the_fit_applied_to_its_own_summaries_gives_its_predictions(rng):
    summaries, target, contig = labelled(rng)
    weights, predictions = fit_tracks(summaries, target, contig, l1_ratio=0.9, folds=4)
    applied = apply_track_weights(summaries, weights)
    np.testing.assert_allclose(applied, predictions["prediction"].sel(evaluation="in_sample"))
    assert predictions.attrs["folds"] == 4


def test_labels_that_do_not_fit_are_refused(rng):
    summaries, target, contig = labelled(rng)
    with pytest.raises(GeneTableError, match="share no gene"):
        fit_tracks(summaries[:5], target[5:], contig)
    with pytest.raises(GeneTableError, match="target repeat a gene"):
        fit_tracks(summaries, xr.concat([target, target], "gene"), contig)
    with pytest.raises(GeneTableError, match="contig have no gene labels"):
        fit_tracks(summaries, target, contig.drop_vars("gene"))
    with pytest.raises(ModelInputError, match="hold 5 tracks up to number 5"):
        fit_tracks(summaries[:, 1:], target, contig)
    with pytest.raises(ModelInputError, match="do not say which tracks they are"):
        fit_tracks(summaries.drop_vars("track_index"), target, contig)
