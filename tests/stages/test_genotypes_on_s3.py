"""What a run does when it cannot read the genotypes behind a URL any more."""

import shutil

import numpy as np
import pytest

from zarrbench.errors import SourceError
from zarrbench.predictions.cube import open_cube
from zarrbench.stages.predict import run_predict
from zarrbench.stages.statistics import run_statistics
from zarrbench.stages.status import pipeline_status
from zarrbench.stages.workspace import Workspace
from zarrbench.stores import StoreFamily

pytestmark = pytest.mark.network

LOST = r"s3://cohorts/toy\.vcz cannot be read: .*use credentials that may list and read it"


@pytest.fixture
def workspace(s3, family, workspace_in, tmp_path) -> Workspace:
    url = s3.put(family.part_path("genotypes"), "toy.vcz")
    stores = shutil.copytree(family.recipe_file.parent, tmp_path / "stores")
    recipe = stores / "toy.yaml"
    recipe.write_text(recipe.read_text().replace("cohort.vcf.gz", url))
    remote = StoreFamily(recipe, tmp_path / "data")
    remote.build()
    return workspace_in(tmp_path / "remote", stores=remote)


def test_the_run_stops_and_continues(workspace, workspace_in, s3, client, tmp_path):
    run_predict(workspace, client, "GPU", limit=2)
    with s3.refusing(), pytest.raises(SourceError, match=LOST):
        run_predict(workspace, client, "GPU")
    status = pipeline_status(workspace)
    assert status["failed"] == 0
    assert status["missing"] > 0
    assert not run_predict(workspace, client, "GPU").failed
    # No gene may pass for one whose null is undefined.
    with s3.refusing(), pytest.raises(SourceError, match=LOST):
        run_statistics(workspace, client)
    assert not workspace.statistics.exists()
    local = workspace_in(tmp_path / "local")
    run_predict(local, client, "GPU")
    np.testing.assert_array_equal(
        open_cube(workspace.cube)["prediction"], open_cube(local.cube)["prediction"]
    )
    mine, theirs = run_statistics(workspace, client), run_statistics(local, client)
    np.testing.assert_array_equal(mine["null_p"], theirs["null_p"])
