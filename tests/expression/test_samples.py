import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from zarrbench import layouts, storage
from zarrbench.errors import SampleError
from zarrbench.expression import samples
from zarrbench.expression.samples import join_samples, observed
from zarrbench.expression.tables import read_expression


def expression_of(individuals: list[str]) -> xr.Dataset:
    """One gene per row; sample number `n` is named ``Sn`` and has the values n and -n."""
    number = np.arange(len(individuals), dtype=float)
    return xr.Dataset(
        {"expression": (("gene", "sample"), np.stack([number, -number]))},
        coords={
            "gene": np.array(["G1", "G2"], dtype=object),
            "gene_id_version": ("gene", np.array(["G1", "G2"], dtype=object)),
            "sample": np.array([f"S{n:.0f}" for n in number], dtype=object),
            "individual": ("sample", np.array(individuals, dtype=object)),
        },
    )


def test_every_sample_and_individual_has_a_reason():
    expression = expression_of(["HG3", "HG1", "HG9", "HG1", "HG9"])
    join = join_samples(expression, ["HG1", "HG2", "HG3"])
    assert join.individuals == ("HG1", "HG3")
    expected = pd.DataFrame(
        [
            ("S0", "HG3", True, samples.KEPT),
            ("S1", "HG1", True, samples.KEPT),
            ("S2", "HG9", False, samples.NO_GENOTYPE),
            ("S3", "HG1", False, samples.LATER_SAMPLE),
            ("S4", "HG9", False, samples.NO_GENOTYPE),
            ("", "HG2", False, samples.NO_EXPRESSION),
        ],
        columns=["sample", "individual", "kept", "reason"],
    )
    pd.testing.assert_frame_equal(join.table, expected, check_dtype=False)
    assert join.table["kept"].dtype == bool
    assert join.counts() == {
        samples.KEPT: 2,
        samples.LATER_SAMPLE: 1,
        samples.NO_GENOTYPE: 2,
        samples.NO_EXPRESSION: 1,
    }


def test_observed_follows_the_genotypes():
    expression = expression_of(["HG3", "HG1", "HG9", "HG1"])
    values = observed(expression, join_samples(expression, ["HG1", "HG2", "HG3"]))
    assert values.dims == ("gene", "individual")
    assert list(values["individual"].values) == ["HG1", "HG3"]
    assert values["individual"].dtype == object
    assert "sample" not in values.coords
    np.testing.assert_array_equal(values, [[1, 0], [-1, 0]])


def test_a_join_of_a_store_stays_lazy(tmp_path):
    expression = expression_of(["HG3", "HG1"])
    storage.write_dataset(expression, tmp_path / "store", layouts.EXPRESSION)
    opened = storage.open_dataset(tmp_path / "store", layouts.EXPRESSION)
    join = join_samples(opened, ["HG1", "HG3"])
    values = observed(opened, join)
    assert values.chunks is not None
    assert join.table["individual"].map(type).eq(str).all()
    np.testing.assert_array_equal(values, observed(expression, join))


def test_none_in_common():
    expression = expression_of(["A", "B", "C", "D"])
    with pytest.raises(
        SampleError, match=r"have HG1, HG2, the expression has A, B, C; .*sample map"
    ):
        join_samples(expression, ["HG1", "HG2"])


def test_repeated_genotype_ids():
    with pytest.raises(SampleError, match="genotypes have 1 sample ids more than once: HG1"):
        join_samples(expression_of(["HG1"]), ["HG1", "HG2", "HG1"])


people = st.lists(st.sampled_from([f"HG{n}" for n in range(8)]), min_size=1, max_size=10)


@given(measured=people, genotyped=people.map(lambda ids: list(dict.fromkeys(ids))))
def test_join_is_the_intersection_of_first_occurrences(measured, genotyped):
    expression = expression_of(measured)
    shared = [individual for individual in genotyped if individual in measured]
    if not shared:
        with pytest.raises(SampleError):
            join_samples(expression, genotyped)
        return
    join = join_samples(expression, genotyped)
    assert join.individuals == tuple(shared)
    assert sum(join.counts().values()) == len(join.table)
    assert len(join.table) == len(measured) + len(set(genotyped) - set(measured))
    values = observed(expression, join).sel(gene="G1")
    np.testing.assert_array_equal(values, [measured.index(individual) for individual in shared])


@pytest.mark.realdata
def test_geuvadis_samples(realdata):
    path = realdata / "expression" / "geuvadis_eur373.chr22_genes.normalised.hg19.bed.gz"
    people = pd.read_csv(realdata / "genotypes" / "samples.tsv", sep="\t")
    genotyped = people.loc[people["in_phase3_vcf"] == 1, "sample"].to_list()
    join = join_samples(read_expression(path), genotyped)
    assert join.individuals == tuple(genotyped)
    assert join.counts() == {
        samples.KEPT: 358,
        samples.LATER_SAMPLE: 0,
        samples.NO_GENOTYPE: 15,
        samples.NO_EXPRESSION: 0,
    }
