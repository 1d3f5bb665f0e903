"""The expression stage: from the expression store to what predictions are compared with."""

import hashlib

import numpy as np
import xarray as xr

from zarrbench.expression.preparation import prepared_expression
from zarrbench.layouts import EXPRESSION
from zarrbench.locks import locked
from zarrbench.parameters import Expression
from zarrbench.provenance import fingerprint
from zarrbench.stages.workspace import Workspace
from zarrbench.storage import write_dataset


def run_expression(workspace: Workspace) -> xr.Dataset:
    """Normalise, adjust and filter the expression of all its samples; write and return it.

    What was made from the same files with the same choices is kept.

    Raises
    ------
    ExpressionError
        As `zarrbench.expression.preparation.prepared_expression`.
    """
    parameters = workspace.recipe.stage(Expression)
    if workspace.has_expression:
        return workspace.expression.load()
    prepared = prepared_expression(workspace.stores.expression.compute(), parameters)
    prepared = prepared.assign_attrs(inputs=workspace.expression_inputs, outcome=_outcome(prepared))
    write_dataset(prepared, workspace.adjusted, EXPRESSION)
    return prepared


def have_expression(workspace: Workspace) -> None:
    """Run the stage outside of a run, if the pipeline has it and what it makes is not there yet.

    Raises
    ------
    StorageError
        If a run is writing the same results.
    """
    if workspace.has_expression:
        return
    with locked(workspace.folder):
        run_expression(workspace)


def _outcome(prepared: xr.Dataset) -> str:
    """Return a fingerprint of the values with their labels, by which statistics tell them."""
    values = np.ascontiguousarray(prepared["expression"].values, dtype="<f8")
    labels = {name: [str(v) for v in prepared[name].values] for name in ("gene", "individual")}
    return fingerprint([labels, hashlib.sha256(values.tobytes()).hexdigest()])
