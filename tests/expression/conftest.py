"""R's own answers: small tables made once, and Rscript where edgeR and limma are installed."""

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

EXPECTED = Path(__file__).parent / "expected"


@dataclass(frozen=True)
class Answers:
    """A folder with counts, covariates, and what expected/reference.R writes beside them."""

    folder: Path

    def __call__(self, name: str) -> pd.DataFrame:
        return pd.read_csv(self.folder / f"{name}.tsv", sep="\t", index_col=0)

    @property
    def libraries(self) -> np.ndarray:
        samples = self("samples")
        return (samples["lib.size"] * samples["norm.factors"]).to_numpy()

    def dataset(self) -> xr.Dataset:
        """The counts and covariates as a store holds them."""
        counts, covariates = self("counts"), self("covariates")
        genes, samples = (np.array(list(axis), dtype=object) for axis in counts.axes)
        return xr.Dataset(
            {
                "expression": (("gene", "sample"), counts.to_numpy(float)),
                "covariates": (("covariate", "sample"), covariates.to_numpy(float)),
            },
            coords={
                "gene": genes,
                "gene_id_version": ("gene", genes),
                "sample": samples,
                "individual": ("sample", samples),
                "covariate": np.array(list(covariates.index), dtype=object),
            },
            attrs={"unit": "reads"},
        )


@pytest.fixture(scope="session")
def answers() -> Answers:
    """What R gave for a simulated matrix of 60 genes and 12 samples."""
    return Answers(EXPECTED)


@pytest.fixture(scope="session")
def edger(tmp_path_factory: pytest.TempPathFactory) -> Callable[[np.ndarray], Answers]:
    """Ask R about a count matrix; skipped without edgeR and limma, which CI does not install."""
    rscript = shutil.which("Rscript")
    probe = "library(edgeR); library(limma)"
    if rscript is None or subprocess.run([rscript, "-e", probe], capture_output=True).returncode:
        pytest.skip("Rscript with edgeR and limma is not installed")

    def ask(counts: np.ndarray) -> Answers:
        folder = tmp_path_factory.mktemp("edger")
        genes, samples = (
            [f"{c}{i}" for i in range(n)] for c, n in zip("GS", counts.shape, strict=True)
        )
        table = pd.DataFrame(counts.astype(int), genes, samples)
        table.to_csv(folder / "counts.tsv", sep="\t")
        subprocess.run([rscript, EXPECTED / "reference.R", folder], check=True, capture_output=True)
        return Answers(folder)

    return ask
