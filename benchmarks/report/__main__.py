"""What the report of a large cohort costs: its size, the time to write it, and to read it.

    python -m benchmarks.report FOLDER [--genes 6800] [--people 839] [--snvs 1000]

Arrays and the concordance table are made up, and written into FOLDER, as are the report and a page
as `zarrbench explore` serves it. The browser is the system's chromium, without a screen.
"""

import argparse
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xarray as xr
from playwright.sync_api import sync_playwright

from zarrbench.genotypes import policies
from zarrbench.layouts import GENE_STATISTICS
from zarrbench.report.gene_views import GeneViews
from zarrbench.report.page import ReportInputs, report_html, write_report
from zarrbench.stages.concordance_table import ConcordanceTable
from zarrbench.statistics.null import NULL_BINS, STATISTICS

_GENES_A_GROUP = 8  # as the drivers stage writes them


def statistics(ids: list[str], n_people: int, rng: np.random.Generator) -> xr.Dataset:
    """Return statistics of genes of which a tenth is significant."""
    n = len(ids)
    sizes = {
        "gene": n, "statistic": len(STATISTICS), "case": len(policies.CASES),
        "null_bin": NULL_BINS,
    }  # fmt: skip
    made = {
        "string": lambda shape: np.full(shape, "chr1", object),
        "float": lambda shape: rng.uniform(0.001, 0.999, shape),
        "int": lambda shape: rng.integers(1, 100_000, shape),
        "bool": lambda shape: rng.random(shape) < 0.1,
    }
    variables = {
        name: (kind.dims, made[kind.kind](tuple(sizes[d] for d in kind.dims)))
        for name, kind in GENE_STATISTICS.variables.items()
        if not kind.optional or name.startswith("null")
    }
    draws = np.abs(rng.normal(0, 1 / np.sqrt(n_people) + 0.02 * rng.random((n, 1)), (n, 1000)))
    edges = np.linspace(0, 1, NULL_BINS + 1)
    variables |= {
        "gene": ("gene", np.array(ids, object)),
        "gene_name": ("gene", np.array([f"GENE{i}" for i in range(n)], object)),
        "statistic": ("statistic", np.array(STATISTICS, object)),
        "case": ("case", np.array(list(policies.CASES), object)),
        "r": ("gene", np.clip(rng.normal(0.03, 0.15, n), -0.9, 0.9)),
        "n_individuals": ("gene", np.full(n, n_people)),
        "null_bin": ("null_bin", edges[:-1]),
        "null_count": (
            ("gene", "null_bin"), np.stack([np.histogram(row, edges)[0] for row in draws])
        ),
    }  # fmt: skip
    attributes = {
        "statistic": "signed", "alpha": 0.05, "count_rule": "q_le_alpha", "track": "CNhs11796",
        "track_description": "CAGE", "draws": 1000,
    }  # fmt: skip
    return xr.Dataset(variables, attrs=attributes)


def write_concordance(path: Path, ids: list[str], n_snvs: int, rng: np.random.Generator) -> None:
    """Write the columns of the concordance table that the explorer reads."""
    schema = None
    for start in range(0, len(ids), _GENES_A_GROUP):
        genes = ids[start : start + _GENES_A_GROUP]
        n = len(genes) * n_snvs
        ism, slope = rng.laplace(0, 0.003, n), rng.normal(0, 0.2, n)
        driver = rng.random(n) < 5 / n_snvs
        distance = np.sort(rng.integers(-98_304, 98_304, (len(genes), n_snvs)), axis=1)
        table = pa.table(
            {
                "gene_id": np.repeat(genes, n_snvs),
                "distance": distance.ravel(),
                "other_allele": rng.choice(list("ACGT"), n),
                "effect_allele": rng.choice(list("ACGT"), n),
                "carrier_frequency": rng.beta(0.3, 1, n),
                "minor_carriers": rng.integers(0, 400, n),
                "ism": ism,
                "slope": slope,
                "is_driver": driver,
                "increment": np.where(driver, rng.random(n), 0.0),
                "support": np.sign(ism * slope).astype(np.int8),
            }
        )
        if schema is None:
            schema, writer = table.schema, pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    writer.close()


def timed(label: str, work: Callable[[], Any]) -> Any:
    start = time.perf_counter()
    result = work()
    print(f"{label:<44} {time.perf_counter() - start:8.2f} s")
    return result


def browse(path: Path, n_genes: int) -> None:
    """Open the page and choose genes; print how long a reader waits."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        start = time.perf_counter()
        page.goto(path.as_uri(), wait_until="commit")
        page.locator("#genes tbody tr").first.wait_for()
        print(f"{'to the table of genes':<44} {time.perf_counter() - start:8.2f} s")
        page.wait_for_selector("#plot-slope canvas", state="attached")
        print(f"{'to all plots':<44} {time.perf_counter() - start:8.2f} s")
        first = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        print(f"{'to the first view (contentful paint)':<44} {first / 1000:8.2f} s")
        for gene in (f"GENE{n_genes // 5}", f"GENE{2 * n_genes // 3}"):
            page.fill("#wanted", gene[:-1])
            page.wait_for_timeout(500)
            start = time.perf_counter()
            page.locator("#wanted").press_sequentially(gene[-1])
            page.locator("#gene-panel[aria-busy=false] #gene-title", has_text=gene).wait_for()
            print(f"{f'to choose {gene}':<44} {time.perf_counter() - start:8.2f} s")
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--genes", type=int, default=6800)
    parser.add_argument("--people", type=int, default=839)
    parser.add_argument("--snvs", type=int, default=1000)
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(8)
    ids = [f"ENSG{i:011d}" for i in rng.permutation(asked.genes)]
    labels = {"gene": ids, "individual": [f"P{i}" for i in range(asked.people)]}
    shape = (asked.genes, asked.people)
    observed = rng.normal(6, 1, shape)
    predicted = 0.2 * observed + rng.normal(0, 1, shape)
    cubes = [xr.DataArray(c, dims=("gene", "individual"), coords=labels)
             for c in (predicted, observed)]  # fmt: skip
    found = statistics(ids, asked.people, rng)
    table = asked.folder / "concordance.parquet"
    timed("the table of SNVs is made", lambda: write_concordance(table, ids, asked.snvs, rng))
    views = GeneViews(found, *cubes, variants=ConcordanceTable(table).rows)
    inputs = ReportInputs("Large", found, *cubes, facts={}, views=views)
    report = asked.folder / "report.html"
    timed("report.html is written", lambda: write_report(report, inputs))
    print(f"{'report.html':<44} {report.stat().st_size / 1e6:8.2f} MB")
    timed("the page of zarrbench explore is made", lambda: report_html(inputs, embed=False))
    timed("its first gene is read", lambda: views.view(ids[17]))
    timed("another gene is read", lambda: views.view(ids[-17]))
    browse(report, asked.genes)


if __name__ == "__main__":
    main()
