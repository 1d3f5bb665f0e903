"""The population stage: r across genes from the files of the hand-made cohort, by pandas."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

from zarrbench.errors import ExpressionError, GeneTableError, IncompleteCubeError
from zarrbench.layouts import POPULATION
from zarrbench.parameters import GeneSubset, Population
from zarrbench.sources import Source
from zarrbench.stages import population as stage
from zarrbench.stages.population import run_population, standing_population, summary
from zarrbench.stages.predict import run_predict
from zarrbench.stages.status import pipeline_status
from zarrbench.stages.workspace import Workspace
from zarrbench.storage import open_dataset


@pytest.fixture(scope="module")
def finished(workspace_in, client, tmp_path_factory) -> Workspace:
    workspace = workspace_in(tmp_path_factory.mktemp("population") / "study")
    assert not run_predict(workspace, client, "GPU").failed
    return workspace


def asked(workspace: Workspace, *subsets: GeneSubset, **parameters: object) -> Workspace:
    """The pipeline with the stage."""
    stages = {**workspace.recipe.stages, "population": Population(subsets, **parameters)}
    return dataclasses.replace(
        workspace, recipe=dataclasses.replace(workspace.recipe, stages=stages)
    )


def listed(path, *ids, name="listed", **more) -> GeneSubset:
    path.write_text("\n".join(ids))
    return GeneSubset(name, genes=Source(str(path)), **more)


def frame_of(workspace: Workspace, cohort) -> pd.DataFrame:
    """Reference predictions by track, and the mean over the 19 people with genotypes."""
    cube = xr.open_zarr(workspace.cube)
    frame = pd.DataFrame(
        cube.reference_prediction.values,
        cube.gene.values.astype(object),
        cube.track.values.astype(object),
    )
    joined = [name for name in cohort.expression.columns if name in cohort.people]
    mean = cohort.expression[joined].mean(axis=1)
    mean.index = mean.index.str.split(".").str[0]
    return frame.assign(observed=mean.reindex(frame.index))


def test_r_of_all_genes_and_of_subsets(finished, cohort, tmp_path):
    frame = frame_of(finished, cohort)
    chosen = ["ENSG00000000001.9", "ENSG00000000003", "ENSG00000000004", "ENSG00000000003.1",
              "ENSG00000000005"]  # fmt: skip
    plain = listed(tmp_path / "ids.txt", *chosen)
    rest = listed(tmp_path / "rest.csv", *(f"{one},x" for one in chosen), name="rest", outside=True)
    array = tmp_path / "ids.npy"
    np.save(array, np.array(chosen))
    workspace = asked(finished, plain, rest, GeneSubset("array", genes=Source(str(array))))
    found = run_population(workspace)
    POPULATION.check(open_dataset(workspace.population, POPULATION), workspace.population)
    inside = frame.index.isin([one.split(".")[0] for one in chosen])
    assert 3 < inside.sum() < len(frame)
    table = pd.read_csv(workspace.population_table, sep="\t", index_col=[0, 1])
    parts = {"all": frame, "listed": frame[inside], "rest": frame[~inside], "array": frame[inside]}
    assert table.index.get_level_values(0).unique().tolist() == list(parts)
    for (name, track), row in table.iterrows():
        part = parts[name][[track, "observed"]].dropna()
        assert row.n_genes == len(part)
        if len(part) < 3:
            assert np.isnan(row.pearson_r)
            continue
        expected = stats.pearsonr(part[track], part.observed).statistic
        assert row.pearson_r == pytest.approx(expected, rel=1e-10)
        expected = stats.spearmanr(part[track], part.observed).statistic
        assert row.spearman_r == pytest.approx(expected, rel=1e-10)
    assert table.loc["all"].n_genes.tolist() == [frame.observed.notna().sum()] * 3
    assert found.in_subset.sel(subset="listed").values.tolist() == inside.tolist()
    shown = summary(found)
    assert list(shown) == list(parts)
    best = table.loc["all"].pearson_r
    assert shown["all"]["track"] == best.idxmax()
    assert shown["all"]["pearson_r"] == round(best.max(), 4)
    done = pipeline_status(workspace)["results"]
    assert done["population.zarr"]
    assert done["population.tsv"]


def test_regions_hold_the_tss_or_the_window(workspace_in, finished, cohort, tmp_path):
    """The model of these stores begins 20 bases before the TSS on the forward strand."""
    path = tmp_path / "regions.bed"
    genes = cohort.genes.loc[["ENSG00000000001", "ENSG00000000003", "ENSG00000000004"]]
    starts = genes.tss - 1 - 20 + np.array([0, 1, 0])
    rows = [f"{c}\t{s}\t{s + 64}\ttest" for c, s in zip(genes.contig, starts, strict=True)]
    path.write_text("\n".join([*rows, "chr1\t0\t6000\ttrain"]))
    subsets = [
        GeneSubset(rule, regions=Source(str(path)), label="test", test_rule=rule)
        for rule in ("tss_in_region", "window_in_region")
    ]
    found = run_population(asked(finished, *subsets)).in_subset.to_pandas().T
    assert found.index[found.tss_in_region].tolist() == genes.index.tolist()
    assert found.index[found.window_in_region].tolist() == [genes.index[0], genes.index[2]]
    # as reverse complement the minus strand's window ends 20 bases behind the TSS
    workspace = workspace_in(tmp_path / "aware", strand_aware=True)
    names = list(found.index)
    inside = stage.in_subset(asked(workspace, *subsets), subsets[1], names)
    assert [names[i] for i in np.flatnonzero(inside)] == [genes.index[0]]


def test_an_empty_subset_and_few_genes_are_no_error(finished, tmp_path):
    subset = listed(tmp_path / "ids.txt", "ENSG00000000008")  # annotated, not predicted
    found = run_population(asked(finished, subset), limit=2)
    assert found.n_genes.sel(subset="listed").values.tolist() == [0, 0, 0]
    assert np.isnan(found.pearson_r.values).all()
    assert found.sizes["gene"] == 2


def test_the_logarithm_of_the_mean(finished, cohort):
    frame = frame_of(finished, cohort)
    found = run_population(asked(finished, pseudocount=5.0))
    np.testing.assert_allclose(found.mean_observed, np.log2(frame.observed + 5))
    with pytest.raises(ExpressionError, match="has no logarithm; leave 'pseudocount' out"):
        run_population(asked(finished, pseudocount=1e-6))


def test_is_kept_until_something_changes(finished, tmp_path):
    path = tmp_path / "ids.txt"
    workspace = asked(finished, listed(path, "ENSG00000000001", "ENSG00000000003"))
    names = [str(gene) for gene in run_population(workspace).gene.values]
    before = workspace.population_table.stat().st_mtime_ns
    run_population(workspace)
    assert workspace.population_table.stat().st_mtime_ns == before
    assert standing_population(workspace, names) is not None
    assert standing_population(workspace, names[:-1]) is None
    path.write_text("ENSG00000000001")
    assert standing_population(workspace, names) is None
    run_population(workspace)
    assert workspace.population_table.stat().st_mtime_ns > before
    path.unlink()  # as for `zarrbench report` without the folder of sources
    assert standing_population(workspace, names) is None


def test_lists_of_other_ids_are_refused(finished, tmp_path):
    with pytest.raises(GeneTableError, match="none of the 10 genes is in the set of 2 ids"):
        run_population(asked(finished, listed(tmp_path / "ids.txt", "SCYL3", "LAP3")))
    with pytest.raises(GeneTableError, match="holds no gene id"):
        run_population(asked(finished, listed(tmp_path / "none.txt")))
    np.save(tmp_path / "numbers.npy", np.arange(3))
    numbers = GeneSubset("numbers", genes=Source(str(tmp_path / "numbers.npy")))
    with pytest.raises(GeneTableError, match="holds int64, expected gene ids as text"):
        run_population(asked(finished, numbers))
    (tmp_path / "text.npy").write_text("ENSG00000000001")
    with pytest.raises(GeneTableError, match="is no NumPy array of gene ids"):
        run_population(asked(finished, GeneSubset("x", genes=Source(str(tmp_path / "text.npy")))))


def test_a_cube_without_a_finished_gene_is_refused(workspace_in, client, tmp_path):
    workspace = workspace_in(tmp_path / "broken", fails=tuple(f"ENSG{i:011d}" for i in range(12)))
    run_predict(workspace, client, "GPU")
    with pytest.raises(IncompleteCubeError, match="no gene of the cube"):
        run_population(asked(workspace))


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: GeneSubset("x"), "needs either genes or regions"),
        (lambda: GeneSubset("x", Source("a"), Source("b")), "needs either genes or regions"),
        (lambda: GeneSubset("x", Source("a"), label="test"), "needs regions"),
        (lambda: GeneSubset("all", Source("a")), "cannot be 'all'"),
        (lambda: Population((GeneSubset("x", Source("a")),) * 2), "names one more than once"),
        (lambda: Population(pseudocount=0.0), "must be a positive number"),
    ],
)
def test_refused_parameters(made, message):
    with pytest.raises(ValueError, match=message):
        made()
