"""The report and the server of a finished run, and of one that is not."""

import dataclasses
import re

import numpy as np
import pytest

from zarrbench.attribution_parameters import Attributions, Drivers
from zarrbench.errors import RecipeError, ZarrbenchError
from zarrbench.parameters import Null, Report, Statistics
from zarrbench.predictions.plan import Predict
from zarrbench.predictions.readouts import Readout
from zarrbench.report.gene_views import snv_view
from zarrbench.stages.attributions import run_attributions
from zarrbench.stages.drivers import run_drivers
from zarrbench.stages.explore import explore
from zarrbench.stages.gene_drivers import read_concordance
from zarrbench.stages.predict import run_predict
from zarrbench.stages.report import report_inputs, run_report
from zarrbench.stages.statistics import open_statistics, run_statistics


@pytest.fixture(scope="module")
def workspace(workspace_in, client, tmp_path_factory):
    made = workspace_in(
        tmp_path_factory.mktemp("explore") / "study",
        predict=Predict(Readout("raw_sum"), individuals="all"),
        statistics=Statistics(track="T1", null_test=Null(draws=20, statistic="sem")),
        input_length=240,
        tss_index=80,
        gradients=True,
    )
    stages = {
        **made.recipe.stages,
        "attributions": Attributions(),
        "drivers": Drivers(),
        "report": Report(),
    }
    made = dataclasses.replace(made, recipe=dataclasses.replace(made.recipe, stages=stages))
    assert not run_predict(made, client, "GPU").failed
    run_statistics(made, client)
    assert not run_attributions(made, client, "GPU").failed
    run_drivers(made, client)
    return made


def test_the_null_is_counted(workspace):
    statistics = open_statistics(workspace)
    defined = statistics["null_mean"].notnull()
    counts = statistics["null_count"]
    assert (counts.sum("null_bin") == 20 * defined).all()
    middles = statistics["null_bin"] + 0.005
    means = (counts * middles).sum("null_bin") / 20
    np.testing.assert_allclose(means[defined], statistics["null_mean"][defined], atol=0.0051)


def test_views_are_those_of_the_stores(workspace):
    views = report_inputs(workspace, {}).views
    for gene in views.genes:
        view = views.view(gene)
        assert view["snvs"] == snv_view(read_concordance(workspace.concordance, gene))
        row = views.statistics.sel(gene=gene)
        assert view["people"]["people"] == int(row["n_individuals"])


def test_without_drivers_no_snv_is_shown(workspace):
    stages = {k: v for k, v in workspace.recipe.stages.items() if k != "drivers"}
    recipe = dataclasses.replace(workspace.recipe, stages=stages)
    views = report_inputs(dataclasses.replace(workspace, recipe=recipe), {}).views
    assert views.view(views.genes[0])["snvs"] is None


def test_no_id_of_anybody_is_in_the_report(workspace, cohort):
    run_report(workspace, {})
    html = workspace.report.read_text()
    for person in [*cohort.people, *cohort.expression.columns]:
        assert not re.search(rf"\b{person}\b", html)


def test_it_serves_the_stores_and_writes_nothing(workspace, monkeypatch):
    served = []
    monkeypatch.setattr(
        "zarrbench.stages.explore.serve",
        lambda page, views, port, say: served.append((page, views)),
    )
    before = {p: p.stat().st_mtime_ns for p in workspace.folder.rglob("*")}
    explore(workspace, 0, print)
    [(page, views)] = served
    assert '"served":true' in page
    assert 'id="gene-views"' not in page
    assert views.view("ENSG00000000001")["snvs"]["total"] > 0
    assert {p: p.stat().st_mtime_ns for p in workspace.folder.rglob("*")} == before


def test_an_unfinished_run_is_refused(workspace, workspace_in, tmp_path):
    with pytest.raises(ZarrbenchError, match=r"there is no|run"):
        explore(workspace_in(tmp_path / "nothing"), 0, print)
    other = dataclasses.replace(workspace.recipe.stage(Statistics), alpha=0.2)
    stages = {**workspace.recipe.stages, "statistics": other}
    recipe = dataclasses.replace(workspace.recipe, stages=stages)
    with pytest.raises(RecipeError, match="other parameters"):
        explore(dataclasses.replace(workspace, recipe=recipe), 0, print)
