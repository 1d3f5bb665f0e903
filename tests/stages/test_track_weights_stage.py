"""The track_weights stage on the hand-made cohort: by NumPy, scikit-learn and the files."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats
from sklearn.linear_model import ElasticNet
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from zarrbench.errors import (
    ExpressionError,
    GeneTableError,
    ModelInputError,
    RecipeError,
    SourceError,
)
from zarrbench.layouts import TRACK_WEIGHTS
from zarrbench.parameters import Report, WeightedTracks
from zarrbench.predictions.plan import Predict
from zarrbench.predictions.readouts import Readout
from zarrbench.sources import Source
from zarrbench.stages import track_weights as stage
from zarrbench.stages.predict import run_predict
from zarrbench.stages.report import run_report
from zarrbench.stages.statistics import run_statistics
from zarrbench.stages.status import pipeline_status
from zarrbench.stages.track_weights import (
    check_weights,
    run_track_weights,
    standing_weights,
    summary,
)
from zarrbench.stages.workspace import Workspace
from zarrbench.statistics.track_weights import read_track_weights
from zarrbench.storage import open_dataset

PREDICT = Predict(
    Readout("sum_log"), genes="all", more_readouts={"finetuned": Readout("log_sum", (0, 1), 2)}
)
# Descriptions of the toy's tracks are these, in turn.
GIVEN = "tracks,weights\neven,0.5\nodd,-2.0\neven,0.0\nodd,0.25\noffset,3.5\n"


@pytest.fixture(scope="module")
def finished(workspace_in, client, tmp_path_factory) -> Workspace:
    folder = tmp_path_factory.mktemp("track_weights") / "study"
    workspace = workspace_in(folder, PREDICT, n_tracks=4)
    assert not run_predict(workspace, client, "GPU").failed
    return workspace


@pytest.fixture
def given(tmp_path) -> Source:
    path = tmp_path / "weights.csv"
    path.write_text(GIVEN)
    return Source(str(path))


@pytest.fixture
def target(tmp_path, finished) -> Source:
    """A mean that follows the tracks, for all genes but one, and one that nobody predicts."""
    cube = xr.open_zarr(finished.cube)
    x = cube.reference_prediction.values.astype(float)
    noise = np.random.default_rng(3).normal(0, 0.02, len(x))
    mean = pd.Series(2 + x.sum(axis=1) + noise, cube.gene.values.astype(object))
    mean = mean.drop("ENSG00000000003").rename("brain").rename_axis("id")
    mean["ENSG00000099999"] = 7.0
    mean.index = mean.index + ".3"
    mean.to_csv(tmp_path / "target.tsv", sep="\t")
    return Source(str(tmp_path / "target.tsv"))


def asked(workspace: Workspace, **parameters: object) -> Workspace:
    """The pipeline with the stage."""
    return with_stage(workspace, track_weights=WeightedTracks(**parameters))


def reported(workspace: Workspace) -> Workspace:
    return with_stage(workspace, report=Report())


def with_stage(workspace: Workspace, **stage: object) -> Workspace:
    stages = {**workspace.recipe.stages, **stage}
    return dataclasses.replace(
        workspace, recipe=dataclasses.replace(workspace.recipe, stages=stages)
    )


def expression_of(cohort, genes) -> pd.DataFrame:
    """Expression of the 19 people with genotypes, by gene id without version."""
    table = cohort.expression[[name for name in cohort.expression if name in cohort.people]]
    table.index = table.index.str.split(".").str[0]
    return table.reindex(genes)


def across_genes(predicted, mean):
    kept = np.isfinite(predicted) & np.isfinite(mean)
    x, y = np.asarray(predicted)[kept], np.asarray(mean)[kept]
    return stats.pearsonr(x, y).statistic, stats.spearmanr(x, y).statistic, kept.sum()


@pytest.mark.parametrize("block_bytes", [1, 2**28])
def test_given_weights_by_numpy(finished, cohort, given, monkeypatch, block_bytes):
    monkeypatch.setattr(stage, "_BLOCK_BYTES", block_bytes)
    workspace = asked(finished, weights=given, readout="finetuned")
    found, _ = stage.weighted_genes(workspace, workspace.compared_genes())
    cube = xr.open_zarr(workspace.cube)
    w, offset = np.array([0.5, -2.0, 0.0, 0.25]), 3.5
    assert found.weight.values.tolist() == w.tolist()
    assert found.attrs["offset"] == offset
    reference = cube.reference_prediction_finetuned.values @ w + offset
    assert found.evaluation.values.tolist() == ["given"]
    np.testing.assert_allclose(found.reference_prediction.values[0], reference, rtol=1e-12)
    assert not found.in_fit.any()
    expression = expression_of(cohort, found.gene.values)
    expected = across_genes(reference, expression.mean(axis=1).to_numpy())
    shown = found.sel(against="mean_observed", evaluation="given")
    for name, value in zip(["pearson_across_genes", "spearman_across_genes", "n_genes"], expected,
                           strict=True):  # fmt: skip
        assert float(shown[name]) == pytest.approx(value, rel=1e-10)
    # gene by gene across people
    haplotypes = cube.prediction_finetuned.values.astype(float) @ w + offset
    people = pd.DataFrame(haplotypes.mean(axis=2), found.gene.values, cube.individual.values)
    for gene in found.gene.values:
        x = people.loc[gene, expression.columns].to_numpy()
        y = expression.loc[gene].to_numpy()
        x, y = x[np.isfinite(y)], y[np.isfinite(y)]
        one = found.sel(gene=gene)
        assert int(one.n_individuals) == len(y)
        if len(y) < 3 or np.ptp(x) < 1e-9 or np.ptp(y) == 0:
            assert np.isnan(one.pearson_r)
            continue
        r, p = stats.pearsonr(x, y)
        assert float(one.pearson_r) == pytest.approx(r, rel=1e-9)
        assert float(one.p) == pytest.approx(p, rel=1e-9)
        assert float(one.mean_predicted) == pytest.approx(x.mean(), rel=1e-12)
        assert float(one.sd_predicted) == pytest.approx(x.std(), rel=1e-9)
    assert np.isfinite(found.pearson_r).sum() >= 4


def test_the_sum_of_haplotypes_doubles_the_level_alone(finished, given):
    names = finished.compared_genes()
    mean, _ = stage.weighted_genes(asked(finished, weights=given), names)
    both, _ = stage.weighted_genes(asked(finished, weights=given, haplotype_combine="sum"), names)
    for name in ("mean_predicted", "sd_predicted"):
        np.testing.assert_allclose(both[name], 2 * mean[name], rtol=1e-12)
    for name in ("pearson_r", "p", "reference_prediction", "pearson_across_genes"):
        np.testing.assert_allclose(both[name], mean[name], rtol=1e-6)


def test_fitted_weights_by_scikit_learn(finished, cohort, target):
    workspace = asked(finished, target=target, l1_ratio=0.1, folds=2)
    found = run_track_weights(workspace)
    TRACK_WEIGHTS.check(open_dataset(workspace.track_weights, TRACK_WEIGHTS), workspace.folder)
    cube = xr.open_zarr(workspace.cube)
    wanted = pd.read_csv(target.file, sep="\t", index_col=0).brain
    wanted.index = wanted.index.str.split(".").str[0]
    t = wanted.reindex(cube.gene.values.astype(object)).to_numpy()
    kept = np.isfinite(t)
    assert found.in_fit.values.tolist() == kept.tolist()
    assert not found.in_fit.sel(gene="ENSG00000000003")
    np.testing.assert_array_equal(found.target.values, t)
    x = cube.reference_prediction.values.astype(float)
    group = cube.contig.values[kept].astype(object)
    model = make_pipeline(
        StandardScaler(),
        ElasticNet(alpha=found.attrs["alpha"], l1_ratio=0.1, tol=1e-12, max_iter=1_000_000),
    )
    expected = np.full(len(t), np.nan)
    places = np.flatnonzero(kept)
    for seen, unseen in GroupKFold(2).split(x[kept], t[kept], group):
        fitted = model.fit(x[places[seen]], t[places[seen]])
        expected[places[unseen]] = fitted.predict(x[places[unseen]])
    spread = np.nanstd(t)
    np.testing.assert_allclose(
        found.reference_prediction.sel(evaluation="cross_validated"), expected, atol=2e-3 * spread
    )
    fitted = model.fit(x[kept], t[kept])
    np.testing.assert_allclose(
        found.reference_prediction.sel(evaluation="in_sample"), fitted.predict(x),
        atol=2e-3 * spread,
    )  # fmt: skip
    weights = fitted[-1].coef_ / fitted[0].scale_
    np.testing.assert_allclose(found.weight, weights, atol=2e-3 * np.abs(weights).max())
    assert np.count_nonzero(found.weight.values) >= 2
    # across genes, against the target and against what the cohort expresses, the same genes
    mean = expression_of(cohort, found.gene.values).mean(axis=1).to_numpy()
    for against, values in (("target", t), ("mean_observed", mean)):
        for evaluation in ("cross_validated", "in_sample"):
            predicted = found.reference_prediction.sel(evaluation=evaluation).where(found.in_fit)
            r, spearman, n = across_genes(predicted.values, values)
            shown = found.sel(against=against, evaluation=evaluation)
            assert float(shown.pearson_across_genes) == pytest.approx(r, rel=1e-9)
            assert float(shown.spearman_across_genes) == pytest.approx(spearman, rel=1e-9)
            assert int(shown.n_genes) == n
    assert float(found.pearson_across_genes.sel(against="target", evaluation="in_sample")) > 0.9


def test_what_was_fitted_is_written_and_can_be_given(finished, target, tmp_path):
    workspace = asked(finished, target=target, folds=2)
    found = run_track_weights(workspace)
    table = pd.read_csv(workspace.track_weights_table, sep="\t").set_index("gene_id")
    for name in ("pearson_r", "p", "n_individuals", "mean_predicted", "sd_predicted", "target"):
        np.testing.assert_allclose(table[name], found[name], rtol=1e-12)
    for evaluation in found.evaluation.values:
        column = table[f"reference_prediction_{evaluation}"]
        np.testing.assert_allclose(column, found.reference_prediction.sel(evaluation=evaluation))
    results = pipeline_status(workspace)["results"]
    assert results["track_weights.zarr"]
    assert results["track_weights.tsv"]
    weights = read_track_weights(workspace.fitted_weights)
    assert weights.tracks == ("even", "odd", "even", "odd")
    assert weights.weights.tolist() == found.weight.values.tolist()
    assert weights.offset == found.attrs["offset"]
    copy = tmp_path / "copy.csv"
    copy.write_text(workspace.fitted_weights.read_text())
    again = run_track_weights(asked(finished, weights=Source(str(copy))))
    for name in ("pearson_r", "mean_predicted"):
        np.testing.assert_array_equal(again[name], found[name])
    assert not workspace.fitted_weights.exists()


def test_the_mean_of_the_cohort_is_the_target_by_default(finished, cohort):
    found = run_track_weights(asked(finished))
    mean = expression_of(cohort, found.gene.values).mean(axis=1).to_numpy()
    np.testing.assert_allclose(found.target, mean)
    assert found.against.values.tolist() == ["mean_observed"]
    assert found.in_fit.values.tolist() == np.isfinite(mean).tolist()
    # Expression is noise: no track may help, and then nothing varies.
    shown = summary(found)
    assert shown["weights"] == "fitted"
    assert set(shown["across_genes"]) == {
        "cross_validated, mean_observed", "in_sample, mean_observed"
    }  # fmt: skip


def test_weights_that_are_all_zero_predict_the_offset(finished, client, tmp_path):
    path = tmp_path / "none.csv"
    path.write_text("tracks,weights\neven,0\nodd,0\neven,0\nodd,0\noffset,2\n")
    workspace = reported(asked(finished, weights=Source(str(path))))
    found = run_track_weights(workspace)
    assert np.isnan(found.pearson_r).all()
    assert (found.mean_predicted.dropna("gene") == 2).all()
    assert summary(found)["tracks_with_weight"] == 0
    run_statistics(workspace, client)
    run_report(workspace, {})
    assert "No track has a weight" in workspace.report.read_text()


def test_is_kept_until_something_changes(finished, given, target):
    workspace = asked(finished, weights=given)
    names = [str(gene) for gene in run_track_weights(workspace).gene.values]
    before = workspace.track_weights_table.stat().st_mtime_ns
    run_track_weights(workspace)
    assert workspace.track_weights_table.stat().st_mtime_ns == before
    assert standing_weights(workspace, names) is not None
    assert standing_weights(workspace, names[:-1]) is None
    for other in ({"haplotype_combine": "sum"}, {"readout": "finetuned"}):
        assert standing_weights(asked(finished, weights=given, **other), names) is None
    assert standing_weights(asked(finished), names) is None
    file = workspace.locate(given)
    file.write_text(GIVEN.replace("0.25", "0.5"))
    assert standing_weights(workspace, names) is None
    changed = run_track_weights(workspace)
    assert changed.weight.values.tolist()[-1] == 0.5
    assert workspace.track_weights_table.stat().st_mtime_ns > before
    # a fit, by its target and by its file
    fitting = asked(finished, target=target, folds=2)
    run_track_weights(fitting)
    assert standing_weights(fitting, names) is not None
    fitting.fitted_weights.unlink()
    assert standing_weights(fitting, names) is None


def test_the_report_has_r_and_no_ids(finished, client, cohort, given):
    workspace = reported(asked(finished, weights=given))
    run_statistics(workspace, client)
    found = run_track_weights(workspace)
    run_report(workspace, {})
    page = workspace.report.read_text()
    assert not any(person in page for person in cohort.people)
    assert "All tracks by weight" in page
    r = summary(found)["across_genes"]["given, mean_observed"]["pearson_r"]
    assert f"r = {r:.3f}," in page.split("across 6 genes: given, mean observed")[1][:80]


def test_missing_tracks_are_refused(workspace_in, finished, client, tmp_path):
    path = tmp_path / "weights.csv"
    workspace = asked(finished, weights=Source(str(path)))
    path.write_text(GIVEN.replace("odd,0.25", "odd,0.25\neven,1.0"))
    for refuses in (check_weights, run_track_weights):
        with pytest.raises(ModelInputError, match=r"1 of 4 tracks with a weight are not .* all tr"):
            refuses(workspace)
    path.write_text(GIVEN.replace("odd,0.25", "other,0.25"))
    with pytest.raises(ModelInputError, match="track 3 is 'odd' in the summary, but 'other' of 4"):
        check_weights(workspace)
    path.write_text("weights")
    with pytest.raises(SourceError, match="give a table of track weights"):
        check_weights(workspace)
    check_weights(asked(finished))
    check_weights(finished)


def test_a_fit_needs_several_tracks_and_contigs(workspace_in, finished, client, tmp_path):
    one = workspace_in(tmp_path / "one", n_tracks=1)
    assert not run_predict(one, client, "GPU").failed
    for refuses in (check_weights, run_track_weights):
        with pytest.raises(ModelInputError, match="all tracks of a model, and it has one; predict"):
            refuses(asked(one))
    some = xr.DataArray(np.zeros(2), {"track_index": ("track", [0, 4980])}, ("track",))
    with pytest.raises(ModelInputError, match="4979 of its first 4981 are missing; predict all"):
        stage._check_fitted(some)
    with pytest.raises(RecipeError, match="two groups of genes at least, found 10 and 1; give"):
        run_track_weights(asked(finished), limit=4)


def test_targets_that_serve_nothing_are_refused(finished, tmp_path):
    path = tmp_path / "target.tsv"
    workspace = asked(finished, target=Source(str(path)))
    path.write_text("gene\tmean\nSCYL3\t1\nLAP3\t2\n")
    with pytest.raises(GeneTableError, match=r"none of the \d+ genes .* which has SCYL3, LAP3"):
        run_track_weights(workspace)
    for text in ("ENSG00000000001\t1\nENSG00000000002\t2\n", "gene\ta\tb\nENSG00000000001\t1\t2\n"):
        path.write_text(text)
        with pytest.raises(ExpressionError, match="expected one with a name, of mean expression"):
            run_track_weights(workspace)
    path.write_text("gene\tmean\nENSG00000000001\t1\nENSG00000000007\t1\n")
    with pytest.raises(ExpressionError, match="all 2 genes have one mean expression"):
        run_track_weights(workspace)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"weights": Source("a"), "target": Source("b")}, "leave out either weights or target"),
        ({"l1_ratio": 0.0}, "l1_ratio must be above 0"),
        ({"folds": 1}, "folds must be at least 2"),
    ],
)
def test_refused_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        WeightedTracks(**parameters)
