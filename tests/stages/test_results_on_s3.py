"""Results on S3: what a run asks of the server, and what it does when that refuses."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from zarrbench import ledger
from zarrbench.attribution_parameters import Attributions, Drivers, Motifs, Sensitivity
from zarrbench.attributions.store import open_attributions
from zarrbench.errors import SourceError, StorageError
from zarrbench.predictions.cube import done_shards, open_cube
from zarrbench.predictions.ensemble import Ensemble
from zarrbench.predictions.plan import Predict
from zarrbench.predictions.readouts import Readout
from zarrbench.remote import place
from zarrbench.stages.attributions import run_attributions
from zarrbench.stages.drivers import run_drivers, standing_drivers
from zarrbench.stages.gene_drivers import read_concordance
from zarrbench.stages.motifs import run_motifs
from zarrbench.stages.predict import run_predict
from zarrbench.stages.sensitivity import run_sensitivity, standing_sensitivity
from zarrbench.stages.statistics import run_statistics
from zarrbench.stages.status import pipeline_status
from zarrbench.stages.verify import verify
from zarrbench.statistics.drivers import DriverRule
from zarrbench.storage import exists, get

pytestmark = pytest.mark.network

PREDICT = Predict(Readout("sum_log"), block_size=7)


@pytest.fixture
def workspaces(s3, workspace_in, tmp_path):
    """One workspace on S3, one here."""
    remote = place(f"s3://{s3.bucket}/{tmp_path.name}")
    return [workspace_in(folder, predict=PREDICT) for folder in (remote, tmp_path / "here")]


def test_the_same_numbers_and_tables_as_here(workspaces, client, s3):
    remote, here = workspaces
    found = [run_predict(workspace, client, "GPU") for workspace in workspaces]
    assert found[0] == found[1]
    assert not found[0].failed
    tables = [run_statistics(workspace, client) for workspace in workspaces]
    assert tables[0].equals(tables[1])
    assert get(remote.gene_table) == get(here.gene_table)
    objects = {p.relative_to(here.cube).as_posix() for p in here.cube.rglob("*") if p.is_file()}
    for key in objects:
        assert get(remote.cube / key) == get(here.cube / key), key
    assert set(ledger.listing(remote.cube)) == objects
    assert open_cube(str(remote.cube)).equals(open_cube(here.cube))
    assert verify(remote.stores, remote) == verify(here.stores, here)
    assert exists(remote.statistics)
    _few_requests(remote, client, s3)
    _flipped(remote, client, s3)


def test_why_the_model_errs_is_the_same_there(workspaces, client):
    """Attributions, drivers, motifs and sensitivity, with all that they keep."""
    stages = {
        "attributions": Attributions(gradients=False),
        "drivers": Drivers(DriverRule(criteria="increment_only"), "all", 0.0, 0.0),
        "motifs": Motifs("all", tss_flank=10),
        "sensitivity": Sensitivity(Ensemble((0, 1), False), 3),
    }
    tables = []
    for workspace in workspaces:
        recipe = dataclasses.replace(workspace.recipe, stages={**workspace.recipe.stages, **stages})
        one = dataclasses.replace(workspace, recipe=recipe)
        run_predict(one, client, "GPU")
        run_statistics(one, client)
        assert not run_attributions(one, client, "GPU").failed
        run_drivers(one, client)
        assert not run_motifs(one, client, "GPU").failed
        run_sensitivity(one, client, "GPU")
        results = (one.drivers_table, *one.motif_tables, one.sensitivity_table,
                   *map(one.cluster_motifs, ("reference", "variant")))  # fmt: skip
        tables.append([get(result) for result in results])
        # a second run finds all of it
        assert run_attributions(one, client, "GPU").now == 0
        assert run_motifs(one, client, "GPU").now == 0
        assert standing_drivers(one) is not None
        assert standing_sensitivity(one) is not None
        assert len(read_concordance(one.concordance)) > 10
        assert not verify(one.stores, one)["damaged"]
    assert None not in tables[0]
    assert tables[0] == tables[1]
    remote, here = (open_attributions(w.attributions).load() for w in workspaces)
    assert remote.drop_attrs().equals(here.drop_attrs())
    pd.testing.assert_frame_equal(*(read_concordance(w.concordance) for w in workspaces))


def _few_requests(remote, client, s3):
    """Many shards cost few requests, and none that is done is written again."""
    n_done = len(done_shards(remote.cube))
    assert len(list(ledger.ledger_of(remote.cube).glob("*.jsonl"))) == 1
    s3.requests.clear()
    assert len(done_shards(remote.cube)) == n_done > 12
    assert len(s3.requests) < 12
    s3.requests.clear()
    assert run_predict(remote, client, "GPU").before == n_done
    assert not [path for method, path in s3.requests if method == "PUT" and "/prediction/" in path]


def _flipped(remote, client, s3):
    """A flipped object is found; once it is removed, it is made again."""
    name = "predictions.zarr/prediction/c.1.0.0.0"
    where = {"Bucket": s3.bucket, "Key": f"{remote.folder.name}/{name}"}
    content = s3.client.get_object(**where)["Body"].read()
    s3.client.put_object(**where, Body=bytes([*content[:-1], content[-1] ^ 1]))
    gene = str(remote.plan.genes["gene"].values[1])
    found = verify(remote.stores, remote)["damaged"]
    assert found == {name: f"gene {gene} block 0: altered"}
    s3.client.delete_object(**where)
    assert verify(remote.stores, remote)["damaged"] == {name: f"gene {gene} block 0: missing"}
    assert run_predict(remote, client, "GPU").now == 1
    assert s3.client.get_object(**where)["Body"].read() == content
    assert not verify(remote.stores, remote)["damaged"]


def test_a_server_that_refuses_stops_the_run_and_it_continues(workspaces, client, s3):
    remote, here = workspaces
    run_predict(remote, client, "GPU", limit=2)
    with s3.refusing():
        with pytest.raises(SourceError, match=r"cannot be read: .*; use credentials that may list"):
            run_predict(remote, client, "GPU")
        with pytest.raises(SourceError, match="cannot be read: "):
            pipeline_status(remote)
        with pytest.raises(StorageError, match=r"cannot be written: .* may list and write it"):
            ledger.append(ledger.ledger_of(remote.cube), ledger.Entry("G", 0, "done", "", ""))
    assert pipeline_status(remote)["failed"] == 0
    before = len(done_shards(remote.cube))
    assert run_predict(remote, client, "GPU").before == before
    run_predict(here, client, "GPU")
    np.testing.assert_array_equal(
        open_cube(remote.cube)["prediction"], open_cube(here.cube)["prediction"]
    )


def test_a_server_that_refuses_to_write_amid_a_run(workspaces, client, s3, monkeypatch):
    remote, _ = workspaces
    from s3fs import S3FileSystem

    call = S3FileSystem._call_s3

    async def refused(self, method, *rest, **given):
        if method == "put_object" and "/prediction/c.2" in given["Key"]:
            raise PermissionError("Access Denied")
        return await call(self, method, *rest, **given)

    with monkeypatch.context() as patch:
        patch.setattr(S3FileSystem, "_call_s3", refused)
        with pytest.raises(StorageError, match=r"prediction/c\.2\.\S+ cannot be written: Access D"):
            run_predict(remote, client, "GPU")
    status = pipeline_status(remote)
    assert status["failed"] == 0
    assert 0 < status["done"] < status["shards"]
    assert not run_predict(remote, client, "GPU").failed
    assert pipeline_status(remote)["complete"]
