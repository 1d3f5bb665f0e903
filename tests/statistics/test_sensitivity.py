"""Agreement of two vectors of r, against a loop over genes and scipy."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from zarrbench.statistics.sensitivity import Agreement, agreement

R = st.sampled_from([-0.75, -0.5, -0.25, -0.0, 0.0, 0.25, 0.5, 0.75, math.nan])
GENES = st.lists(st.tuples(R, R, st.booleans()), max_size=12)


def share(members: list[bool]) -> float:
    return sum(members) / len(members) if members else math.nan


def plain(genes) -> Agreement:
    """The same, gene by gene."""
    known = [(a, b, s) for a, b, s in genes if not (math.isnan(a) or math.isnan(b))]
    kept = [a * b > 0 for a, b, _ in known]
    a, b = [a for a, _, _ in known], [b for _, b, _ in known]
    varies = len({*a}) > 1 and len({*b}) > 1 and len(known) > 2
    return Agreement(
        n_genes=len(known),
        pearson_r=stats.pearsonr(a, b).statistic if varies else math.nan,
        same_sign=share(kept),
        n_significant=sum(s for *_, s in known),
        same_sign_significant=share([k for k, (*_, s) in zip(kept, known, strict=True) if s]),
        mean_difference=np.mean(np.abs(b)) - np.mean(np.abs(a)) if known else math.nan,
    )


@given(GENES)
def test_is_what_a_loop_finds(genes):
    first, second, significant = zip(*genes, strict=True) if genes else ((), (), ())
    found = dataclasses.asdict(agreement(first, second, significant))
    for name, value in dataclasses.asdict(plain(genes)).items():
        assert found[name] == pytest.approx(value, abs=1e-12, nan_ok=True), name


@given(GENES.filter(len))
def test_a_choice_compared_with_itself_and_turned_round(genes):
    first, second, significant = (np.array(column) for column in zip(*genes, strict=True))
    same, turned = (agreement(first, way * first, significant) for way in (1, -1))
    known = first[np.isfinite(first)]
    assert same.n_genes == turned.n_genes == len(known)
    if len(known):
        assert same.same_sign == pytest.approx(np.mean(known != 0))
        assert turned.same_sign == same.mean_difference == turned.mean_difference == 0
    forth, back = agreement(first, second, significant), agreement(second, first, significant)
    for name in ("n_genes", "n_significant"):
        assert getattr(forth, name) == getattr(back, name)
    for name, sign in (("pearson_r", 1), ("same_sign", 1), ("mean_difference", -1)):
        assert getattr(forth, name) == pytest.approx(sign * getattr(back, name), nan_ok=True)


def test_no_gene_and_a_single_one():
    nothing = agreement([], [], [])
    assert (nothing.n_genes, nothing.n_significant) == (0, 0)
    unknown = agreement([0.5, np.nan], [np.nan, 0.5], [True, True])
    for one in (nothing, unknown):
        assert one.n_genes == 0
        assert all(math.isnan(getattr(one, name)) for name in (
            "pearson_r", "same_sign", "same_sign_significant", "mean_difference"
        ))  # fmt: skip
    single = agreement([0.5], [0.25], [False])
    assert (single.n_genes, single.same_sign, single.mean_difference) == (1, 1.0, -0.25)
    assert math.isnan(single.pearson_r)
    assert math.isnan(single.same_sign_significant)


def test_numbers_are_plain_ones():
    """They are written as JSON and shown in the report."""
    found = agreement([0.5, -0.5, 0.1], [0.25, 0.5, 0.0], [True, True, False])
    assert [type(value) for value in dataclasses.astuple(found)] == [
        int, float, float, int, float, float
    ]  # fmt: skip
    assert found.same_sign == pytest.approx(1 / 3)
    assert found.same_sign_significant == 0.5
