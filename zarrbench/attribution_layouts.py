"""The registry of stores, continued: those of attributions and what is made of them."""

from zarrbench.layouts import GENE_COORDINATES, Layout, Variable

_TRACK = {
    "track": Variable(("track",), "string", "unique identifier of the model output"),
    "track_description": Variable(("track",), "string", "what the track measures; not unique"),
}
_RUNS = {
    "first_variant": Variable(("gene",), "int", "row of the first SNV of the gene"),
    "n_variants": Variable(("gene",), "int", "SNVs of the gene, from that row on"),
}
_SNV = {
    "variant_contig": Variable(("variant",), "string", "contig, as the reference names it"),
    "variant_position": Variable(("variant",), "int", "position as in the VCF, 1-based"),
    "other_allele": Variable(("variant",), "string", "base of the reference"),
    "effect_allele": Variable(
        ("variant",),
        "string",
        "base put into it: the most frequent alternative; N if nobody carries one and the records "
        "name several",
    ),
    "effect_allele_frequency": Variable(
        ("variant",), "float", "share of effect alleles among those called, of everybody sequenced"
    ),
    "carrier_frequency": Variable(
        ("variant",), "float", "share of the people called who carry the effect allele"
    ),
    "n_called": Variable(("variant",), "int", "people with a call"),
}

ATTRIBUTIONS = Layout(
    "attributions",
    1,
    {
        **GENE_COORDINATES,
        **_TRACK,
        **_RUNS,
        **_SNV,
        "gene_reason": Variable(
            ("gene",), "string", "why the gene has no attributions; empty if it has"
        ),
        "reason": Variable(("variant",), "string", "why an attribution is NaN; empty if it is not"),
        "reference_prediction": Variable(
            ("gene", "track"), "float", "readout of the model for the reference sequence"
        ),
        "ism": Variable(
            ("variant", "track"),
            "float",
            "readout with the effect allele in the reference, less that of the reference",
        ),
        "gradient": Variable(
            ("variant", "track"),
            "float",
            "gradient of the readout at the reference, times (effect allele - reference)",
            optional=True,
        ),
        "offset": Variable(
            ("offset",),
            "int",
            "bases from the TSS, in the direction in which the model reads",
            optional=True,
        ),
        "gradient_profile": Variable(
            ("gene", "track", "offset"),
            "float",
            "gradient of the base that is there less the mean of the other three",
            optional=True,
        ),
    },
)

DRIVERS = Layout(
    "drivers",
    1,
    {
        **GENE_COORDINATES,
        "n_variants": Variable(("gene",), "int", "SNVs with an attribution"),
        "n_drivers": Variable(("gene",), "int", "forward drivers"),
        "n_backward_drivers": Variable(("gene",), "int", "backward drivers"),
        "gene_reason": Variable(
            ("gene",), "string", "why the gene has no driver; empty if it has one"
        ),
        "r": Variable(("gene",), "float", "Pearson r of predicted and observed across people"),
        "r_linear": Variable(
            ("gene",), "float", "r of the linear sum of in-silico mutagenesis with the prediction"
        ),
        "r_linear_gradient": Variable(
            ("gene",), "float", "the same of gradients; NaN without them"
        ),
        "r_ism_gradient": Variable(
            ("gene",), "float", "r over SNVs of in-silico mutagenesis and gradient"
        ),
        "fraction_supported": Variable(
            ("gene",), "float", "share of the drivers whose slope has the sign of their attribution"
        ),
        "fraction_unsupported": Variable(
            ("gene",), "float", "share of those whose slope has the other sign"
        ),
        "examined": Variable(
            ("gene",), "bool", "among the genes asked for (significant), and |r| above min_r"
        ),
        "group": Variable(
            ("gene",),
            "int",
            "1 or -1: examined, with a driver, linear, and r above min_r or below -min_r; else 0",
        ),
        "driver_gene": Variable(("driver",), "string", "gene id of the driver"),
        "driver_position": Variable(("driver",), "int", "position as in the VCF, 1-based"),
        "other_allele": Variable(("driver",), "string", "base of the reference"),
        "effect_allele": Variable(("driver",), "string", "alternative base"),
        "distance": Variable(("driver",), "int", "position - TSS, along the forward strand"),
        "ism": Variable(("driver",), "float", "change of the readout by the effect allele"),
        "slope": Variable(
            ("driver",), "float", "units of expression per effect allele; NaN if monomorphic"
        ),
        "increment": Variable(("driver",), "float", "what the driver adds to R_k / R at its rank"),
        "is_main": Variable(("driver",), "bool", "largest increment of the drivers of its gene"),
        "support": Variable(
            ("driver",), "int", "1 supported, -1 unsupported, 0 neutral: slope 0 or undefined"
        ),
        "minor_carriers": Variable(
            ("driver",),
            "int",
            "of the people with expression, those without the commonest genotype",
            optional=True,
        ),
    },
)

MOTIFS = Layout(
    "motifs",
    1,
    {
        **GENE_COORDINATES,
        "position": Variable(("gene",), "int", "main driver, position as in the VCF, 1-based"),
        "other_allele": Variable(("gene",), "string", "base of the reference there"),
        "effect_allele": Variable(("gene",), "string", "alternative base"),
        "support": Variable(("gene",), "int", "1 supported, -1 unsupported, 0 neutral"),
        "gene_reason": Variable(
            ("gene",), "string", "why the gene has no scans; empty if it has them"
        ),
        "base": Variable(
            ("base",), "string", "which allele of the driver the scanned sequence has"
        ),
        "offset": Variable(("offset",), "int", "position - driver, along the forward strand"),
        "tss_offset": Variable(("tss_offset",), "int", "position - TSS, along the forward strand"),
        "allele": Variable(("allele",), "string", "base put in, on the forward strand"),
        "sequence": Variable(("gene",), "string", "reference bases around the driver"),
        "driver_scan": Variable(
            ("gene", "base", "offset", "allele"),
            "float",
            "readout with the base put in, less that of the scanned sequence; 0 at the base there",
        ),
        "tss_scan": Variable(
            ("gene", "tss_offset", "allele"), "float", "the same of the reference around the TSS"
        ),
        "reference_prediction": Variable(("gene",), "float", "readout for the reference"),
        "tss_largest": Variable(("gene",), "float", "largest magnitude of the scan of the TSS"),
        "tss_sd": Variable(("gene",), "float", "its standard deviation, without the zeros"),
        "threshold": Variable(("threshold",), "float", "share of the norm"),
        "effect": Variable(
            ("gene", "base"), "float", "minus the mean effect of other bases, over the norm"
        ),
        "run_length": Variable(
            ("gene", "base", "threshold"), "float", "bases of the run of one sign at the driver"
        ),
        "run_distance": Variable(
            ("gene", "base", "threshold"), "float", "bases to the nearest position that reaches it"
        ),
        "value": Variable(("gene", "base", "threshold"), "float", "effect there, over the norm"),
        "driver_gene": Variable(("driver",), "string", "gene id of each driver of these genes"),
        "driver_position": Variable(("driver",), "int", "position as in the VCF, 1-based"),
        "driver_support": Variable(("driver",), "int", "1, -1 or 0, as above"),
        "cluster": Variable(
            ("base", "driver"),
            "int",
            "cluster of the 13 bases around it, the largest first; -1 = off the contig, or an N",
        ),
    },
)

SENSITIVITY = Layout(
    "sensitivity",
    1,
    {
        **GENE_COORDINATES,
        "choice": Variable(
            ("choice",), "string", "what was predicted in another way; the first is as chosen"
        ),
        "r": Variable(("choice", "gene"), "float", "Pearson r across people under each choice"),
        "significant": Variable(("gene",), "bool", "significant as chosen"),
        "n_genes": Variable(("choice",), "int", "genes with r under both"),
        "pearson_r": Variable(("choice",), "float", "correlation of the two r over these genes"),
        "same_sign": Variable(("choice",), "float", "share of them whose r keeps its sign"),
        "n_significant": Variable(("choice",), "int", "of them, those significant as chosen"),
        "same_sign_significant": Variable(("choice",), "float", "the share among those"),
        "mean_difference": Variable(
            ("choice",), "float", "mean of |r| under the choice less |r| as chosen"
        ),
        "subset": Variable(
            ("subset",), "string", "every gene, and lists of fine-mapped variants", optional=True
        ),
        "subset_significant": Variable(
            ("subset",), "int", "significant genes of the subset", optional=True
        ),
        "subset_negative": Variable(("subset",), "int", "of them, those with r < 0", optional=True),
    },
)
