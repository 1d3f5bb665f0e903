"""The motifs stage on the hand-made cohort: scans against mutated strings of its FASTA."""

import dataclasses
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from Bio import motifs as readers

from zarrbench.attribution_layouts import MOTIFS
from zarrbench.attribution_parameters import Attributions, Drivers, Motifs
from zarrbench.attributions.parts import parts_of
from zarrbench.attributions.scans import ScanTask
from zarrbench.errors import IncompleteCubeError, ModelInputError, RecipeError, StoreLayoutError
from zarrbench.genome.bases import encode
from zarrbench.models.protocol import loaded
from zarrbench.parameters import Null, Report, Statistics
from zarrbench.predictions.plan import Predict
from zarrbench.predictions.readouts import Readout
from zarrbench.stages.attributions import run_attributions
from zarrbench.stages.drivers import run_drivers
from zarrbench.stages.motifs import (
    cluster_table,
    headline,
    largest_clusters,
    motif_table,
    run_motifs,
    standing_motifs,
)
from zarrbench.stages.predict import refuse_failed, run_predict
from zarrbench.stages.report import run_report
from zarrbench.stages.statistics import run_statistics
from zarrbench.stages.workspace import Workspace
from zarrbench.statistics.attribution_motifs import THRESHOLDS, motif_statistics
from zarrbench.statistics.drivers import DriverRule
from zarrbench.statistics.sequence_clusters import clusters, enrichment
from zarrbench.storage import open_dataset

COMPLEMENT = str.maketrans("ACGT", "TGCA")
#: every gene with SNVs has drivers by this rule, only some by `DriverRule()`
MANY, NONE = DriverRule(criteria="increment_only"), DriverRule(min_increment=0.99)
FLANK = 30
ALL = Motifs("all", FLANK)


def asked(workspace: Workspace, **stages: object) -> Workspace:
    """The pipeline with further stages, or others in their place."""
    recipe = dataclasses.replace(workspace.recipe, stages={**workspace.recipe.stages, **stages})
    return dataclasses.replace(workspace, recipe=recipe)


@pytest.fixture(scope="module")
def driven(workspace_in, client, tmp_path_factory) -> Workspace:
    """Attributions of two tracks, and drivers of one; of a model that reads the gene's strand."""
    workspace = workspace_in(
        tmp_path_factory.mktemp("motifs") / "study",
        predict=Predict(Readout("raw_sum"), individuals="all"),
        statistics=Statistics(track="T1", null_test=Null(draws=20, statistic="sem")),
        input_length=240,
        tss_index=80,
        strand_aware=True,
    )
    workspace = asked(
        workspace,
        attributions=Attributions(gradients=False, tracks=("T0", "T1")),
        drivers=Drivers(MANY),
        motifs=ALL,
        report=Report(),
    )
    run_predict(workspace, client, "GPU")
    run_statistics(workspace, client)
    run_attributions(workspace, client, "GPU")
    run_drivers(workspace, client)
    return workspace


@pytest.fixture(scope="module")
def finished(driven, client) -> Workspace:
    filled = run_motifs(driven, client, "GPU")
    assert (filled.before, filled.failed) == (0, {})
    return driven


@pytest.fixture
def study(finished, tmp_path) -> Workspace:
    """The same, in a folder of its own."""
    return dataclasses.replace(
        finished, folder=shutil.copytree(finished.folder, tmp_path / "study")
    )


def stored(workspace: Workspace):
    return open_dataset(workspace.motifs, MOTIFS).load()


def parts(workspace: Workspace) -> dict[str, int]:
    """Parts, and when they were written."""
    return {p.stem: p.stat().st_mtime_ns for p in parts_of(workspace.motifs).glob("*.npz")}


def redriven(workspace: Workspace, client, rule: DriverRule, **stages: object) -> Workspace:
    """The pipeline after a run of the drivers stage with another rule."""
    other = asked(workspace, drivers=Drivers(rule), **stages)
    run_drivers(other, client)
    return other


# --- scans


def test_scans_are_those_of_mutated_strings(finished, cohort):
    found = stored(finished)
    model = loaded(finished.model)
    drivers = pd.read_csv(finished.drivers_table, sep="\t")
    main = drivers[drivers.is_main].set_index("gene_id")
    assert found.gene.values.tolist() == main.index.tolist()
    assert {*found.strand.values} == {"+", "-"}
    rng = np.random.default_rng(0)
    for gene in found.gene.values:
        one = found.sel(gene=gene)
        driver = main.loc[gene]
        assert one.position.item() == driver.variant_position
        assert one.effect_allele.item() == driver.effect_allele
        assert one.support.item() == driver.support
        tss, reverse = one.tss.item() - 1, one.strand.item() == "-"
        start = tss - 159 if reverse else tss - 80
        chromosome = cohort.sequences[one.contig.item()]
        window = chromosome[start : start + 240]

        def predicted(sequence: str, gene=gene, reverse=reverse) -> float:
            read = sequence.translate(COMPLEMENT)[::-1] if reverse else sequence
            codes = encode(read)[np.newaxis]
            return model.predict(codes, gene)[0, :, 1].astype(np.float64).sum()

        def mutated(sequence: str, at: int, base: str, start=start) -> str:
            at -= start
            return sequence[:at] + base + sequence[at + 1 :]

        at = driver.variant_position - 1
        variant = mutated(window, at, driver.effect_allele)
        assert one.reference_prediction.item() == predicted(window)
        around = range(at - 20, at + 21)
        assert one.sequence.item() == "".join(
            chromosome[i] if start <= i < start + 240 else "N" for i in around
        )
        scanned = (
            (one.driver_scan.sel(base="reference"), window, at, "offset"),
            (one.driver_scan.sel(base="variant"), variant, at, "offset"),
            (one.tss_scan, window, tss, "tss_offset"),
        )
        for scan, sequence, centre, dim in scanned:
            before = predicted(sequence)
            for offset in rng.choice(scan[dim].values, 12, replace=False):
                values = scan.sel({dim: offset})
                if not start <= centre + offset < start + 240:
                    assert np.isnan(values).all()
                    continue
                for base in "ACGT":
                    change = predicted(mutated(sequence, centre + offset, base)) - before
                    assert values.sel(allele=base).item() == change
        # what the drivers stage has of it is one of the scan's entries
        of_reference = one.driver_scan.sel(base="reference", offset=0)
        assert of_reference.sel(allele=driver.effect_allele).item() == driver.ism


@pytest.mark.parametrize("norm", ["max", "std"])
def test_the_table_of_the_study(study, client, norm):
    workspace = asked(study, motifs=Motifs("all", FLANK, norm))
    run_motifs(workspace, client, "GPU")
    found, table = stored(workspace), pd.read_csv(workspace.motif_tables[0], sep="\t")
    here = np.eye(4, dtype=bool)[current(found)]
    mutants = [scan[~base] for scan, base in zip(found.tss_scan.values, here, strict=True)]
    divisor = np.array([np.abs(m).max() if norm == "max" else m.std() for m in mutants])
    np.testing.assert_allclose(found["tss_largest" if norm == "max" else "tss_sd"], divisor)
    thresholds = THRESHOLDS if norm == "max" else (1.64, 1.96, 2.58, 3.29)
    assert found.threshold.values.tolist() == list(thresholds)
    expected = [found.gene.values, found.position.values]
    for scan in (found.driver_scan.sel(base=base).values for base in ("reference", "variant")):
        one = motif_statistics(scan, divisor, thresholds)
        expected += [one.s, *one.size.T, *one.distance.T, *one.value.T]
    assert table.shape == (len(found.gene), 28)
    for name, values in zip(table.columns[2:], expected[2:], strict=True):
        np.testing.assert_allclose(table[name], values, rtol=1e-12, err_msg=name)
    assert table.gene_id.tolist() == expected[0].tolist()
    assert table.position.tolist() == expected[1].tolist()
    assert table.columns[2] == "reference_effect"
    assert table.columns[15] == "variant_effect"
    assert table.columns[3] == f"reference_run_length_{thresholds[0]:g}"
    assert table.columns[-1] == f"variant_value_{thresholds[-1]:g}"
    assert np.isfinite(table.drop(columns="gene_id").to_numpy()).all()


def current(found) -> np.ndarray:
    """The base at every position around the TSS of each gene, where the scan is 0."""
    zero = found.tss_scan.values == 0
    assert zero.any(axis=-1).all()
    return zero.argmax(axis=-1)


# --- clusters


def test_clusters_and_their_motifs(finished, cohort):
    found = stored(finished)
    drivers = pd.read_csv(finished.drivers_table, sep="\t")
    drivers = drivers[drivers.is_driver]
    assert found.driver_position.values.tolist() == drivers.variant_position.tolist()
    assert found.driver_gene.values.tolist() == drivers.gene_id.tolist()
    table = pd.read_csv(finished.motif_tables[1], sep="\t")
    assert table.base.unique().tolist() == ["reference", "variant"]
    for number, base in enumerate(("reference", "variant")):
        sequences = []
        for driver in drivers.itertuples():
            at = driver.variant_position - 1
            bases = cohort.sequences[driver.contig][at - 6 : at + 7]
            assert bases[6] == driver.other_allele
            middle = driver.effect_allele if number else bases[6]
            sequences.append(bases[:6] + middle + bases[7:])
        labels = clusters(np.array([encode(s) for s in sequences]))
        assert found.cluster.values[number].tolist() == labels.tolist()
        rows = table[table.base == base].set_index("cluster")
        tested = enrichment(labels, drivers.support.to_numpy() < 0)
        for name in ("size", "unsupported", "p_more", "p_fewer", "q_more", "q_fewer"):
            np.testing.assert_allclose(rows[name], getattr(tested, name))
        assert rows["size"].sum() == len(drivers)
        with (finished.folder / f"clusters_{base}.meme").open() as handle:
            read = readers.parse(handle, "minimal")
        several = rows.index[rows["size"] > 1]
        assert [one.name for one in read] == [f"{base}_{number}" for number in several]
        assert [one.num_occurrences for one in read] == rows["size"][several].tolist()
        motifs = largest_clusters(finished, found, base, most=several[-1] + 1)
        assert [*motifs] == several.tolist()
        for one, stored_motif in zip(motifs.values(), read, strict=True):
            spread = one.weights + (1 - one.weights.sum(axis=1, keepdims=True)) / 4
            expected = np.array([stored_motif.counts[letter] for letter in "ACGT"]).T / one.n
            np.testing.assert_allclose(spread, expected, atol=0.51 / one.n)
        assert [*largest_clusters(finished, found, base, most=1)] == [0]
    assert len(several)
    pd.testing.assert_frame_equal(cluster_table(finished), table)
    shown = headline(finished)
    json.dumps(shown)
    assert shown["clusters"] == len(table)


# --- which genes


def test_all_genes_or_those_examined(study, client):
    drivers = pd.read_csv(study.drivers_table, sep="\t")
    main = drivers[drivers.is_main]
    assert stored(study).gene.values.tolist() == main.gene_id.tolist()
    workspace = asked(study, motifs=Motifs("examined", FLANK))
    before = parts(workspace)
    filled = run_motifs(workspace, client, "GPU")
    chosen = main[main.examined].gene_id.tolist()
    assert 0 < len(chosen) < len(main)
    assert stored(workspace).gene.values.tolist() == chosen
    assert {*stored(workspace).driver_gene.values} == {*chosen}
    assert (filled.wanted, filled.before, filled.now) == (len(chosen), len(chosen), 0)
    assert parts(workspace) == before


def test_no_main_driver_at_all(study, client):
    workspace = redriven(study, client, NONE)
    filled = run_motifs(workspace, client, "GPU")
    assert (filled.wanted, filled.failed) == (0, {})
    found = standing_motifs(workspace)
    assert found.sizes["gene"] == found.sizes["driver"] == 0
    assert pd.read_csv(workspace.motif_tables[0], sep="\t").shape == (0, 28)
    clustered = pd.read_csv(workspace.motif_tables[1], sep="\t")
    assert clustered.empty
    assert list(clustered.columns[:3]) == ["base", "cluster", "size"]
    with workspace.cluster_motifs("variant").open() as handle:
        assert list(readers.parse(handle, "minimal")) == []
    shown = headline(workspace)
    assert (shown["main_drivers"], shown["clusters"]) == (0, 0)
    assert shown["in_a_motif_supported"] == "0 of 0"
    assert motif_table(found).empty
    run_report(workspace, {})
    assert "no examined gene has a driver" in workspace.report.read_text()
    assert cluster_table(workspace).empty
    assert largest_clusters(workspace, found) == {}


def test_clusters_of_other_drivers_have_no_motifs(study, client):
    found = standing_motifs(study)
    redriven(study, client, NONE)
    with pytest.raises(RecipeError, match="are not those that were clustered"):
        largest_clusters(study, found)


def test_another_main_driver_gets_another_part(study, client):
    before, old = parts(study), stored(study)
    workspace = redriven(study, client, DriverRule())  # another main driver in one gene or more
    filled = run_motifs(workspace, client, "GPU")
    new = stored(workspace)
    both = np.intersect1d(old.gene.values.astype(object), new.gene.values.astype(object))
    moved = [g for g in both if old.position.sel(gene=g) != new.position.sel(gene=g)]
    assert len(moved) >= 1
    assert len(moved) < len(both)
    assert filled.now == len(moved)
    after = parts(workspace)
    assert before.items() <= after.items()
    added = {f"{g}_{new.position.sel(gene=g).item()}_{new.effect_allele.sel(gene=g).item()}"
             for g in moved}  # fmt: skip
    assert after.keys() - before.keys() == added
    # and back again: nothing is left to do
    back = redriven(workspace, client, MANY)
    assert run_motifs(back, client, "GPU").now == 0
    assert parts(back) == after
    assert (stored(back).position.values == old.position.values).all()


def test_scans_of_another_track_are_others(study, client):
    """Scans are of the track of the drivers: those of another must not pass for them."""
    statistics = dataclasses.replace(study.recipe.stage(Statistics), track="T0")
    other = asked(study, statistics=statistics)
    run_statistics(other, client)
    run_drivers(other, client)
    assert standing_motifs(other) is None
    with pytest.raises(RecipeError, match=r'another recipe \(tracks: \["T1"\] -> \["T0"\]\)'):
        run_motifs(other, client, "GPU")


# --- what fails, what stands, what is missing


def test_a_gene_that_fails_is_named(study, client, monkeypatch):
    shutil.rmtree(parts_of(study.motifs))
    shutil.rmtree(study.motifs.with_suffix(".ledger"))
    whole, made = stored(study), ScanTask.mutants
    failing = str(whole.gene.values[1])

    def mutants(task, job):
        if task.gene == failing:
            raise ModelInputError(f"no answer for {failing}")
        return made(task, job)

    monkeypatch.setattr(ScanTask, "mutants", mutants)
    filled = run_motifs(study, client, "GPU")
    driver = f"{failing}_{whole.position[1].item()}_{whole.effect_allele[1].item()}"
    said = f"ModelInputError: no answer for {failing}"
    assert filled.failed == {(driver, 0): said}
    with pytest.raises(IncompleteCubeError, match=f"1 of 6 shards failed, the first {driver}.*no"):
        refuse_failed(filled)
    found = stored(study)
    one = found.sel(gene=failing)
    assert one.gene_reason.item() == f"it failed: {said}"
    assert one.sequence.item() == ""
    for name in ("driver_scan", "tss_scan", "effect", "run_length", "value", "tss_largest"):
        assert np.isnan(one[name]).all()
        others = found[name].drop_sel(gene=failing)
        np.testing.assert_array_equal(others, whole[name].drop_sel(gene=failing))
    row = pd.read_csv(study.motif_tables[0], sep="\t").set_index("gene_id").loc[failing]
    assert row.drop("position").isna().all()
    assert found.cluster.values.tolist() == whole.cluster.values.tolist()
    assert headline(study)["scanned"] == 5
    monkeypatch.undo()
    assert run_motifs(study, client, "GPU").failed == {(driver, 0): said}  # until it is asked for
    healed = run_motifs(study, client, "GPU", retry_failed=True)
    assert (healed.now, healed.failed) == (1, {})
    assert (stored(study).gene_reason == "").all()
    np.testing.assert_array_equal(stored(study).driver_scan, whole.driver_scan)


def test_what_is_done_is_not_done_again(study, client):
    before, written = parts(study), study.motif_tables[0].stat().st_mtime_ns
    filled = run_motifs(study, client, "GPU")
    assert (filled.wanted, filled.before, filled.now) == (6, 6, 0)
    assert parts(study) == before
    assert study.motif_tables[0].stat().st_mtime_ns == written


def test_a_part_that_is_gone_is_made_again(study, client):
    whole = stored(study)
    next(parts_of(study.motifs).glob("*.npz")).unlink()
    assert run_motifs(study, client, "GPU").now == 1
    assert stored(study).identical(whole)


def test_what_stands(study, client):
    assert standing_motifs(study).identical(stored(study))
    for other in (Motifs("examined", FLANK), Motifs("all", FLANK, "std"), Motifs("all", 1000)):
        assert standing_motifs(asked(study, motifs=other)) is None
    assert standing_motifs(asked(study, drivers=Drivers(NONE))) is None
    redriven(study, client, NONE)
    assert standing_motifs(study) is None
    run_drivers(study, client)
    assert standing_motifs(study) is not None


@pytest.mark.parametrize(
    "name", ["motifs.tsv", "clusters.tsv", "clusters_reference.meme", "clusters_variant.meme"]
)
def test_a_file_that_was_removed_is_missed(study, client, name):
    path = study.folder / name
    content = path.read_bytes()
    path.unlink()
    assert standing_motifs(study) is None
    run_report(study, {})  # tells that the stage is to be run, in place of what it found
    run_motifs(study, client, "GPU")
    assert path.read_bytes() == content


def test_scans_of_another_flank_are_refused(study, client):
    with pytest.raises(RecipeError, match=r"another recipe \(stage.tss_flank: 30 -> 40\)"):
        run_motifs(asked(study, motifs=Motifs("all", 40)), client, "GPU")


def test_stages_before_have_to_run_first(study, client):
    other = asked(study, drivers=Drivers(NONE))
    with pytest.raises(RecipeError, match=r"made from something else; run .* --only drivers' fir"):
        run_motifs(other, client, "GPU")
    other = asked(study, attributions=Attributions(gradients=False, tracks=("T1", "T2")))
    for run in (
        lambda: run_motifs(other, client, "GPU"),
        lambda: run_drivers(other, client),
    ):
        with pytest.raises(RecipeError, match=r"other parameters than .* --only attributions' fir"):
            run()
    shutil.rmtree(study.drivers)
    assert standing_motifs(study) is None
    with pytest.raises(RecipeError, match=r"drivers.zarr are not there.* --only drivers' first"):
        run_motifs(study, client, "GPU")
    shutil.rmtree(study.attributions)
    with pytest.raises(RecipeError, match="--only drivers' first"):
        run_motifs(study, client, "GPU")
    with pytest.raises(StoreLayoutError, match="there is no attributions store"):
        run_drivers(study, client)
