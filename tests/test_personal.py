"""Anybody's sequence from the stores: in Python, and on the command line as FASTA."""

import dataclasses
from pathlib import Path

import numpy as np
import pyfaidx
import pytest
from click.testing import CliRunner, Result

import zarrbench
from zarrbench import cli
from zarrbench.errors import ContigError, RecipeError, SampleError
from zarrbench.genome.bases import decode, reverse_complement
from zarrbench.personal import gene_fasta, gene_window, personal_sequences, region_fasta


def test_the_window_of_a_gene(family):
    window = gene_window(family, "ALPHA", 200)
    assert (window.contig, window.start, window.end, window.anchor) == ("chr1", 1399, 1599, 1499)
    assert not window.reverse
    assert gene_window(family, "ENSG00000000003.7", 200) == window
    read = gene_window(family, "BETA", 200, tss_index=20, strand_aware=True)
    assert (read.start, read.end, read.anchor, read.reverse) == (2099 - 179, 2120, 2099, True)


def test_sequences_of_some_people(family, cohort):
    people = ["P17", "P03"]
    personal = zarrbench.personal_sequences(family, gene_window(family, "ALPHA", 300), people)
    letters = [[decode(c) for c in personal.codes(personal.rows[i])] for i in range(2)]
    assert letters == [[cohort.haplotype("chr1", 1350, 1649, p, h) for h in (0, 1)] for p in people]
    assert len({one for both in letters for one in both}) > 2
    # everybody by default
    everybody = personal_sequences(family, personal.window)
    assert everybody.rows.shape == (23, 2)
    np.testing.assert_array_equal(everybody.haplotype(17, 1), personal.haplotype(0, 1))


@pytest.mark.parametrize("dtype", ["float32", "uint8", "float16", "bool"])
def test_one_hot_is_that_of_the_codes(family, dtype):
    window = dataclasses.replace(gene_window(family, "ALPHA", 200), start=-50)
    personal = personal_sequences(family, window)
    codes, one_hot = personal.codes([2, 0, 2]), personal.one_hot([2, 0, 2], dtype=dtype)
    assert (one_hot.shape, one_hot.dtype) == ((3, window.length, 4), dtype)
    np.testing.assert_array_equal(one_hot, codes[..., None] == np.arange(4))
    assert not one_hot[:, :50].any()  # before the contig
    out = np.ones((3, window.length, 4), dtype=dtype)
    assert personal.one_hot([2, 0, 2], out=out) is out
    np.testing.assert_array_equal(out, one_hot)


def test_a_window_beyond_the_contig_is_refused_unless_padded(family):
    with pytest.raises(ContigError, match="chr1:-90-109 leaves the contig, which ends at 6000"):
        gene_window(family, "EDGE", 200)
    recipe = family.recipe
    policies = dataclasses.replace(recipe.policies, beyond_contig="pad")
    try:
        family.recipe = dataclasses.replace(recipe, policies=policies)
        window = gene_window(family, "EDGE", 200)
        assert (personal_sequences(family, window).codes()[:, :91] == 4).all()
    finally:
        family.recipe = recipe


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda f: gene_fasta(f, "ALFA", "P01", 100), RecipeError, "did you mean 'ALPHA'"),
        (lambda f: gene_fasta(f, "Y_RNA", "P01", 100), RecipeError, "2 genes are called"),
        (lambda f: gene_fasta(f, "ALPHA", "P1", 100), SampleError, "has no sample 'P1'; did you"),
        (lambda f: region_fasta(f, "1:10-20", "P01"), ContigError, "'1'; did you mean|known"),
        (lambda f: region_fasta(f, "chr1:10-7000", "P01"), ContigError, "which ends at 6000"),
        (lambda f: region_fasta(f, "chr1:20-10", "P01"), RecipeError, "1 <= START <= END"),
    ],
)
def test_what_is_refused(family, ask, error, message):
    with pytest.raises(error, match=message):
        ask(family)


def parsed(fasta: str, folder: Path) -> dict[str, tuple[str, str]]:
    """Read FASTA with pyfaidx: header and sequence by haplotype."""
    file = folder / "printed.fa"
    file.write_text(fasta)
    with pyfaidx.Fasta(str(file), key_function=lambda line: line, read_long_names=True) as read:
        return {name.split()[1]: (name, str(read[name])) for name in read.keys()}  # noqa: SIM118


def printed(*arguments: str) -> Result:
    return CliRunner().invoke(cli.main, ["haplotype", *arguments])


def test_fasta_of_a_gene(family, cohort, tmp_path):
    shown = printed("--store", str(cohort.recipe), "--data", str(cohort.folder / "data"),
                    "--gene", "ALPHA", "--individual", "P05", "--length", "301")  # fmt: skip
    assert shown.exit_code == 0
    found = parsed(shown.stdout, tmp_path)
    assert {len(line) for line in shown.stdout.splitlines() if line[0] != ">"} == {60, 1}
    for haplotype in (1, 2):
        header, sequence = found[f"haplotype={haplotype}"]
        assert header == f"P05 haplotype={haplotype} chr1:1350-1650 ALPHA TSS=151"
        assert sequence == cohort.haplotype("chr1", 1350, 1650, "P05", haplotype - 1)
        assert sequence[150] == cohort.haplotype("chr1", 1500, 1500, "P05", haplotype - 1)


def test_fasta_of_a_region(family, cohort, tmp_path):
    found = parsed(region_fasta(family, "chr2:201-500", "P05"), tmp_path)
    for haplotype in (1, 2):
        header, sequence = found[f"haplotype={haplotype}"]
        assert header == f"P05 haplotype={haplotype} chr2:201-500"
        assert sequence == cohort.haplotype("chr2", 201, 500, "P05", haplotype - 1)
    whole = parsed(region_fasta(family, "chr2", "P05"), tmp_path)["haplotype=1"][1]
    assert whole == cohort.haplotype("chr2", 1, 3000, "P05", 0)


def test_one_built_store_needs_no_name(family, cohort, tmp_path):
    arguments = ["--gene", "ALPHA", "--individual", "P05", "--data"]
    nothing = printed(*arguments, str(tmp_path))
    assert nothing.exit_code == 2
    assert "holds no stores; name one with --store" in nothing.stderr
    for name in ("one", "two"):
        (tmp_path / "stores" / name).mkdir(parents=True)
        (tmp_path / "stores" / name / "store.json").write_text("{}")
    several = printed(*arguments, str(tmp_path))
    assert "holds 2 stores (one, two)" in several.stderr
    # The only one is taken by its name.
    only = printed(*arguments, str(cohort.folder / "data"))
    assert "there is no stores recipe 'toy'" in only.stderr
    assert only.exit_code == 2


def test_gene_and_region_exclude_each_other(cohort):
    for more in ([], ["--gene", "ALPHA", "--region", "chr1"]):
        shown = printed("--individual", "P05", *more)
        assert shown.exit_code == 2
        assert "give either --gene or --region" in shown.stderr


def test_the_reverse_strand_is_the_reverse_complement(family):
    window = gene_window(family, "BETA", 200, tss_index=100)
    forward = personal_sequences(family, window)
    backward = personal_sequences(family, dataclasses.replace(window, reverse=True))
    np.testing.assert_array_equal(backward.codes(), reverse_complement(forward.codes()))
