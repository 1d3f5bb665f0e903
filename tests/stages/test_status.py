import os
import shutil
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from zarrbench import ledger
from zarrbench.errors import IncompleteCubeError, RecipeError, StoreLayoutError
from zarrbench.locks import locked
from zarrbench.predictions.ensemble import Ensemble
from zarrbench.predictions.plan import Predict
from zarrbench.predictions.readouts import Readout
from zarrbench.stages.predict import dry_run, refuse_failed, run_predict
from zarrbench.stages.statistics import run_statistics
from zarrbench.stages.status import pipeline_status, shards_per_hour

FAILING = ("ENSG00000000002", "ENSG00000000004")
BLOCKS = Predict(Readout("sum_log"), block_size=8)


def counts(status: dict) -> tuple[int, int, int, int]:
    return tuple(status[key] for key in ("shards", "done", "failed", "missing"))


def test_nothing_was_run(workspace_in, tmp_path):
    with pytest.raises(StoreLayoutError, match=r"'new' has no cube in .*start it with 'zarrb"):
        pipeline_status(workspace_in(tmp_path / "new"))


def test_status_of_a_run_step_by_step(workspace_in, client, tmp_path):
    workspace = workspace_in(tmp_path / "steps", predict=BLOCKS)
    run_predict(workspace, client, "GPU", limit=2)
    status = pipeline_status(workspace)
    assert counts(status) == (21, 6, 0, 15)
    assert status["complete"] is False
    assert status["cube"] == str(workspace.cube)
    assert set(status["worker_seconds"]) == {"prepare", "predict", "write"}
    assert status["first_errors"] == {}
    assert status["running"] is False
    assert status["results"] == {"genes.zarr": False, "genes.tsv": False, "report.html": False}
    run_predict(workspace, client, "GPU")
    run_statistics(workspace, client)
    status = pipeline_status(workspace)
    assert counts(status) == (21, 21, 0, 0)
    assert status["complete"] is True
    assert status["results"] == {"genes.zarr": True, "genes.tsv": True, "report.html": False}


def test_failures_and_the_first_errors(workspace_in, client, tmp_path):
    workspace = workspace_in(tmp_path / "failing", predict=BLOCKS, fails=FAILING)
    filled = run_predict(workspace, client, "GPU")
    status = pipeline_status(workspace)
    assert counts(status) == (21, 15, 6, 0)
    assert len(status["first_errors"]) == 3
    for place, error in status["first_errors"].items():
        gene = place.split(" ")[0]
        assert gene in FAILING
        assert error == f"ModelInputError: no answer for {gene}"
    with pytest.raises(IncompleteCubeError, match="6 of 21 shards failed, the first ENSG"):
        refuse_failed(filled)


def test_a_shard_that_was_lost_is_missing(workspace_in, client, tmp_path):
    workspace = workspace_in(tmp_path / "lost")
    run_predict(workspace, client, "GPU", limit=4)
    shard = workspace.cube / "prediction" / "c.1.0.0.0"
    shard.write_bytes(shard.read_bytes()[:-1])
    os.remove(workspace.cube / "reference_prediction" / "c.2.0")
    assert counts(pipeline_status(workspace)) == (7, 2, 0, 5)
    assert dry_run(workspace)["tasks_done"] == 2
    run_predict(workspace, client, "GPU")
    assert counts(pipeline_status(workspace)) == (7, 7, 0, 0)
    os.remove(shard)
    assert counts(pipeline_status(workspace)) == (7, 6, 0, 1)


def test_a_complete_cube_without_its_ledger(workspace_in, client, tmp_path):
    workspace = workspace_in(tmp_path / "copied")
    run_predict(workspace, client, "GPU")
    shutil.rmtree(ledger.ledger_of(workspace.cube))
    status = pipeline_status(workspace)
    assert counts(status) == (7, 7, 0, 0)
    assert status["worker_seconds"] == {}


def at(*seconds: float) -> list[str]:
    start = datetime(2026, 1, 1, 12, tzinfo=UTC)
    return [(start + timedelta(seconds=s)).strftime("%Y-%m-%dT%H:%M:%SZ") for s in seconds]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ([], None),
        ([0], None),
        ([5, 5, 5], None),  # all within the second that a ledger tells apart
        (range(0, 600, 10), 360),
        (range(599, -1, -10), 360),  # in any order
        ([*range(0, 600, 60), *range(40_000, 40_300, 60)], 60),  # the run of last night
        ([*range(0, 600, 60), *range(2400, 3000, 60)], 60),  # a pause
        ([*range(0, 600, 60), *range(-3_000_000, -2_999_400, 60)], 60),  # the clock was set back
        (range(0, 40_000, 3000), 1.2),
    ],
)
def test_rate(seconds, expected):
    found = shards_per_hour(at(*seconds))
    assert found is None or type(found) is float  # what the command line cannot print else
    assert found == (expected if expected is None else pytest.approx(expected))


def test_a_run_is_seen_running_and_not_disturbed(workspace_in, client, tmp_path):
    workspace = workspace_in(tmp_path / "now")
    run_predict(workspace, client, "GPU", limit=1)
    with locked(workspace.folder):
        assert pipeline_status(workspace)["running"] is True
    assert pipeline_status(workspace)["running"] is False
    with locked(workspace.folder):
        pass


def test_dry_run(workspace_in, client, tmp_path):
    workspace = workspace_in(tmp_path / "planned", predict=BLOCKS)
    planned = dry_run(workspace)
    assert not workspace.folder.exists()
    assert 5 * 2 <= planned.pop("distinct_sequences") < 7 * 38
    expected = {
        "pipeline": "planned",
        "model": "toy",
        "genes": 7,
        "genes_left_out": {
            "not in the gene annotation": 1,
            "its contig has no genotypes": 1,
            "its window leaves the contig": 1,
        },
        "individuals": 19,
        "tracks": 3,
        "tasks": 21,
        "tasks_done": 0,
        "tasks_failed": 0,
        "tasks_to_do": 21,
        "haplotypes_to_do": 7 * 38,
        "cube_bytes": 3 * 4 * 7 * 39,
        "cube_files": workspace.plan.size()["files"],
        "sampled_genes": 5,
        "sequences": 7 * 38,
        "results": str(workspace.folder),
    }
    assert planned == expected
    run_predict(workspace, client, "GPU", limit=3)
    planned = dry_run(workspace)
    assert (planned["tasks_done"], planned["tasks_to_do"]) == (9, 12)
    assert planned["haplotypes_to_do"] == 4 * 38
    assert planned["slot_hours_at_the_rate_so_far"] >= 0
    assert dry_run(workspace, limit=2)["tasks_to_do"] == 0
    with pytest.raises(RecipeError, match=r"predict\.block_size: 8 -> null"):
        dry_run(workspace_in(tmp_path / "planned"))


def test_dry_run_says_how_many_inputs_an_ensemble_has(workspace_in, tmp_path):
    one, eight = (
        dry_run(workspace_in(tmp_path / "planned", predict=Predict(Readout("sum_log"), ensemble=e)))
        for e in (None, Ensemble())
    )
    assert one.pop("distinct_sequences") < eight.pop("distinct_sequences")
    assert eight == {**one, "inputs_per_haplotype": 8, "sequences": 8 * one["sequences"]}


def test_half_done_genes_count_the_haplotypes_of_their_blocks(workspace_in, client, tmp_path):
    workspace = workspace_in(tmp_path / "half", predict=BLOCKS)
    run_predict(workspace, client, "GPU", limit=1)
    os.remove(workspace.cube / "prediction" / "c.0.2.0.0")  # people 16, 17, 18
    assert dry_run(workspace, limit=1)["haplotypes_to_do"] == 2 * 3


def test_local_tables(workspace_in, client, tmp_path, cohort):
    workspace = workspace_in(tmp_path / "tables")
    run_predict(workspace, client, "GPU", limit=1)
    samples = pd.read_csv(workspace.folder / "samples.tsv", sep="\t")
    assert samples.kept.sum() == 19
    assert set(samples["sample"].dropna()) == set(cohort.expression.columns)
    left_out = pd.read_csv(workspace.left_out, sep="\t")
    assert dict(left_out.values) == workspace.plan.left_out


def test_nothing_failed(workspace_in, client, tmp_path):
    refuse_failed(run_predict(workspace_in(tmp_path / "fine"), client, "GPU", limit=1))
