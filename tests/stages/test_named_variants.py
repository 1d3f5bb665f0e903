"""Named variants are what the attributions stage says of the same SNVs; refusals are a sentence."""

import dataclasses

import pytest

from zarrbench.attribution_parameters import Attributions
from zarrbench.attributions.store import of_gene, open_attributions
from zarrbench.errors import GenotypeError, RecipeError, ReferenceMismatchError
from zarrbench.stages.attributions import run_attributions
from zarrbench.stages.named_variants import attribute_variants

GENE = "ENSG00000000003"


@pytest.fixture(scope="module")
def workspace(workspace_in, client, tmp_path_factory):
    made = workspace_in(tmp_path_factory.mktemp("named") / "study", input_length=240, tss_index=80,
                        strand_aware=True, gradients=True)  # fmt: skip
    stages = {**made.recipe.stages, "attributions": Attributions(tracks=("T0", "T2"))}
    made = dataclasses.replace(made, recipe=dataclasses.replace(made.recipe, stages=stages))
    run_attributions(made, client, "GPU")
    return made


@pytest.mark.parametrize("gene", [GENE, "ENSG00000000004"])  # of either strand
def test_they_are_what_the_stage_says(workspace, gene):
    known = of_gene(open_attributions(workspace.attributions), gene).load()
    variants = [
        f"{contig}:{position}:{ref}:{alt}"
        for contig, position, ref, alt in zip(
            known.variant_contig.values, known.variant_position.values,
            known.other_allele.values, known.effect_allele.values, strict=True,
        )
    ]  # fmt: skip
    assert len(variants) >= 3
    found = attribute_variants(workspace, gene, variants[::-1])
    assert found["track"].tolist() == ["T0"] * len(variants) + ["T2"] * len(variants)
    for track, rows in found.groupby("track"):
        one = known.sel(track=track)
        assert rows["position"].tolist() == known.variant_position.values.tolist()
        assert rows["distance"].tolist() == known.distance.values.tolist()
        assert rows["ism"].tolist() == one.ism.values.tolist()
        assert rows["gradient"].tolist() == one.gradient.values.tolist()
        assert (rows["reference_prediction"] == one.reference_prediction.item()).all()
        assert (rows["alt_prediction"] - rows["reference_prediction"]).tolist() == pytest.approx(
            rows["ism"].tolist()
        )


def test_a_gene_by_name_and_lower_case(workspace, cohort):
    base = cohort.sequences["chr1"][1500]
    other = "ACGT"["ACGT".index(base) - 1]
    upper = attribute_variants(workspace, "ALPHA", [f"chr1:1501:{base}:{other}"])
    lower = attribute_variants(workspace, GENE, [f"chr1:1501:{base.lower()}:{other.lower()}"])
    assert upper.equals(lower)
    assert "gradient" in upper


def test_what_cannot_be_is_refused(workspace, cohort):
    base = cohort.sequences["chr1"][1500]
    wrong = "ACGT"["ACGT".index(base) - 1]
    for variants, kind, said in (
        ([], RecipeError, "name at least one variant"),
        (["1501:A:G"], GenotypeError, "is not written as chr22:17000123:A:G"),
        ([f"chr2:1501:{base}:{wrong}"], GenotypeError, "lies on chr2, the gene .* on chr1"),
        ([f"chr1:1501:{wrong}:{base}"], ReferenceMismatchError, f"which has {base} there"),
        (["chr1:5000:A:C"], GenotypeError, "lies outside the window chr1:"),
        ([f"chr1:1501:{base}:{base}{wrong}"], GenotypeError, "is no SNV"),
        ([f"chr1:1501:{base}:{wrong}"] * 2, GenotypeError, "named twice"),
    ):
        with pytest.raises(kind, match=said):
            attribute_variants(workspace, GENE, variants)
    with pytest.raises(RecipeError, match="no gene 'ALPHABET'"):
        attribute_variants(workspace, "ALPHABET", [f"chr1:1501:{base}:{wrong}"])
    stages = {n: s for n, s in workspace.recipe.stages.items() if n != "attributions"}
    without = dataclasses.replace(
        workspace, recipe=dataclasses.replace(workspace.recipe, stages=stages)
    )
    with pytest.raises(RecipeError, match="has no stage 'attributions'; add it"):
        attribute_variants(without, GENE, [f"chr1:1501:{base}:{wrong}"])
