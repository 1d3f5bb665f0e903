"""Long tables against xarray's own, in blocks of a few rows."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from zarrbench.exports.rows import of_dataset, of_parquet, of_text


@pytest.fixture
def found() -> xr.Dataset:
    rng = np.random.default_rng(0)
    genes = np.array(["a", "<script>", "tab\tname"], dtype=object)
    return xr.Dataset(
        {
            "value": (("gene", "person", "kind"), rng.normal(size=(3, 4, 2)).astype(np.float32)),
            "turned": (("kind", "gene", "person"), rng.integers(0, 9, (2, 3, 4))),
            "flag": ("gene", [True, False, True]),
            "of_kind": ("kind", [0.5, np.nan]),
        },
        coords={"gene": genes, "person": [5, 6, 7, 8], "kind": np.array(["x", "y"], object)},
    )


@pytest.mark.parametrize("rows", [1, 8, 9, 1000])
def test_long_form_is_that_of_xarray(found, rows):
    table = of_dataset(found, ("gene", "person", "kind"), also=("flag", "of_kind"), rows=rows)
    blocks = list(table.blocks)
    assert max(map(len, blocks)) <= max(8, rows)  # one gene has 8 rows
    made = pd.concat(blocks, ignore_index=True)
    assert [*made] == table.schema.names
    expected = found.to_dataframe(dim_order=["gene", "person", "kind"]).reset_index()
    expected = expected.rename(columns={"gene": "gene_id"})
    pd.testing.assert_frame_equal(made, expected[[*made]], check_dtype=False)
    assert made["value"].dtype == np.float32


def test_it_reads_a_block_at_a_time(found):
    """Of a block just its labels of the first dim are computed."""
    computed = []

    def remember(values: np.ndarray) -> np.ndarray:
        computed.append(values.shape)
        return values

    lazy = found.chunk({"gene": 1})
    lazy["value"] = lazy["value"].copy(
        data=lazy["value"].data.map_blocks(remember, dtype=np.float32, meta=np.empty(0))
    )
    blocks = of_dataset(lazy, ("gene", "person", "kind"), rows=8).blocks
    next(blocks)
    assert computed == [(1, 4, 2)]


def test_what_there_is_none_of(found):
    assert of_dataset(found, ("gene", "person")) is None
    assert of_dataset(found, ("absent",)) is None
    empty = of_dataset(found.isel(gene=slice(0)), ("gene", "person", "kind"))
    assert list(empty.blocks) == []
    assert empty.schema.names == ["gene_id", "person", "kind", "value", "turned"]


def test_the_order_is_that_asked_for(found):
    table = of_dataset(found, ("gene", "person", "kind"), order=("turned", "value"))
    assert table.schema.names[-2:] == ["turned", "value"]


def test_parquet_in_batches(tmp_path):
    table = pd.DataFrame({"gene": list("abcdefg"), "n": range(7)})
    table.to_parquet(tmp_path / "t.parquet", row_group_size=3)
    meanings = {"gene_id": "gene", "n": "number"}
    found = of_parquet(tmp_path / "t.parquet", meanings, lambda t: t["n"] % 2 == 1, rows=2)
    blocks = list(found.blocks)
    assert max(map(len, blocks)) <= 2
    assert pd.concat(blocks)["gene_id"].tolist() == ["b", "d", "f"]
    assert found.schema.field("n").metadata == {b"description": b"number"}


def test_text_stays_text(tmp_path):
    (tmp_path / "t.tsv").write_text("gene_id\tp\tkept\n007\tNA\tTrue\nNA\t0.5\tFalse\n")
    kinds = {"p": float, "kept": bool}
    found = of_text(tmp_path / "t.tsv", dict.fromkeys(("gene_id", "p", "kept"), "?"), kinds)
    [table] = found.blocks
    assert table["gene_id"].tolist() == ["007", "NA"]
    assert np.isnan(table["p"][0])
    assert table["kept"].tolist() == [True, False]
