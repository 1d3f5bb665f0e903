"""Components against scikit-learn and sgkit, and what they are for: telling populations apart."""

import numpy as np
import pytest
import sgkit
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from zarrbench.errors import GenotypeError, SampleError
from zarrbench.statistics import genotype_components as module
from zarrbench.statistics.genotype_components import genotype_components, standardised


def two_populations(seed=0, variants=400, people=50, fst=0.1):
    """Dosages of 20 and 30 people whose allele frequencies drifted apart."""
    rng = np.random.default_rng(seed)
    p = rng.uniform(0.1, 0.9, variants)[:, None]
    shape = (1 - fst) / fst
    apart = rng.beta(p * shape, (1 - p) * shape, (variants, 2))
    return rng.binomial(2, np.repeat(apart, [20, people - 20], axis=1)).astype(np.int8)


def aligned(ours, theirs):
    """Theirs with the signs of ours."""
    return theirs * np.sign((ours * theirs).sum(axis=1, keepdims=True))


def test_standardised_by_hand():
    found = standardised(np.array([[0, 1, 2, -1], [2, 2, 2, 2], [0, 0, 0, 1]], np.int8))
    p = 1 / 8
    rare = (np.array([0, 0, 0, 1]) - 2 * p) / np.sqrt(2 * p * (1 - p))
    np.testing.assert_allclose(found, [np.array([-1, 0, 1, 0]) / np.sqrt(0.5), rare])


@pytest.mark.parametrize("missing", [0.0, 0.05])
def test_as_scikit_learn(missing):
    dosage = two_populations()
    dosage[np.random.default_rng(1).random(dosage.shape) < missing] = -1
    ours = genotype_components([dosage], 5)
    z = standardised(dosage)
    pca = PCA(n_components=5, svd_solver="full")
    theirs = pca.fit_transform(z.T).T / np.sqrt(len(z))
    np.testing.assert_allclose(ours.scores, aligned(ours.scores, theirs), atol=1e-10)
    np.testing.assert_allclose(ours.explained, pca.explained_variance_ratio_, rtol=1e-10)
    np.testing.assert_allclose((ours.scores**2).sum(axis=1), ours.eigenvalues, rtol=1e-10)
    np.testing.assert_allclose(ours.scores.sum(axis=1), 0, atol=1e-10)
    assert ours.n_variants == len(z)


def test_as_sgkit():
    dosage = two_populations(3)
    dosage = dosage[(dosage.min(axis=1) < 2) & (dosage.max(axis=1) > 0)]
    data = xr.Dataset({"call_alternate_allele_count": (("variants", "samples"), dosage)})
    theirs = sgkit.pca(
        data.chunk(variants=-1), n_components=3, ploidy=2
    ).sample_pca_projection.values.T
    ours = genotype_components([dosage], 3).scores
    for mine, other in zip(ours, theirs, strict=True):
        assert abs(np.corrcoef(mine, other)[0, 1]) == pytest.approx(1, abs=1e-8)


@settings(max_examples=20)
@given(edges=st.lists(st.integers(0, 400), max_size=8))
def test_any_blocks_give_the_same(edges):
    dosage = two_populations(5)
    whole = genotype_components([dosage], 4)
    parts = genotype_components(np.split(dosage, sorted(edges)), 4)
    np.testing.assert_allclose(parts.scores, whole.scores, atol=1e-10)
    np.testing.assert_allclose(parts.explained, whole.explained, rtol=1e-10)


def test_the_first_tells_populations_apart_and_its_sign_is_fixed():
    dosage = two_populations(7)
    first, *rest = genotype_components([dosage], 3).scores
    assert first[:20].min() > first[20:].max() or first[:20].max() < first[20:].min()
    for scores in (first, *rest):
        assert scores[np.abs(scores).argmax()] > 0
    turned = genotype_components([dosage[:, ::-1]], 3).scores
    np.testing.assert_allclose(turned[0, ::-1], first, atol=1e-10)
    # which allele is counted makes no difference
    np.testing.assert_allclose(genotype_components([2 - dosage], 3).scores[0], first, atol=1e-10)


def test_too_few_or_too_many_are_refused(monkeypatch):
    dosage = two_populations(1, variants=30)
    with pytest.raises(GenotypeError, match="50 genotype components need more common variants"):
        genotype_components([dosage], 50)
    with pytest.raises(GenotypeError, match="found 0 of 50 people; lower 'n_components'"):
        genotype_components([np.zeros((3, 50), np.int8)], 1)
    with pytest.raises(GenotypeError, match="found 0 of 0 people"):
        genotype_components([], 1)
    assert genotype_components([dosage[:6]], 6).scores.shape == (6, 50)
    monkeypatch.setattr(module, "MOST_PEOPLE", 49)
    with pytest.raises(SampleError, match=r"components of 50 people .* at most 49 people"):
        genotype_components([dosage], 1)
