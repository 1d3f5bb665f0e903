"""What the figures of gradient profiles draw, read back from their Axes."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.figure import Figure

from zarrbench.attributions.profiles import profile_windows
from zarrbench.figures import profiles as figures
from zarrbench.figures import style
from zarrbench.statistics.gradient_profiles import profile_groups


def made_windows(n_genes: int = 20, seed: int = 0) -> xr.Dataset:
    """Windows of genes of two kinds: that look at the TSS, and beside it."""
    rng = np.random.default_rng(seed)
    offset = np.arange(-2000, 1500)
    profiles = rng.normal(0, 1, (n_genes, 1, offset.size)).astype(np.float32)
    for gene in range(n_genes):
        centre = 0 if gene % 2 else -1000
        profiles[gene, 0, np.abs(offset - centre) < 150] *= 20
    store = xr.Dataset(
        {"gradient_profile": (("gene", "track", "offset"), profiles)},
        {
            "gene": np.array([f"ENSG{i:04d}" for i in range(n_genes)], object),
            "track": np.array(["T"], object),
            "offset": offset,
        },
    )
    return profile_windows(store, "T")


def r_of(windows: xr.Dataset) -> pd.Series:
    """r of genes in another order; one is NaN, and one is lacking."""
    genes = windows["gene"].values.astype(object)
    r = pd.Series(np.linspace(-1, 1, len(genes)), genes)
    r.iloc[3] = np.nan
    return r.drop(genes[5])[::-1]


def made_variants(*distance: int, carriers: int = 50) -> pd.DataFrame:
    n = len(distance)
    rng = np.random.default_rng(n)
    return pd.DataFrame(
        {
            "variant_position": 10_000 + np.array(distance, int),
            "distance": np.array(distance, int),
            "minor_carriers": carriers,
            "carrier_frequency": rng.uniform(0, 1, n),
            "gradient": rng.normal(0, 1, n),
            "is_driver": np.arange(n) < 2,
            "is_main": np.arange(n) == 1,
        }
    )


def made_profile(before: int = 600, after: int = 500, seed: int = 0) -> xr.DataArray:
    distance = np.arange(-before, after)
    values = np.random.default_rng(seed).normal(0, 1e-4, distance.size)
    return xr.DataArray(values, {"distance": distance}, ("distance",))


def drawn(function, *arguments, **options):
    figure = Figure(figsize=(4.6, 3.6), layout="constrained")
    ax = figure.subplots()
    return function(*arguments, ax=ax, **options), ax, style.as_svg(figure)


# --- groups


@pytest.mark.parametrize(("n_groups", "zoom"), [(2, None), (5, None), (2, 1000), (1, 400)])
def test_groups_of_profiles(n_groups, zoom):
    windows = made_windows()
    r = r_of(windows)
    table, ax, _ = drawn(figures.grouped_profiles, windows, r, n_groups=n_groups, zoom=zoom)
    groups = profile_groups(windows["sd"].values, n_groups)
    assert len(ax.child_axes) == len({*groups}) == n_groups
    name, start, step = ("size", "start", 128) if zoom is None else ("near", "near_start", 10)
    for group, panel in enumerate(ax.child_axes):
        rows = table[table["group"] == group]
        sizes, sds = (rows[rows["quantity"] == q] for q in ("size", "sd"))
        members = windows.isel(gene=groups == group)
        for one, values, starts, width in (
            (sizes, members[name], windows[start].values, step),
            (sds, members["sd"], windows["start"].values, 128),
        ):
            here = np.isin(starts, one["start"])
            np.testing.assert_allclose(one["value"], values.mean("gene")[here], rtol=1e-5)
            assert (one["end"] - one["start"] <= width).all()
            if zoom is not None:
                assert one["start"].min() <= -zoom < one["end"].min()
                assert one["start"].max() < zoom <= one["end"].max()
            else:
                assert (one["start"].min(), one["end"].max()) == (-2000, 1500)
        [filled] = [p for p in panel.patches if hasattr(p, "get_data")]
        np.testing.assert_allclose(filled.get_data().values, sizes["value"])
        np.testing.assert_allclose(filled.get_data().edges[:-1], sizes["start"])
        line = panel.lines[0]
        np.testing.assert_allclose(line.get_xdata(), (sds["start"] + sds["end"]) / 2)
        np.testing.assert_allclose(line.get_ydata(), sds["value"])
        assert [m.get_xdata()[0] for m in panel.lines[1:]] == [0, -192, 192]
        genes = members["gene"].values.astype(object)
        positive, other = (r.reindex(genes) > 0).sum(), (r.reindex(genes) <= 0).sum()
        counts = rows[rows["end"].isna()].set_index("quantity")["value"]
        assert counts.to_dict() == {"positive": positive, "not_positive": other}
        bars = panel.child_axes[0].patches
        assert [b.get_width() for b in bars] == [positive, other]
        assert [b.get_x() for b in bars] == [0, positive]
    assert table[table["end"].isna()]["value"].sum() == 18


def test_genes_of_two_kinds_fall_apart():
    windows = made_windows()
    for name in ("sd", "size", "near"):
        windows[name][2] = np.nan
    table, _, _ = drawn(figures.grouped_profiles, windows, r_of(windows), n_groups=2)
    assert table.attrs["left_out"] == 1
    sizes = table[table["quantity"] == "size"]
    highest = sizes.loc[sizes.groupby("group")["value"].idxmax().tolist()]
    assert (highest["start"] + 64).tolist() == pytest.approx([-1000, 0], abs=130)


def test_groups_without_anything_to_draw():
    windows = made_windows(4)
    for given in (None, windows.isel(gene=slice(0)), windows * np.nan):
        table, ax, svg = drawn(figures.grouped_profiles, given, r_of(made_windows(8)))
        assert table.columns.tolist() == ["group", "quantity", "start", "end", "value"]
        assert table.empty
        assert not ax.child_axes
        assert ("attribute with profiles: true" if given is None else "no gene has") in svg
    with pytest.raises(ValueError, match="from 1 to 10,000 bases, found 20,000"):
        drawn(figures.grouped_profiles, windows, pd.Series(dtype=float), zoom=20_000)


def test_one_gene_is_a_group():
    windows = made_windows(1)
    table, ax, _ = drawn(figures.grouped_profiles, windows, pd.Series(dtype=float))
    assert {*table["group"]} == {0}
    assert table[table["end"].isna()]["value"].tolist() == [0, 0]
    assert len(ax.child_axes) == 1


# --- one gene


def test_profile_of_a_gene():
    profile, variants = made_profile(), made_variants(-600, -5, 30, 499)
    variants = pd.concat([variants, made_variants(7, carriers=4), made_variants(700)])
    table, ax, _ = drawn(figures.gene_profile, profile, variants)
    largest = float(np.abs(profile).max())
    base, snvs, windows = (table[table["mark"] == m] for m in ("base", "snv", "window"))
    assert (base["start"].iloc[0], base["end"].iloc[-1]) == (-600, 500)
    assert len(base) <= 800
    for row in base.itertuples():
        here = profile.sel(distance=slice(row.start, row.end - 1)).values / largest
        assert row.value == min(here.min(), 0)
        assert row.highest == max(here.max(), 0)
    assert snvs["start"].tolist() == [-600, -5, 30, 499]
    np.testing.assert_allclose(snvs["value"], variants["gradient"][:4] / largest)
    above, below = ax.child_axes
    [area] = [p for p in above.patches if hasattr(p, "get_data")]
    np.testing.assert_allclose(area.get_data().values, base["highest"])
    np.testing.assert_allclose(area.get_data().baseline, base["value"])
    points, driver, main = [c for c in above.collections if len(c.get_offsets())]
    np.testing.assert_allclose(points.get_offsets(), snvs[["start", "value"]])
    np.testing.assert_allclose(points.get_array(), variants["carrier_frequency"][:4].round(2))
    np.testing.assert_allclose(driver.get_offsets(), snvs[["start", "value"]][:1])
    np.testing.assert_allclose(main.get_offsets(), snvs[["start", "value"]][1:2])
    assert windows["start"].tolist() == list(range(-600, 500 - 127, 32))
    for row in windows.itertuples():
        here = profile.sel(distance=slice(row.start, row.end - 1)).values / largest
        assert len(here) == 128
        assert (row.value, row.highest) == pytest.approx((here.mean(), here.std()))
    mean, sd = [line for line in below.lines if line.get_label() in ("mean", "sd")]
    np.testing.assert_allclose(mean.get_ydata(), windows["value"])
    np.testing.assert_allclose(sd.get_ydata(), windows["highest"])


def test_zoom_on_a_gene():
    profile = made_profile()
    table, _, _ = drawn(figures.gene_profile, profile, made_variants(-300, 10), zoom=100)
    base = table[table["mark"] == "base"]
    assert base["start"].tolist() == list(range(-100, 101))
    largest = float(np.abs(profile).max())  # of the whole window
    expected = profile.sel(distance=slice(-100, 100)).values / largest
    np.testing.assert_allclose(base["value"] + base["highest"], expected)
    assert table[table["mark"] == "snv"]["start"].tolist() == [10]


def test_a_profile_with_unknown_bases_and_no_snv():
    profile = made_profile(40, 20)
    profile[3:9] = np.nan
    table, _, _ = drawn(figures.gene_profile, profile, made_variants())
    assert np.isfinite(table["value"]).all()
    assert {*table["mark"]} == {"base"}  # shorter than a window


@pytest.mark.parametrize("profile", [None, made_profile() * 0, made_profile() * np.nan])
def test_no_profile_of_a_gene(profile):
    table, ax, svg = drawn(figures.gene_profile, profile, made_variants(3))
    assert {"mark", "start", "end", "value", "highest", "is_main"} <= {*table}
    assert table.empty
    assert not ax.child_axes
    sentence = "attribute with profiles" if profile is None else "no base changes the prediction"
    assert sentence in svg


def test_long_windows_are_drawn_in_fewer_stretches():
    rng = np.random.default_rng(2)
    start = np.arange(-98_304, 98_304, 128)
    near = np.arange(-10_000, 10_000, 10)
    windows = xr.Dataset(
        {
            "sd": (("gene", "start"), rng.random((6, start.size))),
            "size": (("gene", "start"), rng.random((6, start.size))),
            "near": (("gene", "near_start"), rng.random((6, near.size))),
        },
        {"gene": list("abcdef"), "start": start, "near_start": near},
        {"end": 98_304, "near_end": 10_000},
    )
    for zoom, name, values in ((None, "start", "size"), (10_000, "near_start", "near")):
        table, _, svg = drawn(
            figures.grouped_profiles, windows, pd.Series(dtype=float), n_groups=1, zoom=zoom
        )
        rows = table[table["quantity"] == "size"]
        assert 150 < len(rows) <= 300
        assert rows["start"].tolist()[1:] == rows["end"].tolist()[:-1]
        assert (rows["start"].min(), rows["end"].max()) == (
            (-98_304, 98_304) if zoom is None else (-10_000, 10_000)
        )
        for row in rows.itertuples():
            here = (windows[name] >= row.start) & (windows[name] < row.end)
            assert row.value == pytest.approx(windows[values].values[:, here].mean())
        assert len(svg) < 100_000
    long = made_profile(98_304, 98_304)
    table, _, svg = drawn(figures.gene_profile, long, made_variants(5))
    assert (table["mark"] == "window").sum() <= 600
    assert len(svg) < 150_000
