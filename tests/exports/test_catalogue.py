"""Every variable of every store is in a table, with its meaning."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import xarray as xr

from zarrbench.exports.catalogue import LAYOUTS, NOT_IN_TABLES, TABLES, OfFile, OfStore
from zarrbench.exports.few_people import GENES
from zarrbench.exports.rows import _INTERNAL, _KEYS
from zarrbench.layouts import Layout
from zarrbench.pipeline import STAGES
from zarrbench.storage import open_dataset, write_dataset


def test_every_stage_that_leaves_a_store_has_tables():
    assert {table.stage for table in TABLES.values()} == set(STAGES) - {"report"}
    assert set(LAYOUTS) == set(STAGES) - {"report"}


@pytest.mark.parametrize("stage", LAYOUTS)
def test_every_variable_of_a_store_is_in_a_table(stage):
    shown = set()
    for table in TABLES.values():
        if table.stage != stage:
            continue
        if isinstance(table, OfFile):
            shown |= {*table.meanings, "gene"}
            continue
        assert isinstance(table, OfStore)
        dims = set(table.dims)
        for dim in table.dims:
            shown |= {dim, *_KEYS.get(dim, ())}
        shown |= set(table.also)
        shown |= {n for n, v in LAYOUTS[stage].variables.items() if set(v.dims) == dims}
    missing = set(LAYOUTS[stage].variables) - shown - _INTERNAL - set(NOT_IN_TABLES)
    # What is known of a gene's place stands in `genes`, of a gene's pairs in their number.
    missing -= {"gene_name", "contig", "tss", "strand"}
    if stage == "eqtl":
        missing -= {"n_pairs"}
    if stage == "drivers":  # gene_id and variant_position of its tables
        missing -= {"driver_gene", "driver_position"}
    assert not missing


def test_names_of_people_are_in_marked_tables_alone():
    for name, table in TABLES.items():
        dims = set(getattr(table, "dims", ()))
        columns = set(getattr(table, "meanings", ()))
        of_people = dims & {"individual", "sample"} or {"individual", "individual_1"} & columns
        assert bool(of_people) == table.people, name


# What a gene's numbers are that no person's expression decides
OF_NOBODY = {
    "reference_prediction", "gradient_profile", "driver_scan", "tss_scan", "tss_largest", "tss_sd",
    "effect", "run_length", "run_distance", "value", "null_effective_variants",
}  # fmt: skip


@pytest.mark.parametrize("name", [n for n, t in TABLES.items() if isinstance(t, OfStore)])
def test_numbers_of_genes_are_hidden_where_few_people_decide_them(name):
    table = TABLES[name]
    if "gene" not in table.dims or table.people:
        return
    layout = LAYOUTS[table.stage].variables
    floats = {n for n in layout if layout[n].kind == "float" and "gene" in layout[n].dims}
    shown = {n for n in floats if set(layout[n].dims) == set(table.dims) or n in table.also}
    assert shown - OF_NOBODY <= set(GENES.columns)
    assert (GENES in table.hidden) == bool(shown - OF_NOBODY or name == "null_counts")


def made_up(layout: Layout) -> xr.Dataset:
    """A store with all that its layout may hold, two of everything."""
    kinds = {"string": ["a", "b"], "float": [0.5, np.nan], "int": [1, 1], "bool": [True, False]}
    columns = {}
    for name, variable in layout.variables.items():
        values = np.array(kinds[variable.kind], object if variable.kind == "string" else None)
        shape = (2,) * len(variable.dims)
        columns[name] = (variable.dims, np.broadcast_to(values, shape).copy())
    found = layout.described(xr.Dataset(columns).set_coords(layout.variables))
    return found.reset_coords([n for n in found.coords if n not in found.dims]).assign_attrs(
        statistic="a"
    )


@pytest.mark.parametrize("name", [n for n, t in TABLES.items() if isinstance(t, OfStore)])
def test_tables_of_stages_that_no_test_runs(finished, name, tmp_path):
    table = TABLES[name]
    store = made_up(LAYOUTS[table.stage])
    write_dataset(store, tmp_path / "store.zarr", LAYOUTS[table.stage])
    rows = table.read(finished, open_dataset(tmp_path / "store.zarr", LAYOUTS[table.stage]))
    made = pd.concat(rows.blocks)
    assert len(made) == 2 ** len(table.dims)
    assert [*made] == rows.schema.names
    for field in rows.schema:
        assert field.metadata[b"description"], field.name
    pa.Table.from_pandas(made, rows.schema, preserve_index=False).validate(full=True)
