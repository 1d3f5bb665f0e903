"""Motif statistics against a plain loop over positions, and the study's own 251 rows."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from zarrbench.errors import RecipeError
from zarrbench.statistics.attribution_motifs import (
    THRESHOLDS,
    MotifStatistics,
    motif_statistics,
    profile,
    reverse_cumulative,
    scan_summary,
)

# on a grid on which thresholds, ties and zeros are met exactly
GRID = st.sampled_from([-0.75, -0.5, -0.25, -0.125, 0.0, 0.125, 0.25, 0.5, 0.75, np.nan])
PROFILES = st.sampled_from([3, 5, 9, 41]).flatmap(
    lambda length: hnp.arrays(np.float64, st.tuples(st.integers(0, 4), st.just(length)),
                              elements=GRID)
)  # fmt: skip


def scan_of(m: np.ndarray) -> np.ndarray:
    """A scan with this profile at a norm of 1: the three mutants share what the mean has to be."""
    scan = np.zeros((*m.shape, 4))
    scan[..., 1] = -3 * m
    return scan


def plain(m: np.ndarray, theta: float) -> tuple[int, int, float]:
    """Size, distance and value of one driver at one threshold, as METHODS section 18 words it."""
    last = len(m) // 2
    c = last
    s = m[c]
    size = 0
    if abs(s) >= theta:
        size = 1
        for way in (1, -1):
            i = 1
            while i <= last and np.sign(s) * m[c + way * i] >= theta:
                size += 1
                i += 1
    distance = 0
    if not abs(s) >= theta:
        distance = 1
        while distance < last and not (
            abs(m[c + distance]) >= theta or abs(m[c - distance]) >= theta
        ):
            distance += 1
    right, left = m[c + distance], m[c - distance]
    if np.isnan(right) or np.isnan(left):
        return size, distance, left if np.isnan(right) else right
    return size, distance, right if abs(right) >= abs(left) else left


@settings(max_examples=200)
@given(m=PROFILES, thresholds=st.sampled_from([(0.25,), (0.125, 0.5), (0.1, 0.2, 0.3, 0.6)]))
def test_is_what_a_loop_finds(m, thresholds):
    found = motif_statistics(scan_of(m), np.ones(len(m)), thresholds)
    np.testing.assert_array_equal(found.s, m[:, m.shape[1] // 2])
    for field, values in zip(("size", "distance", "value"), (0, 1, 2), strict=True):
        expected = [
            [np.nan if np.isnan(row[len(row) // 2]) else plain(row, theta)[values]
             for theta in thresholds]
            for row in m
        ]  # fmt: skip
        expected = np.array(expected, float).reshape(len(m), len(thresholds))
        np.testing.assert_array_equal(getattr(found, field), expected)


@settings(max_examples=60)
@given(m=PROFILES)
def test_the_other_sign_and_the_other_direction(m):
    norm = np.ones(len(m))
    found = motif_statistics(scan_of(m), norm)
    negative = motif_statistics(-scan_of(m), norm)
    mirrored = motif_statistics(scan_of(m)[:, ::-1], norm)
    for other in (negative, mirrored):
        np.testing.assert_array_equal(other.size, found.size)
        np.testing.assert_array_equal(other.distance, found.distance)
    np.testing.assert_array_equal(negative.value, -found.value)
    np.testing.assert_array_equal(np.abs(mirrored.value), np.abs(found.value))
    # a higher threshold: no larger, no nearer
    assert not (np.diff(found.size, axis=1) > 0).any()
    assert not (np.diff(found.distance, axis=1) < 0).any()


def test_the_last_position_is_not_tested():
    m = np.zeros((2, 41))
    m[0, [0, 40]] = 0.25, 1.0
    m[1, 1] = -0.25
    found = motif_statistics(scan_of(m), [1, 1], (0.25,))
    assert found.distance.tolist() == [[20], [19]]
    assert found.value.tolist() == [[1.0], [-0.25]]


def test_drivers_without_a_scan_or_norm_are_missing_and_alone():
    rng = np.random.default_rng(18)
    scan = rng.normal(size=(6, 41, 4))
    norm = np.array([2.0, np.nan, 0.0, np.inf, -1.0, 3.0])
    scan[5] = np.nan
    found = motif_statistics(scan, norm)
    for values in (found.s, found.size, found.distance, found.value):
        assert np.isnan(values[1:]).all()
    alone = motif_statistics(scan[:1], norm[:1])
    assert not np.isnan(alone.size).any()
    for name in ("s", "size", "distance", "value"):
        np.testing.assert_array_equal(getattr(found, name)[:1], getattr(alone, name))


def test_profiles_by_hand():
    scan = [[0.0, -3.0, -6.0, -9.0], [1.0, 0.0, 2.0, 0.0], [np.nan] * 4]
    np.testing.assert_allclose(profile(scan, 2.0), [3.0, -0.5, np.nan])
    np.testing.assert_allclose(profile(scan, 2.0, alternatives=4), [2.25, -0.375, np.nan])
    stacked = profile([scan, scan], [2.0, 4.0])
    np.testing.assert_allclose(stacked, [[3.0, -0.5, np.nan], [1.5, -0.25, np.nan]])
    with pytest.raises(RecipeError, match="alternatives cannot be 2; use 3 or 4"):
        profile(scan, 2.0, alternatives=2)


@pytest.mark.parametrize("shape", [(41, 4), (2, 40, 4), (2, 1, 4), (2, 41, 3), (2, 2, 41, 4)])
def test_what_is_no_scan_of_drivers_is_refused(shape):
    with pytest.raises(ValueError, match="shape"):
        motif_statistics(np.zeros(shape), np.ones(shape[0]))


def naive_summary(scan, codes):
    """Entries one by one, but for those of the current base."""
    entries = [
        row[base]
        for row, code in zip(scan, codes, strict=True)
        if not np.isnan(row).any()
        for base in range(4)
        if base != code
    ]
    return (max(map(abs, entries)), np.std(entries)) if entries else (np.nan, np.nan)


@settings(max_examples=60)
@given(
    scans=hnp.arrays(np.float64, st.tuples(st.integers(0, 3), st.integers(0, 9), st.just(4)),
                     elements=st.one_of(st.just(np.nan), st.just(0.0), st.floats(-100, 100))),
    data=st.data(),
)  # fmt: skip
def test_summaries_leave_out_the_reference(scans, data):
    codes = data.draw(hnp.arrays(np.int64, scans.shape[:2], elements=st.integers(0, 3)))
    np.put_along_axis(scans, codes[..., np.newaxis], 0.0, axis=-1)
    found = scan_summary(scans)
    expected = [naive_summary(*pair) for pair in zip(scans, codes, strict=True)]
    np.testing.assert_allclose(
        np.stack([found.largest, found.sd], axis=-1),
        np.reshape(expected, (len(scans), 2)),
        rtol=1e-6, atol=1e-6,
    )  # fmt: skip


def statistics_of(s, sizes):
    """Statistics with given effects and sizes, the same at every threshold."""
    size = np.repeat(np.asarray(sizes, float)[:, np.newaxis], len(THRESHOLDS), axis=1)
    return MotifStatistics(THRESHOLDS, np.asarray(s, float), size, size, size)


def test_drawn_histograms_are_those_of_numpy():
    rng = np.random.default_rng(11)
    n = 200
    effects = rng.normal(0, 0.6, (2, n))
    effects[0, 7] = np.nan
    sizes = rng.integers(0, 22, (2, n))
    sign = rng.integers(-1, 2, n)
    pair = [statistics_of(*one) for one in zip(effects, sizes, strict=True)]
    table = reverse_cumulative(*pair, sign > 0, sign < 0)
    largest = {"s": (100 * np.abs(effects)).max(axis=0), "size": sizes.max(axis=0).astype(float)}
    edges = {"s": np.linspace(0, 100, 22), "size": np.arange(11)}
    assert set(table["threshold"].dropna()) == {0.1, 0.2, 0.5}
    for (quantity, group, _), part in table.groupby(
        ["quantity", "group", table["threshold"].fillna(0)]
    ):
        values = largest[quantity][(sign > 0) if group == "supported" else (sign < 0)]
        values = np.minimum(values[~np.isnan(values)], edges[quantity][-1])
        counts = np.histogram(values, edges[quantity])[0]
        np.testing.assert_allclose(part["share"], counts[::-1].cumsum()[::-1] / len(values))
        np.testing.assert_allclose(part["edge"], edges[quantity][:-1])
        assert (part["n"] == len(values)).all()
        assert part["share"].iloc[0] == 1
    assert len(table) == 2 * (21 + 3 * 10)


def test_drivers_of_neither_group_and_groups_of_nobody():
    one = statistics_of([0.3, 0.9], [2, 5])
    table = reverse_cumulative(one, one, [True, False], [False, False])
    assert set(table.loc[table["group"] == "supported", "n"]) == {1}
    assert table.loc[table["group"] == "unsupported", "share"].isna().all()


@pytest.fixture(scope="module")
def released(published: Path) -> tuple[pd.DataFrame, dict[str, np.ndarray], np.ndarray]:
    """Supplementary Table 3, the scans of its rows from either base, and the gene's maximum."""
    table = pd.read_csv(published / "SupplementaryTable3.txt", sep=" ")
    summaries = pd.read_csv(published / "tss_attribution_stats.txt", sep=" ", header=None)
    largest = summaries.set_index(0)[2].reindex(table["gene_id"]).to_numpy()
    scans = {}
    with tarfile.open(published / "maindrivernpz.tar") as archive:
        for base in ("from_ref", "from_main_var"):
            members = [
                archive.extractfile(f"{base}/{gene}_{position}_attribution.npz").read()
                for gene, position in zip(table["gene_id"], table["MainDriverLoci"], strict=True)
            ]
            scans[base] = np.stack([np.load(io.BytesIO(one))["attribution"] for one in members])
    return table, scans, largest


def test_the_studys_table_row_by_row(released):
    table, scans, largest = released
    columns = []
    for scan in scans.values():
        found = motif_statistics(scan, largest)
        columns += [found.s[:, np.newaxis], found.size, found.distance, found.value]
    np.testing.assert_allclose(np.hstack(columns), table.iloc[:, 2:], rtol=0, atol=1e-12)
    assert len(table) == 251


def test_the_studys_logos_take_the_mean_of_four(released):
    _, scans, largest = released
    scan = scans["from_ref"]
    logo = profile(scan, largest, alternatives=4)
    np.testing.assert_allclose(logo, -scan.mean(axis=2) / largest[:, np.newaxis], atol=1e-12)
