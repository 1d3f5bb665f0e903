import dataclasses
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from zarrbench import layouts
from zarrbench.attribution_layouts import DRIVERS
from zarrbench.genotypes import policies
from zarrbench.report import page, summary

N_OF_DRIVERS = 5
SCRIPTS = 5  # genes, facts and plots as JSON, the library, and the page's own
STATISTICS = ["published", "sem", "prediction", "signed", "empirical"]
PEOPLE = [f"HG{i:05d}" for i in range(120)]
VOID = {"meta", "link", "input", "br", "img"}


class Page(HTMLParser):
    """What a reader meets: tags with their attributes, the text, and the content of scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html, self.tags, self.scripts, self.open = html, [], [], []
        self.pieces: list[str] = []
        self.feed(html)
        self.close()
        self.text = " ".join(" ".join(self.pieces).split())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        if self.open and self.open[-1] == "script":
            self.scripts.append(text)
        elif not self.open or self.open[-1] != "style":
            self.pieces.append(text)

    @property
    def genes(self):
        return json.loads(self.scripts[0])


def made_inputs(r, names=None, planted=None, chosen="signed", **options) -> page.ReportInputs:
    """Inputs of a report on 120 people: |r| above 0.25 is significant under `chosen`.

    Under `published` every gene with a defined r is, under the others none.
    """
    rng = np.random.default_rng(11)
    r = np.asarray(r, dtype=float)
    n, cases = len(r), list(policies.CASES)
    sizes = {"gene": n, "statistic": len(STATISTICS), "case": len(cases)}
    made = {
        "string": lambda shape: np.full(shape, "chr22", object),
        "float": lambda shape: rng.uniform(0.01, 0.99, shape),
        "int": lambda shape: rng.integers(1, 900, shape),
        "bool": lambda shape: np.zeros(shape, bool),
    }
    variables = {
        name: (kind.dims, made[kind.kind](tuple(sizes[d] for d in kind.dims)))
        for name, kind in layouts.GENE_STATISTICS.variables.items()
        if not kind.optional
    }
    ids = [f"ENSG{i:07d}" for i in range(n)]
    variables["gene"] = ("gene", np.array(ids, object))
    variables["gene_name"] = ("gene", np.array(names or [f"NAME{i}" for i in range(n)], object))
    variables["r"] = ("gene", r)
    variables["statistic"] = ("statistic", np.array(STATISTICS, object))
    variables["case"] = ("case", np.array(cases, object))
    counts = np.zeros((n, len(cases)), int)
    counts[:, 1] = 1000
    counts[0, 2] = 7
    variables["case_count"] = (("gene", "case"), counts)
    significant = np.zeros((n, len(STATISTICS)), bool)
    significant[:, 0] = ~np.isnan(r)
    significant[:, STATISTICS.index(chosen)] = np.abs(np.nan_to_num(r)) > 0.25
    variables["significant"] = (("gene", "statistic"), significant)
    variables["null_q"] = (("gene", "statistic"), np.where(significant, 0.01, 0.5))
    if planted is not None:
        found = np.where(significant[:, STATISTICS.index(chosen)], np.sign(np.nan_to_num(r)), 0)
        variables["planted_sign"] = ("gene", np.array(planted))
        variables["found_sign"] = ("gene", found.astype(int))
        variables["recovered"] = ("gene", found == np.array(planted))
    attributes = {
        "statistic": chosen, "alpha": 0.05, "count_rule": "q_le_alpha", "track": "CNhs11796",
        "track_description": "CAGE:brain, adult", "draws": 50,
    }  # fmt: skip
    statistics = xr.Dataset(variables, attrs=attributes)
    layouts.GENE_STATISTICS.check(statistics, Path("x"))
    observed = rng.normal(size=(n, len(PEOPLE)))
    known = np.nan_to_num(r)[:, None]
    predicted = known * observed + np.sqrt(1 - known**2) * rng.normal(size=observed.shape)
    labels = {"gene": ids, "individual": PEOPLE}
    facts = {"What was run": {"Model": "toy"}, "Choices": {"alpha": "0.05"}}
    options = {"facts": facts} | options
    return page.ReportInputs(
        title=options.pop("title", "Toy run"),
        statistics=statistics,
        predicted=xr.DataArray(predicted, dims=("gene", "individual"), coords=labels),
        observed=xr.DataArray(observed, dims=("gene", "individual"), coords=labels),
        **options,
    )


@pytest.fixture(autouse=True)
def _no_files_of_figures(request, monkeypatch):
    """Most tests are about the page; the files of its figures take longer than all the rest."""
    if "figures_are_files" not in request.node.name:
        monkeypatch.setattr(page, "write_figure", lambda *given: None)


def written(folder: Path, inputs: page.ReportInputs) -> Page:
    path = folder / "report.html"
    page.write_report(path, inputs)
    return Page(path.read_text("utf-8"))


R = [0.6, 0.5, 0.3, -0.4, -0.31, 0.1, 0.0, np.nan]


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Page:
    inputs = made_inputs(
        R, warnings=["Three people lack covariates."], unfinished="2 genes failed."
    )
    return written(tmp_path_factory.mktemp("report"), inputs)


def table_row(report: Page, name: str) -> str:
    rows = re.findall(r"<tr[^>]*>.*?</tr>", report.html, re.S)
    return " ".join(Page(next(row for row in rows if name in row)).text.split())


def test_headline_gives_the_counts(report):
    assert "In 5 of 8 genes tested" in report.text
    assert "3 in the right direction , 2 in the wrong one" in report.text
    tiles = report.html[report.html.index('class="tiles"') :]
    numbers = Page("<dl " + tiles[: tiles.index("</dl>")] + "</dl>").text
    assert "genes tested 8 genes with a defined r 7" in numbers
    assert "r > 0 3 significant with r < 0: predicted in the wrong direction 2" in numbers
    assert f"mean r {np.nanmean(R):.3f}" in numbers
    assert "−0.400 … 0.600" in numbers


def test_headline_names_the_rule_and_other_statistics_have_their_counts(report):
    assert "significant when q ≤ 0.05, with q the p of the statistic signed" in report.text
    assert "50 random predictors" in report.text
    assert table_row(report, "<code>signed").startswith("signed used here 5 3 2")
    assert table_row(report, "<code>published").startswith("published 7 4 2")
    assert table_row(report, "<code>empirical").startswith("empirical 0 0 0")


def test_page_needs_nothing_from_elsewhere(report):
    for tag, attributes in report.tags:
        assert tag not in {"img", "iframe", "object", "embed", "base"}
        assert "src" not in attributes
        for name in ("href", "xlink:href"):
            target = attributes.get(name) or "#"
            assert target.startswith("#") or target == "data:,"
    assert "@import" not in report.html
    assert "url(http" not in report.html
    policy = next(a["content"] for _, a in report.tags if "http-equiv" in a)
    assert policy.startswith("default-src 'none'")


def test_page_has_its_parts_and_is_well_formed(report):
    assert report.open == []
    ids = [a["id"] for _, a in report.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert sum(tag == "svg" for tag, _ in report.tags) == 8  # six of all genes, one of each of two
    assert {
        "run",
        "across-genes",
        "statistics",
        "extremes",
        "haplotypes",
        "genes",
        "choices",
    } <= set(ids)
    assert "planted" not in ids
    for sentence in ("Three people lack covariates.", "2 genes failed.", "CAGE:brain, adult"):
        assert sentence in report.text
    assert report.text.index("2 genes failed.") < report.text.index("In 5 of 8")
    assert report.text.index("Model toy") < report.text.rindex("Across genes")
    assert report.text.index("alpha 0.05") > report.text.index("All genes")
    assert any(tag == "noscript" for tag, _ in report.tags)


def test_best_and_worst_are_those_of_highest_and_lowest_r(report):
    shown = report.text[report.text.rindex("Highest and lowest r") :]
    assert shown.index("Highest r NAME0") < shown.index("Lowest r NAME3")
    assert "among the 7 with a defined r" in shown
    hidden = re.findall(r"Each cell holds 5 people or more; (\d+) of 120 people", shown)
    assert len(hidden) == 2


def test_haplotype_cases_are_summed_over_genes(report):
    names = list(policies.CASES)
    assert table_row(report, names[1].replace("_", " ")).split("alleles ")[1].startswith("8,000 8 ")
    assert " 7 1 " in table_row(report, names[2].replace("_", " "))


def test_gene_data_holds_every_gene(report):
    genes = report.genes
    assert genes["gene_name"] == [f"NAME{i}" for i in range(8)]
    assert genes["r"] == [*R[:7], None]
    assert genes["significant"] == [True] * 5 + [False] * 3
    assert {len(values) for values in genes.values()} == {8}
    script = report.scripts[-1]
    assert all(f'"{name}"' in script for name in genes), "the script shows every column"


def test_no_person_is_named_and_none_drawn_unless_asked_for(tmp_path, report):
    asked_for = written(tmp_path, made_inputs(R, individual_points=True))
    for shown, individual_points in ((report, False), (asked_for, True)):
        assert not re.search(r"HG\d", shown.html)
        assert not [person for person in PEOPLE if person in shown.html]
        circles = sum(tag == "use" for tag, _ in shown.tags)
        assert (circles > 2 * len(PEOPLE)) is individual_points
        assert ("Each point is one person" in shown.text) is individual_points


def test_only_the_two_genes_shown_are_computed(tmp_path):
    inputs = made_inputs(R)
    computed = []

    def load(block, gene):
        computed.append(gene)
        return block

    def lazy(array):
        rows = [
            da.from_delayed(dask.delayed(load)(row, i), row.shape, row.dtype)
            for i, row in enumerate(array.values)
        ]
        return array.copy(data=da.stack(rows))

    statistics = inputs.statistics.chunk(gene=3)
    predicted, observed = lazy(inputs.predicted), lazy(inputs.observed)
    written(
        tmp_path,
        dataclasses.replace(inputs, statistics=statistics, predicted=predicted, observed=observed),
    )
    assert sorted(set(computed)) == [0, 3]


HOSTILE = "</script><script>alert('x')</script>"


def test_hostile_text_is_only_text(tmp_path):
    facts = {HOSTILE: {HOSTILE: HOSTILE}}
    inputs = made_inputs(
        [0.9, -0.9, 0.0, 0.3],
        names=[HOSTILE, "<script>", "a&b", "{{ 7 * 7 }}"],
        planted=[1, -1, 0, 1],
        facts=facts,
        title=HOSTILE,
        warnings=[HOSTILE],
        unfinished=HOSTILE,
    )
    inputs.statistics.attrs["track_description"] = HOSTILE
    inputs.statistics.attrs["track"] = HOSTILE
    report = written(tmp_path, inputs)
    assert sum(tag == "script" for tag, _ in report.tags) == SCRIPTS
    assert report.html.count("<script") == report.html.count("</script") == SCRIPTS
    assert report.genes["gene_name"] == [HOSTILE, "<script>", "a&b", "{{ 7 * 7 }}"]
    assert report.text.count(HOSTILE) >= 8
    assert "innerHTML" not in report.scripts[-1]


def test_planted_effects_have_a_verdict_and_the_strict_rule_is_spelt_out(tmp_path):
    inputs = made_inputs(R, planted=[1, 1, 1, -1, -1, 0, 0, 0])
    inputs.statistics.attrs["count_rule"] = "strict_above_cut"
    report = written(tmp_path, inputs)
    assert "lies strictly above its smallest value" in report.text
    assert "8 of 8 planted genes recovered as planted" in report.text
    assert "3 of 3 right-signed, 2 of 2 wrong-signed, 3 of 3 no effect" in report.text
    assert table_row(
        report, ">NAME3<"
    ) == f"NAME3 wrong-signed wrong-signed {R[3]:.3f} yes".replace("-0", "−0")


def test_planted_effects_that_were_missed_come_first(tmp_path):
    report = written(tmp_path, made_inputs(R, planted=[1, 1, 1, 1, -1, 0, 1, 0]))
    assert "6 of 8 planted genes recovered as planted" in report.text
    assert table_row(report, ">NAME6<") == f"NAME6 right-signed no effect {R[6]:.3f} no".replace(
        "-0", "−0"
    )
    shown = report.text[report.text.index("planted genes recovered") :]
    assert shown.index("NAME3") < shown.index("NAME6") < shown.index("NAME0")


@pytest.mark.parametrize(
    ("r", "sentence", "heading"),
    [
        ([np.nan] * 3, "None of the 3 genes tested has a defined r", "No gene has a defined r"),
        ([0.1, -0.1], "In none of the 2 genes tested do predictions follow", "Lowest r"),
        ([0.5], "In 1 of 1 gene tested", "The only gene with a defined r NAME0"),
        ([np.nan], "The one gene tested has no defined r", "No gene has a defined r"),
        ([0.5, 0.5], "In 2 of 2 genes tested", "Highest and lowest r NAME0"),
    ],
)
def test_small_and_empty_results(tmp_path, r, sentence, heading):
    report = written(tmp_path, made_inputs(r))
    assert sentence in report.text
    assert heading in report.text
    assert "nan" not in report.text.lower()
    assert report.open == []


def test_same_inputs_give_the_same_page(tmp_path, report):
    inputs = made_inputs(
        R, warnings=["Three people lack covariates."], unfinished="2 genes failed."
    )
    assert written(tmp_path, inputs).html == report.html


def test_a_failing_report_leaves_the_old_one(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    inputs = made_inputs(R)
    without_the_worst = inputs.predicted.isel(gene=slice(0, 3))
    with pytest.raises(KeyError):
        page.write_report(path, dataclasses.replace(inputs, predicted=without_the_worst))
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_the_page_of_seven_thousand_genes_is_small(tmp_path):
    r = np.clip(np.random.default_rng(2).normal(0.03, 0.2, 7000), -0.95, 0.95)
    report = written(tmp_path, made_inputs(r))
    assert len(report.html) < 10e6
    assert len(report.genes["r"]) == 7000
    assert sum(tag == "tr" for tag, _ in report.tags) < 100


CLICKS = """<script>
const column = (i) =>
  [...document.querySelectorAll("#genes tbody tr")].map((row) => row.children[i].textContent);
const press = (name) => document.querySelector(`#genes [data-column=${name}]`).click();
const change = (id, property, value) => {
  const input = document.getElementById(id);
  input[property] = value;
  input.dispatchEvent(new Event("input"));
};
const sorted = () => document.querySelector("#genes th[aria-sort$=ending]").ariaSort;
const seen = { first: column(0), aria: sorted() };
press("r");
Object.assign(seen, { ascending: column(1), ariaAfter: sorted() });
press("gene_name");
seen.names = column(0);
change("only-significant", "checked", true);
seen.significant = column(0);
change("text", "value", "name3");
seen.filtered = column(0);
change("text", "value", "nothing like it");
seen.status = document.getElementById("shown").textContent;
change("all-columns", "checked", true);
seen.columns = document.querySelectorAll("#genes th[scope=col]").length;
document.title = JSON.stringify(seen);
</script>"""


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_gene_table_in_a_browser(tmp_path, report):
    path = tmp_path / "clicked.html"
    path.write_text(report.html.replace("</body>", f"{CLICKS}</body>"), encoding="utf-8")
    command = [
        "chromium", "--headless", "--no-sandbox", "--disable-gpu",
        "--disable-background-networking", f"--user-data-dir={tmp_path / 'profile'}",
        "--dump-dom", path.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    assert title is not None
    seen = json.loads(title[1])
    assert seen["first"] == [f"NAME{i}" for i in (0, 1, 2, 5, 6, 4, 3, 7)]
    assert [seen["aria"], seen["ariaAfter"]] == ["descending", "ascending"]
    assert seen["ascending"] == [
        "−0.400", "−0.310", "0.000", "0.100", "0.300", "0.500", "0.600", "NA",
    ]  # fmt: skip
    assert seen["names"] == [f"NAME{i}" for i in range(8)]
    assert seen["significant"] == [f"NAME{i}" for i in range(5)]
    assert seen["filtered"] == ["NAME3"]
    assert seen["status"] == "no gene matches"
    assert seen["columns"] == 21


def test_genes_of_fewer_than_five_people_show_no_numbers_of_people(tmp_path):
    inputs = made_inputs(R)
    inputs.statistics["n_individuals"][3] = 4
    inputs.statistics["mean_observed"][3] = 4.61690123
    report = written(tmp_path, inputs)
    assert "4.6169" not in report.html
    row = report.genes["gene_name"].index("NAME3")
    for name in ("mean_observed", "sd_observed", "mean_predicted", "r", "null_p"):
        assert report.genes[name][row] is None
        assert report.genes[name][row - 1] is not None
    assert report.genes["reference_prediction"][row] is not None


def test_what_a_lone_carrier_decides_is_not_told(tmp_path):
    inputs = made_inputs(R)
    n = len(R)
    inputs.statistics["n_differing"] = "gene", np.full(n, 5)
    for people, told in ((5, True), (4, False), (0, True)):
        inputs.statistics["n_individuals"][3] = 100
        inputs.statistics["n_differing"][3] = people
        report = written(tmp_path, inputs)
        row = report.genes["gene_name"].index("NAME3")
        assert (report.genes["r"][row] is not None) is told
        assert (report.genes["null_p"][row] is not None) is told


def test_no_share_of_supported_drivers_tells_of_a_rare_one(tmp_path, monkeypatch):
    tables = {}
    monkeypatch.setattr(
        page, "write_figure", lambda _, name, __, table: tables.update({name: table})
    )
    drivers = made_drivers([1, 2, 0, 3, 0])
    drivers["minor_carriers"][4] = 4  # the second of gene 3
    inputs = with_drivers(drivers)
    inputs.statistics["n_individuals"][:] = 100
    written(tmp_path, inputs)
    assert set(tables["fig_2e"]["gene_id"]) == {"ENSG0000000", "ENSG0000001"}
    assert tables["fig_2f"]["drivers"].sum() == 6


def test_drivers_of_a_gene_of_fewer_than_five_people_are_in_no_figure(tmp_path, monkeypatch):
    tables = {}
    monkeypatch.setattr(
        page, "write_figure", lambda _, name, __, table: tables.update({name: table})
    )
    drivers = made_drivers([1, 2, 0, 3, 0])
    drivers["r"][1] = -0.61690123
    inputs = with_drivers(drivers)
    for people, genes, number in ((5, {0, 1, 3}, 6), (4, {0, 3}, 4)):
        inputs.statistics["n_individuals"][1] = people
        report = written(tmp_path, inputs)
        assert set(tables["fig_2e"]["gene_id"]) == {f"ENSG{i:07d}" for i in genes}
        assert tables["fig_2f"]["drivers"].sum() == number
        assert ("whose r is clearly below 0" in report.text) is (1 in genes)


# --- drivers

R_OF_DRIVERS = [0.5, -0.6, np.nan, 0.3, 0.9]


def made_drivers(n_drivers, names=None) -> xr.Dataset:
    """A dataset of the layout: some drivers of genes of these r, all examined where r is known."""
    r, gene = np.array(R_OF_DRIVERS), np.repeat(np.arange(5), n_drivers)
    sizes = {"gene": 5, "driver": len(gene)}
    made = {"string": "s", "float": 0.5, "int": 1, "bool": True}
    variables = {
        name: (kind.dims, np.full([sizes[d] for d in kind.dims], made[kind.kind]))
        for name, kind in DRIVERS.variables.items()
    }
    ids = np.array([f"ENSG{i:07d}" for i in range(5)], object)
    has = np.array(n_drivers) > 0
    variables |= {
        "gene": ("gene", ids),
        "gene_name": ("gene", np.array(names or [f"NAME{i}" for i in range(5)], object)),
        "r": ("gene", r),
        "examined": ("gene", np.isfinite(r)),
        "group": ("gene", (np.sign(np.nan_to_num(r)) * has).astype(int)),
        "n_drivers": ("gene", np.array(n_drivers)),
        "driver_gene": ("driver", ids[gene] if len(gene) else np.array([], "U1")),
        "minor_carriers": ("driver", np.full(len(gene), 5)),
    }
    dataset = xr.Dataset(variables, attrs={"parameters": '{"min_r_linear": 0.2}'})
    DRIVERS.check(dataset, Path("x"))
    return dataset


def made_variants(gene: str) -> pd.DataFrame:
    """Rows of the concordance table of a gene: one of three SNVs has too few carriers."""
    return pd.DataFrame(
        {
            "gene_id": gene,
            "variant_position": [10, 20, 30],
            "effect_allele": ["A", "C", "G"],
            "minor_carriers": [50, 4, 7],
            "carrier_frequency": [0.5, 0.04, 0.07],
            "ism": [0.1, 77.125, -0.2 - int(gene[-1])],
            "slope": [1.0, 99.0625, 0.5],
            "increment": [0.9, 0.1, 0.0],
            "is_driver": [True, False, False],
            "distance": [-20, -10, 0],
        }
    )


def with_drivers(drivers: xr.Dataset, asked: list[str] | None = None) -> page.ReportInputs:
    def variants(gene: str) -> pd.DataFrame:
        if asked is not None:
            asked.append(gene)
        return made_variants(gene)

    return made_inputs(R, stages={"drivers": drivers}, variants=variants)


def section_of_drivers(report: Page) -> Page:
    start = report.html.index('<section id="drivers">')
    return Page(report.html[start : report.html.index("</section>", start) + len("</section>")])


def test_drivers_have_their_section_where_there_are_any(tmp_path, report):
    section = section_of_drivers(report)
    assert not any(tag == "svg" for tag, _ in section.tags)
    assert section.text.count("the pipeline has no stage drivers") == N_OF_DRIVERS
    asked: list[str] = []
    shown = written(tmp_path, with_drivers(made_drivers([1, 2, 0, 3, 0]), asked))
    assert shown.open == []
    ids = [a["id"] for _, a in shown.tags if "id" in a]
    assert len(ids) == len(set(ids))
    section = section_of_drivers(shown)
    assert sum(tag == "svg" for tag, _ in section.tags) == N_OF_DRIVERS
    assert "Not drawn" not in section.text
    # only of the genes that are shown one by one are the variants read
    assert set(asked) == {"ENSG0000000", "ENSG0000003"}
    assert shown.text.count("1 SNVs are not drawn: fewer than 5 people carry") == 4
    assert "77.125" not in shown.html
    assert "99.0625" not in shown.html
    found = [a["aria-label"] for _, a in shown.tags if "aria-label" in a]
    assert sum(label.endswith("one point an SNV: NAME3") for label in found) == 1


def test_figures_are_files_with_the_tables_they_draw(tmp_path):
    inputs = with_drivers(made_drivers([1, 2, 0, 3, 0]))
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "of_before.svg").write_text("stale")
    shown = written(tmp_path, inputs)
    files = {path.name for path in (tmp_path / "figures").iterdir()}
    stems = {name.rpartition(".")[0] for name in files}
    assert files == {f"{stem}.{kind}" for stem in stems for kind in ("svg", "pdf", "tsv")}
    assert sum(tag == "svg" for tag, _ in shown.tags) == len(stems)
    assert {"fig_2a", "fig_2e", "fig_1d_ENSG0000000", "fig_2d_ENSG0000003"} <= stems
    drawn = pd.read_csv(tmp_path / "figures" / "fig_2d_ENSG0000000.tsv", sep="\t")
    assert list(drawn["position"]) == [10, 30]  # the SNV of four carriers is in no file
    for path in (tmp_path / "figures").glob("*.[st][vs][gv]"):
        assert not [person for person in PEOPLE if person in path.read_text()]


def test_genes_asked_for_take_the_place_of_the_extremes(tmp_path):
    shown = written(tmp_path, made_inputs(R, genes=["ENSG0000005"]))
    section = shown.text[shown.text.rindex("Genes asked for") :]
    assert "Asked for: ENSG0000005 NAME5" in section
    assert "extremes, not examples" not in section
    assert [gene for gene in ("NAME0", "NAME3") if f"expression: {gene}" in shown.html] == []


def test_a_stage_that_is_out_of_date_is_named_in_the_place_of_its_figures(tmp_path):
    shown = written(tmp_path, made_inputs(R, absent={"drivers": "it did <not> run"}))
    section = section_of_drivers(shown)
    assert section.text.count("it did <not> run") == N_OF_DRIVERS
    assert shown.open == []


def test_without_any_driver_the_section_says_so(tmp_path):
    shown = written(tmp_path, with_drivers(made_drivers([0] * 5)))
    section = section_of_drivers(shown)
    for sentence in ("no examined gene has drivers that can be compared", "no examined gene has a"):
        assert sentence in section.text
    assert "nan" not in section.text.lower()


@pytest.mark.parametrize("name", [HOSTILE, "<script>", '"><img src=x onerror=alert(1)>', "$x^{$",
                                  "{{ 7 * 7 }}", "a&b"])  # fmt: skip
def test_hostile_names_of_genes_with_drivers_are_only_text(tmp_path, name):
    names = [name, "B", "C", "D", "E"]
    inputs = with_drivers(made_drivers([1, 1, 0, 0, 0], names=names))
    statistics = made_inputs(R, names=[*names, "F", "G", "H"]).statistics
    named = dataclasses.replace(inputs, genes=["ENSG0000000"], statistics=statistics)
    shown = written(tmp_path, named)
    assert shown.html.count("<script") == shown.html.count("</script") == SCRIPTS
    assert shown.open == []
    assert not any(tag == "img" for tag, _ in shown.tags)
    labels = [a["aria-label"] for _, a in shown.tags if name in a.get("aria-label", "")]
    assert "Slope of expression against attribution, one point an SNV: " + name in labels


def test_a_gene_without_a_name_is_called_by_its_id(tmp_path):
    shown = written(tmp_path, made_inputs(R, names=["", *"BCDEFGH"]))
    assert "Highest r ENSG0000000" in shown.text


# --- in words


def stage(**variables) -> xr.Dataset:
    return xr.Dataset({name: (dims, np.asarray(v)) for name, (dims, v) in variables.items()})


def test_the_summary_says_in_words_what_the_figures_show(tmp_path):
    ids = [f"ENSG{i:07d}" for i in range(8)]
    of_subset = ("subset", "track")
    population = stage(pearson_r=(of_subset, [[0.577]]), n_genes=(of_subset, [[8]]))
    population = population.assign_coords(track=["CNhs11796"], subset=["all"])
    linear = [0.3, 0.1, *[np.nan] * 6]
    predixcan = stage(r_predixcan=("gene", linear), r_network=("gene", [0.1] * 8))
    predixcan = predixcan.assign_coords(gene=ids)
    sensitivity = stage(same_sign=("choice", [1, 0.875, np.nan]), n_genes=("choice", [8, 8, 0])
                        ).assign_coords(choice=["as chosen", "ensemble", "nothing"])  # fmt: skip
    stages = {"population": population, "predixcan": predixcan, "sensitivity": sensitivity}
    drivers = with_drivers(made_drivers([1, 2, 0, 3, 0]))
    sentences = summary.sentences(dataclasses.replace(drivers, stages=drivers.stages | stages))
    mean = f"{np.nanmean(R):.2f}"
    assert (
        sentences[0] == f"Across people, r is {mean} on average over 7 genes; 2 (29 %) have r < 0."
    )
    assert sentences[1] == (
        "Significant against its own null, under the statistic signed: 5 genes, 2 of them with "
        "r < 0 (0 to 7 under the other statistics)."
    )
    told = " ".join(sentences[2:])
    for part in (
        "follow mean expression by r = 0.58 (8 genes)",
        "In the 2 genes compared whose r is clearly above 0",
        "In the 1 gene compared whose r is clearly below 0",
        "has r = 0.20 on average and the network 0.10 (2 genes with both)",
        "keeps its sign: ensemble, 88 % of 8 genes tried.",
    ):
        assert part in told
    assert "nothing" not in told
    shown = written(tmp_path, drivers)
    assert all(sentence in shown.text for sentence in summary.sentences(drivers))


def test_no_significant_gene_is_said_plainly():
    told = summary.sentences(made_inputs([0.1, -0.1]))[1]
    assert told.startswith(
        "Significant against its own null, under the statistic signed: no gene (0 to"
    )


def test_nothing_defined_gives_no_sentence_with_nan():
    assert summary.sentences(made_inputs([np.nan] * 3)) == []
