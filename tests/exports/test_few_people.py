"""Rows that tell of a few people, against genotypes counted one by one."""

import dataclasses

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from zarrbench.exports import few_people
from zarrbench.exports.few_people import Hidden, by_frequency
from zarrbench.exports.rows import Rows
from zarrbench.statistics.variants import variant_frequency

NOTHING = xr.Dataset()


def table(calls: np.ndarray) -> pd.DataFrame:
    found = variant_frequency(calls)
    return pd.DataFrame(
        {
            "effect_allele_frequency": found.allele,
            "carrier_frequency": found.carrier,
            "n_called": found.n_called,
        }
    )


def without_the_commonest(calls: np.ndarray) -> int:
    counts = [(calls == copies).sum() for copies in range(3)]
    return sum(counts) - max(counts)


@given(st.lists(st.sampled_from([-1, 0, 0, 0, 1, 2, 2]), min_size=1, max_size=40), st.integers(0))
def test_carriers_are_those_of_the_calls(calls, without):
    """Of all, and at least of all that a gene with fewer people can have."""
    calls = np.array(calls)
    counted = without_the_commonest(calls)
    block = table(calls[None])
    assert by_frequency(None, NOTHING)(block).tolist() == [counted < 5]
    without = without % (1 + len(calls))
    left = calls[without:]
    of_gene = without_the_commonest(left)
    block["n"] = (left >= 0).sum()
    assert by_frequency(None, NOTHING)(block)[0] or of_gene >= 5


def test_missing_rows_are_counted_and_told():
    block = pd.DataFrame({"n": [1, 2, 3], "kept": [1, 2, 3], "x": [0.5, np.nan, 2.0]})
    schema = pa.schema(
        [
            pa.field("n", pa.int64(), metadata={"description": "number"}),
            pa.field("kept", pa.int64(), metadata={"description": "kept"}),
            pa.field("x", pa.float64(), metadata={"description": "x"}),
        ]
    )
    hidden = Hidden(("n", "x", "absent"), lambda *_: lambda block: block["kept"].to_numpy() < 3)
    rows, counts = hidden.applied(Rows(schema, iter([block, block.head(0)])), None, NOTHING)
    blocks = list(rows.blocks)
    assert counts == [2, 0]
    written = pa.Table.from_pandas(blocks[0], rows.schema, preserve_index=False)
    assert written.to_pydict() == {"n": [None, None, 3], "kept": [1, 2, 3], "x": [None, None, 2.0]}
    assert b"fewer than 5" in rows.schema.field("n").metadata[b"description"]
    assert rows.schema.field("kept").metadata == {b"description": b"kept"}


@pytest.fixture
def workspace(finished, tmp_path):
    """Of two drivers of gene a the second is rare; that of b is not; c has no driver."""
    drivers = pd.DataFrame(
        {
            "gene_id": ["a", "a", "b", "c"],
            "variant_position": [1, 2, 2, 3],
            "is_driver": [True, True, True, False],
            "minor_carriers": [5, 4, 9, 1],
        }
    )
    drivers.to_parquet(tmp_path / "concordance.parquet")
    return dataclasses.replace(finished, folder=tmp_path)


def test_a_lone_homozygote_among_heterozygotes_is_hidden():
    calls = np.array([[1] * 60 + [0], [1] * 30 + [0] * 31])
    assert by_frequency(None, NOTHING)(table(calls)).tolist() == [True, False]


def test_genes_by_who_decides_them_and_by_who_is_compared(finished, tmp_path):
    workspace = dataclasses.replace(finished, folder=tmp_path)
    workspace.__dict__["people_of_genes"] = pd.Series({"a": 50, "b": 4, "c": 50})
    genes = pd.DataFrame({"gene_id": ["a", "b", "c", "unknown"]})
    few = few_people.GENES.rule(workspace, NOTHING)
    assert few(genes).tolist() == [False, True, False, True]
    compared = genes.assign(n_individuals=[4, 9, 5, 9])
    assert few(compared).tolist() == [True, True, False, True]


@pytest.mark.parametrize(("others", "hidden"), [(0, False), (1, True), (4, True), (5, False)])
def test_a_mean_of_all_samples_does_not_give_back_those_left_out(finished, others, hidden):
    workspace = dataclasses.replace(finished)
    samples = finished.expression.sizes["sample"]
    workspace.__dict__["join"] = dataclasses.replace(
        finished.join, individuals=tuple(map(str, range(samples - others)))
    )
    block = pd.DataFrame({"gene_id": ["a", "b"]})
    assert few_people.SAMPLES.rule(workspace, NOTHING)(block).tolist() == [hidden] * 2


def test_support_of_rare_drivers(workspace):
    def few(hidden: Hidden, block: pd.DataFrame, found: xr.Dataset = NOTHING) -> list[bool]:
        return hidden.rule(workspace, found)(block).tolist()

    genes = pd.DataFrame({"gene_id": ["a", "b", "c"]})
    assert few(few_people.DRIVER_GENES, genes) == [True, False, False]
    main = pd.DataFrame({"gene_id": ["a", "b"], "position": [1, 2]})
    assert few(few_people.MOTIF_GENES, main) == [False, False]
    assert few(few_people.MOTIF_GENES, main.assign(position=2)) == [True, False]
    members = pd.DataFrame({"driver_gene": ["a", "a"], "driver_position": [1, 2]})
    assert few(few_people.CLUSTER_MEMBERS, members) == [False, True]
    assert few(few_people.CLUSTER_MEMBERS, members.head(0)) == []
    motifs = xr.Dataset(
        {
            "driver_gene": ("driver", ["a", "a", "b"]),
            "driver_position": ("driver", [1, 2, 2]),
            "cluster": (("base", "driver"), [[0, 0, 1], [0, 1, 0]]),
        },
        coords={"base": ["reference", "variant"]},
    )
    clusters = pd.DataFrame(
        {"base": ["reference", "reference", "variant", "variant"], "cluster": [0, 1, 0, 1]}
    )
    assert few(few_people.CLUSTERS, clusters, motifs) == [True, False, False, True]
    assert few(few_people.CLUSTERS, clusters.head(0), motifs) == []
