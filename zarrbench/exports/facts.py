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
            "prediction, ism, gradient": f"readout of the model ({_readout(workspace)})",
            "expression, observed": _unit(workspace),
            "slope": "units of expression per copy of the effect allele",
        },
        "statistics": plain(statistics) if isinstance(statistics, Statistics) else None,
    }


def _readout(workspace: Workspace) -> str:
    predict = workspace.recipe.stages.get("predict")
    if not isinstance(predict, Predict):
        return "nothing is predicted"
    readout = predict.readout
    parts: list[str] = [readout.kind]
    if readout.bins is not None:
        parts.append(f"bins {', '.join(map(str, readout.bins))} from 0")
    if "log" in readout.kind:
        parts.append(f"logarithm to base {readout.log_base}, pseudocount {readout.pseudocount:g}")
    return "; ".join(parts)


def _unit(workspace: Workspace) -> str:
    try:
        return str(workspace.expression.attrs.get("unit", "as given"))
    except ZarrbenchError:
        return "as given"
