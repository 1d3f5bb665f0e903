from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from zarrbench import layouts, tables

STATISTICS = ["published", "sem", "prediction", "signed", "empirical"]


def made_statistics(n: int, chosen: str = "signed", **columns) -> xr.Dataset:
    """A dataset of the layout: numbers from a fixed stream, but for the columns given."""
    rng = np.random.default_rng(7)
    sizes = {"gene": n, "statistic": len(STATISTICS), "case": 3}
    made = {
        "string": lambda shape, name: np.array([f"{name}{i}" for i in range(shape[0])], object),
        "float": lambda shape, name: rng.uniform(0.01, 0.99, shape),
        "int": lambda shape, name: rng.integers(1, 1_000_000, shape),
        "bool": lambda shape, name: rng.random(shape) < 0.5,
    }
    variables = {
        name: (kind.dims, made[kind.kind](tuple(sizes[d] for d in kind.dims), name))
        for name, kind in layouts.GENE_STATISTICS.variables.items()
        if not kind.optional
    }
    variables["statistic"] = ("statistic", np.array(STATISTICS, object))
    variables |= {name: ("gene", np.asarray(values)) for name, values in columns.items()}
    dataset = xr.Dataset(variables, attrs={"statistic": chosen, "alpha": 0.05}).set_coords(
        ["gene_name", "contig", "tss", "strand"]
    )
    layouts.GENE_STATISTICS.check(dataset, Path("x"))
    return dataset


def test_gene_columns_are_those_promised():
    promised = (
        "gene_id", "gene_name", "contig", "tss", "strand", "n_individuals", "n_variants",
        "n_distinct_haplotypes", "reference_prediction", "mean_observed", "sd_observed",
        "mean_predicted", "sd_predicted", "r", "p_r", "null_mean", "null_sd", "null_t", "null_p",
        "null_q", "significant",
    )  # fmt: skip
    assert promised == tables.GENE_COLUMNS
    assert list(tables.gene_table(made_statistics(3)).columns) == list(tables.GENE_COLUMNS)


@pytest.mark.parametrize("chosen", STATISTICS)
def test_gene_table_takes_the_chosen_statistic(chosen):
    statistics = made_statistics(4, chosen)
    table = tables.gene_table(statistics)
    column = STATISTICS.index(chosen)
    for name in ("null_t", "null_p", "null_q", "significant"):
        np.testing.assert_array_equal(table[name], statistics[name].values[:, column])
    np.testing.assert_array_equal(table["r"], statistics["r"].values)
    assert list(table["gene_id"]) == list(statistics["gene"].values)


def test_gene_table_reads_lazy_statistics_with_numpy_strings():
    statistics = made_statistics(5)
    lazy = statistics.assign_coords(
        gene_name=("gene", statistics["gene_name"].values.astype(np.dtypes.StringDType()))
    ).chunk(gene=2)
    pd.testing.assert_frame_equal(tables.gene_table(lazy), tables.gene_table(statistics))


def test_written_table_comes_back_exactly(tmp_path):
    r = np.array([1 / 3, np.nan, -np.pi / 10, 1e-17])
    statistics = made_statistics(4, r=r)
    path = tmp_path / "new" / "genes.tsv"
    tables.write_gene_table(statistics, path)
    text = path.read_bytes().decode()
    assert "\r" not in text
    cells = [line.split("\t") for line in text.splitlines()]
    assert cells[0] == list(tables.GENE_COLUMNS)
    assert cells[2][cells[0].index("r")] == "NA"
    assert {row[-1] for row in cells[1:]} <= {"True", "False"}
    written = pd.DataFrame(cells[1:], columns=cells[0])
    for name, column in tables.gene_table(statistics).items():
        read = written[name].replace("NA", "nan")
        if column.dtype.kind == "f":
            np.testing.assert_array_equal([float(text) for text in read], column)
        else:
            assert list(read) == [str(value) for value in column]
    assert [p.name for p in path.parent.iterdir()] == ["genes.tsv"]


def test_no_planted_table_without_planted_effects():
    assert tables.planted_table(made_statistics(3)) is None


def test_planted_table_says_what_was_found():
    statistics = made_statistics(
        5,
        r=[0.5, -0.5, 0.01, np.nan, 0.4],
        planted_sign=[1, -1, 0, 1, -1],
        found_sign=[1, -1, 0, 0, 1],
        recovered=[True, True, True, False, False],
    )
    table = tables.planted_table(statistics)
    assert table is not None
    assert list(table.columns) == ["gene_id", "gene_name", "planted", "found", "r", "recovered"]
    right, wrong, nothing = "right-signed", "wrong-signed", "no effect"
    assert list(table["planted"]) == [right, wrong, nothing, right, wrong]
    assert list(table["found"]) == [right, wrong, nothing, nothing, right]
    assert list(table["recovered"]) == [True, True, True, False, False]
