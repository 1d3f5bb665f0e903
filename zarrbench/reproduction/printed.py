"""What the study printed, and where. Nothing that is computed reads this: it is compared with.

Sasse, Ng, Spiro et al., Nature Genetics 55, 2060-2064 (2023), doi:10.1038/s41588-023-01524-6.
"""

from dataclasses import dataclass
from typing import Literal

Relation = Literal["=", "<"]
Verdict = Literal["same", "differs", "cannot"]


@dataclass(frozen=True)
class Printed:
    """A printed number.

    Parameters
    ----------
    quantity
        What it says.
    value
    where
        Its place in the paper, or in the release.
    key
        Of what is recomputed for it in `claims`; none if nothing can be.
    decimals
        That it is printed with.
    relation
        "<" where it is printed as a bound.
    cannot
        Why the released tables do not give it; a number recomputed beside it is the nearest one.
    known
        The verdict on the tables as they were released.
    remark
        Why that verdict.
    """

    quantity: str
    value: float
    where: str
    key: str | None = None
    decimals: int = 0
    relation: Relation = "="
    cannot: str = ""
    known: Verdict = "same"
    remark: str = ""


_TEXT, _TABLE_1 = "text", "Supplementary Table 1"
_TABLE_2, _TABLE_3 = "Supplementary Table 2", "Supplementary Table 3"
_RELEASE = "released arrays"
_OTHER_STATISTIC = "what the headline would be under another null statistic"
_STRICT = "the study leaves out the gene at the rounded boundary"
_NOT_FDR = "the study's 'significant' is signed r > 0.2"
_LIST = "the list of fine-mapped genes was not released"
_MESSAGE = "drawn, not printed: what the released tables give"
_UNNAMED = "the released tables hold nothing that gives it (METHODS 26, item 14)"


def _not_released(
    quantity: str, value: float, where: str, cannot: str, key: str | None = None
) -> Printed:
    return Printed(quantity, value, where, key, cannot=cannot, known="cannot")


PRINTED: tuple[Printed, ...] = (
    _not_released(
        "genes tested", 6_825, _TEXT, "the released table holds fewer genes", key="n_genes"
    ),
    Printed("mean r", 0.01, _TEXT, "mean_r", decimals=2,
            remark="the text mixes columns for its smallest and largest r"),
    Printed("r of DDX11", 0.85, "Fig. 1d", "r_ddx11", decimals=2),
    Printed("r of GSTM3", -0.49, "Fig. 2b", "r_gstm3", decimals=2),
    Printed("p of GSTM3", 1e-200, _TEXT, "p_gstm3", relation="<", known="differs",
            remark="the printed p does not fit the printed r (METHODS 26, item 15)"),
    Printed("significant genes", 598, "Fig. 2a", "significant (published, strict_above_cut)"),
    Printed("of these with r < 0", 195, "Fig. 2a",
            "significant, negative (published, strict_above_cut)"),
    Printed("percent of these with r < 0", 33, _TEXT, "percent_negative"),
    Printed("significant genes", 598, "Fig. 2a", "significant (published, q_le_alpha)",
            known="differs", remark=_STRICT),
    Printed("of these with r < 0", 195, "Fig. 2a",
            "significant, negative (published, q_le_alpha)"),
    *(
        Printed(quantity, value, "Fig. 2a", f"{key} ({statistic}, q_le_alpha)", known="differs",
                remark=_OTHER_STATISTIC)
        for statistic in ("sem", "prediction", "signed")
        for quantity, value, key in (
            ("significant genes", 598, "significant"),
            ("of these with r < 0", 195, "significant, negative"),
        )
    ),
    Printed("genes with t as released", 6_807, _TABLE_1, "released t"),
    Printed("genes with -log10 p as released", 6_807, _TABLE_1, "released log10_p"),
    Printed("genes with -log10 q as released", 6_820, _TABLE_1, "released log10_q"),
    Printed("genes with r of PrediXcan as in its own file", 6_820, _TABLE_1, "released predixcan"),
    Printed("genes examined for drivers", 256, "released list", "gene_set"),
    Printed("of these not in the released list, or the reverse", 0, "released list",
            "gene_set_difference"),
    Printed("genes with a PrediXcan model", 1_570, _TEXT, "predixcan_models"),
    Printed("genes with both r", 1_568, "Fig. 2c", "predixcan_both"),
    Printed("significant by PrediXcan", 921, "Fig. 2c", "predixcan_above"),
    Printed("of the same genes, by Enformer", 162, "Fig. 2c", "enformer_above"),
    Printed("of the same genes, by Enformer", 162, "Fig. 2c", "enformer_above (absolute)",
            known="differs", remark=_NOT_FDR),
    Printed("of the same genes, by Enformer", 162, "Fig. 2c",
            "enformer_above (false discovery rate)", known="differs", remark=_NOT_FDR),
    Printed("mean r of PrediXcan", 0.26, "Fig. 2c", "predixcan_mean", decimals=2),
    Printed("mean r of Enformer", 0.02, "Fig. 2c", "enformer_mean", decimals=2),
    Printed("correlation of r of PrediXcan and |r| of Enformer", 0.58, "Supp. Fig. 4",
            "predixcan_correlation", decimals=2),
    Printed("r of population averages", 0.58, "Fig. 1b", "population_r", decimals=2),
    _not_released("genes behind it", 13_397, "Fig. 1b", "the released table holds fewer genes",
                  key="population_n"),
    Printed("r of population averages, test genes", 0.51, "Supp. Fig. 1", "population_r_test",
            decimals=2),
    _not_released("genes behind it", 3_401, "Supp. Fig. 1",
                  "the released tables hold fewer test genes", key="population_n_test"),
    *(
        _not_released(quantity, value, "Ext. Data 1c", _LIST, key=f"{key} ({tissue})")
        for tissue in ("cortex", "brain")
        for quantity, value, key in (
            ("genes with a fine-mapped variant", 184, "fine_mapped"),
            ("of these with r < 0", 80, "fine_mapped, negative"),
        )
    ),
    Printed("main drivers with the largest increment of their gene", 251, _TABLE_2,
            "main_driver_increment"),
    Printed("drivers with the distance of their position from the TSS", 1_091, _TABLE_2,
            "driver_distance"),
    Printed("drivers with the percentage of their carriers", 1_091, _TABLE_2, "driver_carriers"),
    Printed("genes with the scan about the TSS as in its own file", 251, _TABLE_2, "driver_scan"),
    Printed("drivers that do not vary and have the slope 0", 11, _TABLE_2, "driver_constant"),
    Printed("percent of genes with one driver", 32, "Supp. Fig. 7", "percent_single_driver"),
    Printed("positive genes with drivers", 161, "Fig. 2e", "positive_genes"),
    Printed("negative genes with drivers", 87, "Fig. 2e", "negative_genes"),
    Printed("mean share of supported drivers, positive genes", 0.93, "Fig. 2e",
            "supported_share (positive)", decimals=2, remark=_MESSAGE),
    Printed("mean share of supported drivers, negative genes", 0.05, "Fig. 2e",
            "supported_share (negative)", decimals=2, remark=_MESSAGE),
    Printed("positive genes with a supported main driver", 154, "Fig. 2e",
            "supported_main (positive)", remark=_MESSAGE),
    Printed("negative genes with a supported main driver", 0, "Fig. 2e",
            "supported_main (negative)", remark=_MESSAGE),
    Printed("main drivers with the ISM of their scans", 251, _TABLE_2, "main_driver_ism"),
    Printed("main drivers with the motif statistics of their scans", 251, _TABLE_3, "motif_rows"),
    Printed("main drivers with the sequences of their scans", 481, _RELEASE,
            "main_driver_sequences"),
    Printed("clusters of sequences around drivers that tell the sign", 0, "Supp. Fig. 8",
            "enriched_clusters (all)"),
    Printed("clusters of sequences around main drivers that tell the sign", 0, "Supp. Fig. 8",
            "enriched_clusters (main)"),
    _not_released("a count", 983, _TEXT, _UNNAMED),
    _not_released("a count", 564, _TEXT, _UNNAMED),
    _not_released("a percentage", 85, _TEXT, "METHODS (26, item 14) does not say of what; the "
                  "nearest is that of genes with at most five drivers", key="percent_few_drivers"),
)  # fmt: skip
