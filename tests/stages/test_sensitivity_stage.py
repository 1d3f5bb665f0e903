"""The sensitivity stage on the hand-made cohort: r by scipy, inputs of the ensemble by strings."""

import dataclasses
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

from zarrbench.attribution_layouts import SENSITIVITY
from zarrbench.attribution_parameters import Sensitivity
from zarrbench.errors import RecipeError, StoreLayoutError
from zarrbench.genome.bases import encode
from zarrbench.models.protocol import loaded
from zarrbench.parameters import GeneTable, Null, Report, Statistics, WeightedTracks
from zarrbench.predictions.cube import done_shards, open_cube
from zarrbench.predictions.ensemble import Ensemble
from zarrbench.predictions.plan import Predict
from zarrbench.predictions.readouts import Readout
from zarrbench.predictions.verification import verify_cube
from zarrbench.sources import Source
from zarrbench.stages.gene_table import run_gene_table
from zarrbench.stages.predict import run_predict
from zarrbench.stages.report import run_report
from zarrbench.stages.sensitivity import (
    CHOSEN,
    ENSEMBLE,
    WEIGHTED,
    ensemble_plan,
    run_sensitivity,
    standing_sensitivity,
    summary,
)
from zarrbench.stages.statistics import open_statistics, run_statistics
from zarrbench.stages.status import pipeline_status
from zarrbench.stages.track_weights import run_track_weights
from zarrbench.stages.workspace import Workspace
from zarrbench.storage import open_dataset

#: what is predicted of every gene of the annotation; one of them nobody measured
PREDICT = Predict(
    Readout("sum_log"),
    genes="all",
    more_readouts={"raw": Readout("raw_sum", (1,)), "finetuned": Readout("log_sum", (0, 1), 2)},
)
SMALL = Ensemble((0, 2, -1))
COMPLEMENT = str.maketrans("ACGT", "TGCA")


def asked(workspace: Workspace, **stages: object) -> Workspace:
    """The pipeline with further stages, or others in their place."""
    recipe = dataclasses.replace(workspace.recipe, stages={**workspace.recipe.stages, **stages})
    return dataclasses.replace(workspace, recipe=recipe)


@pytest.fixture(scope="module")
def predicted(workspace_in, client, tmp_path_factory) -> Workspace:
    statistics = Statistics(
        track="T1", null_test=Null(draws=20, window=300), alpha=0.99, nan_policy="drop"
    )
    workspace = workspace_in(
        tmp_path_factory.mktemp("sensitivity") / "study", PREDICT, statistics, n_tracks=4
    )
    workspace = asked(workspace, sensitivity=Sensitivity(), report=Report())
    run_predict(workspace, client, "GPU")
    run_statistics(workspace, client)
    return workspace


@pytest.fixture
def study(predicted, tmp_path) -> Workspace:
    """The same, in a folder of its own."""
    folder = shutil.copytree(predicted.folder, tmp_path / "study")
    return dataclasses.replace(predicted, folder=folder)


def stored(workspace: Workspace) -> xr.Dataset:
    return open_dataset(workspace.sensitivity, SENSITIVITY).load()


def expression_of(cohort) -> pd.DataFrame:
    """Expression by gene id without version, of the people with genotypes."""
    table = cohort.expression[[name for name in cohort.expression if name in cohort.people]]
    return table.set_axis(table.index.str.split(".").str[0])


def r_of(predicted: pd.DataFrame, measured: pd.DataFrame) -> pd.Series:
    """r across people of every gene of the first, NaN where it is undefined."""
    found = {}
    for gene, row in predicted.iterrows():
        y = measured.reindex([gene]).loc[gene].to_numpy(float)
        x = row[measured.columns].to_numpy(float)
        x, y = x[np.isfinite(y)], y[np.isfinite(y)]
        defined = len(y) > 2 and np.ptp(x) > 1e-9 and np.ptp(y) > 0
        found[gene] = stats.pearsonr(x, y).statistic if defined else np.nan
    return pd.Series(found)


def people(cube: xr.Dataset, variable: str) -> pd.DataFrame:
    values = cube[variable].sel(track="T1").astype(float).mean("haplotype")
    return pd.DataFrame(
        values.values, cube.gene.values.astype(object), cube.individual.values.astype(object)
    )


def check(found: xr.Dataset, choice: str, expected: pd.Series) -> None:
    """The r of a choice, and how it agrees with that as chosen, by pandas."""
    one = found.sel(choice=choice)
    r = pd.Series(one.r.values, found.gene.values.astype(object))
    np.testing.assert_allclose(r, expected.reindex(r.index), rtol=1e-9, atol=1e-12)
    both = pd.DataFrame({"a": found.r.sel(choice=CHOSEN).values, "b": r.to_numpy()})
    both["significant"] = found.significant.values
    both = both.dropna()
    kept = both.a * both.b > 0
    assert one.n_genes.item() == len(both)
    assert one.same_sign.item() == pytest.approx(kept.mean())
    assert one.n_significant.item() == both.significant.sum()
    if both.significant.any():
        assert one.same_sign_significant.item() == pytest.approx(kept[both.significant].mean())
    else:
        assert np.isnan(one.same_sign_significant.item())
    expected = stats.pearsonr(both.a, both.b).statistic if len(both) > 2 else np.nan
    assert one.pearson_r.item() == pytest.approx(expected, nan_ok=True)
    assert one.mean_difference.item() == pytest.approx((both.b.abs() - both.a.abs()).mean())


def of_mutated_strings(workspace: Workspace, cohort, ensemble: Ensemble, genes) -> pd.DataFrame:
    """The mean over all inputs of an ensemble of everybody, base by base."""
    model, length, tss_index = loaded(workspace.model), 64, 20
    names = [str(name) for name in open_cube(workspace.cube).individual.values]
    table = {}
    for gene in genes:
        contig, tss = cohort.genes.loc[gene, ["contig", "tss"]]
        inputs = []
        for shift in ensemble.shifts:
            first = tss - tss_index - shift
            inputs.append((first, False))
        if ensemble.reverse_complement:
            inputs.append((tss + tss_index - length + 1, True))
        total = np.zeros(len(names))
        for first, reverse in inputs:
            sequences = [
                cohort.haplotype(contig, first, first + length - 1, person, haplotype)
                for person in names
                for haplotype in (0, 1)
            ]
            if reverse:
                sequences = [s.translate(COMPLEMENT)[::-1] for s in sequences]
            outputs = model.predict(np.array([encode(s) for s in sequences]), gene)
            summed = np.log(outputs[:, :, 1].astype(float) + 1).sum(axis=1)
            total += summed.reshape(-1, 2).mean(axis=1)
        table[gene] = total / len(inputs)
    return pd.DataFrame(table, names).T


# --- readouts, ensembles and weights


def test_readouts_by_scipy(study, cohort, client):
    assert run_sensitivity(study, client, "GPU") is None  # nothing is predicted again
    found = stored(study)
    assert found.choice.values.tolist() == [CHOSEN, "readout raw", "readout finetuned"]
    statistics = open_statistics(study)
    assert found.gene.values.tolist() == statistics.gene.values.tolist()
    assert "ENSG00000000010" in found.gene.values  # predicted, and not in the table of expression
    np.testing.assert_array_equal(found.r[0], statistics.r)
    assert found.significant.values.sum() >= 2
    assert (found.significant == statistics.significant.sel(statistic="signed")).all()
    cube = open_cube(study.cube).load()
    expression = expression_of(cohort)
    for choice, variable in ((CHOSEN, "prediction"), ("readout raw", "prediction_raw"),
                             ("readout finetuned", "prediction_finetuned")):  # fmt: skip
        check(found, choice, r_of(people(cube, variable), expression))
    assert found.same_sign[0] == 1
    assert found.mean_difference[0] == 0
    table = pd.read_csv(study.sensitivity_table, sep="\t")
    assert table.choice.tolist() == found.choice.values.tolist()
    for name in table.columns[1:]:
        np.testing.assert_allclose(table[name], found[name])
    shown = summary(found)
    json.dumps(shown)
    assert list(shown) == ["readout raw", "readout finetuned"]


@pytest.mark.parametrize("ensemble", [SMALL, Ensemble((1,), reverse_complement=False), Ensemble()])
def test_an_ensemble_by_strings(study, cohort, client, ensemble):
    workspace = asked(study, sensitivity=Sensitivity(ensemble, n_genes=4))
    filled = run_sensitivity(workspace, client, "GPU")
    assert (filled.wanted, filled.now, filled.failed) == (4, 4, {})
    tried = open_cube(workspace.ensemble).load()
    genes = tried.gene.values.astype(object)
    expected = of_mutated_strings(workspace, cohort, ensemble, genes)
    np.testing.assert_allclose(people(tried, "prediction"), expected, rtol=1e-6)
    found = stored(workspace)
    assert found.choice.values[-1] == ENSEMBLE
    check(found, ENSEMBLE, r_of(people(tried, "prediction"), expression_of(cohort)))
    assert np.isnan(found.r.sel(choice=ENSEMBLE).drop_sel(gene=genes)).all()


def test_which_genes_an_ensemble_is_tried_on(study):
    statistics = open_statistics(study)
    possible = {*map(str, statistics.gene.values)}

    def drawn(n_genes: int, seed: int, statistics=statistics) -> list[str]:
        workspace = asked(study, sensitivity=Sensitivity(SMALL, n_genes, seed))
        return [str(name) for name in ensemble_plan(workspace, statistics).genes.gene.values]

    whole = drawn(100, 1)
    assert {*whole} == possible
    draws = [drawn(3, seed) for seed in range(12)]
    assert all(len({*draw}) == 3 for draw in draws)
    assert {name for draw in draws for name in draw} == possible
    assert len({tuple(draw) for draw in draws}) > 6
    assert drawn(3, 5) == draws[5]
    assert draws[5] == [name for name in whole if name in draws[5]]  # in the order of the genome
    # more, or among fewer, are most of the same
    assert {*draws[5]} < {*drawn(4, 5)}
    fewer = statistics.drop_sel(gene=draws[5][0])
    assert {*draws[5][1:]} < {*drawn(3, 5, fewer)}


def test_the_cube_of_an_ensemble_grows(study, client):
    """First of few genes, as a trial run with --limit-genes leaves them; then of all."""
    trial = asked(study, sensitivity=Sensitivity(SMALL, 4))
    run_statistics(trial, client, limit=3)
    assert run_sensitivity(trial, client, "GPU").now == 3
    first = stored(trial)
    assert first.sizes["gene"] == 3
    run_statistics(trial, client)
    assert standing_sensitivity(trial) is None
    statistics = open_statistics(trial)
    genes = [str(name) for name in ensemble_plan(trial, statistics).genes.gene.values]
    filled = run_sensitivity(trial, client, "GPU")
    assert (filled.wanted, filled.before) == (len(genes), 3)
    assert filled.now >= 1
    found = stored(trial)
    # those of the trial that are not drawn now take no part
    tried = open_cube(trial.ensemble)
    assert tried.gene.values.tolist() == genes
    fresh = dataclasses.replace(trial, folder=study.folder.parent / "fresh")
    shutil.copytree(study.cube, fresh.cube)
    shutil.copytree(study.cube.with_suffix(".ledger"), fresh.cube.with_suffix(".ledger"))
    run_statistics(fresh, client)
    run_sensitivity(fresh, client, "GPU")
    xr.testing.assert_identical(stored(fresh).drop_attrs(), found.drop_attrs())
    assert verify_cube(trial.ensemble)[1] == []


def test_a_gene_that_was_mended_is_compared(study, client):
    """What failed in the small cube and is tried again changes the comparison."""
    workspace = asked(study, sensitivity=Sensitivity(SMALL, 3))
    run_sensitivity(workspace, client, "GPU")
    whole = stored(workspace)
    gene = str(whole.gene.values[np.isfinite(whole.r.sel(choice=ENSEMBLE).values).argmax()])
    [key] = [key for key in done_shards(workspace.ensemble) if key[0] == gene]
    [path] = [
        path
        for name in done_shards(workspace.ensemble)[key].checksums
        for path in [workspace.ensemble / name]
        if "reference" not in name
    ]
    path.unlink()  # as if it had never been made
    assert standing_sensitivity(workspace) is None
    assert run_sensitivity(workspace, client, "GPU").now == 1
    assert stored(workspace).identical(whole)


def test_weighted_tracks(study, client, tmp_path):
    (tmp_path / "w.csv").write_text(
        "tracks,weights\neven,0.5\nodd,-2.0\neven,0.0\nodd,0.25\noffset,3.5\n"
    )
    weights = WeightedTracks(weights=Source(str(tmp_path / "w.csv")), readout="finetuned")
    workspace = asked(study, track_weights=weights)
    with pytest.raises(
        RecipeError, match=r"weighted tracks .*track_weights.zarr are not there.*tr"
    ):
        run_sensitivity(workspace, client, "GPU")
    made = run_track_weights(workspace)
    run_sensitivity(workspace, client, "GPU")
    found = stored(workspace)
    assert found.choice.values[-1] == WEIGHTED
    expected = pd.Series(made.pearson_r.values, made.gene.values.astype(object))
    assert expected.notna().sum() >= 3
    check(found, WEIGHTED, expected)
    assert standing_sensitivity(workspace).identical(found)
    # other weights: what was found is of those before
    (tmp_path / "w.csv").write_text("tracks,weights\neven,1\nodd,2\neven,0\nodd,0\noffset,0\n")
    assert standing_sensitivity(workspace) is None
    run_report(workspace, {})
    with pytest.raises(RecipeError, match="--only track_weights' first"):
        run_sensitivity(workspace, client, "GPU")
    (tmp_path / "w.csv").unlink()
    assert standing_sensitivity(workspace) is None


# --- subsets


def test_significant_genes_of_lists_are_counted(study, client, tmp_path):
    statistics = open_statistics(study)
    r = pd.Series(statistics.r.values, statistics.gene.values.astype(object))
    significant = pd.Series(
        statistics.significant.sel(statistic="signed").values.astype(bool), r.index
    )
    assert (r[significant] < 0).any()
    assert not (r[significant] < 0).all()
    lists = {"brain": [r.idxmin(), *r.index[~significant][:1]], "cortex": [r.idxmax()]}
    sources = {}
    for name, genes in lists.items():
        path = tmp_path / f"{name}.tsv"
        path.write_text("".join(f"{gene}\tchr1_405_A_G_b38\n" for gene in genes))
        sources[name] = Source(str(path))
    workspace = asked(study, gene_table=GeneTable(sources))
    run_sensitivity(workspace, client, "GPU")  # without the table of genes there are no subsets
    assert "subset" not in stored(workspace).dims
    run_gene_table(workspace)
    assert standing_sensitivity(workspace) is None
    run_sensitivity(workspace, client, "GPU")
    found = stored(workspace)
    members = {"every gene": r.index, **lists, "any": [*lists["brain"], *lists["cortex"]]}
    assert {*found.subset.values} == {*members}
    shown = summary(found)["significant genes with r < 0"]
    for name, genes in members.items():
        chosen = r[list(genes)][significant[list(genes)]]
        one = found.sel(subset=name)
        assert one.subset_significant.item() == len(chosen)
        assert one.subset_negative.item() == (chosen < 0).sum()
        assert shown[name] == f"{(chosen < 0).sum()} of {len(chosen)}"
    assert shown["brain"] == "1 of 1"
    assert shown["cortex"] == "0 of 1"


# --- what stands, and what cannot be


def test_what_is_done_is_kept_until_something_changes(study, client):
    workspace = asked(study, sensitivity=Sensitivity(SMALL, 2))
    assert standing_sensitivity(workspace) is None
    run_sensitivity(workspace, client, "GPU")
    written = workspace.sensitivity_table.stat().st_mtime_ns
    again = run_sensitivity(workspace, client, "GPU")
    assert (again.before, again.now) == (2, 0)
    assert workspace.sensitivity_table.stat().st_mtime_ns == written
    assert standing_sensitivity(workspace).identical(stored(workspace))
    for other in (Sensitivity(), Sensitivity(SMALL, 3), Sensitivity(SMALL, 2, 7),
                  Sensitivity(Ensemble((0,)), 2)):  # fmt: skip
        assert standing_sensitivity(asked(study, sensitivity=other)) is None
    # other inputs are another cube
    other = asked(study, sensitivity=Sensitivity(Ensemble((0,)), 2))
    with pytest.raises(RecipeError, match=r"ensemble.zarr cannot be extended.*ensemble.shifts"):
        run_sensitivity(other, client, "GPU")
    statistics = dataclasses.replace(workspace.recipe.stage(Statistics), alpha=0.01)
    assert standing_sensitivity(asked(workspace, statistics=statistics)) is None
    workspace.sensitivity_table.unlink()
    assert standing_sensitivity(workspace) is None


def test_the_ensemble_is_another_cube(study, client):
    def files() -> dict[str, bytes]:
        made = (study.cube, study.cube.with_suffix(".ledger"))
        paths = [path for folder in made for path in folder.rglob("*") if path.is_file()]
        return {str(path): path.read_bytes() for path in paths}

    before, status = files(), pipeline_status(study)
    workspace = asked(study, sensitivity=Sensitivity(SMALL, 3))
    run_sensitivity(workspace, client, "GPU")
    assert files() == before
    assert {k: v for k, v in pipeline_status(study).items() if k not in ("results", "running")} == {
        k: v for k, v in status.items() if k not in ("results", "running")
    }
    again = run_predict(workspace, client, "GPU")
    assert (again.before, again.now) == (again.wanted, 0)
    assert open_statistics(workspace).identical(open_statistics(study))
    tried, cube = open_cube(workspace.ensemble).load(), open_cube(workspace.cube).load()
    assert tried.sizes["gene"] == 3
    assert "prediction_raw" not in tried
    both = cube.sel(gene=tried.gene.values)
    assert not np.array_equal(both.prediction, tried.prediction)
    assert verify_cube(workspace.ensemble)[1] == []


def test_nothing_to_compare_with(workspace_in, client, tmp_path):
    workspace = asked(workspace_in(tmp_path / "study"), sensitivity=Sensitivity())
    with pytest.raises(StoreLayoutError, match="there are no statistics"):
        run_sensitivity(workspace, client, "GPU")
    run_predict(workspace, client, "GPU")
    run_statistics(workspace, client)
    with pytest.raises(
        RecipeError, match=r"toy.yaml: the sensitivity stage has nothing to compare"
    ):
        run_sensitivity(workspace, client, "GPU")
    assert not workspace.sensitivity.exists()
    assert not workspace.ensemble.exists()
