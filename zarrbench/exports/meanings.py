"""What the columns mean that no store describes: of tables written as they are computed."""

from zarrbench.attribution_layouts import ATTRIBUTIONS
from zarrbench.layouts import EQTL, GENE_COORDINATES

_GENE = {
    "gene_id": GENE_COORDINATES["gene"].meaning,
    **{name: GENE_COORDINATES[name].meaning for name in ("gene_name", "contig", "tss", "strand")},
    "distance": "position - TSS in bases, along the forward strand",
}
_SNV = (
    "variant_position", "other_allele", "effect_allele", "effect_allele_frequency",
    "carrier_frequency", "n_called", "ism", "gradient", "reason",
)  # fmt: skip

EQTL_COLUMNS = {
    **_GENE,
    **{
        name: variable.meaning
        for name, variable in EQTL.variables.items()
        if variable.dims in (("variant",), ("pair",))
    },
}
CONCORDANCE_COLUMNS = {
    **_GENE,
    **{name: ATTRIBUTIONS.variables[name].meaning for name in _SNV},
    "carriers": "people predicted who carry the effect allele",
    "minor_carriers": "of the people with expression, those without the commonest genotype; "
    "where they are fewer than 5, slopes tell of these people",
    "slope": "units of expression per copy of the effect allele; NaN if monomorphic",
    "se": "standard error of the slope",
    "p_slope": "two-sided p of the slope, Student's t with n - 2 d.f.",
    "r_slope": "correlation of dosage and expression",
    "n": "people with expression of the gene and a call",
    "rank": "from 1, by falling |ism|; -1 without attribution",
    "r_single": "correlation of the SNV's contribution, ism times dosage, with the prediction",
    "p_single": "two-sided p of it",
    "r_running": "correlation of the sum of all contributions down to this rank",
    "increment": "what the SNV adds at its rank to r_running, as a share of that of all SNVs",
    "loss": "share of the correlation of all SNVs that is lost without this one",
    "is_driver": "forward driver, by the rule of the pipeline",
    "is_main": "largest increment of the drivers of its gene",
    "backward_order": "round, from 0, in which backward search removed the SNV; -1 if not",
    "round_impact": "share of the correlation that its removal cost in that round",
    "first_impact": "share of the correlation that its removal would have cost first",
    "is_backward_driver": "removed by backward search",
    "is_backward_main": "largest round_impact of the backward drivers of its gene",
    "support": "1 slope and ism have one sign, -1 they have two, 0 one is 0 or undefined",
}
CLUSTER_COLUMNS = {
    "base": "which allele of the driver the clustered sequences have",
    "cluster": "0 is the largest",
    "size": "drivers of the cluster",
    "unsupported": "of them, those whose slope has the other sign than their attribution",
    "p_more": "one-sided p (Fisher) that so many are unsupported by chance",
    "p_fewer": "one-sided p (Fisher) that so few are unsupported by chance",
    "q_more": "p_more adjusted for the number of clusters (Benjamini-Hochberg)",
    "q_fewer": "p_fewer adjusted for the number of clusters (Benjamini-Hochberg)",
}
CLUSTER_KINDS = {
    **dict.fromkeys(("cluster", "size", "unsupported"), int),
    **dict.fromkeys(("p_more", "p_fewer", "q_more", "q_fewer"), float),
}
LEFT_OUT_COLUMNS = {
    "gene_id": GENE_COORDINATES["gene"].meaning,
    "reason": "why nothing was predicted of the gene",
}
SAMPLE_COLUMNS = {
    "sample": "sample id of the expression table; empty if the person has no expression",
    "individual": "id of the person in the genotypes",
    "kept": "whether predictions and expression of this sample are compared",
    "reason": "why, or why not",
}
PAIR_COLUMNS = {
    "individual_1": "sample id of the genotype store",
    "individual_2": "sample id of the genotype store",
    "kinship": "kinship coefficient; 0.25 for parent and child",
}
