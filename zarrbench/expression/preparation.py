"""From raw counts, or a ready matrix, to the expression that predictions are compared with.

The order is that of METHODS section 2: TMM, log2 counts per million with precision weights,
the genes that are expressed at all, covariates, and components of what is left.
"""

import json
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from zarrbench import progress
from zarrbench.errors import ExpressionError
from zarrbench.expression.adjustment import (
    Design,
    adjusted,
    covariate_design,
    expression_components,
)
from zarrbench.expression.normalisation import normalised, whole_counts
from zarrbench.expression.voom import weights_of
from zarrbench.recipes import nearest
from zarrbench.statistics.correlation import is_constant

#: why a gene of the table is not in the prepared expression
NOT_EXPRESSED = "its mean log2 CPM is too low"


@dataclass(frozen=True)
class Expression:
    """Expression from raw counts, and covariates removed (METHODS section 2).

    Parameters
    ----------
    counts : bool
        The table holds raw counts; else a ready matrix of logarithms, taken as it stands.
    weights : {'voom', 'none'}
        Precision weights of the least squares; voom needs raw counts.
    covariates : 'all', 'none' or tuple of str
        Those of the store that are removed.
    genotype_components : int
        So many components of the genotype_quality stage are removed with them.
    n_expression_pcs : int
        Principal components of the residuals that are removed with them.
    min_mean_log2cpm : float, optional
        Genes stay whose mean over samples is above it (a ready matrix is taken for log2 CPM); None
        keeps all.
    """

    counts: bool
    weights: Literal["voom", "none"] = "voom"
    covariates: Literal["all", "none"] | tuple[str, ...] = "all"
    n_expression_pcs: int = 10
    min_mean_log2cpm: float | None = 2.0
    genotype_components: int = 0

    def __post_init__(self) -> None:
        if self.weights == "voom" and not self.counts:
            raise ValueError("weights: voom needs raw counts; say 'weights: none' for a matrix")
        if self.n_expression_pcs < 0:
            raise ValueError("n_expression_pcs must be at least 0")
        if self.genotype_components < 0:
            raise ValueError("genotype_components must be at least 0")
        if self.min_mean_log2cpm is not None and not np.isfinite(self.min_mean_log2cpm):
            raise ValueError("min_mean_log2cpm must be a finite number, or null for all genes")
        if isinstance(self.covariates, tuple) and len(set(self.covariates)) < len(self.covariates):
            raise ValueError("covariates names one more than once")


def prepared_expression(expression: xr.Dataset, parameters: Expression) -> xr.Dataset:
    """Return expression normalised, adjusted for covariates and filtered, computed.

    All samples given take part, those without a genotype and later samples of an individual
    included. Normalisation factors and the trend of variance are estimated from all genes given,
    components from those that stay: rare reads are mostly noise, which standardised genes would
    bring in whole. A gene's (unweighted) mean is that before the adjustment. Correlated samples
    are not handled.

    Parameters
    ----------
    expression : xr.Dataset
        As `layouts.EXPRESSION` has it. Values that are missing in a ready matrix stay missing, and
        their genes have no part in the components.
    parameters : Expression

    Returns
    -------
    xr.Dataset
        As `layouts.EXPRESSION` has it, float64, with mean_log2cpm and flagged (gene); with
        library_size and norm_factor (sample) where counts were given, weights (gene, sample) where
        they were used, and expression_pcs (pc, sample) where there are any. Its attributes say
        which covariates were removed, and which could not be (constant, collinear).

    Raises
    ------
    ExpressionError
        For counts that are no whole numbers from 0 up, a sample without counts, a covariate that
        is unknown or has missing values, more covariates and components than the samples allow,
        or no gene left.
    """
    known = _design(expression, parameters)
    _refuse_saturated(expression.sizes["sample"], known, parameters)
    scale = _log_scale(expression, parameters)
    kept = _expressed(scale["mean_log2cpm"], parameters.min_mean_log2cpm)
    prepared, scale = expression.isel(gene=kept), scale.isel(gene=kept)
    values, weights, silent = scale["expression"], scale.get("weights"), scale["silent"]
    rest = adjusted(values, known, weights)
    if parameters.n_expression_pcs:
        components = expression_components(rest[~silent.values], parameters.n_expression_pcs)
        rest = adjusted(values, _widened(known, components), weights)
        prepared = prepared.assign(expression_pcs=components)
    flagged = silent | _constant(values) | _constant(rest)
    made = scale.drop_vars("silent").assign(expression=rest, flagged=flagged)
    for names, why in (
        (known.constant, "do not vary"),
        (known.collinear, "are linear combinations of others"),
    ):
        if names:
            progress.note(f"expression: {len(names)} covariates {why}: {', '.join(names)}")
    return prepared.assign(made.reset_coords(drop=True).data_vars).assign_attrs(
        unit=_unit(expression, parameters, known),
        n_genes_not_expressed=int((~kept).sum()),
        covariates_removed=json.dumps(known.kept),
        covariates_constant=json.dumps(known.constant),
        covariates_collinear=json.dumps(known.collinear),
    )


def _log_scale(expression: xr.Dataset, parameters: Expression) -> xr.Dataset:
    """Return all that is estimated before covariates: values, their mean, weights, libraries."""
    raw = expression["expression"].transpose("gene", "sample")
    if not parameters.counts:
        values = raw.astype(np.float64).load()
        silent = np.zeros(values.sizes["gene"], dtype=bool)
        found = xr.Dataset({"expression": values, "silent": ("gene", silent)})
        return found.assign(mean_log2cpm=values.mean("sample"))
    counts = whole_counts(raw)
    found = normalised(counts).rename(log2_cpm="expression")
    found = found.assign(
        mean_log2cpm=found["expression"].mean("sample"), silent=~(counts > 0).any("sample")
    )
    if parameters.weights == "none":
        return found
    return found.assign(weights=weights_of(counts, found["library_size"] * found["norm_factor"]))


def _design(expression: xr.Dataset, parameters: Expression) -> Design:
    asked = parameters.covariates
    present = [] if "covariates" not in expression else expression["covariate"].values.tolist()
    names = {"all": present, "none": []}[asked] if isinstance(asked, str) else list(asked)
    for name in names:
        if name not in present:
            raise ExpressionError(
                f"the expression store has no covariate {name!r}"
                f"{nearest(name, map(str, present)) or ', nor any other: give it a table of them'}"
            )
    if not names:
        nothing = xr.DataArray(
            np.empty((expression.sizes["sample"], 0)),
            dims=("sample", "direction"),
            coords={"sample": expression["sample"].values},
        )
        return Design(nothing, (), (), ())
    return covariate_design(expression["covariates"].sel(covariate=names))


def _widened(known: Design, components: xr.DataArray) -> Design:
    """Return the design of the known covariates and of components beside them.

    With weights the residuals, and so their components, are not quite orthogonal to covariates.
    """
    columns = np.concatenate([known.basis.values.T, components.values])
    names = np.array([str(i) for i in range(len(columns))], dtype=object)
    labels = {"covariate": names, "sample": components["sample"].values}
    return covariate_design(xr.DataArray(columns, dims=("covariate", "sample"), coords=labels))


def _refuse_saturated(n_samples: int, known: Design, parameters: Expression) -> None:
    columns = 1 + len(known.kept) + parameters.n_expression_pcs
    if columns >= n_samples:
        raise ExpressionError(
            f"an intercept, {len(known.kept)} covariates and {parameters.n_expression_pcs} "
            f"expression components leave nothing of {n_samples} samples; name fewer 'covariates' "
            f"or lower 'n_expression_pcs'"
        )


def _constant(values: xr.DataArray) -> xr.DataArray:
    mean, sd = values.mean("sample"), values.std("sample")
    return mean.copy(data=is_constant(mean.values, sd.values))


def _expressed(mean: xr.DataArray, threshold: float | None) -> NDArray[np.bool_]:
    """Return which genes stay: a gene without any value has no mean, and is not above it."""
    if threshold is None:
        return np.ones(mean.size, dtype=bool)
    kept = mean.values > threshold
    if not kept.any():
        highest = np.nanmax(mean.values) if mean.notnull().any() else np.nan
        raise ExpressionError(
            f"no gene has a mean log2 CPM above {threshold:g}, the highest has {highest:.3g}; "
            f"lower 'min_mean_log2cpm', or set it to null for values in another unit"
        )
    return kept


def _unit(expression: xr.Dataset, parameters: Expression, known: Design) -> str:
    unit = "log2 CPM" if parameters.counts else str(expression.attrs.get("unit", ""))
    if not (known.kept or parameters.n_expression_pcs):
        return unit
    return ", ".join(filter(None, [unit, "adjusted"]))
