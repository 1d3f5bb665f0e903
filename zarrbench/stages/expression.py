"""The expression stage: from the expression store to what predictions are compared with."""

import hashlib
from dataclasses import replace

import numpy as np
import xarray as xr

from zarrbench.errors import ExpressionError
from zarrbench.expression.preparation import prepared_expression
from zarrbench.layouts import EXPRESSION
from zarrbench.locks import locked
from zarrbench.parameters import Expression
from zarrbench.provenance import fingerprint
from zarrbench.stages.genotype_quality import run_genotype_quality
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
    given = workspace.stores.expression.compute()
    if parameters.genotype_components:
        components = workspace.genotype_components(parameters.genotype_components)
        given, parameters = with_components(given, parameters, components)
    prepared = prepared_expression(given, parameters)
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
        if workspace.recipe.stage(Expression).genotype_components:
            run_genotype_quality(workspace)
        run_expression(workspace)


def with_components(
    expression: xr.Dataset, parameters: Expression, components: xr.DataArray
) -> tuple[xr.Dataset, Expression]:
    """Return expression with genotype components among its covariates, and parameters naming them.

    Raises
    ------
    ExpressionError
        If a sample has no genotype: its components are not known, and all samples take part.
    """
    people = [str(name) for name in expression["individual"].values]
    lacking = set(people).difference(components["individual"].values.tolist())
    if lacking:
        raise ExpressionError(
            f"{len(lacking)} of {len(people)} people with expression have no genotype, and so no "
            f"genotype components to adjust for; leave their samples out of the table, or set "
            f"'genotype_components' of the expression stage to 0"
        )
    added = components.sel(individual=people).drop_vars("individual")
    added = added.rename(individual="sample").assign_coords(sample=expression["sample"].values)
    names = tuple(map(str, added["covariate"].values))
    known: tuple[str, ...] = ()
    if "covariates" in expression:
        covariates = expression["covariates"].reset_coords(drop=True)
        known = tuple(map(str, covariates["covariate"].values))
        added = xr.concat([covariates, added], "covariate")
        expression = expression.drop_dims("covariate")
    asked = parameters.covariates
    wanted = {"all": known, "none": ()}[asked] if isinstance(asked, str) else asked
    return (
        expression.assign(covariates=added),
        replace(parameters, covariates=(*wanted, *names)),
    )


def _outcome(prepared: xr.Dataset) -> str:
    """Return a fingerprint of the values with their labels, by which statistics tell them."""
    values = np.ascontiguousarray(prepared["expression"].values, dtype="<f8")
    labels = {name: [str(v) for v in prepared[name].values] for name in ("gene", "individual")}
    return fingerprint([labels, hashlib.sha256(values.tobytes()).hexdigest()])
