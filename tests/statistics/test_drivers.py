"""Forward and backward drivers against plain loops, their invariances, and the release's traps."""

from dataclasses import astuple, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from zarrbench.statistics.correlation import pearson
from zarrbench.statistics.drivers import (
    DriverRule,
    backward_drivers,
    forward_drivers,
    linear_sum,
)

RULES = [
    DriverRule(),
    DriverRule(criteria="increment_only"),
    DriverRule(nan_f="propagate"),
    DriverRule(log_sum=True, alpha=0.5, min_increment=0.01),
    DriverRule(antidriver=True, allow_negative_r=True, criteria="increment_only"),
    DriverRule(alpha=1.0, min_increment=0.0, nan_f="propagate", log_sum=True),
]
SEEDS = st.integers(0, 2**32 - 1)


def gene_of(seed):
    """A gene of few variants: monomorphic, missing and rare ones, people without a prediction."""
    rng = np.random.default_rng(seed)
    m, n = int(rng.integers(0, 9)), int(rng.integers(3, 120))
    dosage = rng.binomial(2, rng.choice([0.0, 0.05, 0.4, 1.0], (m, 1)), (m, n)).astype(np.int8)
    dosage[rng.random((m, n)) < rng.choice([0, 0.1])] = -1
    attribution = rng.normal(size=m) * rng.choice([0.01, 1, 1], m)
    attribution[rng.random(m) < 0.1] = np.nan
    linear = linear_sum(attribution, dosage)
    noise = rng.choice([0.1, 1]) * (linear.std() + 0.1) * rng.normal(size=n)
    predicted = rng.choice([-1, 1, 1]) * linear + noise
    predicted[rng.random(n) < rng.choice([0, 0.1])] = np.nan
    return attribution, dosage, predicted, rng.permutation(1000)[:m]


# Plain loops, after METHODS sections 8, 13 and 14


def loop_r(x, p):
    for values in (x, p):
        if len(values) < 3 or np.std(values) <= 1e-9 * max(1, abs(np.mean(values))):
            return np.nan, np.nan
    return stats.pearsonr(x, p)


def loop_inputs(attribution, dosage, predicted, positions, rule):
    ranked = sorted(
        (j for j in range(len(attribution)) if np.isfinite(attribution[j])),
        key=lambda j: (-abs(attribution[j]), positions[j]),
    )
    people = [i for i in range(len(predicted)) if np.isfinite(predicted[i])]
    p = [(-1 if rule.antidriver else 1) * predicted[i] for i in people]
    contributions = {}
    for j in ranked:
        called = [g for g in dosage[j] if g >= 0]
        mean = sum(int(g) for g in called) / len(called) if called else 0.0
        filled = [float(g) if g >= 0 else mean for g in dosage[j]]
        contributions[j] = np.array([attribution[j] * filled[i] for i in people])

    def of_sum(members):
        total = sum((contributions[j] for j in members), np.zeros(len(people)))
        return loop_r(np.log10(1 + total - total.min()) if rule.log_sum else total, p)

    return ranked, of_sum, {j: loop_r(c, p) for j, c in contributions.items()}


def share(r, whole, rule):
    return 0.0 if np.isnan(r) and rule.nan_f == "zero" else r / whole


def loop_forward(attribution, dosage, predicted, positions, rule):
    ranked, of_sum, single = loop_inputs(attribution, dosage, predicted, positions, rule)
    rows = {}
    whole = of_sum(ranked)[0] if np.isfinite(predicted).any() else np.nan
    sound = whole > 0 or (whole < 0 and rule.allow_negative_r)
    before, main = 0.0, None
    for k, j in enumerate(ranked, 1):
        running = of_sum(ranked[:k])[0] if np.isfinite(predicted).any() else np.nan
        row = {"rank": k, "running": running, "single": single[j], "driver": False}
        row["increment"] = row["loss"] = np.nan
        if sound:
            f = share(running, whole, rule)
            row["increment"], before = f - before, f
            row["loss"] = 1 - share(of_sum([i for i in ranked if i != j])[0], whole, rule)
            row["driver"] = row["increment"] > rule.min_increment
            if rule.criteria == "full":
                r, p = single[j]
                row["driver"] = row["driver"] and r > 0 and p < rule.alpha / len(ranked)
            if row["driver"] and (main is None or row["increment"] > rows[main]["increment"]):
                main = j
        rows[j] = row
    return whole, rows, main


def loop_backward(attribution, dosage, predicted, positions, rule):
    ranked, of_sum, single = loop_inputs(attribution, dosage, predicted, positions, rule)
    if not ranked or not np.isfinite(predicted).any():
        return []
    threshold, whole = rule.alpha / len(ranked), of_sum(ranked)[0]
    kept, removed, rounds, first = list(ranked), 0.0, [], {}
    candidates = [j for j in ranked if single[j][0] > 0 and single[j][1] < threshold]
    while candidates:
        r, p = of_sum(kept)
        if not (r > 0 and p < threshold):
            break
        impacts = {
            j: 1 - share(of_sum([i for i in kept if i != j])[0], whole, rule) - removed
            for j in candidates
        }
        first = first or impacts
        known = {j: impact for j, impact in impacts.items() if not np.isnan(impact)}
        if not known:
            break
        best = max(known, key=lambda j: known[j])
        rounds.append((best, known[best], first[best]))
        removed += known[best]
        kept.remove(best)
        candidates.remove(best)
    return rounds


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=60, deadline=None)
@given(seed=SEEDS)
def test_forward_is_that_of_plain_loops(rule, seed):
    gene = gene_of(seed)
    found = forward_drivers(*gene, rule)
    whole, rows, main = loop_forward(*gene, rule)
    assert found.r_linear == pytest.approx(whole, rel=1e-9, nan_ok=True)
    for j in range(len(gene[0])):
        if j not in rows:
            assert found.rank[j] == -1
            assert np.isnan([found.r_single[j], found.increment[j], found.r_running[j]]).all()
            assert not found.is_driver[j]
            continue
        row = rows[j]
        assert found.rank[j] == row["rank"]
        for ours, theirs in (
            (found.r_single[j], row["single"][0]),
            (found.r_running[j], row["running"]),
            (found.increment[j], row["increment"]),
            (found.loss[j], row["loss"]),
        ):
            assert ours == pytest.approx(theirs, rel=1e-7, abs=1e-9, nan_ok=True)
        assert found.p_single[j] == pytest.approx(row["single"][1], rel=1e-6, nan_ok=True)
        assert found.is_driver[j] == row["driver"]
    assert np.flatnonzero(found.is_main).tolist() == ([] if main is None else [main])
    assert bool(found.reason) == (not found.is_driver.any())


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=60, deadline=None)
@given(seed=SEEDS)
def test_backward_is_that_of_plain_loops(rule, seed):
    gene = gene_of(seed)
    found = backward_drivers(*gene, rule)
    rounds = loop_backward(*gene, rule)
    assert [int(np.flatnonzero(found.order == k)[0]) for k in range(len(rounds))] == [
        j for j, _, _ in rounds
    ]
    assert found.is_driver.sum() == len(rounds)
    np.testing.assert_array_equal(found.is_driver, found.order >= 0)
    np.testing.assert_array_equal(found.is_driver, np.isfinite(found.round_impact))
    for j, impact, first in rounds:
        assert found.round_impact[j] == pytest.approx(impact, rel=1e-7, abs=1e-9)
        assert found.first_impact[j] == pytest.approx(first, rel=1e-7, abs=1e-9)
    if rounds:
        largest = max(rounds, key=lambda one: one[1])[0]
        assert np.flatnonzero(found.is_main).tolist() == [largest]
    assert bool(found.reason) == (not rounds)


def test_the_loops_see_drivers_and_genes_without():
    """The comparisons above would pass on genes that never have any."""
    forward = [forward_drivers(*gene_of(seed), DriverRule()) for seed in range(300)]
    assert {found.reason for found in forward} == {
        "",
        "no variant",
        "R undefined",
        "R <= 0",
        "no variant passes",
    }
    assert max(found.is_driver.sum() for found in forward) >= 3
    backward = [backward_drivers(*gene_of(seed), DriverRule()) for seed in range(300)]
    assert max(found.order.max(initial=-1) for found in backward) >= 2


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, decimals=st.integers(1, 5))
def test_r_linear_is_that_of_the_linear_sum(seed, decimals):
    attribution, dosage, predicted, positions = gene_of(seed)
    attribution = np.round(attribution, decimals)
    expected = pearson(linear_sum(attribution, dosage), predicted).r
    for find in (forward_drivers, backward_drivers):
        found = find(attribution, dosage, predicted, positions, DriverRule())
        assert found.r_linear == pytest.approx(float(expected), rel=1e-9, nan_ok=True)


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, rule=st.sampled_from(RULES), order=st.randoms(use_true_random=False))
def test_the_order_of_variants_does_not_matter(seed, rule, order):
    attribution, dosage, predicted, positions = gene_of(seed)
    turned = list(range(len(attribution)))
    order.shuffle(turned)
    moved = attribution[turned], dosage[turned], predicted, positions[turned]
    for find in (forward_drivers, backward_drivers):
        plain, found = (
            astuple(find(*gene, rule))
            for gene in ((attribution, dosage, predicted, positions), moved)
        )
        for ours, theirs in zip(found[:-2], plain[:-2], strict=True):
            np.testing.assert_array_equal(ours, theirs[turned])
        np.testing.assert_array_equal(found[-2:], plain[-2:])


@settings(max_examples=60, deadline=None)
@given(
    seed=SEEDS,
    of_attribution=st.sampled_from([0.125, 0.5, 8, 1024]),
    of_prediction=st.floats(0.01, 100),
    shift=st.floats(-10, 10),
)
def test_scale_does_not_matter(seed, of_attribution, of_prediction, shift):
    attribution, dosage, predicted, positions = gene_of(seed)
    rule = DriverRule()
    plain = forward_drivers(attribution, dosage, predicted, positions, rule)
    found = forward_drivers(
        of_attribution * attribution, dosage, of_prediction * predicted + shift, positions, rule
    )
    np.testing.assert_array_equal(found.is_driver, plain.is_driver)
    for name in ("r_single", "r_running", "increment", "loss"):
        np.testing.assert_allclose(
            getattr(found, name), getattr(plain, name), rtol=1e-6, atol=1e-8, err_msg=name
        )


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS)
def test_an_antidriver_drives_the_prediction_turned_around(seed):
    attribution, dosage, predicted, positions = gene_of(seed)
    for find in (forward_drivers, backward_drivers):
        turned = find(attribution, dosage, -predicted, positions, DriverRule())
        found = find(attribution, dosage, predicted, positions, DriverRule(antidriver=True))
        for ours, theirs in zip(astuple(found), astuple(turned), strict=True):
            np.testing.assert_array_equal(ours, theirs)


@settings(max_examples=80, deadline=None)
@given(seed=SEEDS, log_sum=st.booleans())
def test_increments_add_to_one_and_impacts_to_what_was_removed(seed, log_sum):
    rule = DriverRule(log_sum=log_sum, alpha=0.5)
    attribution, dosage, predicted, positions = gene = gene_of(seed)
    found = forward_drivers(*gene, rule)
    if found.r_linear > 0:
        assert np.nansum(found.increment) == pytest.approx(1, abs=1e-12)
    else:
        assert np.isnan(found.increment).all()
    back = backward_drivers(*gene, rule)
    kept = np.where(back.is_driver, np.nan, attribution)
    left = forward_drivers(kept, dosage, predicted, positions, rule).r_linear
    left = 0.0 if np.isnan(left) else left
    if back.is_driver.any():
        expected = 1 - left / back.r_linear
        assert np.nansum(back.round_impact) == pytest.approx(expected, abs=1e-9)


# The cases of METHODS section 14 by hand


@pytest.fixture
def rng():
    return np.random.default_rng(1161)


def test_a_driver_ranked_after_a_monomorphic_variant_is_lost_in_the_release(rng):
    dosage = np.stack([np.full(50, 2), rng.integers(0, 3, 50)]).astype(np.int8)
    gene = [3.0, 1.0], dosage, dosage[1] + rng.normal(0, 0.1, 50), [1, 2]
    found = forward_drivers(*gene, DriverRule())
    assert found.is_main.tolist() == [False, True]
    assert found.increment.tolist() == pytest.approx([0, 1])
    assert np.isnan(found.r_single[0])
    released = forward_drivers(*gene, DriverRule(nan_f="propagate"))
    assert np.isnan(released.increment).all()
    assert released.reason == "no variant passes"
    # of three, only the one right after it is lost
    third = [0.5], dosage[1:, ::-1], gene[2] + dosage[1, ::-1], [3]
    dosage = np.concatenate([dosage, third[1]])
    released = forward_drivers(
        [3.0, 1.0, 0.5], dosage, third[2], [1, 2, 3], DriverRule(nan_f="propagate")
    )
    assert np.isnan(released.increment).tolist() == [True, True, False]
    assert released.is_main.tolist() == [False, False, True]


def test_contributions_that_cancel_leave_no_noise(rng):
    """Perfect linkage, attributions of sum 0: what rounding leaves of the sum is constant."""
    one, other = rng.integers(0, 3, (2, 60)).astype(np.int8)
    dosage = np.stack([one, one, one, other])
    gene = [0.3, -0.2, -0.1, 0.05], dosage, other + 0.1 * rng.normal(size=60), [1, 2, 3, 4]
    assert abs(0.3 - 0.2 - 0.1) > 0
    found = forward_drivers(*gene, DriverRule())
    assert np.isnan(found.r_running[2])
    assert found.is_main.tolist() == [False, False, False, True]
    assert found.loss[3] == 1  # nothing is left without it
    assert np.isnan(forward_drivers(*gene, DriverRule(nan_f="propagate")).loss[3])


def test_negative_r_gives_no_drivers_unless_asked_for(rng):
    dosage = rng.integers(0, 3, (2, 80)).astype(np.int8)
    attribution = [2.0, 1.0]
    predicted = -2 * dosage[0] - dosage[1] + rng.normal(0, 0.1, 80)
    gene = attribution, dosage, predicted, [1, 2]
    found = forward_drivers(*gene, DriverRule())
    assert (found.reason, found.r_linear < -0.9) == ("R <= 0", True)
    assert np.isnan(found.increment).all()
    assert np.isfinite(found.r_running).all()
    released = forward_drivers(*gene, DriverRule(allow_negative_r=True, criteria="increment_only"))
    assert released.is_driver.tolist() == [True, True]
    assert released.increment.sum() == pytest.approx(1)
    # the variants' own correlations are negative
    assert forward_drivers(*gene, DriverRule(allow_negative_r=True)).reason == "no variant passes"
    assert backward_drivers(*gene, DriverRule(allow_negative_r=True)).reason == "R <= 0"
    assert backward_drivers(*gene, DriverRule(antidriver=True)).is_driver.all()


def test_increment_only_takes_variants_that_correlate_negatively(rng):
    """The second variant takes away what the first has too much of, against the prediction."""
    one, other = rng.integers(0, 2, (2, 400)).astype(np.int8)
    dosage = np.stack([one + other, other])
    gene = [1.0, -1.0], dosage, one + 0.2 * other, [1, 2]
    full = forward_drivers(*gene, DriverRule())
    assert full.r_single[1] < 0
    assert full.increment[1] > 0.1
    assert full.is_driver.tolist() == [True, False]
    released = forward_drivers(*gene, DriverRule(criteria="increment_only"))
    np.testing.assert_array_equal(released.increment, full.increment)
    assert released.is_driver.tolist() == [True, True]


def test_the_p_is_divided_by_the_variants_that_take_part(rng):
    dosage = rng.integers(0, 3, (1, 40)).astype(np.int8)
    predicted = dosage[0] + rng.normal(0, 1.5, 40)
    p = float(pearson(dosage[0], predicted).p)
    for others, passes in ((0, True), (1, True), (2, False)):
        rule = DriverRule(alpha=2.5 * p)  # two variants take part at most
        calls = np.concatenate([dosage, np.zeros((others + 2, 40), np.int8)])
        attribution = [1.0, *[0.0] * others, np.nan, np.nan]
        positions = np.arange(others + 3)
        for find in (forward_drivers, backward_drivers):
            found = find(attribution, calls, predicted, positions, rule)
            assert found.is_driver[0] == passes, (others, find)


def test_a_rare_variant_of_large_effect_is_not_the_main_driver(rng):
    dosage = np.stack([np.arange(400) == 7, rng.integers(0, 3, 400)]).astype(np.int8)
    gene = [2.0, 1.0], dosage, linear_sum([2.0, 1.0], dosage), [1, 2]
    found = forward_drivers(*gene, DriverRule(criteria="increment_only"))
    assert found.rank.tolist() == [1, 2]
    assert found.is_driver.all()
    assert found.is_main.tolist() == [False, True]


# A balanced design: three contrasts of eight people
U, V, W = np.array(np.meshgrid([1, -1], [1, -1], [1, -1])).reshape(3, 8)


@pytest.mark.parametrize("positions", [[5, 9], [9, 5]])
def test_equals_go_by_position(positions):
    first = int(np.argmin(positions))
    dosage = np.stack([(U + V) // 2 + 1, (W - V) // 2 + 1]).astype(np.int8)
    found = forward_drivers(
        [2.0, 2.0], dosage, U + W, positions, DriverRule(criteria="increment_only")
    )
    assert found.increment.tolist() == [0.5, 0.5]
    assert np.flatnonzero(found.is_main).tolist() == [first]
    assert found.rank[first] == 1
    back = backward_drivers([2.0, -2.0], np.stack([1 + U, 1 - W]).astype(np.int8), U + W,
                            positions, DriverRule(alpha=1))  # fmt: skip
    assert back.first_impact[0] == back.first_impact[1]
    assert back.order[first] == 0


def test_backward_stops_where_what_is_left_turns_against_the_prediction():
    dosage = np.tile([1 + U, 1 + V, 1 + W], 40).astype(np.int8)
    predicted = np.tile(U + V + W, 40)
    found = backward_drivers([3.0, 0.5, -1.0], dosage, predicted, [1, 2, 3], DriverRule())
    assert found.order.tolist() == [0, -1, -1]
    left = pearson(linear_sum([0.5, -1.0], dosage[1:]), predicted)
    assert left.r < 0
    assert left.p < 0.01 / 3
    assert found.round_impact[0] == pytest.approx(1 - float(left.r) / found.r_linear)


def test_missing_calls_are_the_mean_of_their_variant(rng):
    dosage = rng.integers(0, 3, (6, 50)).astype(np.int8)
    dosage[rng.random((6, 50)) < 0.2] = -1
    called = np.ma.masked_less(dosage, 0).astype(float)
    filled = called.filled(np.broadcast_to(called.mean(axis=1).data[:, np.newaxis], (6, 50)))
    attribution, predicted = rng.normal(size=6), rng.normal(size=50)
    predicted[[3, 9]] = np.nan
    np.testing.assert_allclose(linear_sum(attribution, dosage), attribution @ filled)
    as_float = np.where(dosage < 0, np.nan, dosage)
    for find in (forward_drivers, backward_drivers):
        rule = DriverRule(alpha=1, allow_negative_r=True)
        expected = find(attribution, filled, predicted, range(6), rule)
        for calls in (dosage, as_float):
            found = find(attribution, calls, predicted, range(6), rule)
            for ours, theirs in zip(astuple(found)[:-1], astuple(expected)[:-1], strict=True):
                np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def test_nan_attributions_count_zero_in_the_linear_sum():
    dosage = np.array([[0, 1, 2], [2, 2, 0]], np.int8)
    assert linear_sum([np.nan, 0.5], dosage).tolist() == [1, 1, 0]
    assert linear_sum([], dosage[:0]).tolist() == [0, 0, 0]


@pytest.mark.parametrize("find", [forward_drivers, backward_drivers])
@pytest.mark.parametrize(
    ("attribution", "dosage", "predicted", "reason"),
    [
        ([], np.empty((0, 5)), range(5), "no variant"),
        ([np.nan], [[0, 1, 2, 1]], [0, 1, 2, 1], "no variant"),
        ([1.0], [[0, 1]], [0, 1], "fewer than 3 people"),
        ([1.0], [[0, 1, 2, 1]], [0, 1, np.nan, np.nan], "fewer than 3 people"),
        ([1.0], np.empty((1, 0)), [], "fewer than 3 people"),
        ([1.0], [[0, 1, 2, 1]], [4, 4, 4, 4], "R undefined"),
        ([1.0], [[2, 2, 2, 2]], [0, 1, 2, 1], "R undefined"),
        ([1.0], [[-1, -1, -1, -1]], [0, 1, 2, 1], "R undefined"),
        ([0.0], [[0, 1, 2, 1]], [0, 1, 2, 1], "R undefined"),
        ([-1.0], [[0, 1, 2, 1]], [0, 1, 2, 1], "R <= 0"),
        ([1.0], [[0, 0, 1, 1]], [0, 1, 0, 1], "R <= 0"),
        ([1.0], [[0, 1, 2, 1]], [0, 0.3, 0.4, 1], "no variant passes"),
    ],
)
@pytest.mark.parametrize("log_sum", [False, True])
def test_genes_without_drivers_say_why(find, attribution, dosage, predicted, reason, log_sum):
    rule = DriverRule(log_sum=log_sum)
    found = find(attribution, np.array(dosage, np.int8), predicted, range(len(attribution)), rule)
    assert found.reason == reason
    assert not found.is_driver.any()
    assert not found.is_main.any()
    assert np.isnan(found.r_linear) == (reason not in ("R <= 0", "no variant passes"))


@pytest.mark.parametrize("find", [forward_drivers, backward_drivers])
def test_a_single_variant_is_all_there_is(find):
    dosage = np.tile([0, 1, 2, 1], 5).astype(np.int8)[np.newaxis]
    found = find([-0.2], dosage, -dosage[0], [3], DriverRule())
    assert found.is_main.tolist() == [True]
    assert (found.loss if find is forward_drivers else found.round_impact).tolist() == [1]
    assert found.r_linear == pytest.approx(1)


def test_backward_without_a_rest_needs_nan_to_be_zero():
    dosage = np.tile([0, 1, 2, 1], 5).astype(np.int8)[np.newaxis]
    found = backward_drivers([1.0], dosage, dosage[0], [3], DriverRule(nan_f="propagate"))
    assert found.reason == "no variant passes"


@pytest.mark.parametrize("find", [forward_drivers, backward_drivers])
def test_shapes_must_fit(find):
    gene = np.ones(2), np.ones((2, 4), np.int8), np.ones(4), np.arange(2)
    find(*gene, DriverRule())
    for place, other in enumerate([np.ones(3), np.ones((2, 5)), np.ones(5), np.arange(3)]):
        wrong = [other if k == place else one for k, one in enumerate(gene)]
        with pytest.raises(ValueError, match=r"dosage \(2, .\) should be of the variants"):
            find(*wrong, DriverRule())
    with pytest.raises(ValueError, match="differ in variants"):
        linear_sum(np.ones(3), gene[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"min_increment": -0.1}, "min_increment must be from 0 to below 1"),
        ({"min_increment": float("nan")}, "min_increment must be from 0 to below 1"),
        ({"min_increment": 1}, "min_increment must be from 0 to below 1"),
        ({"alpha": 0}, "alpha must be above 0 and at most 1"),
        ({"alpha": 1.5}, "alpha must be above 0 and at most 1"),
        ({"criteria": "increment"}, "criteria must be full or increment_only"),
        ({"nan_f": "NaN"}, "nan_f must be zero or propagate"),
    ],
)
def test_rules_out_of_range(change, message):
    with pytest.raises(ValueError, match=message):
        replace(DriverRule(), **change)
