"""The comparison with published reference predictions, on tables made from known outputs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from zarrbench.errors import ModelInputError
from zarrbench.genome.reference import Reference
from zarrbench.models.enformer.published import compare_published, published_genes
from zarrbench.stores import StoreFamily

LENGTH, BINS = 512, 12


def predict(codes: np.ndarray) -> np.ndarray:
    """Some numbers that depend on every base and on its place."""
    weights = np.random.default_rng(0).uniform(1, 2, (LENGTH, BINS))
    return ((codes + 1.0) @ weights)[..., None].astype(np.float32)


@pytest.fixture
def reference(family: StoreFamily) -> Reference:
    return family.reference


@pytest.fixture
def tables(tmp_path: Path, reference: Reference) -> Callable[..., Path]:
    """Write the two tables of a benchmark whose Enformer is `predict`."""

    def write(summary: Callable, tss_at: int) -> Path:
        genes = [
            ("ENSG1", "1", 1000, "AAA"),
            ("ENSG2", "1", 1500, ""),
            ("ENSG3", "1", 2000, "B"),
        ]
        rows = []
        for name, _, tss, label in genes:
            start = tss - 1 - tss_at
            codes = reference._arrays["chr1"][start : start + LENGTH]
            rows.append((label.lower() or name.lower(), summary(predict(codes[None])[0, :, 0])))
        rows.append(("faraway", 1.0))
        genes.append(("ENSG4", "7", 5, "FARAWAY"))
        listed = [f"{name},{contig},{tss},{label},+" for name, contig, tss, label in genes]
        (tmp_path / "gene_list.csv").write_text("\n".join(listed) + "\n")
        predictions = pd.DataFrame(rows, columns=["gene", "Enformer"])
        predictions.to_csv(tmp_path / "all_models_ref_preds.csv", index=False)
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("summary", "name"),
    [
        (lambda x: x.mean(), "mean_of_all_bins"),
        (lambda x: x[5:8].mean(), "mean_of_3_bins"),
        (lambda x: x[1:11].mean(), "mean_of_10_bins"),
        (lambda x: x.max(), "max_of_all_bins"),
    ],
)
@pytest.mark.parametrize("tss_at", [LENGTH // 2, LENGTH // 2 - 1])
def test_the_published_summary_and_place_of_the_tss_are_found(
    tables, reference, summary, name, tss_at
):
    genes = published_genes(tables(summary, tss_at))
    found = compare_published(predict, LENGTH, reference, genes)
    assert (found["genes_published"], found["genes_compared"]) == (4, 3)
    assert found["verdict"] == f"the published predictions ({name}, tss_at_{tss_at})"
    assert found[f"tss_at_{tss_at}"][name]["r"] == pytest.approx(1)


def test_other_predictions_are_not_the_published_ones(tables, reference):
    genes = published_genes(tables(lambda x: x.mean(), LENGTH // 2))
    found = compare_published(lambda codes: 1.01 * predict(codes), LENGTH, reference, genes)
    assert found["verdict"].startswith("NOT the published predictions: the nearest (mean_of_all")


def test_without_the_genome_nothing_is_compared(tables, reference):
    genes = published_genes(tables(lambda x: x.mean(), LENGTH // 2))
    found = compare_published(predict, LENGTH, reference, genes.loc[["ENSG4"]])
    assert found["verdict"].startswith("not compared: the reference holds the window of none")


def test_other_tables_are_refused(tmp_path):
    with pytest.raises(ModelInputError, match="does not hold gene_list"):
        published_genes(tmp_path)
    (tmp_path / "gene_list.csv").write_text("ENSG1,1,100,A,+\n")
    (tmp_path / "all_models_ref_preds.csv").write_text("gene,Xpresso\na,1\n")
    with pytest.raises(ModelInputError, match="does not hold gene_list"):
        published_genes(tmp_path)


@pytest.mark.realdata
def test_every_published_gene_has_a_prediction(realdata):
    genes = published_genes(realdata / "benchmark")
    assert len(genes) == 3259
    assert genes.published.between(0, 1000).all()
