"""What every export says of the pipeline whose results it holds."""

from typing import Any

import zarrbench
from zarrbench.errors import ZarrbenchError
from zarrbench.parameters import Statistics
from zarrbench.predictions.plan import Predict
from zarrbench.provenance import plain
from zarrbench.stages.workspace import Workspace


def described(workspace: Workspace) -> dict[str, Any]:
    """Return name, model, choices and units of a pipeline; no ids."""
    recipe = workspace.recipe
    spec = recipe.model.spec()
    statistics = recipe.stages.get("statistics")
    return {
        "made_by": f"zarrbench {zarrbench.__version__}",
        "pipeline": recipe.name,
        "description": recipe.description,
        "model": spec.name,
        "units": {
            "prediction, ism, gradient": f"readout of the model: {_readout(workspace)}",
            "expression, observed": _unit(workspace),
            "slope": "units of expression per copy of the effect allele",
        },
        "statistics": plain(statistics) if isinstance(statistics, Statistics) else None,
    }


def _readout(workspace: Workspace) -> str:
    readout = plain(workspace.recipe.stage(Predict).readout)
    return ", ".join(f"{name} {value}" for name, value in readout.items())


def _unit(workspace: Workspace) -> str:
    try:
        return str(workspace.expression.attrs.get("unit", "as given"))
    except ZarrbenchError:
        return "as given"
