"""AnnData of a finished pipeline against its cube and its statistics."""

import dataclasses
import sys
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

from zarrbench.errors import RecipeError, StorageError
from zarrbench.exports import cube
from zarrbench.exports.cube import cube_anndata, export_anndata
from zarrbench.models.protocol import Track
from zarrbench.predictions.cube import open_cube
from zarrbench.stages.statistics import open_statistics


@pytest.fixture(scope="module", params=["h5ad", "zarr"])
def read(request, finished, tmp_path_factory) -> anndata.AnnData:
    """What others read of two tracks, the first not that of the statistics."""
    path = tmp_path_factory.mktemp("anndata") / f"cube.{request.param}"
    export_anndata(finished, path, tracks=["T2", "T1"])
    return anndata.read_h5ad(path) if request.param == "h5ad" else anndata.read_zarr(path)


def test_layers_are_the_cube(read, finished):
    stored = open_cube(finished.cube)["prediction"].sel(gene=read.var_names.to_list())
    assert read.obs_names.to_list() == [str(p) for p in stored["individual"].values]
    for name in ("T1", "T2"):
        of_track = stored.sel(track=name).transpose("individual", "gene", "haplotype").values
        assert np.array_equal(read.layers[name], of_track.astype(np.float64).mean(axis=2))
        for haplotype in (0, 1):
            one = read.layers[f"{name}_haplotype_{haplotype}"]
            assert one.dtype == np.float32
            assert np.array_equal(one, of_track[..., haplotype])
    assert np.array_equal(read.X, read.layers["T2"])
    assert set(read.layers) == set(read.uns["zarrbench"]["layers"])


def test_observed_is_the_table_of_expression(read, cohort):
    """NaN for the people without a sample."""
    table = cohort.expression.set_axis(cohort.expression.index.str.split(".").str[0])
    expected = table.reindex(index=read.var_names, columns=read.obs_names).T
    pd.testing.assert_frame_equal(
        read.to_df("observed"), expected, check_names=False, check_column_type=False,
        check_index_type=False,
    )  # fmt: skip
    assert read.obs["has_expression"].sum() == 19
    assert np.isnan(read.layers["observed"][~read.obs["has_expression"].values]).all()


def test_var_has_the_statistics_and_they_can_be_recomputed(read, finished):
    statistics = open_statistics(finished)
    assert read.var_names.to_list() == [str(g) for g in statistics["gene"].values]
    assert np.array_equal(read.var["r"], statistics["r"].values, equal_nan=True)
    chosen = statistics["null_q"].sel(statistic="sem").values
    assert np.array_equal(read.var["null_q"], chosen, equal_nan=True)
    assert read.var["tss"].tolist() == statistics["tss"].values.tolist()
    measured = read.layers["observed"]
    for column, r in enumerate(read.var["r"]):
        both = np.isfinite(measured[:, column])
        x, y = read.layers["T1"][both, column], measured[both, column]
        if np.isfinite(r):
            assert np.corrcoef(x, y)[0, 1] == pytest.approx(r, rel=1e-9)
        else:
            assert len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0


def test_it_is_read_some_genes_at_a_time(finished, monkeypatch):
    whole = cube_anndata(finished)
    sizes = []
    combined = cube.combine_haplotypes
    monkeypatch.setattr(cube, "_GENES", 2)
    monkeypatch.setattr(
        cube, "combine_haplotypes", lambda p, how: sizes.append(p.sizes["gene"]) or combined(p, how)
    )
    parts = cube_anndata(finished)
    assert max(sizes) <= 2
    assert np.array_equal(parts.X, whole.X)
    assert parts.uns["zarrbench"]["X"] == "T1"


def test_names_of_tracks_that_a_file_cannot_hold(workspace_of, client, tmp_path):
    workspace = workspace_of(["a/b", "100%"])
    export_anndata(workspace, tmp_path / "cube.h5ad", tracks=["a/b", "100%"])
    layers = anndata.read_h5ad(tmp_path / "cube.h5ad").layers
    assert {"a%2Fb", "a%2Fb_haplotype_0", "100%25"} < set(layers)


@pytest.fixture
def workspace_of(finished, client, tmp_path):
    """The pipeline with a model whose tracks have other names."""
    from zarrbench.stages.predict import run_predict
    from zarrbench.stages.statistics import run_statistics

    def made(names: list[str]):
        stages = {name: finished.recipe.stages[name] for name in ("predict", "statistics")}
        stages["statistics"] = dataclasses.replace(stages["statistics"], track=names[0])
        recipe = dataclasses.replace(
            finished.recipe, stages=stages, model=_named(finished.recipe.model, tuple(names))
        )
        workspace = dataclasses.replace(finished, recipe=recipe, folder=tmp_path / "named")
        run_predict(workspace, client, "GPU", limit=2)
        run_statistics(workspace, client)
        return workspace

    return made


def _named(model, names: tuple[str, ...]):
    class Named(type(model)):
        def read_tracks(self, files) -> tuple[Track, ...]:
            return tuple(Track(name, "") for name in names)

    return Named(**{**dataclasses.asdict(model), "n_tracks": len(names), "file": None})


def test_what_is_refused(finished, tmp_path, monkeypatch):
    with pytest.raises(RecipeError, match=r"neither .h5ad nor .zarr"):
        export_anndata(finished, tmp_path / "cube.h5")
    with pytest.raises(RecipeError, match="T9"):
        export_anndata(finished, tmp_path / "cube.h5ad", tracks=["T9"])
    with pytest.raises(RecipeError, match="named twice"):
        export_anndata(finished, tmp_path / "cube.h5ad", tracks=["T1", "T1"])
    with pytest.raises(StorageError, match=r"there is no folder .*nowhere for cube\.h5ad"):
        export_anndata(finished, tmp_path / "nowhere" / "cube.h5ad")
    assert not list(tmp_path.iterdir())
    with pytest.raises(StorageError, match="not written by this export"):
        export_anndata(finished, Path(finished.cube), overwrite=True)  # the cube itself
    others = tmp_path / "others.h5ad"
    labels = pd.DataFrame(index=pd.Index(["a", "b"], dtype=object))
    anndata.AnnData(np.zeros((2, 2)), labels, labels.copy()).write_h5ad(others)
    with pytest.raises(StorageError, match="not written by this export"):
        export_anndata(finished, others, overwrite=True)
    for name in ("cube.h5ad", "cube.zarr"):
        export_anndata(finished, tmp_path / name)
        with pytest.raises(StorageError, match="--overwrite"):
            export_anndata(finished, tmp_path / name)
        export_anndata(finished, tmp_path / name, tracks=["T0"], overwrite=True)
    assert anndata.read_h5ad(tmp_path / "cube.h5ad").uns["zarrbench"]["X"] == "T0"
    monkeypatch.setitem(sys.modules, "anndata", None)
    with pytest.raises(RecipeError, match=r"pip install 'zarrbench\[anndata\]'"):
        export_anndata(finished, tmp_path / "new.h5ad")
