"""What the figures across genes draw, read back from their Axes."""

import numpy as np
import pytest

from zarrbench.figures import population as figures
from zarrbench.layouts import POPULATION, TRACK_WEIGHTS

RNG = np.random.default_rng(3)
MEAN, PREDICTED = RNG.normal(size=60), RNG.normal(size=(60, 2))
MEAN[3] = PREDICTED[5, 1] = np.nan
INSIDE = np.stack([np.ones(60, bool), np.arange(60) % 3 == 0])


@pytest.fixture
def across(made):
    return made(
        POPULATION,
        subset=["all", "<held out>"],
        track=["$one$", "two"],
        in_subset=INSIDE,
        mean_observed=MEAN,
        reference_prediction=PREDICTED,
    )


@pytest.mark.parametrize("subset", [None, "<held out>"])
@pytest.mark.parametrize("track", [None, "two"])
def test_reference_against_mean_draws_the_genes_of_a_subset(
    across, drawn, scattered, subset, track
):
    table, ax, _ = drawn(figures.reference_against_mean, across, subset=subset, track=track)
    y = PREDICTED[:, 0 if track is None else 1]
    kept = INSIDE[0 if subset is None else 1] & np.isfinite(MEAN) & np.isfinite(y)
    assert table["gene_id"].tolist() == [f"ENSG{i:04d}" for i in np.flatnonzero(kept)]
    np.testing.assert_array_equal(table["mean_observed"], MEAN[kept])
    np.testing.assert_array_equal(table["reference_prediction"], y[kept])
    np.testing.assert_array_equal(
        scattered(ax), sorted(np.stack([MEAN[kept], y[kept]], axis=1).tolist())
    )
    r = np.corrcoef(MEAN[kept], y[kept])[0, 1]
    assert table.attrs["r"] == pytest.approx(r)
    assert ax.get_title() == f"r = {r:.2f},  {kept.sum()} genes".replace("-", "−")
    assert ax.get_xlabel() == "mean observed expression"
    assert table.columns.tolist() == [
        "gene_id", "gene_name", "mean_observed", "reference_prediction",
    ]  # fmt: skip


def test_a_logarithm_of_the_mean_is_named(across, drawn):
    _, ax, _ = drawn(figures.reference_against_mean, across.assign_attrs(pseudocount=0.1))
    assert ax.get_xlabel() == "mean observed expression, log₂(mean + 0.1)"
    _, ax, _ = drawn(figures.reference_against_mean, across.assign_attrs(pseudocount="none"))
    assert ax.get_xlabel() == "mean observed expression"


def test_an_unknown_subset_or_track_is_an_error(across, drawn):
    for wrong in ({"subset": "test"}, {"track": "three"}):
        with pytest.raises(KeyError):
            drawn(figures.reference_against_mean, across, **wrong)


@pytest.mark.parametrize(
    ("mean", "said"),
    [([], "no gene has both numbers"), ([np.nan] * 3, "no gene has both numbers"),
     ([1.0], "r undefined,  1 genes"), ([1.0, 1.0, 1.0, 1.0], "r undefined,  4 genes")],
)  # fmt: skip
def test_degenerate_means(made, drawn, scattered, mean, said):
    n = len(mean)
    few = made(POPULATION, in_subset=np.ones((1, n), bool), mean_observed=np.array(mean, float),
               reference_prediction=np.arange(n * 1.0)[:, None])  # fmt: skip
    table, ax, svg = drawn(figures.reference_against_mean, few)
    assert said in svg
    assert np.isnan(table.attrs["r"])
    assert len(table) == len(scattered(ax)) == np.isfinite(mean).sum()


@pytest.fixture
def weighted(made):
    in_fit = np.arange(30) < 20
    predicted = np.random.default_rng(1).normal(size=(2, 30))
    predicted[0, ~in_fit] = np.nan
    return made(
        TRACK_WEIGHTS,
        evaluation=["cross_validated", "in_sample"],
        against=["mean_observed", "target"],
        in_fit=in_fit,
        target=np.where(in_fit, np.linspace(0, 1, 30) ** 2, np.nan),
        mean_observed=np.linspace(-1, 1, 30),
        reference_prediction=predicted,
    )


@pytest.mark.parametrize("evaluation", [None, "in_sample"])
@pytest.mark.parametrize("against", ["mean_observed", "target"])
def test_weighted_tracks_are_judged_by_the_genes_of_the_fit(
    weighted, drawn, scattered, evaluation, against
):
    table, ax, _ = drawn(
        figures.weighted_reference_against_mean, weighted, evaluation=evaluation, against=against
    )
    row = 0 if evaluation is None else 1
    x = weighted[against].values[:20]
    y = weighted["reference_prediction"].values[row, :20]
    np.testing.assert_array_equal(table[[against, "reference_prediction"]], np.stack([x, y], 1))
    np.testing.assert_array_equal(scattered(ax), sorted(np.stack([x, y], axis=1).tolist()))
    assert table.attrs["r"] == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert ("in sample" if row else "cross-validated") in ax.get_ylabel()


def test_given_weights_are_judged_by_all_genes(made, drawn):
    given = made(TRACK_WEIGHTS, evaluation=["given"], in_fit=np.zeros(9, bool),
                 mean_observed=np.arange(9.0), reference_prediction=np.ones((1, 9)))  # fmt: skip
    table, ax, _ = drawn(figures.weighted_reference_against_mean, given)
    assert len(table) == 9
    assert "(given)" in ax.get_ylabel()
