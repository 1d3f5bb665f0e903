"""Genotype quality on the real cohort, all of chr22: bcftools, and published components."""

import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from zarrbench.parameters import GenotypeQuality
from zarrbench.stages.genotype_quality import cohort_quality

pytestmark = [pytest.mark.realdata, pytest.mark.bcftools]

VCF = "genotypes/geuvadis_eur358.chr22.hg19.vcf.gz"


def lines_of(*command: str | Path) -> list[list[str]]:
    printed = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    return [line.split("\t", 3) for line in printed.splitlines()]


@pytest.fixture(scope="module")
def dosages(realdata, bcftools) -> xr.Dataset:
    """All common SNPs of chr22, read by bcftools."""
    layout = "%POS\t%REF\t%ALT[\t%GT]\n"
    position, ref, alt, calls = zip(
        *lines_of(bcftools, "query", "-f", layout, realdata / VCF), strict=True
    )
    bytes_ = np.array([np.frombuffer(row.encode(), np.uint8) for row in calls])
    dosage = (bytes_[:, 0::4] == ord("1")).astype(np.int8) + (bytes_[:, 2::4] == ord("1"))
    people = [cells[0] for cells in lines_of(bcftools, "query", "-l", realdata / VCF)]
    return xr.Dataset(
        {"dosage": (("variant", "individual"), dosage.astype(np.int8))},
        coords={
            "variant_contig": ("variant", np.full(len(dosage), "chr22", object)),
            "variant_position": ("variant", np.array(position, np.int64)),
            "other_allele": ("variant", np.array(ref, object)),
            "effect_allele": ("variant", np.array(alt, object)),
            "individual": np.array(people, object),
        },
    ).chunk(variant=20_000)


@pytest.fixture(scope="module")
def found(dosages) -> tuple[xr.Dataset, pd.DataFrame]:
    return cohort_quality(dosages, GenotypeQuality(n_components=3))


def test_variants_as_bcftools_has_them(found, realdata, bcftools):
    quality, _ = found
    filled = "%POS\t%AF\t%HWE\t%F_MISSING\n"
    piped = (
        f"{bcftools} +fill-tags {realdata / VCF} -- -t AF,HWE,F_MISSING"
        f" | {bcftools} query -f '{filled}'"
    )
    rows = np.array(lines_of("bash", "-o", "pipefail", "-c", piped), dtype=float)
    np.testing.assert_array_equal(quality.variant_position, rows[:, 0])
    np.testing.assert_allclose(quality.effect_allele_frequency, rows[:, 1], rtol=1e-5)
    np.testing.assert_allclose(quality.variant_missing, rows[:, 3])
    # printed as six digits of a float32
    np.testing.assert_allclose(quality.hwe_p, rows[:, 2], rtol=1e-4, atol=1e-37)


def test_components_are_the_published_ones(found, realdata):
    """Those were made of the whole genome; the first tells Finland from Tuscany."""
    quality, _ = found
    people = [str(p) for p in quality.individual.values]
    scores = quality.genotype_components.values
    path = realdata / "expression/geuvadis_eur358.covariates_pc50.txt.gz"
    published = pd.read_csv(path, sep=r"\s+", index_col=0).iloc[:3][people].to_numpy()
    r = np.abs(np.corrcoef(scores, published)[:3, 3:])
    assert r[0, 0] > 0.9
    assert r[1, 1] > 0.6
    samples = pd.read_csv(realdata / "genotypes/samples.tsv", sep="\t", index_col=0)
    population = samples.population.loc[people].to_numpy()
    north, south = scores[0, population == "FIN"], scores[0, population == "TSI"]
    assert max(north.min(), south.min()) > min(north.max(), south.max())
    assert quality.explained[0] > 1.5 * quality.explained[1]


def test_one_chromosome_does_not_tell_relatives(found):
    quality, pairs = found
    assert quality.attrs["kinship_scatter"] > GenotypeQuality().min_kinship / 4
    assert len(pairs) < 0.01 * 358 * 357 / 2
