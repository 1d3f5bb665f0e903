"""Every variable of every store is in a table, with its meaning."""

import pytest

from zarrbench.exports.catalogue import LAYOUTS, NOT_IN_TABLES, TABLES, OfFile, OfStore
from zarrbench.exports.rows import _INTERNAL, _KEYS
from zarrbench.pipeline import STAGES


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
