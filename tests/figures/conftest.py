"""Datasets of the layouts, whose content a test may give, and figures read back."""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zarrbench.figures import style
from zarrbench.layouts import Layout

Drawn = tuple[pd.DataFrame, Axes, str]


@pytest.fixture(autouse=True)
def _warnings_are_errors() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Of objects that other tests of this process left, collected while these run
        warnings.simplefilter("ignore", ResourceWarning)
        warnings.simplefilter("ignore", pytest.PytestUnraisableExceptionWarning)
        yield


@pytest.fixture(scope="session")
def made() -> Callable[..., xr.Dataset]:
    """Make a dataset of a layout; what is not given is arbitrary, sizes follow from what is."""

    def make(layout: Layout, **given: object) -> xr.Dataset:
        arrays = {
            name: np.asarray(
                values, dtype=object if layout.variables[name].kind == "string" else None
            )
            for name, values in given.items()
        }
        sizes = {
            dim: size
            for name, array in arrays.items()
            for dim, size in zip(layout.variables[name].dims, array.shape, strict=True)
        }
        filled = {"string": "s", "float": 0.5, "int": 1, "bool": False}
        variables = {
            name: (variable.dims, np.full([sizes.get(d, 1) for d in variable.dims],
                                          filled[variable.kind],
                                          object if variable.kind == "string" else None))
            for name, variable in layout.variables.items()
        }  # fmt: skip
        genes = np.array([f"ENSG{i:04d}" for i in range(sizes.get("gene", 1))], object)
        variables |= {"gene": ("gene", genes), "gene_name": ("gene", genes + "n")}
        variables |= {name: (layout.variables[name].dims, array) for name, array in arrays.items()}
        dataset = xr.Dataset(variables)
        layout.check(dataset, Path("made"))
        return dataset

    return make


@pytest.fixture(scope="session")
def drawn() -> Callable[..., Drawn]:
    """Let a function draw; return its table, the axes and the SVG."""

    def draw(function: Callable[..., pd.DataFrame], *data: object, **options: object) -> Drawn:
        figure = Figure(figsize=(4, 3))
        ax = figure.subplots()
        return function(*data, ax=ax, **options), ax, style.as_svg(figure)

    return draw


@pytest.fixture(scope="session")
def scattered() -> Callable[[Axes], np.ndarray]:
    """Read all points of an Axes back, sorted."""

    def points(ax: Axes) -> np.ndarray:
        sets = [c.get_offsets() for c in ax.collections if hasattr(c, "get_sizes")]
        return np.array(sorted(np.concatenate([np.zeros((0, 2)), *sets]).tolist())).reshape(-1, 2)

    return points
