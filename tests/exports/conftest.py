"""A finished pipeline of the toy model, with nearly every stage."""

from collections.abc import Callable
from pathlib import Path

import pytest

from zarrbench.attribution_parameters import Attributions, Drivers, Motifs, Sensitivity
from zarrbench.parameters import Eqtl, GeneTable, GenotypeQuality, Null, Population, Statistics
from zarrbench.pipeline import PipelineRecipe
from zarrbench.predictions.ensemble import Ensemble
from zarrbench.predictions.plan import Predict
from zarrbench.predictions.readouts import Readout
from zarrbench.stages.attributions import run_attributions
from zarrbench.stages.drivers import run_drivers
from zarrbench.stages.eqtl import run_eqtl
from zarrbench.stages.gene_table import run_gene_table
from zarrbench.stages.genotype_quality import run_genotype_quality
from zarrbench.stages.motifs import run_motifs
from zarrbench.stages.population import run_population
from zarrbench.stages.predict import run_predict
from zarrbench.stages.sensitivity import run_sensitivity
from zarrbench.stages.statistics import run_statistics
from zarrbench.stages.workspace import Workspace
from zarrbench.statistics.drivers import DriverRule

STAGES = {
    "genotype_quality": GenotypeQuality(n_components=2),
    "predict": Predict(Readout("raw_sum"), individuals="all"),
    "statistics": Statistics(track="T1", null_test=Null(draws=20, statistic="sem")),
    "attributions": Attributions(tracks=("T0", "T1"), profiles=True),
    "drivers": Drivers(DriverRule(criteria="increment_only"), "all", 0.0, 0.0),
    "motifs": Motifs("all", tss_flank=10),
    "population": Population(),
    "eqtl": Eqtl(window=500),
    "gene_table": GeneTable(),
    "sensitivity": Sensitivity(Ensemble((0, 1), False), 3),
}


@pytest.fixture(scope="session")
def finished(family, toy, client, tmp_path_factory) -> Workspace:
    """Shared, so that nobody may change it."""
    folder = tmp_path_factory.mktemp("exports") / "study"
    model = toy(input_length=240, tss_index=80, gradients=True)
    recipe = PipelineRecipe("study", "as in the paper", family.recipe_file, model, STAGES)
    workspace = Workspace(recipe, Path("toy.yaml"), family, folder, sources=None)
    runs: list[Callable[[], object]] = [
        lambda: run_genotype_quality(workspace),
        lambda: run_predict(workspace, client, "GPU"),
        lambda: run_statistics(workspace, client),
        lambda: run_attributions(workspace, client, "GPU"),
        lambda: run_drivers(workspace, client),
        lambda: run_motifs(workspace, client, "GPU"),
        lambda: run_population(workspace),
        lambda: run_eqtl(workspace),
        lambda: run_gene_table(workspace),
        lambda: run_sensitivity(workspace, client, "GPU"),
    ]
    for run in runs:
        run()
    return workspace
