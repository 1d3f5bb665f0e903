"""A study that grows: more genes and people in its expression table than when its cube began."""

import numpy as np
import pytest

from zarrbench.errors import RecipeError
from zarrbench.predictions.cube import open_cube
from zarrbench.predictions.plan import Predict
from zarrbench.predictions.readouts import Readout
from zarrbench.stages.predict import dry_run, run_predict
from zarrbench.stages.statistics import run_statistics
from zarrbench.stores import StoreFamily

BLOCKS = Predict(Readout("sum_log"), block_size=4)


@pytest.fixture
def grown(new_cohort, workspace_in, client, tmp_path):
    """A pipeline with a cube of a few genes and people, and expression of all of them by now."""
    cohort = new_cohort(tmp_path / "cohort")
    table, file = cohort.expression, cohort.recipe.parent / "expression.tsv"
    if not file.exists():
        file = cohort.folder / "expression.tsv"
    table.iloc[::2, 5:14].to_csv(file, sep="\t", na_rep="NA")
    StoreFamily(cohort.recipe, tmp_path / "data").build()
    stores = StoreFamily(cohort.recipe, tmp_path / "data")
    first = workspace_in(tmp_path / "growing", predict=BLOCKS, stores=stores)
    assert run_predict(first, client, "GPU").failed == {}
    table.to_csv(file, sep="\t", na_rep="NA")
    stores = StoreFamily(cohort.recipe, tmp_path / "data")
    stores.build(["expression"], overwrite=True)
    return first, workspace_in(tmp_path / "growing", predict=BLOCKS, stores=stores)


def test_it_is_extended_if_asked_and_equals_one_made_at_once(grown, workspace_in, client, tmp_path):
    before, workspace = grown
    n_genes, n_people = before.plan.genes.sizes["gene"], len(before.plan.individuals)
    assert (n_genes, n_people) < (
        workspace.plan.genes.sizes["gene"],
        len(workspace.plan.individuals),
    )
    with pytest.raises(
        RecipeError, match=rf"has {n_genes} genes of {n_people} people, .* --extend"
    ):
        run_predict(workspace, client, "GPU")
    with pytest.raises(RecipeError, match="--extend"):
        dry_run(workspace)
    planned = dry_run(workspace, extend=True)
    assert planned["tasks_done"] == n_genes * (n_people // 4)
    filled = run_predict(workspace, client, "GPU", extend=True)
    assert filled.failed == {}
    assert filled.before == planned["tasks_done"]
    assert filled.now == planned["tasks_to_do"]
    cube = open_cube(workspace.cube)
    assert cube.individual.values.tolist()[:n_people] == list(before.plan.individuals)
    at_once = workspace_in(tmp_path / "at_once", predict=BLOCKS, stores=workspace.stores)
    run_predict(at_once, client, "GPU")
    expected = open_cube(at_once.cube)
    same = cube.sel(gene=expected.gene, individual=expected.individual)
    assert np.array_equal(same.prediction, expected.prediction)
    assert np.array_equal(same.reference_prediction, expected.reference_prediction)
    found = run_statistics(workspace, client)
    alike = run_statistics(at_once, client).sel(gene=found.gene)
    np.testing.assert_allclose(found.r, alike.r, rtol=1e-9)  # sums of people in another order
    np.testing.assert_array_equal(found.n_individuals, alike.n_individuals)


def test_what_is_extended_stays_so_and_continues_without_the_flag(grown, client):
    _, workspace = grown
    run_predict(workspace, client, "GPU", limit=2, extend=True)
    again = run_predict(workspace, client, "GPU")
    assert again.failed == {}
    assert again.now > 0
    assert open_cube(workspace.cube).attrs["complete"] is True
    once_more = run_predict(workspace, client, "GPU", extend=True)
    assert once_more.now == 0
