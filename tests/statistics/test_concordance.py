"""The SNVs of a gene side by side: against scipy, and against the parts that it puts together."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from zarrbench.statistics.concordance import COLUMNS, Concordance, concordance
from zarrbench.statistics.drivers import DriverRule, backward_drivers, forward_drivers

RULE = DriverRule()
MANY = DriverRule(criteria="increment_only")


@dataclasses.dataclass(frozen=True)
class Gene:
    """What is known of a gene before it is compared."""

    ism: np.ndarray
    gradient: np.ndarray | None
    dosage: np.ndarray
    positions: np.ndarray
    predicted: np.ndarray
    observed: np.ndarray

    def compared(self, rule: DriverRule = RULE) -> Concordance:
        return concordance(*(getattr(self, f.name) for f in dataclasses.fields(self)), rule)

    def of(self, variants) -> "Gene":
        """The same with other SNVs, or in another order."""
        gradient = None if self.gradient is None else self.gradient[variants]
        return dataclasses.replace(self, ism=self.ism[variants], gradient=gradient,
                                   dosage=self.dosage[variants],
                                   positions=self.positions[variants])  # fmt: skip


def made(seed: int, n_variants: int = 8, n_people: int = 60, noise: float = 0.3) -> Gene:
    """A gene that its first SNV makes; expression follows it, and the second one the wrong way."""
    rng = np.random.default_rng(seed)
    dosage = rng.binomial(2, rng.uniform(0.1, 0.5, n_variants)[:, None], (n_variants, n_people))
    ism = rng.normal(0, 0.1, n_variants)
    ism[:2] = 2.0, 1.0
    predicted = ism @ dosage + rng.normal(0, noise, n_people)
    observed = dosage[0] - 0.8 * dosage[1] + rng.normal(0, 0.5, n_people)
    positions = np.sort(rng.choice(10_000, n_variants, replace=False)) + 1
    gradient = ism + rng.normal(0, 0.05, n_variants)
    return Gene(ism, gradient, dosage.astype(np.int8), positions, predicted, observed)


def with_gaps(gene: Gene, seed: int) -> Gene:
    """The same with missing calls, unknown attributions and people that were not measured."""
    rng = np.random.default_rng(seed)
    dosage, ism = gene.dosage.copy(), gene.ism.copy()
    dosage[rng.random(dosage.shape) < 0.05] = -1
    ism[-1] = np.nan
    dosage[2] = 0
    predicted, observed = gene.predicted.copy(), gene.observed.copy()
    predicted[rng.random(predicted.size) < 0.1] = np.nan
    observed[rng.random(observed.size) < 0.3] = np.nan
    return dataclasses.replace(gene, ism=ism, dosage=dosage, predicted=predicted, observed=observed)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("gaps", [False, True])
def test_slopes_and_linear_sums_by_scipy(seed, gaps):
    gene = with_gaps(made(seed), seed) if gaps else made(seed)
    found = gene.compared()
    assert list(found.variants) == list(COLUMNS)
    for name, dtype in COLUMNS.items():
        assert found.variants[name].dtype == dtype, name
        assert found.variants[name].shape == gene.ism.shape
    total, by_gradient = np.zeros((2, gene.predicted.size))
    for row, calls in enumerate(gene.dosage):
        both = (calls >= 0) & np.isfinite(gene.observed)
        slope, support = found.variants["slope"][row], found.variants["support"][row]
        assert found.variants["n"][row] == both.sum()
        if np.ptp(calls[both]) == 0:
            assert np.isnan(slope)
            assert support == 0
        else:
            line = stats.linregress(calls[both], gene.observed[both])
            assert slope == pytest.approx(line.slope, rel=1e-9)
            assert found.variants["se"][row] == pytest.approx(line.stderr, rel=1e-9)
            assert found.variants["p_slope"][row] == pytest.approx(line.pvalue, rel=1e-6)
            assert found.variants["r_slope"][row] == pytest.approx(line.rvalue, rel=1e-9)
            expected = np.sign(gene.ism[row] * line.slope)
            assert support == (0 if np.isnan(expected) else expected)
        imputed = np.where(calls < 0, calls[calls >= 0].mean(), calls)
        total += np.nan_to_num(gene.ism[row]) * imputed
        by_gradient += gene.gradient[row] * imputed
    known = np.isfinite(gene.predicted)
    for name, sums in (("r_linear", total), ("r_linear_gradient", by_gradient)):
        r = stats.pearsonr(sums[known], gene.predicted[known]).statistic
        assert getattr(found, name) == pytest.approx(r, rel=1e-9)
    both = np.isfinite(gene.ism)
    r = stats.pearsonr(gene.ism[both], gene.gradient[both]).statistic
    assert found.r_ism_gradient == pytest.approx(r, rel=1e-9)


def test_what_makes_the_prediction_and_what_expression_says_of_it():
    found = made(0).compared()
    assert found.reason == ""
    assert found.variants["is_main"].tolist() == [True] + 7 * [False]
    assert found.variants["is_driver"][:2].all()
    assert found.variants["is_backward_driver"][:2].all()
    assert found.variants["rank"][:2].tolist() == [1, 2]
    assert found.variants["support"][:2].tolist() == [1, -1]


@settings(max_examples=40)
@given(st.integers(0, 2**20), st.sampled_from([RULE, MANY, DriverRule(antidriver=True)]),
       st.booleans())  # fmt: skip
def test_drivers_are_those_of_their_modules(seed, rule, gaps):
    gene = with_gaps(made(seed), seed) if gaps else made(seed)
    found = gene.compared(rule)
    parts = gene.ism, gene.dosage, gene.predicted, gene.positions
    forward, backward = forward_drivers(*parts, rule), backward_drivers(*parts, rule)
    assert found.reason == forward.reason
    plain = forward_drivers(*parts, DriverRule()).r_linear
    assert found.r_linear == pytest.approx(plain, rel=1e-9)  # whatever the rule
    same = ("rank", "r_single", "p_single", "r_running", "increment", "loss", "is_driver",
            "is_main")  # fmt: skip
    renamed = {"backward_order": "order", "round_impact": "round_impact",
               "first_impact": "first_impact", "is_backward_driver": "is_driver",
               "is_backward_main": "is_main"}  # fmt: skip
    for name in same:
        np.testing.assert_array_equal(found.variants[name], getattr(forward, name))
    for name, source in renamed.items():
        np.testing.assert_array_equal(found.variants[name], getattr(backward, source))


@settings(max_examples=30)
@given(st.integers(0, 2**20), st.randoms(use_true_random=False))
def test_the_order_of_snvs_is_that_of_the_rows(seed, random):
    gene = with_gaps(made(seed), seed)
    order = list(range(8))
    random.shuffle(order)
    found, other = gene.compared(MANY), gene.of(order).compared(MANY)
    assert other.r_linear == pytest.approx(found.r_linear, rel=1e-9)
    assert other.reason == found.reason
    for name, values in found.variants.items():
        np.testing.assert_allclose(other.variants[name], values[order], atol=1e-9, err_msg=name)


@settings(max_examples=30)
@given(st.integers(0, 2**20))
def test_signs_turn_together(seed):
    """Alleles swapped: attribution, slope and dosage turn round, drivers and support stay."""
    gene = made(seed)
    turned = dataclasses.replace(
        gene, ism=-gene.ism, gradient=-gene.gradient, dosage=(2 - gene.dosage).astype(np.int8)
    )
    found, other = gene.compared(MANY), turned.compared(MANY)
    np.testing.assert_allclose(other.variants["slope"], -found.variants["slope"], atol=1e-9)
    for name in ("is_driver", "is_main", "is_backward_driver", "support", "rank"):
        np.testing.assert_array_equal(other.variants[name], found.variants[name], err_msg=name)
    assert other.r_linear == pytest.approx(found.r_linear)
    assert other.r_ism_gradient == pytest.approx(found.r_ism_gradient)


def test_a_driver_that_nobody_measured_carries_is_neutral():
    gene = made(1)
    carriers = gene.dosage[0] > 0
    found = dataclasses.replace(gene, observed=np.where(carriers, np.nan, gene.observed)).compared()
    assert found.variants["is_main"][0]
    assert np.isnan(found.variants["slope"][0])
    assert found.variants["support"][0] == 0


def test_without_gradients():
    found = dataclasses.replace(made(2), gradient=None).compared()
    assert np.isnan([found.r_linear_gradient, found.r_ism_gradient]).all()
    assert found.r_linear > 0.9


def test_no_variant_and_a_single_one():
    gene = made(3)
    nothing = gene.of(slice(0)).compared()
    assert nothing.reason == "no variant"
    assert np.isnan([nothing.r_linear, nothing.r_linear_gradient, nothing.r_ism_gradient]).all()
    assert {name: values.size for name, values in nothing.variants.items()} == dict.fromkeys(
        COLUMNS, 0
    )
    single = gene.of([0]).compared()
    assert single.variants["is_main"].tolist() == [True]
    assert single.variants["increment"].tolist() == [pytest.approx(1)]
    r = stats.pearsonr(gene.dosage[0], gene.predicted).statistic
    assert single.r_linear == pytest.approx(r)
    assert np.isnan(single.r_ism_gradient)  # of one SNV


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"predicted": np.full(60, np.nan)}, "fewer than 3 people"),
        ({"predicted": np.full(60, 2.5)}, "R undefined"),
        ({"ism": np.full(8, np.nan)}, "no variant"),
        ({"ism": np.zeros(8)}, "R undefined"),
        ({"dosage": np.zeros((8, 60), np.int8)}, "R undefined"),
    ],
)
def test_why_there_is_no_driver(change, reason):
    found = dataclasses.replace(made(4), **change).compared()
    assert found.reason == reason
    for name in ("is_driver", "is_main", "is_backward_driver", "is_backward_main"):
        assert not found.variants[name].any()
    assert np.isnan(found.variants["increment"]).all()


def test_nobody_was_measured():
    found = dataclasses.replace(made(5), observed=np.full(60, np.nan)).compared()
    assert found.variants["is_main"][0]
    assert np.isnan(found.variants["slope"]).all()
    assert (found.variants["support"] == 0).all()
    assert (found.variants["n"] == 0).all()
