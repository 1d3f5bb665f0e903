"""Bad input from the command line: one sentence, exit code 2, nothing left that a later run trusts.

Each case spoils one thing of a good study, runs a real command, reads its standard error (that of
the process, so that native libraries and worker processes are heard too), then repairs the thing
and runs the command again in the same data folder.
"""

import gzip
import json
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pysam
import pytest
import xarray as xr
import yaml
import zarr
from click.testing import CliRunner

from zarrbench.cli import main
from zarrbench.predictions.cube import done_shards
from zarrbench.simulation import Simulation, simulate
from zarrbench.storage import quiet_zarr

SMALL = Simulation(
    seed=3, individuals=20, contigs={"chr1": 40_000, "chr2": 20_000}, genes=5, flank=512
)
STORES = {
    "name": "cohort",
    "genotypes": {"source": "cohort.vcf.gz"},
    "reference": {"source": "reference.fa"},
    "genes": {"source": "genes.gtf"},
    "expression": {"source": "expression.tsv", "unit": "log2"},
}
PIPELINE = {
    "name": "study",
    "stores": "stores.yaml",
    "model": {"kind": "letters", "input_length": 1024},
    "stages": [
        {"predict": {"readout": "identity"}},
        {"statistics": {"null_test": {"draws": 10}}},
        {"report": None},
    ],
}
# A kind of model that needs no network library: worker processes start in a second with it.
LETTERS = """
    from dataclasses import dataclass
    import numpy as np
    from zarrbench.errors import ModelInputError
    from zarrbench.models.protocol import ModelSpec, Track

    @dataclass(frozen=True)
    class LettersRecipe:
        input_length: int
        broken: bool = False

        def spec(self):
            middle = self.input_length // 2
            return ModelSpec("letters", self.input_length, middle, True, 1, 8)

        def read_tracks(self, files):
            return (Track("a"),)

        def sources(self):
            return ()

        def load(self, files):
            if self.broken:
                raise ModelInputError("the letters are broken; mend them")
            return LettersModel(self)

    class LettersModel:
        def __init__(self, recipe):
            self.spec, self.tracks = recipe.spec(), recipe.read_tracks({})

        def predict(self, codes, gene):
            weights = np.arange(codes.shape[1]) % 7
            return (codes @ weights).astype(np.float32)[:, None, None]
"""
PROGRESS = re.compile(r"\[\d\d:\d\d[<,]")
HTSLIB = re.compile(r"^\[[WE]::")


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """What was said beside progress."""
        lines = [line for line in re.split(r"[\r\n]+", self.err) if line.strip()]
        return [line for line in lines if not PROGRESS.search(line) and not HTSLIB.match(line)]


@dataclass
class Study:
    """A study in a folder of its own: sources, two recipes, one data folder."""

    folder: Path
    cohort: Path
    capture: pytest.CaptureFixture[str]
    stores: dict[str, Any] = field(default_factory=dict)
    pipeline: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.data = self.folder / "data"
        self.sources = self.folder / "sources"
        self.cluster = self.folder / "one.yaml"
        self.cluster.write_text("{name: one, processes: 1}")
        self.repair()

    def repair(self) -> None:
        """Make everything but the data folder good again."""
        shutil.rmtree(self.sources, ignore_errors=True)
        shutil.copytree(self.cohort, self.sources)
        self.stores = json.loads(json.dumps(STORES))
        self.pipeline = json.loads(json.dumps(PIPELINE))

    def command(self, *arguments: str) -> Ended:
        for name, content in (("stores", self.stores), ("pipeline", self.pipeline)):
            (self.folder / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
        self.capture.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--sources", str(self.sources), "--data", str(self.data)])
        out, err = self.capture.readouterr()
        return Ended(int(ended.value.code or 0), out, err)

    def build(self, *flags: str) -> Ended:
        return self.command("store", "build", str(self.folder / "stores.yaml"), *flags)

    def run(self, *flags: str) -> Ended:
        pipeline = str(self.folder / "pipeline.yaml")
        return self.command("run", pipeline, "--cluster", str(self.cluster), *flags)

    def dry_run(self) -> Ended:
        return self.run("--dry-run", "--json")


def refused(ended: Ended, *said: str, code: int = 2) -> str:
    """Check that a command ended with one sentence that says all of `said`; return it."""
    assert ended.code == code, ended.err
    assert "Traceback" not in ended.err
    assert len(ended.lines) == 1, ended.err
    sentence = ended.lines[0]
    assert sentence.startswith("zarrbench: ")
    assert "unexpected" not in sentence
    for pattern in said:
        assert re.search(pattern, sentence), sentence
    return sentence


def leftovers(folder: Path) -> list[Path]:
    """Temporary files and folders; Zarr 2 has four hidden names of its own."""
    zarr_2 = {".zgroup", ".zarray", ".zattrs", ".zmetadata"}
    found = [path for path in folder.rglob("*") if path.name.startswith((".", "tmp"))]
    found += folder.rglob("*.partial")
    return [path for path in found if path.name not in zarr_2]


def contents(folder: Path) -> dict[str, Any]:
    """All files by name, `store.json` without times and places."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        if path.name == "store.json":
            manifest = json.loads(path.read_text())
            for part in ("reference", "genotypes", "genes", "expression"):
                del manifest[part]["provenance"], manifest[part]["modified"]
            found["store.json"] = manifest
        elif path.is_file() and path.name != "lock":
            found[str(path.relative_to(folder))] = path.read_bytes()
    return found


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad_input") / "cohort"
    simulate(SMALL, folder)
    return folder


@pytest.fixture(scope="session")
def fresh(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the stores of the good study hold."""
    folder = tmp_path_factory.mktemp("fresh")
    (folder / "stores.yaml").write_text(yaml.safe_dump(STORES))
    arguments = ["--sources", str(cohort), "--data", str(folder)]
    built = CliRunner().invoke(main, ["store", "build", str(folder / "stores.yaml"), *arguments])
    assert built.exit_code == 0, built.output
    return contents(folder / "stores" / "cohort")


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package that offers the model kind `letters`."""
    folder = tmp_path_factory.mktemp("letters")
    (folder / "letters_model.py").write_text(textwrap.dedent(LETTERS))
    facts = folder / "letters_model-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: letters-model\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(
        "[zarrbench.models]\nletters = letters_model:LettersRecipe\n"
    )
    return folder


@pytest.fixture
def study(
    tmp_path: Path,
    cohort: Path,
    letters: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Study:
    monkeypatch.syspath_prepend(letters)  # worker processes get it too
    return Study(tmp_path, cohort, capfd)


# --- what spoils a study

Spoil = Callable[[Study], object]


def vcf_text(study: Study) -> str:
    with gzip.open(study.sources / "cohort.vcf.gz", "rt") as handle:
        return handle.read()


def write_vcf(study: Study, text: str, indexed: bool = True) -> None:
    path = study.sources / "cohort.vcf.gz"
    plain = study.sources / "plain.vcf"
    plain.write_text(text)
    pysam.tabix_compress(str(plain), str(path), force=True)
    plain.unlink()
    if indexed:
        pysam.tabix_index(str(path), preset="vcf", force=True)


def vcf(change: Callable[[str], str], indexed: bool = True) -> Spoil:
    return lambda study: write_vcf(study, change(vcf_text(study)), indexed)


def records(change: Callable[[list[str]], list[str]], only: int | None = None) -> Spoil:
    """Change the columns of all records of single bases, or of the one with a number."""

    def changed(text: str) -> str:
        lines = text.splitlines()
        cells = {n: line.split("\t") for n, line in enumerate(lines) if line[0] != "#"}
        single = [n for n, row in cells.items() if len(row[3]) == len(row[4]) == 1]
        for number in single if only is None else single[only : only + 1]:
            lines[number] = "\t".join(change(cells[number]))
        return "\n".join(lines) + "\n"

    return vcf(changed)


def alleles_swapped(row: list[str]) -> list[str]:
    return [*row[:3], row[4], row[3], *row[5:]]


def haploid(row: list[str]) -> list[str]:
    return [*row[:9], row[9][:1], *row[10:]]


def source(name: str, content: str | bytes | Callable[[str], str] | None) -> Spoil:
    """Replace or change the text of a source file, or remove it."""

    def spoil(study: Study) -> None:
        path = study.sources / name
        if content is None:
            path.unlink()
        elif isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content(path.read_text()) if callable(content) else content)

    return spoil


def fasta(content: str | bytes | Callable[[str], str]) -> Spoil:
    """Replace or change the FASTA, and let its index be made again."""

    def spoil(study: Study) -> None:
        source("reference.fa", content)(study)
        (study.sources / "reference.fa.fai").unlink()

    return spoil


def raw(name: str, change: Callable[[bytes], bytes]) -> Spoil:
    def spoil(study: Study) -> None:
        path = study.sources / name
        path.write_bytes(change(path.read_bytes()))

    return spoil


def folder(name: str) -> Spoil:
    def spoil(study: Study) -> None:
        (study.sources / name).unlink()
        (study.sources / name).mkdir()

    return spoil


def stores(part: str, key: str, value: Any, **texts: str) -> Spoil:
    """Change a key of the stores recipe, and write the files that it names."""

    def spoil(study: Study) -> None:
        study.stores[part][key] = value
        for name, text in texts.items():
            (study.sources / f"{name}.txt").write_text(text)

    return spoil


def table(change: Callable[[list[list[str]]], list[list[str]]]) -> Spoil:
    """Change the cells of the expression table."""

    def changed(text: str) -> str:
        rows = change([line.split("\t") for line in text.splitlines()])
        return "".join("\t".join(row) + "\n" for row in rows)

    return source("expression.tsv", changed)


VCF, FASTA, GTF, EXPRESSION = "cohort.vcf.gz", "reference.fa", "genes.gtf", "expression.tsv"

# For each case: what spoils the study, and what the sentence must say: what, where, what to do.
CASES: dict[str, tuple[Spoil, tuple[str, ...]]] = {
    "vcf_absent": (
        source(VCF, None),
        ("'cohort.vcf.gz' was not found", "sources/cohort.vcf.gz", "--sources DIR"),
    ),
    "vcf_plain": (
        lambda study: (study.sources / VCF).write_text(vcf_text(study)),
        ("sources/cohort.vcf.gz is not compressed, expected bgzip", "compress it with 'bgzip'"),
    ),
    "vcf_gzip": (
        lambda study: (study.sources / VCF).write_bytes(gzip.compress(vcf_text(study).encode())),
        ("sources/cohort.vcf.gz is ordinary gzip, expected bgzip", "compress it with 'bgzip'"),
    ),
    "vcf_empty": (source(VCF, b""), ("sources/cohort.vcf.gz is not compressed",)),
    "vcf_folder": (folder(VCF), ("cannot read .*sources/cohort.vcf.gz: Is a directory",)),
    "vcf_without_index": (
        source(f"{VCF}.tbi", None),
        ("sources/cohort.vcf.gz has no index", "run 'bcftools index cohort.vcf.gz'"),
    ),
    "vcf_index_damaged": (source(f"{VCF}.tbi", b"junk"), ("sources/cohort.vcf.gz", "index")),
    "vcf_truncated": (
        raw(VCF, lambda content: content[: len(content) // 2]),
        ("sources/cohort.vcf.gz is truncated", "copy or make it again"),
    ),
    "vcf_damaged": (
        raw(VCF, lambda content: content[:600] + bytes(40) + content[640:]),
        ("sources/cohort.vcf.gz cannot be converted", "check it with 'bcftools view"),
    ),
    "vcf_no_vcf": (
        lambda study: write_vcf(study, "hello\nworld\n", indexed=False),
        ("sources/cohort.vcf.gz cannot be converted", "check it with 'bcftools view"),
    ),
    "vcf_short_record": (
        records(lambda row: row[:-1], only=3),
        ("sources/cohort.vcf.gz cannot be converted", "check it with 'bcftools view"),
    ),
    "vcf_unphased": (
        vcf(lambda text: text.replace("1|0", "1/0")),
        (
            r"sources/cohort.vcf.gz has \d+ heterozygous calls without phase",
            r"the first at chr[12]:\d+",
            "phase the VCF .*or set 'unphased: keep_order'",
        ),
    ),
    "vcf_haploid": (
        records(haploid, only=5),
        ("sources/cohort.vcf.gz has 1 haploid calls", "choose them with 'regions'"),
    ),
    "vcf_ref_contradicts": (
        records(alleles_swapped),
        (r"\d+ of \d+ REF alleles of .*sources/cohort.vcf.gz contradict", "another genome build"),
    ),
    "vcf_one_ref_contradicts": (
        records(alleles_swapped, only=2),
        (
            r"1 of \d+ REF alleles of .*sources/cohort.vcf.gz contradict the reference",
            "correct them .*or allow some a window with 'max_ref_mismatch'",
        ),
    ),
    "vcf_other_contigs": (
        vcf(lambda text: text.replace("chr", "scaffold")),
        (
            r"no contig of .*sources/cohort.vcf.gz \(scaffold1, scaffold2\) is in the reference "
            r"\(chr1, chr2\)",
            "use a FASTA of the same build and naming",
        ),
    ),
    "vcf_ambiguous_contigs": (
        vcf(lambda text: text.replace("chr2", "1")),
        (r"sources/cohort.vcf.gz names the contig 'chr1' .*in two ways", "rename one of them"),
    ),
    "vcf_sample_twice": (
        vcf(lambda text: text.replace("SIM0002", "SIM0001"), indexed=False),
        ("sources/cohort.vcf.gz",),
    ),
    "vcf_no_common_sample": (
        vcf(lambda text: text.replace("SIM", "NA")),
        (
            "no individual has both genotype and expression: the genotypes have NA0001, .*, the "
            "expression has SIM0001",
            "give a sample map",
        ),
    ),
    "vcf_without_samples": (
        vcf(lambda text: re.sub(r"(?m)^((?!##)(?:[^\t\n]+\t){7}[^\t\n]+)\t.*$", r"\1", text)),
        ("sources/cohort.vcf.gz",),
    ),
    "vcf_without_records": (
        vcf(lambda text: "".join(re.findall(r"(?m)^#.*\n", text))),
        ("sources/cohort.vcf.gz",),
    ),
    "vcf_without_genotypes": (
        vcf(lambda text: re.sub(r"\t[01]\|[01]", "\t7", text).replace("\tGT", "\tDP").replace(
            "ID=GT", "ID=DP")),
        ("sources/cohort.vcf.gz",),
    ),
    "region_unknown": (
        stores("genotypes", "regions", ["chr3"]),
        ("sources/cohort.vcf.gz has no contig for the region 'chr3'", "correct the recipe's"),
    ),
    "region_malformed": (
        stores("genotypes", "regions", ["chr1:200-100"]),
        ("the region 'chr1:200-100' must have 1 <= START <= END",),
    ),
    "sample_list_unknown": (
        stores("genotypes", "samples", "people.txt", people="SIM0001\nNA12878\n"),
        ("lacks 1 of the 2 asked samples, for example 'NA12878'", "correct the sample list"),
    ),
    "sample_list_empty": (
        stores("genotypes", "samples", "people.txt", people="# nobody\n\n"),
        ("sources/people.txt is empty",),
    ),
    "fasta_gzip": (
        lambda study: fasta(gzip.compress((study.sources / FASTA).read_bytes()))(study),
        ("sources/reference.fa",),
    ),
    "fasta_truncated": (
        raw(FASTA, lambda content: content[:30_000]),
        ("sources/reference.fa is shorter than its index says at chr1:", "truncated"),
    ),
    "fasta_empty": (fasta(""), ("sources/reference.fa cannot be read as FASTA",)),
    "fasta_no_fasta": (fasta("hello\n"), ("sources/reference.fa cannot be read as FASTA",)),
    "fasta_lacks_asked_contig": (
        stores("reference", "contigs", ["chr1", "chr22"]),
        (
            r"sources/reference.fa lacks the contig 'chr22' \(it has chr1, chr2\)",
            "correct the recipe's contigs",
        ),
    ),
    "fasta_lacks_contig": (
        fasta(lambda text: text.replace(">chr", ">scaffold")),
        (
            r"no contig of .*sources/cohort.vcf.gz \(chr1, chr2\) is in the reference \(scaffold1, "
            r"scaffold2\)",
            "use a FASTA of the same build and naming",
        ),
    ),
    "gtf_without_genes": (
        source(GTF, lambda text: text.replace("\tgene\t", "\tCDS\t")),
        ("sources/genes.gtf holds no genes", "give a GTF, a GFF3, or a table"),
    ),
    "gtf_empty": (source(GTF, ""), ("sources/genes.gtf holds no genes",)),
    "gtf_short_line": (
        source(GTF, lambda text: text.replace("\t.\t", "\t", 1)),
        ("sources/genes.gtf, line 4: expected 9 columns split by tabs, found 8",),
    ),
    "gtf_bad_position": (
        source(GTF, lambda text: re.sub(r"\tgene\t\d+", "\tgene\t-5", text)),
        ("sources/genes.gtf, line 4: expected a 1-based position as start, found '-5'",),
    ),
    "gtf_other_contigs": (
        source(GTF, lambda text: text.replace("chr", "scaffold")),
        ("none of the 5 genes of .*sources/genes.gtf", "use an annotation of the same assembly"),
    ),
    "gtf_gene_twice": (
        source(GTF, lambda text: text.replace("ZBG00000002", "ZBG00000001")),
        ("sources/genes.gtf has 1 gene ids more than once.*ZBG00000001", "keep one record of each"),
    ),
    "gtf_truncated": (
        lambda study: source(GTF, gzip.compress((study.sources / GTF).read_bytes())[:-30])(study),
        ("sources/genes.gtf is truncated or damaged", "fetch it again"),
    ),
    "gtf_no_text": (source(GTF, bytes(range(256))), ("sources/genes.gtf is not a text file",)),
    "expression_text_in_a_cell": (
        table(lambda rows: [*rows[:2], [*rows[2][:4], "high", *rows[2][5:]], *rows[3:]]),
        (
            "sources/expression.tsv, line 3: the value of 'ZBG00000002.1' for 'SIM0004' is 'high'",
            r"expected a number \(or empty, NA or NaN",
        ),
    ),
    "expression_gene_twice": (
        table(lambda rows: [*rows, rows[2]]),
        ("sources/expression.tsv has 1 gene ids more than once", "ZBG00000002; keep one row"),
    ),
    "expression_sample_twice": (
        table(lambda rows: [["gene_id", "SIM0001", "SIM0001", *rows[0][3:]], *rows[1:]]),
        ("sources/expression.tsv has 1 sample ids more than once: SIM0001; keep one of each",),
    ),
    "expression_all_missing": (
        table(lambda rows: [rows[0], *([row[0], *["NA"] * 20] for row in rows[1:])]),
        ("sources/expression.tsv holds nothing but missing values",),
    ),
    "expression_infinite": (
        table(lambda rows: [rows[0], [*rows[1][:-1], "-inf"], *rows[2:]]),
        ("sources/expression.tsv: 1 values are infinite, first that of 'ZBG00000001.1' for "
         "'SIM0020'",),
    ),
    "expression_short_line": (
        table(lambda rows: [*rows[:3], rows[3][:-1], *rows[4:]]),
        ("sources/expression.tsv, line 4: expected 21 columns as in the header, found 20",),
    ),
    "expression_header_only": (
        table(lambda rows: rows[:1]),
        ("sources/expression.tsv has nothing below its header",),
    ),
    "expression_empty": (source(EXPRESSION, ""), ("sources/expression.tsv has no content",)),
    "covariates_of_others": (
        stores("expression", "covariates", "pcs.txt", pcs="id\tX1\tX2\nPC1\t1\t2\n"),
        ("sources/pcs.txt share no sample with the expression: it has SIM0001", "X1, X2"),
    ),
    "sample_map_of_others": (
        stores("expression", "sample_map", "map.txt", map="sample\tperson\nX1\tSIM0001\n"),
        ("sources/map.txt names no sample of the expression: that has SIM0001", "X1"),
    ),
    "sample_map_to_others": (
        stores("expression", "sample_map", "map.txt", map="".join(
            f"SIM{i:04}\tP{i}\n" for i in range(1, 21))),
        ("no individual has both genotype and expression: .* the expression has P1, P2, P3",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_spoilt_source(study: Study, case: str, fresh: dict[str, Any]) -> None:
    spoil, said = CASES[case]
    spoil(study)
    refused(study.build(), *said)
    if case in ("vcf_truncated", "vcf_unphased", "gtf_empty", "expression_gene_twice"):
        refused(study.run("--only", "stores"), *said)  # the second time as the first
    assert leftovers(study.data) == []
    assert not (study.data / "study").exists()

    study.repair()
    repaired = study.build()
    assert repaired.code == 0, repaired.err
    assert contents(study.data / "stores" / "cohort") == fresh
    assert leftovers(study.data) == []


def test_contigs_named_without_chr_are_mapped(study: Study, fresh: dict[str, Any]) -> None:
    vcf(lambda text: text.replace("chr", ""))(study)
    ended = study.build()
    assert ended.code == 0, ended.err
    found = contents(study.data / "stores" / "cohort")
    manifest = found["store.json"]["genotypes"]["checks"]
    assert manifest["contig_map"] == {"1": "chr1", "2": "chr2"}
    assert manifest["contigs"] == fresh["store.json"]["genotypes"]["checks"]["contigs"]
    for name, content in fresh.items():
        if re.search("call_genotype/|variant_position/|variant_allele/|^reference|^genes", name):
            assert found[name] == content


# --- a family of stores that is complete


@pytest.fixture(scope="module")
def results(
    cohort: Path, letters: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """The data folder of a whole run of the good study."""
    home = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(letters)
        for name, content in (("stores", STORES), ("pipeline", PIPELINE)):
            (home / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
        (home / "one.yaml").write_text("{name: one, processes: 1}")
        arguments = ["--cluster", str(home / "one.yaml"), "--sources", str(cohort)]
        arguments += ["--data", str(home / "data")]
        ended = CliRunner().invoke(main, ["run", str(home / "pipeline.yaml"), *arguments])
        assert ended.exit_code == 0, ended.output
        yield home / "data"


@pytest.fixture
def finished(study: Study, results: Path) -> Study:
    """The good study with all its results."""
    shutil.copytree(results, study.data)
    return study


@pytest.mark.cluster
def test_a_changed_file_is_refused_until_it_is_wanted(finished: Study) -> None:
    before = contents(finished.data / "stores" / "cohort")
    path = finished.sources / EXPRESSION
    text = path.read_text()
    cell = re.search(r"\t(\d)", text)
    assert cell is not None
    other = text[: cell.start(1)] + str(9 - int(cell[1])) + text[cell.end(1) :]
    for changed, said in (
        (other, r"expression.tsv: other content of the same size"),
        (text + "ZBG00000009.1" + "\t1" * 20 + "\n", r"expression.tsv: \d+ -> \d+ bytes"),
    ):
        path.write_text(changed)
        again = "store build .*stores.yaml --overwrite', or use another --data folder"
        refused(finished.build(), "the expression store in .* from another recipe or file", said)
        refused(finished.run("--dry-run"), said, again)
        assert contents(finished.data / "stores" / "cohort") == before
    path.write_text(text)  # touched, and yet the same
    assert finished.build().lines == ["up to date"]
    path.unlink()  # what was in it is in the store
    assert finished.build().lines == ["up to date"]
    path.write_text(other)
    assert finished.build("--overwrite", "--only", "expression").lines == ["built expression"]
    stored = xr.open_zarr(finished.data / "stores" / "cohort" / "expression.zarr")
    assert float(stored["expression"][0, 0]) == float(other.splitlines()[1].split("\t")[1])


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("part", "change", "field"),
    [
        ("genotypes", {"regions": ["chr1"]}, r"regions: \[\] -> \[\"chr1\"\]"),
        ("reference", {"contigs": ["chr1"]}, r"contigs: \[\] -> \[\"chr1\"\]"),
        ("expression", {"unit": "TPM"}, 'unit: "log2" -> "TPM"'),
        ("genes", {"source": "other.gtf"}, r'files: \["genes.gtf"\] -> \["other.gtf"\]'),
    ],
)
def test_stores_of_another_recipe_are_refused_with_the_field(
    finished: Study, part: str, change: dict[str, Any], field: str
) -> None:
    before = contents(finished.data)
    finished.stores[part] |= change
    refused(finished.build(), f"the {part} store in ", field, "--overwrite', or use another --data")
    assert contents(finished.data) == before


@pytest.mark.cluster
def test_policies_that_the_check_refuses_by_belong_to_the_genotypes(finished: Study) -> None:
    finished.stores["policies"] = {"unphased": "keep_order", "max_ref_mismatch": 2}
    refused(finished.build(), "the genotypes store", "max_ref_mismatch: 0 -> 2", "unphased: ")


@pytest.mark.cluster
def test_a_new_reference_calls_for_new_checks_against_it(finished: Study) -> None:
    fasta(lambda text: text.replace(">chr", ">scaffold"))(finished)
    assert finished.build("--only", "reference", "--overwrite").code == 0
    refused(finished.build(), r"no contig of the VCF file .* is in the reference \(scaffold1")
    finished.repair()
    assert finished.build().lines == ["built reference, genotypes, genes"]


@pytest.mark.cluster
def test_a_failed_overwrite_is_made_good_by_the_next_build(
    finished: Study, fresh: dict[str, Any]
) -> None:
    records(alleles_swapped)(finished)
    refused(finished.build("--overwrite"), "REF alleles of the VCF file")
    assert leftovers(finished.data) == []
    finished.repair()
    assert finished.build().code == 0
    assert contents(finished.data / "stores" / "cohort") == fresh


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '{"format_version": 2}',
            "store.json has format version 2, this zarrbench reads version 1",
        ),
        ("{", "store.json is damaged .*; remove it, then build the stores again"),
    ],
)
def test_a_manifest_of_another_version(finished: Study, text: str, said: str) -> None:
    (finished.data / "stores" / "cohort" / "store.json").write_text(text)
    for ended in (finished.build(), finished.dry_run()):
        refused(ended, said)


def set_version(store: Path, version: Any) -> None:
    with quiet_zarr():
        group = zarr.open_group(store, mode="r+")
        group.attrs["format_version"] = version
        zarr.consolidate_metadata(str(store))


@pytest.mark.cluster
@pytest.mark.parametrize(
    "store",
    [
        "stores/cohort/reference.zarr",
        "stores/cohort/genes.zarr",
        "stores/cohort/expression.zarr",
        "study/predictions.zarr",
    ],
)
def test_a_store_of_another_format_version(finished: Study, store: str) -> None:
    set_version(finished.data / store, 99)
    refused(
        finished.dry_run(),
        f"{store} has format version 99, this zarrbench reads version 1",
        "build it again, or use the zarrbench that wrote it",
    )


@pytest.mark.cluster
@pytest.mark.parametrize("store", ["genes", "expression"])
def test_a_damaged_store(finished: Study, store: str) -> None:
    (finished.data / "stores" / "cohort" / f"{store}.zarr" / "zarr.json").write_text("{")
    refused(finished.dry_run(), f"{store}.zarr cannot be opened", "build it again")


# --- recipes


def test_names_that_are_not_known(study: Study) -> None:
    study.build()
    refused(study.command("run", "sythetic"), "no pipelines recipe 'sythetic'", "did you mean 'syn")
    refused(study.command("store", "build", "sythetic"), "no stores recipe", "mean 'synthetic'")
    refused(study.run("--only", "statistic"), "no stage 'statistic'; did you mean 'statistics'")
    study.cluster = Path("loacl")
    refused(study.run(), "no cluster recipe 'loacl'", "did you mean 'local'")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"stags": []}, ["pipeline.yaml: unknown key 'stags'; did you mean 'stages'?"]),
        ({"stages": [{"predict": {"raedout": "identity"}}]}, ["'raedout'; did you mean 'readout'"]),
        ({"stages": [{"statistics": {None: {"draws": 5}}}]}, ["key 'null'; did you mean 'null_te"]),
        ({"name": "stores"}, ["name 'stores' must serve as the name of a folder", "not stores or"]),
        ({"name": "../elsewhere"}, ["name '../elsewhere' must serve as the name of a folder"]),
        ({"model": {"kind": "lettres"}}, ["no model kind 'lettres'; did you mean 'letters'"]),
        ({"stores": "other.yaml"}, ["no stores recipe 'other.yaml'"]),
    ],
)
def test_pipelines_that_are_refused(study: Study, change: dict[str, Any], said: list[str]) -> None:
    study.pipeline |= change
    refused(study.run(), *(re.escape(text) for text in said))
    assert not study.data.exists()
    assert not (study.folder / "elsewhere").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: a\nname: b\n", r"the key 'name' stands twice \(line 2\)"),
        ("name: !!python/object/apply:os.system ['touch {trap}']\n", "could not determine a const"),
    ],
)
def test_yaml_that_is_refused_by_a_process_of_its_own(tmp_path: Path, text: str, said: str) -> None:
    trap = tmp_path / "executed"
    (tmp_path / "stores.yaml").write_text(text.replace("{trap}", str(trap)))
    command = [sys.executable, "-m", "zarrbench", "store", "build", str(tmp_path / "stores.yaml")]
    ended = subprocess.run(
        [*command, "--data", str(tmp_path / "data")], capture_output=True, text=True, check=False
    )
    refused(Ended(ended.returncode, ended.stdout, ended.stderr), said)
    assert not trap.exists()
    assert not (tmp_path / "data").exists()


# --- models and cubes

KERAS = {
    "kind": "keras",
    "name": "toy",
    "file": "toy.keras",
    "input_length": 1024,
    "tss_index": 512,
    "strand_aware": True,
    "tracks": [{"id": "a"}],
}


def test_a_model_file_that_is_missing_or_another(study: Study) -> None:
    study.pipeline["model"] = KERAS
    refused(study.dry_run(), "'toy.keras' was not found", "sources/toy.keras", "with --sources DIR")
    (study.sources / "toy.keras").write_text("not a model")
    study.pipeline["model"] = {**KERAS, "file": {"file": "toy.keras", "sha256": "0" * 64}}
    refused(study.dry_run(), "sources/toy.keras has SHA-256", "fetch it again, or correct")
    assert not (study.data / "study").exists()


@pytest.mark.cluster
def test_a_model_of_another_input_length(finished: Study) -> None:
    import keras

    sequence = keras.Input((1000, 4), name="dna")
    pooled = keras.layers.GlobalAveragePooling1D()(sequence)
    network = keras.Model(sequence, keras.layers.Dense(1)(pooled))
    network.save(finished.sources / "toy.keras")
    finished.pipeline |= {"name": "keras", "model": KERAS}
    refused(
        finished.run("--only", "predict"),
        r"the input 'dna' of .*sources/toy.keras has the shape \(None, 1000, 4\), the recipe says "
        r"input_length: 1024",
        "correct the recipe",
    )
    assert not (finished.data / "keras" / "predictions.zarr").exists()


@pytest.mark.cluster
def test_a_model_that_cannot_be_loaded_begins_no_cube(finished: Study) -> None:
    """What a worker raises on purpose arrives as its sentence, without the worker's own report."""
    finished.pipeline |= {"name": "broken", "model": {**PIPELINE["model"], "broken": True}}
    refused(finished.run("--only", "predict"), "the letters are broken; mend them")
    assert not (finished.data / "broken" / "predictions.zarr").exists()
    finished.pipeline["model"]["broken"] = False
    assert finished.run("--only", "predict").code == 0


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("stage", "change", "field"),
    [
        ("model", {"input_length": 512}, "model.input_length: 1024 -> 512"),
        ("predict", {"readout": {"kind": "raw_sum"}}, 'predict.readout.kind: "identity" -> "raw_s'),
        ("predict", {"block_size": 7}, "predict.block_size: null -> 7"),
        ("predict", {"individuals": "all"}, 'predict.individuals: "expressed" -> "all"'),
        ("policies", {"missing": "zeros"}, 'policies.missing: "reference" -> "zeros"'),
    ],
)
def test_a_changed_recipe_does_not_continue_a_cube(
    finished: Study, stage: str, change: dict[str, Any], field: str
) -> None:
    before = contents(finished.data / "study")
    changed = {
        "model": finished.pipeline["model"],
        "predict": finished.pipeline["stages"][0]["predict"],
        "policies": finished.stores.setdefault("policies", {}),
    }
    changed[stage] |= change
    refused(
        finished.dry_run(),
        "the cube .*study/predictions.zarr was begun with another recipe",
        re.escape(field),
        "give the pipeline another name, use another --data folder, or remove the cube",
    )
    if stage == "model":
        refused(finished.run("--only", "predict"), "begun with another recipe", re.escape(field))
    after = contents(finished.data / "study")
    assert {name for name in before if before[name] != after[name]} <= {"samples.tsv"}


# --- a disk that is full


@pytest.fixture
def disk(study: Study) -> Iterator[Callable[[int], None]]:
    """Give the data folder a file system of its own, of so many pages of 4 KiB; then resize it."""
    study.data.mkdir()

    def resize(pages: int) -> None:
        options = f"size={4 * pages}k"
        if study.data.is_mount():
            options = f"remount,{options}"
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(study.data)]
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
        if mounted.returncode != 0:
            pytest.skip(f"a small file system cannot be mounted: {mounted.stderr.strip()}")

    yield resize
    if study.data.is_mount():
        subprocess.run(["umount", "-l", str(study.data)], check=True)


def pages(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(-(-file.stat().st_size // 4096) for file in files)


PLENTY = 10_000
STAGES = ("predict", "statistics", "report")
DISK_FULL = "the disk is full; free space or choose another folder with --data, or for models"


@pytest.mark.cluster
@pytest.mark.parametrize("part", ["reference", "genotypes", "genes", "expression"])
def test_a_disk_that_is_full_when_stores_are_built(
    study: Study,
    disk: Callable[[int], None],
    results: Path,
    fresh: dict[str, Any],
    part: str,
) -> None:
    order = ["reference", "genotypes", "genes", "expression"]
    name = "genotypes.vcz" if part == "genotypes" else f"{part}.zarr"
    disk(PLENTY)
    for ready in order[: order.index(part)]:
        study.build("--only", ready)
    disk(pages(study.data) + pages(results / "stores" / "cohort" / name) // 2)
    refused(study.build(), f"cannot write .*/stores/cohort/{name}: {DISK_FULL}")
    assert leftovers(study.data) == []
    assert not (study.data / "stores" / "cohort" / name).exists()
    disk(PLENTY)
    assert study.build().lines[0] == f"built {', '.join(order[order.index(part) :])}"
    assert contents(study.data / "stores" / "cohort") == fresh


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("stage", "product", "lacking", "begun"),
    [
        ("predict", "predictions.zarr", 20, 0),  # amid the metadata
        ("predict", "predictions.zarr", 4, 2),  # amid the shards, two of which are done
        ("statistics", "genes.zarr", 20, 0),
        ("report", "report.html", 1, 0),
    ],
)
def test_a_disk_that_is_full_during_a_run(
    study: Study,
    disk: Callable[[int], None],
    results: Path,
    stage: str,
    product: str,
    lacking: int,
    begun: int,
) -> None:
    whole, made = results / "study", study.data / "study"
    disk(PLENTY)
    shutil.copytree(results / "stores", study.data / "stores")
    shutil.copytree(whole, made)
    for later in ("predictions", "genes", "report")[STAGES.index(stage) :]:
        for path in made.glob(f"{later}.*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    there = 0
    if begun:
        assert study.run("--only", stage, "--limit-genes", str(begun)).code == 0
        there = pages(made / product)
    disk(pages(study.data) + pages(whole / product) - there - lacking)
    refused(study.run("--only", stage), rf"cannot write .*/study/\S+: {DISK_FULL}")
    assert leftovers(study.data) == []
    if begun:
        assert begun <= len(done_shards(made / product)) < SMALL.genes
    disk(PLENTY)
    assert study.run("--only", stage).code == 0
    if product.endswith(".zarr"):
        assert contents(made / product) == contents(whole / product)
        assert (
            done_shards(made / "predictions.zarr").keys()
            == done_shards(whole / "predictions.zarr").keys()
        )
    else:
        assert (made / product).stat().st_size > 10_000


# --- attributions

ATTRIBUTIONS = {"attributions": {"gradients": False}}


def attributions_in(study: Study) -> dict[str, Any]:
    """What the stage has made: its store and its parts; the ledger is another in every run."""
    folder = study.data / "study"
    return {name: contents(folder / name) for name in ("attributions.zarr", "attributions.parts")}


@pytest.fixture
def attributing(study: Study) -> Study:
    """The good study with a stage more."""
    study.pipeline["stages"].insert(2, ATTRIBUTIONS)
    return study


@pytest.mark.cluster
@pytest.mark.parametrize("amid", ["parts", "store"])
def test_a_disk_that_is_full_when_snvs_are_attributed(
    attributing: Study, disk: Callable[[int], None], results: Path, amid: str
) -> None:
    study, made = attributing, attributing.data / "study"
    disk(PLENTY)
    shutil.copytree(results, study.data, dirs_exist_ok=True)
    before = pages(study.data)
    assert study.run("--only", "attributions").code == 0
    whole = attributions_in(study)
    sizes = {name: pages(made / f"attributions.{name}") for name in ("parts", "ledger", "zarr")}
    for name in sizes:
        shutil.rmtree(made / f"attributions.{name}")
    room = sizes["parts"] // 2 if amid == "parts" else sum(sizes.values()) - 5
    disk(before + room)
    refused(study.run("--only", "attributions"), rf"cannot write .*/study/\S+: {DISK_FULL}")
    assert leftovers(study.data) == []
    assert not (made / "attributions.zarr").exists()
    n_parts = len(list((made / "attributions.parts").glob("*.npz")))
    assert n_parts == SMALL.genes if amid == "store" else n_parts < SMALL.genes
    disk(PLENTY)
    assert study.run("--only", "attributions").code == 0
    assert attributions_in(study) == whole


@pytest.mark.cluster
def test_snvs_are_attributed_in_a_read_only_place(attributing: Study, results: Path) -> None:
    study, made = attributing, attributing.data / "study"
    shutil.copytree(results, study.data)
    assert study.run("--only", "attributions", "--limit-genes", "1").code == 0
    before = attributions_in(study)
    bind = ["mount", "--bind", str(made), str(made)]
    if subprocess.run(bind, capture_output=True, check=False).returncode != 0:
        pytest.skip("nothing can be mounted here")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(made)], check=True)
        refused(study.run("--only", "attributions"), "cannot write .*: the file system is read-on")
        assert attributions_in(study) == before
    finally:
        subprocess.run(["umount", "-l", str(made)], check=True)
    assert study.run("--only", "attributions").code == 0
    assert len(list((made / "attributions.parts").glob("*.npz"))) == SMALL.genes


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"gradients": True}, "the model 'letters' offers no gradients; set 'gradients: false'"),
        ({"gradients": False, "tracks": ["b"]}, "stages.attributions.tracks: .*no track 'b'"),
    ],
)
def test_what_the_model_cannot_attribute(
    finished: Study, parameters: dict[str, Any], said: str
) -> None:
    finished.pipeline["stages"].insert(2, {"attributions": parameters})
    refused(finished.run("--only", "attributions"), said)
    assert not list(finished.data.rglob("attributions.zarr"))
    assert not list(finished.data.rglob("*.npz"))


@pytest.mark.cluster
def test_stages_that_ask_why_without_what_they_need(finished: Study) -> None:
    why = [ATTRIBUTIONS, {"drivers": None}, {"motifs": None}, {"sensitivity": None}]
    finished.pipeline["stages"][2:2] = why
    refused(finished.run("--only", "drivers"), "there is no attributions store", "study/attrib")
    refused(finished.run("--only", "motifs"), "drivers.zarr are not there.*--only drivers' first")
    refused(finished.run("--only", "sensitivity"), "sensitivity stage has nothing to compare with")
