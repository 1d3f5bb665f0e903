from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from zarrbench import attribution_layouts, layouts
from zarrbench.errors import StoreLayoutError
from zarrbench.layouts import Layout, Variable
from zarrbench.storage import open_dataset, write_dataset

LAYOUT = Layout(
    "trees",
    3,
    {
        "tree": Variable(("tree",), "string", "unique name"),
        "height": Variable(("tree",), "float", "metres"),
        "rings": Variable(("tree",), "int", "years"),
        "alive": Variable(("tree",), "bool", "has leaves"),
        "notes": Variable(("tree",), "string", "free text", optional=True),
    },
)
PLACE = Path("/data/trees.zarr")
# Dimensions without an index: SNVs and drivers are runs of genes, and stand in several of them
UNNAMED = ("covariate", "variant", "driver")
REGISTERED = [
    value
    for module in (layouts, attribution_layouts)
    for value in vars(module).values()
    if isinstance(value, Layout)
]


def trees(**changed: object) -> xr.Dataset:
    variables = {
        "tree": ("tree", np.array(["oak", "elm"])),
        "height": ("tree", np.array([30.5, 12.0], np.float32)),
        "rings": ("tree", np.array([80, 12], np.uint16)),
        "alive": ("tree", np.array([True, False])),
        **changed,
    }
    return xr.Dataset({name: value for name, value in variables.items() if value is not None})


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"tree": ("tree", np.array(["oak", "elm"], dtype=object))},
        {"tree": ("tree", np.array(["oak", "elm"], dtype=np.dtypes.StringDType()))},
        {"rings": ("tree", np.array([1, 2], np.int8))},
        {"notes": ("tree", np.array(["", "x"]))},
        {"more": ("leaf", np.arange(3))},
    ],
)
def test_fitting_datasets(changed):
    LAYOUT.check(trees(**changed), PLACE)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"height": None}, r"lacks the variable 'height' \(metres\); build it again"),
        ({"height": ("leaf", np.zeros(2))}, r"'height' as float64 \('leaf',\), expected float"),
        ({"height": ("tree", np.arange(2))}, "'height' as int64"),
        ({"rings": ("tree", np.zeros(2))}, "'rings' as float64"),
        ({"alive": ("tree", np.arange(2))}, "'alive' as int64"),
        ({"tree": ("tree", np.arange(2))}, "'tree' as int64"),
        ({"notes": ("tree", np.arange(2))}, "'notes' as int64"),
        ({"height": (("tree", "year"), np.zeros((2, 2)))}, "'height' as float64"),
    ],
)
def test_other_datasets_are_refused(changed, message):
    with pytest.raises(StoreLayoutError, match=message) as raised:
        LAYOUT.check(trees(**changed), PLACE)
    assert str(PLACE) in str(raised.value)


def test_described_leaves_the_dataset_as_it_was():
    before = trees(more=("leaf", np.arange(3), {"unit": "cm"}))
    described = LAYOUT.described(before)
    assert described.height.attrs == {"description": "metres"}
    assert described.tree.dtype == object
    assert described.tree.attrs == {"description": "unique name"}
    assert described.more.attrs == {"unit": "cm"}
    assert not before.height.attrs
    assert not before.tree.attrs
    assert before.tree.dtype.kind == "U"
    xr.testing.assert_equal(described, before)


def test_described_adds_to_attributes():
    described = LAYOUT.described(trees(notes=("tree", np.array(["a", "b"]), {"author": "me"})))
    assert described.notes.attrs == {"author": "me", "description": "free text"}


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({}, r"not a zarrbench\.trees store: its format attribute is None"),
        ({"format": "zarrbench.genes", "format_version": 3}, "is 'zarrbench.genes'"),
        ({"format": "zarrbench.trees"}, "format version None, this zarrbench reads version 3"),
        ({"format": "zarrbench.trees", "format_version": 2}, "format version 2"),
        ({"format": "zarrbench.trees", "format_version": 4}, "the zarrbench that wrote it"),
    ],
)
def test_other_versions_are_refused(attributes, message):
    with pytest.raises(StoreLayoutError, match=message):
        LAYOUT.check_version(attributes, PLACE)


def test_what_is_written_is_read(tmp_path):
    write_dataset(trees(), tmp_path / "trees.zarr", LAYOUT)
    read = open_dataset(tmp_path / "trees.zarr", LAYOUT)
    xr.testing.assert_equal(read, trees())
    LAYOUT.check_version(read.attrs, PLACE)
    assert read.rings.attrs["description"] == "years"
    with pytest.raises(StoreLayoutError, match=r"is not a zarrbench\.genes store"):
        open_dataset(tmp_path / "trees.zarr", layouts.GENES)


def test_a_store_of_nothing_is_read_as_what_it_is(tmp_path):
    """Of no object nobody can tell its type: text must not become numbers."""
    nothing = trees().isel(tree=slice(0)).assign(notes=("tree", np.array([], dtype=object)))
    write_dataset(nothing, tmp_path / "trees.zarr", LAYOUT)
    read = open_dataset(tmp_path / "trees.zarr", LAYOUT)
    assert read.sizes["tree"] == 0
    assert [read[name].dtype.kind for name in ("height", "rings", "alive")] == ["f", "u", "b"]


@pytest.mark.parametrize("layout", REGISTERED, ids=lambda layout: layout.name)
def test_registry(layout):
    assert layout.version >= 1
    for name, variable in layout.variables.items():
        assert name.isidentifier()
        assert variable.kind in ("string", "float", "int", "bool")
        assert variable.meaning
        assert "\n" not in variable.meaning
        # an index describes its own dimension
        if len(variable.dims) > 1:
            assert all(dim in layout.variables or dim in UNNAMED for dim in variable.dims)


def test_names_of_stores_are_unique():
    names = [layout.name for layout in REGISTERED]
    assert sorted(names) == sorted(set(names))
    assert {"genes", "expression", "reference", "predictions", "gene_statistics"} < set(names)
    assert {"attributions", "drivers", "motifs", "sensitivity"} < set(names)
