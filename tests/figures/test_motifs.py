"""What the figures of motifs draw, read back from their Axes."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.figure import Figure

from zarrbench.attribution_layouts import MOTIFS
from zarrbench.figures import letters, style
from zarrbench.figures import motifs as figures
from zarrbench.statistics.attribution_motifs import (
    THRESHOLDS,
    motif_statistics,
    reverse_cumulative,
    scan_summary,
)

GENE, POSITION, TSS = "ENSG0001", 5_000, 4_800


def scan_of(bases: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A scan (position, 4) of a sequence: 0 at the base that is there."""
    scan = rng.normal(0, 1, (len(bases), 4))
    scan[np.arange(len(bases)), bases] = 0
    return scan


def made_motifs(n_genes: int = 1, flank: int = 30, seed: int = 0, support=None) -> xr.Dataset:
    """A dataset of the layout, its scans in random numbers; and the bases that are there."""
    rng = np.random.default_rng(seed)
    sizes = {"gene": n_genes, "base": 2, "offset": 41, "tss_offset": 2 * flank + 1,
             "allele": 4, "threshold": 4, "driver": 0}  # fmt: skip
    made = {"string": "s", "float": 0.5, "int": 1, "bool": False}
    variables = {
        name: (kind.dims, np.full([sizes[d] for d in kind.dims], made[kind.kind]))
        for name, kind in MOTIFS.variables.items()
    }
    bases = rng.integers(0, 4, (n_genes, 41))
    tss_bases = rng.integers(0, 4, (n_genes, 2 * flank + 1))
    scans = np.stack([[scan_of(row, rng), scan_of(row, rng)] for row in bases])
    scans *= rng.exponential(0.2, (n_genes, 1, 1, 1))
    tss = np.stack([scan_of(row, rng) for row in tss_bases])
    norm = scan_summary(tss).largest
    found = [motif_statistics(scans[:, base], norm) for base in range(2)]
    dims = ("gene", "base", "threshold")
    variables |= {
        "gene": ("gene", np.array([f"ENSG{i + 1:04d}" for i in range(n_genes)], object)),
        "base": ("base", np.array(["reference", "variant"], object)),
        "allele": ("allele", np.array(list("ACGT"), object)),
        "offset": ("offset", np.arange(-20, 21)),
        "tss_offset": ("tss_offset", np.arange(-flank, flank + 1)),
        "threshold": ("threshold", np.array(THRESHOLDS)),
        "position": ("gene", np.full(n_genes, POSITION)),
        "tss": ("gene", np.full(n_genes, TSS)),
        "support": ("gene", np.ones(n_genes, int) if support is None else np.asarray(support)),
        "driver_scan": (("gene", "base", "offset", "allele"), scans),
        "tss_scan": (("gene", "tss_offset", "allele"), tss),
        "tss_largest": ("gene", norm),
        "effect": (("gene", "base"), np.stack([f.s for f in found], axis=1)),
        "run_length": (dims, np.stack([f.size for f in found], axis=1)),
        "run_distance": (dims, np.stack([f.distance for f in found], axis=1)),
        "value": (dims, np.stack([f.value for f in found], axis=1)),
    }
    dataset = xr.Dataset(variables)
    MOTIFS.check(dataset, Path("x"))
    return dataset.set_coords([*dataset.indexes]).assign(
        expected=(("gene", "offset"), bases), tss_expected=(("gene", "tss_offset"), tss_bases)
    )


def made_variants(*positions: int, carriers: int = 50) -> pd.DataFrame:
    n = len(positions)
    rng = np.random.default_rng(n)
    return pd.DataFrame(
        {
            "variant_position": np.array(positions, int),
            "effect_allele": rng.choice(list("ACGT"), n),
            "minor_carriers": carriers,
            "ism": rng.normal(0, 1, n),
            "r_slope": rng.uniform(-0.3, 0.3, n),
        }
    )


VARIANTS = made_variants(POSITION, POSITION - 20, POSITION + 7, POSITION + 21, TSS + 30)


def drawn(function, *arguments, **options):
    figure = Figure(figsize=(4.6, 3.6), layout="constrained")
    ax = figure.subplots()
    return function(*arguments, ax=ax, **options), ax, style.as_svg(figure)


# --- logos


@pytest.mark.parametrize("base", ["reference", "variant"])
def test_letters_around_the_driver(base):
    motifs = made_motifs()
    table, ax, _ = drawn(figures.scan_logo, motifs, GENE, VARIANTS, base=base)
    logo = table[table["mark"] == "logo"]
    scan = motifs["driver_scan"].sel(base=base).values[0]
    expected = -scan.mean(axis=1) / np.abs(motifs["tss_scan"].values).max()
    np.testing.assert_allclose(logo["value"], expected)
    assert logo["offset"].tolist() == list(range(-20, 21))
    assert logo["position"].tolist() == list(range(POSITION - 20, POSITION + 21))
    assert logo["base"].tolist() == [*np.array(list("ACGT"))[motifs["expected"].values[0]]]
    [glyphs] = ax.child_axes[0].collections
    boxes = [path.get_extents() for path in glyphs.get_paths()]
    np.testing.assert_allclose([(b.x0 + b.x1) / 2 for b in boxes], logo["offset"], atol=1e-9)
    np.testing.assert_allclose([b.y1 for b in boxes], logo["value"].clip(lower=0), atol=1e-9)
    np.testing.assert_allclose([b.y0 for b in boxes], logo["value"].clip(upper=0), atol=1e-9)
    low, high = ax.child_axes[0].get_ylim()
    assert low < logo["value"].min()
    assert logo["value"].max() < high


def test_stems_of_snvs():
    motifs = made_motifs()
    variants = pd.concat(
        [VARIANTS, made_variants(POSITION + 3, carriers=4),
         made_variants(POSITION + 4).assign(r_slope=np.nan)]
    )  # fmt: skip
    table, ax, _ = drawn(figures.scan_logo, motifs, GENE, variants)
    snvs = table[table["mark"] == "snv"]
    assert snvs["offset"].tolist() == [0, -20, 7]
    shown = VARIANTS[:3]
    np.testing.assert_allclose(snvs["value"], shown["ism"] / float(motifs["tss_largest"][0]))
    assert snvs["base"].tolist() == shown["effect_allele"].tolist()
    stems, heads = ax.child_axes[1].collections
    np.testing.assert_allclose(heads.get_offsets(), snvs[["offset", "value"]])
    np.testing.assert_allclose(heads.get_array(), shown["r_slope"])
    expected = [[[x, 0], [x, y]] for x, y in snvs[["offset", "value"]].to_numpy()]
    np.testing.assert_allclose(stems.get_segments(), expected)
    assert heads.get_clim()[0] == -heads.get_clim()[1]


@pytest.mark.parametrize(("flank", "with_letters"), [(30, True), (100, False)])
def test_around_the_tss_many_columns_are_bars(flank, with_letters):
    motifs = made_motifs(flank=flank)
    table, ax, svg = drawn(figures.scan_logo, motifs, GENE, VARIANTS, around="tss")
    logo = table[table["mark"] == "logo"]
    assert logo["position"].tolist() == list(range(TSS - flank, TSS + flank + 1))
    assert logo["base"].tolist() == [*np.array(list("ACGT"))[motifs["tss_expected"].values[0]]]
    collection = ax.child_axes[0].collections[0]
    boxes = [path.get_extents() for path in collection.get_paths()]
    np.testing.assert_allclose([b.y1 for b in boxes], logo["value"].clip(lower=0), atol=1e-9)
    widths = {round(b.width, 6) for b in boxes}
    assert (widths == {1.0}) is not with_letters
    assert table[table["mark"] == "snv"]["offset"].tolist() == [30]
    assert "bases from the TSS" in svg


def test_zoom_gives_letters_back():
    motifs = made_motifs(flank=1000)
    table, _, svg = drawn(figures.scan_logo, motifs, GENE, VARIANTS, around="tss", heat_map=True)
    assert (table["mark"] == "logo").sum() == 2001
    assert len(svg) < 150_000
    table, ax, _ = drawn(figures.scan_logo, motifs, GENE, VARIANTS, around="tss", zoom=20)
    logo = table[table["mark"] == "logo"]
    assert logo["offset"].tolist() == list(range(-20, 21))
    assert (table["mark"] == "snv").sum() == 0
    scan = motifs["tss_scan"].values[0, 980:1021]
    largest = float(motifs["tss_largest"][0])
    np.testing.assert_allclose(logo["value"], -scan.mean(axis=1) / largest)
    widths = {round(p.get_extents().width, 6) for p in ax.child_axes[0].collections[0].get_paths()}
    assert widths == {0.92}


def test_heat_map_and_conservation():
    motifs = made_motifs()
    rng = np.random.default_rng(3)
    phylop = pd.Series(rng.normal(1, 1.5, 36), np.arange(POSITION - 20, POSITION + 16))
    phylop.iloc[:3] = -7, 1.3, np.nan
    table, ax, _ = drawn(
        figures.scan_logo, motifs, GENE, VARIANTS, conservation=phylop, heat_map=True
    )
    rows = table[table["mark"] == "conservation"]
    np.testing.assert_allclose(rows["value"], phylop.dropna().clip(lower=-0.5))
    assert rows["position"].tolist() == phylop.dropna().index.tolist()
    as_letters, as_bars = ax.child_axes[2].collections
    assert len(as_letters.get_paths()) == (phylop >= 1.3).sum()
    assert len(as_bars.get_paths()) == (phylop < 1.3).sum()
    [image] = ax.child_axes[3].images
    scan = motifs["driver_scan"].sel(base="reference").values[0]
    expected = scan / float(motifs["tss_largest"][0])
    np.testing.assert_allclose(image.get_array(), expected.T)
    np.testing.assert_allclose(
        table[table["mark"] == "scan"].pivot(index="base", columns="offset", values="value"),
        expected.T,
    )
    assert [t.get_text() for t in ax.child_axes[3].get_yticklabels()] == list("ACGT")


def test_positions_without_a_scan_or_a_plain_base():
    motifs = made_motifs()
    scan = motifs["driver_scan"].values
    scan[0, 0, 5] = np.nan
    scan[0, 0, 6, :] = 0, 0, 0, -1  # no other base changes anything but one
    table, _, _ = drawn(figures.scan_logo, motifs, GENE, VARIANTS, heat_map=True)
    logo = table[table["mark"] == "logo"].set_index("offset")
    assert -15 not in logo.index
    assert logo["base"][-14] == "N"
    assert logo["value"][-14] == pytest.approx(0.25 / float(motifs["tss_largest"][0]))


def test_a_driver_of_few_carriers_is_not_drawn():
    motifs, few = made_motifs(), made_variants(POSITION, carriers=4)
    for variants in (few, VARIANTS[1:]):
        table, ax, svg = drawn(figures.scan_logo, motifs, GENE, variants)
        assert table.empty
        assert not ax.child_axes
        assert "fewer than 5 people carry the main driver" in svg
    assert not drawn(figures.scan_logo, motifs, GENE, few, around="tss")[0].empty


@pytest.mark.parametrize("largest", [np.nan, 0.0])
def test_a_gene_without_a_scan(largest):
    motifs = made_motifs()
    motifs["tss_largest"][:] = largest
    table, _, svg = drawn(figures.scan_logo, motifs, GENE, VARIANTS)
    assert table.columns.tolist() == ["mark", "offset", "position", "base", "value", "r_slope"]
    assert table.empty
    assert "the gene has no scan" in svg
    table, _, svg = drawn(figures.scan_logo, motifs, "<script>", VARIANTS)
    assert table.empty
    assert "no main driver of the gene was scanned" in svg


def test_no_snv_but_letters():
    table, _, svg = drawn(
        figures.scan_logo, made_motifs(), GENE, made_variants(), around="tss", heat_map=True
    )
    assert "no SNV with enough carriers" in svg
    assert set(table["mark"]) == {"logo", "scan"}


def test_letters_fill_their_box_and_negative_ones_hang():
    ax = Figure().subplots()
    table = pd.DataFrame(
        {"x": [0, 1, 2, 3, 4], "base": list("ACGTN"), "bottom": [0, 0, 0.5, 0, 0],
         "height": [1.0, -2.0, 0.25, 3.0, 1.0]}
    )  # fmt: skip
    boxes = [p.get_extents() for p in letters.draw_letters(ax, table).get_paths()]
    for box, row in zip(boxes, table.itertuples(), strict=True):
        assert box.width == pytest.approx(0.92)
        assert sorted([box.y0, box.y1]) == pytest.approx(
            sorted([row.bottom, row.bottom + row.height])
        )
    assert len({*letters.COLOURS.values()}) == 4


# --- histograms


def test_histograms_of_motif_statistics():
    support = np.array([1] * 12 + [-1] * 9 + [0] * 3)
    motifs = made_motifs(24, support=support)
    motifs["effect"][3] = np.nan
    motifs["run_length"][3] = np.nan
    table, ax, svg = drawn(figures.motif_histograms, motifs)
    norm = motifs["tss_largest"].values
    found = [motif_statistics(motifs["driver_scan"].values[:, base], norm) for base in range(2)]
    for one in found:
        for values in (one.s, one.size):
            values[3] = np.nan
    pd.testing.assert_frame_equal(
        table, reverse_cumulative(found[0], found[1], support > 0, support < 0)
    )
    s = 100 * np.nanmax(np.abs(motifs["effect"].values[[*range(3), *range(4, 12)]]), axis=1)
    rows = table[(table["quantity"] == "s") & (table["group"] == "supported")]
    np.testing.assert_allclose(rows["share"], [(s >= edge).mean() for edge in rows["edge"]])
    keys = [("s", None), ("size", 0.1), ("size", 0.2), ("size", 0.5)]
    for panel, (quantity, threshold) in zip(ax.child_axes, keys, strict=True):
        here = table[table["quantity"] == quantity]
        here = here if threshold is None else here[here["threshold"] == threshold]
        for steps, group in zip(panel.patches, ("supported", "unsupported"), strict=True):
            rows, data = here[here["group"] == group], steps.get_data()
            np.testing.assert_allclose(data.values, rows["share"])
            np.testing.assert_allclose(data.edges[:-1], rows["edge"])
            assert data.edges[-1] == pytest.approx(100 if quantity == "s" else 10)
    assert "supported (11)" in svg
    assert "unsupported (9)" in svg


def test_a_group_of_nobody_is_not_drawn():
    table, ax, _ = drawn(figures.motif_histograms, made_motifs(4))
    assert set(table["group"]) == {"supported"}
    assert [len(panel.patches) for panel in ax.child_axes] == [1, 1, 1, 1]


@pytest.mark.parametrize("case", ["neutral", "no gene", "standard deviations"])
def test_no_histogram_to_draw(case):
    motifs = made_motifs(3, support=[0, 0, 0])
    if case == "no gene":
        motifs = motifs.isel(gene=slice(0))
    if case == "standard deviations":
        motifs = made_motifs(3).assign_coords(threshold=[1.64, 1.96, 2.58, 3.29])
    table, ax, _ = drawn(figures.motif_histograms, motifs)
    assert table.columns.tolist() == ["quantity", "threshold", "group", "edge", "share", "n"]
    assert table.empty
    assert not ax.child_axes
    assert ax.texts
