"""Who computes slopes, each its own usual way; all return slopes of the pairs, gene after gene."""

import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.statistics.workload import WINDOW, Workload
from zarrbench.statistics.eqtl import cis_slopes
from zarrbench.statistics.slopes import slopes

PAIR = ["slope", "se", "t", "p"]


def zarrbench_kernel(work: Workload) -> NDArray[np.float64]:
    return slopes(work.dosage, work.y, work.first, work.last).slope


def zarrbench_labelled(work: Workload) -> NDArray[np.float64]:
    """Labels joined, slope, se, t and p of all pairs, by Dask's threads."""
    dosages, expression = work.labelled()
    found = cis_slopes(dosages, expression, WINDOW)
    return found[PAIR].compute(scheduler="threads")["slope"].values


def tensorqtl(work: Workload) -> NDArray[np.float64]:
    """map_nominal on the CPU, which writes one parquet file; read back to compare."""
    from tensorqtl import cis

    people = [f"P{i}" for i in range(work.dosage.shape[1])]
    variants = [f"v{i}" for i in range(len(work.dosage))]
    genotypes = pd.DataFrame(work.dosage, index=variants, columns=people)
    sites = pd.DataFrame({"chrom": "chr1", "pos": work.positions}, index=variants)
    genes = [f"G{i}" for i in range(len(work.tss))]
    expression = pd.DataFrame(work.y, index=genes, columns=people)
    places = pd.DataFrame({"chr": "chr1", "pos": work.tss}, index=genes)
    with tempfile.TemporaryDirectory() as folder:
        cis.map_nominal(genotypes, sites, expression, places, "out", window=WINDOW,
                        output_dir=folder, verbose=False)  # fmt: skip
        table = pd.concat(map(pd.read_parquet, sorted(Path(folder).glob("*.parquet"))))
    return table["slope"].to_numpy(np.float64)


def sgkit(work: Workload) -> NDArray[np.float64]:
    """gwas_linear_regression, one call a gene."""
    import xarray as xr
    from sgkit import gwas_linear_regression

    found = []
    for y, first, last in zip(work.y, work.first, work.last, strict=True):
        dataset = xr.Dataset(
            {"dosage": (("variants", "samples"), work.dosage[first:last].astype(np.float64)),
             "y": ("samples", y)}
        )  # fmt: skip
        result = gwas_linear_regression(
            dataset, dosage="dosage", covariates=[], traits=["y"], add_intercept=True
        )
        kept = result[["variant_linreg_beta", "variant_linreg_t_value", "variant_linreg_p_value"]]
        found.append(kept.compute()["variant_linreg_beta"].values[:, 0])
    return np.concatenate(found)


def scikit_learn(work: Workload) -> NDArray[np.float64]:
    """As the study: pearsonr and LinearRegression, pair by pair."""
    from scipy.stats import pearsonr
    from sklearn.linear_model import LinearRegression

    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for y, first, last in zip(work.y, work.first, work.last, strict=True):
            for row in work.dosage[first:last]:
                pearsonr(row, y)
                found.append(LinearRegression().fit(row[:, np.newaxis], y).coef_[0])
    return np.array(found)


def numpy_products(work: Workload) -> NDArray[np.float64]:
    """Slopes alone, in float32: one conversion and one product a gene."""
    found = []
    for y, first, last in zip(work.y.astype(np.float32), work.first, work.last, strict=True):
        g = work.dosage[first:last].astype(np.float32)
        n = g.shape[1]
        total = g.sum(axis=1)
        own = np.vecdot(g, g) - total**2 / n
        found.append((g @ (y - y.mean())) / own)
    return np.concatenate(found)


SLOPES = {
    "zarrbench: slopes": zarrbench_kernel,
    "zarrbench: cis_slopes, labelled": zarrbench_labelled,
    "tensorQTL map_nominal (CPU)": tensorqtl,
    "sgkit gwas_linear_regression": sgkit,
    "NumPy float32, slopes alone": numpy_products,
    "scikit-learn loop": scikit_learn,
}
#: genes that the slow ones are timed on
FEW = {"scikit-learn loop": 3, "sgkit gwas_linear_regression": 40}
