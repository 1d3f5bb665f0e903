import math

import numpy as np
import pytest
import xarray as xr
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from zarrbench.errors import ExpressionError
from zarrbench.expression.normalisation import log_cpm, normalised, tmm_factors, whole_counts


def simulated(genes: int, samples: int, seed: int, mean: float = 100) -> np.ndarray:
    """Counts with silent genes, ties, and a composition that differs between the samples."""
    rng = np.random.default_rng(seed)
    level = mean * np.exp(rng.normal(0, 2, genes))
    level[: genes // 10] = 0
    shift = np.where(rng.random((genes, samples)) < 0.1, 6.0, 1.0)
    depth = np.exp(rng.normal(0, 0.5, samples))
    counts = rng.negative_binomial(4, 4 / (4 + level[:, None] * depth * shift + 1e-12))
    counts[-1] += counts.sum(axis=0) == 0
    return counts.astype(float)


def plain_ranks(values: list[float]) -> list[float]:
    return [
        sum(v < one for v in values) + (sum(v == one for v in values) + 1) / 2 for one in values
    ]


def plain_tmm(counts: np.ndarray) -> np.ndarray:
    """TMM by loops over Python's numbers, as the paper and edgeR's manual describe it."""
    sizes = [float(sum(column)) for column in counts.T]
    rows = [row.tolist() for row in counts if any(row)]
    columns = [list(column) for column in zip(*rows, strict=True)]
    if len(columns) == 1:
        return np.ones(1)
    quartiles = [float(np.percentile(c, 75)) / s for c, s in zip(columns, sizes, strict=True)]
    if sorted(quartiles)[len(quartiles) // 2] + sorted(quartiles)[(len(quartiles) - 1) // 2] == 0:
        roots = [math.fsum(math.sqrt(c) for c in column) for column in columns]
        at = roots.index(max(roots))
    else:
        mean = float(np.mean(quartiles, dtype=np.longdouble))
        distance = [abs(q - mean) for q in quartiles]
        at = distance.index(min(distance))
    logs = [
        plain_log_factor(column, columns[at], size, sizes[at])
        for column, size in zip(columns, sizes, strict=True)
    ]
    return np.array([2 ** (log - math.fsum(logs) / len(logs)) for log in logs])


def plain_log_factor(x: list[float], y: list[float], of_x: float, of_y: float) -> float:
    pairs = [(a, b) for a, b in zip(x, y, strict=True) if a > 0 and b > 0]
    m = [float(np.log2((a / of_x) / (b / of_y))) for a, b in pairs]
    a_values = [float(np.log2(a / of_x) + np.log2(b / of_y)) / 2 for a, b in pairs]
    if not m or max(map(abs, m)) < 1e-6:
        return 0.0
    n = len(m)
    low_m, low_a = math.floor(n * 0.3) + 1, math.floor(n * 0.05) + 1
    top = total = 0.0
    for i, (rank_m, rank_a) in enumerate(zip(plain_ranks(m), plain_ranks(a_values), strict=True)):
        if low_m <= rank_m <= n + 1 - low_m and low_a <= rank_a <= n + 1 - low_a:
            a, b = pairs[i]
            weight = 1 / ((of_x - a) / of_x / a + (of_y - b) / of_y / b)
            top, total = top + weight * m[i], total + weight
    return top / total if total else 0.0


def test_factors_and_log_cpm_are_those_of_edger(answers):
    counts, samples = answers("counts").to_numpy(), answers("samples")
    np.testing.assert_allclose(tmm_factors(counts), samples["norm.factors"], rtol=1e-10)
    np.testing.assert_allclose(
        log_cpm(counts, answers.libraries), answers("log_cpm"), rtol=1e-10, atol=1e-12
    )
    # the case is no trivial one
    assert np.ptp(samples["norm.factors"]) > 0.5


@pytest.mark.edger
@pytest.mark.parametrize(
    "counts",
    [
        simulated(2000, 9, 1),
        simulated(500, 2, 2),
        simulated(300, 8, 3, mean=0.5),
        simulated(40, 5, 4, mean=0.05),
        np.minimum(simulated(200, 6, 5), 1),
        np.repeat(simulated(200, 1, 6), 4, axis=1) * [1, 2, 3, 50],
        np.r_[simulated(100, 4, 7), [[1e6, 0, 0, 0]]],
    ],
    ids=["many", "two", "few_reads", "quartile_0", "ones", "in_proportion", "one_gene_dominates"],
)
def test_any_matrix_against_edger(edger, counts):
    found = edger(counts)
    factors = tmm_factors(counts)
    np.testing.assert_allclose(factors, found("samples")["norm.factors"], rtol=1e-10)
    np.testing.assert_allclose(
        log_cpm(counts, counts.sum(axis=0) * factors), found("log_cpm"), rtol=1e-10, atol=1e-12
    )


# Both quartiles are as far from their mean; what R's extended precision makes of it decides.
TIED = np.array(
    [[35, 42], [8, 46], [25, 10], [30, 36], [25, 30], [1, 8], [25, 44], [9, 44]], dtype=float
)[:, [0, 1, 0, 1]]


@pytest.mark.skipif(np.finfo(np.longdouble).eps == np.finfo(float).eps, reason="no such precision")
def test_a_tie_for_the_reference_is_decided_as_by_edger():
    expected = [0.9747108288257837, 1.0259453064707216] * 2  # by edgeR 3.40.2
    np.testing.assert_allclose(tmm_factors(TIED), expected, rtol=1e-10)


@given(
    arrays.arrays(
        np.int64,
        st.tuples(st.integers(1, 25), st.integers(1, 5)),
        elements=st.one_of(st.integers(0, 4), st.integers(0, 5000)),
    )
)
def test_against_plain_loops(counts):
    assume((counts.sum(axis=0) > 0).all())
    found = tmm_factors(counts)
    np.testing.assert_allclose(found, plain_tmm(counts), rtol=1e-10)
    assert np.log(found).mean() == pytest.approx(0, abs=1e-12)


def test_genes_without_counts_have_no_influence():
    counts = simulated(300, 6, 8)
    counts = counts[counts.any(axis=1)]
    more = np.r_[np.zeros((900, 6)), counts]
    np.testing.assert_array_equal(tmm_factors(more), tmm_factors(counts))


def test_a_sample_in_proportion_to_the_reference_shares_its_factor():
    counts = np.repeat(simulated(200, 1, 9), 3, axis=1) * [1, 7, 100]
    np.testing.assert_array_equal(tmm_factors(counts), 1)


def test_composition_is_undone():
    """Half of one sample's reads are of a single gene: the others are counted half as deep."""
    counts = np.full((1001, 3), 100.0)
    counts[0, 2] = 100 * 1001
    factors = tmm_factors(counts)
    assert factors[2] / factors[0] == pytest.approx(1001 / 2001, rel=1e-3)


@pytest.mark.parametrize("shape", [(5, 1), (1, 1)])
def test_one_sample(shape):
    np.testing.assert_array_equal(tmm_factors(np.ones(shape)), 1)


def test_samples_that_share_no_gene():
    np.testing.assert_array_equal(tmm_factors(np.eye(4) * 10), 1)


def labelled(counts: np.ndarray) -> xr.DataArray:
    genes, samples = (
        [f"{c}{i}" for i in range(n)] for c, n in zip("GS", counts.shape, strict=True)
    )
    return xr.DataArray(counts, dims=("gene", "sample"), coords={"gene": genes, "sample": samples})


@settings(max_examples=25)
@given(genes=st.integers(1, 60), samples=st.integers(1, 5))
def test_any_chunking_gives_the_same(genes, samples):
    counts = labelled(simulated(60, 5, 10))
    lazy = normalised(counts.chunk({"gene": genes, "sample": samples}))
    assert all(lazy[name].chunks for name in lazy)
    xr.testing.assert_allclose(lazy.compute(), normalised(counts), rtol=1e-14)


def test_labelled_values():
    counts = labelled(simulated(60, 5, 11))
    found = normalised(counts)
    assert found.log2_cpm.dims == ("gene", "sample")
    np.testing.assert_array_equal(found.library_size, counts.values.sum(axis=0))
    np.testing.assert_array_equal(found.norm_factor, tmm_factors(counts.values))
    effective = (found.library_size * found.norm_factor).values
    np.testing.assert_array_equal(found.log2_cpm, log_cpm(counts.values, effective))


def test_rounding_of_text_is_undone():
    counts = labelled(np.array([[1.0000001, 2.9999999], [0.0, 3.0]]))
    np.testing.assert_array_equal(whole_counts(counts), [[1, 3], [0, 3]])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (-1.0, "1 raw counts are negative, first -1 of gene 'G1' in sample 'S2'"),
        (0.5, "1 raw counts are fractional, first 0.5 of gene 'G1' in sample 'S2'"),
        (1e-5, "1 raw counts are fractional"),
        (np.nan, "1 raw counts are missing"),
        (np.inf, "1 raw counts are infinite"),
    ],
)
def test_refused_counts(value, message):
    counts = labelled(np.full((3, 4), 5.0))
    counts[1, 2] = value
    with pytest.raises(ExpressionError, match=message):
        whole_counts(counts)


def test_samples_without_counts():
    counts = np.full((3, 6), 5.0)
    counts[:, 1:] = 0
    with pytest.raises(ExpressionError, match=r"5 samples have no counts at all \(S1, S2, S3\)"):
        whole_counts(labelled(counts))
