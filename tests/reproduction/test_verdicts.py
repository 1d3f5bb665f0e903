"""Verdicts: rounding, bounds, what cannot be recomputed; changed tables change them."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zarrbench.errors import NotReproducedError
from zarrbench.reproduction.printed import Printed
from zarrbench.reproduction.recomputed import Recomputed
from zarrbench.reproduction.tables import PublishedTables, read_published
from zarrbench.reproduction.verdicts import (
    Row,
    as_json,
    as_table,
    compare,
    refuse_changed,
    reproduce,
)

TABLE_1 = "SupplementaryTable1.tsv"
Edit = Callable[[str, str, str], Path]


def judged(recomputed: float, **printed: object) -> str:
    one = Printed("q", **{"value": 1.0, "where": "text", "key": "k", **printed})  # type: ignore[arg-type]
    [row] = compare([one], {"k": Recomputed(recomputed)})
    return row.verdict


@given(value=st.floats(-1, 1), decimals=st.integers(0, 4))
def test_a_number_is_the_same_as_itself_printed(value: float, decimals: int) -> None:
    shown = float(f"{value:.{decimals}f}")
    assert judged(value, value=shown, decimals=decimals) in (
        ("same",) if abs(value * 10**decimals % 1 - 0.5) > 1e-9 else ("same", "differs")
    )
    unit = 10.0**-decimals
    assert judged(value, value=shown + 2 * unit, decimals=decimals) == "differs"


def test_verdicts_by_hand() -> None:
    assert judged(0.5846, value=0.58, decimals=2) == "same"
    assert judged(0.5851, value=0.58, decimals=2) == "differs"
    assert judged(-0.492, value=-0.49, decimals=2) == "same"
    assert judged(598, value=598) == "same"
    assert judged(599, value=598) == "differs"
    assert judged(np.nan, value=598) == "differs"
    assert judged(np.inf, value=598) == "differs"
    assert judged(1e-201, value=1e-200, relation="<") == "same"
    assert judged(1e-52, value=1e-200, relation="<") == "differs"
    assert judged(np.nan, value=1e-200, relation="<") == "differs"
    assert judged(598, value=598, cannot="not released") == "cannot"
    assert judged(598, value=598, key=None) == "cannot"
    with pytest.raises(KeyError):
        compare([Printed("q", 1.0, "text", "other")], {})


def row(verdict: str, known: str, quantity: str = "q") -> Row:
    return Row(Printed(quantity, 1.0, "text", known=known), 1.0, verdict, "")  # type: ignore[arg-type]


def test_verdicts_other_than_those_of_the_release_are_an_error() -> None:
    refuse_changed([row("same", "same"), row("differs", "differs"), row("cannot", "cannot")])
    refuse_changed([])
    with pytest.raises(NotReproducedError, match=r"1 of 2 .* \(mean r \(text\) differs\)") as error:
        refuse_changed([row("same", "same"), row("differs", "same", "mean r")])
    assert error.value.exit_code == 4
    with pytest.raises(NotReproducedError, match="1 of 1"):
        refuse_changed([row("same", "differs")])


def test_the_release(tables: PublishedTables) -> None:
    rows = reproduce(tables)
    refuse_changed(rows)
    by_key = {row.printed.key: row for row in rows}
    assert by_key["significant (published, strict_above_cut)"].recomputed == 598
    assert [row.printed.key for row in rows if row.verdict == "differs"] == [
        "p_gstm3",
        "significant (published, q_le_alpha)",
        *(
            f"{key} ({statistic}, q_le_alpha)"
            for statistic in ("sem", "prediction", "signed")
            for key in ("significant", "significant, negative")
        ),
        "enformer_above (absolute)",
        "enformer_above (false discovery rate)",
    ]
    for row in rows:
        assert row.note or row.verdict == "same"
        assert (row.verdict == "cannot") == bool(row.printed.cannot)


def test_json_and_text_say_the_same(tables: PublishedTables) -> None:
    rows = reproduce(tables)
    facts = json.loads(as_json(rows))
    assert sum(facts["verdicts"].values()) == len(facts["rows"]) == len(rows)
    assert set(facts["verdicts"]) == {"same", "differs", "cannot"}
    lines = as_table(rows).splitlines()
    assert re.split(r"\s{2,}", lines[0]) == ["quantity", "printed", "recomputed", "verdict", "note"]
    place = lines[0].index("verdict")
    for line, fact in zip(lines[1:], facts["rows"], strict=True):
        assert line.startswith(f"{fact['quantity']} ({fact['where']})  ")
        assert line[place:].split()[0] == fact["verdict"]
        assert line.endswith(fact["note"])


def test_nan_is_null_in_json() -> None:
    rows = compare([Printed("q", 1.0, "text", "k")], {"k": Recomputed(np.nan)})
    assert json.loads(as_json(rows))["rows"][0]["recomputed"] is None
    assert "nan" in as_table(rows)


@pytest.mark.parametrize(
    ("name", "pattern", "replacement", "changed"),
    [
        (TABLE_1, r"^(DDX11\t(?:[^\t]*\t){8})0.847", r"\g<1>0.839", {"r_ddx11"}),
        (TABLE_1, r"^(GSTM3\t(?:[^\t]*\t){12})-0.492", r"\g<1>-0.480", {"r_gstm3"}),
        (TABLE_1, r"^(DDX11\t(?:[^\t]*\t){12})0.846", r"\g<1>0.010",
         {"significant (published, strict_above_cut)", "gene_set_difference", "gene_set",
          "released t", "enformer_above"}),
        (TABLE_1, r"^(GSTM3\t(?:[^\t]*\t){12})-0.492", r"\g<1>0.492",
         {"significant, negative (published, strict_above_cut)", "enformer_above",
          "positive_genes", "negative_genes"}),
        (TABLE_1, r"^(GSTM3\t(?:[^\t]*\t){18})7.432", r"\g<1>7.433", {"released t"}),
        ("PrediXcanCorrelationWithExpressionENSG.tsv", "0.205679", "NaN",
         {"predixcan_models", "predixcan_both", "predixcan_above", "released predixcan"}),
        ("Prediction_correlationsCageAdultBrainGeneSpecific_CorrelationtoObsRandomNull_tstats_"
         "set0.2.list", "ENSG00000005156", "ENSG00000005157", {"gene_set_difference"}),
        ("SupplementaryTable2.tsv", r"^(STPG1\t(?:[^\t]*\t){9})0.97", r"\g<1>0.17",
         {"negative_genes"}),
        ("SupplementaryTable2.tsv", r"(\t1.04261\t.*\t)0.67\t", r"\g<1>0.31\t",
         {"main_driver_increment"}),
        ("SupplementaryTable2.tsv", "\t-0.99268\t", "\t0.99268\t",
         {"supported_main (negative)", "main_driver_ism"}),
        ("SupplementaryTable3.txt", "-0.0527815329004", "-0.0527815329104", {"motif_rows"}),
        ("tss_attribution_stats.txt", "0.0850742757320404", "0.0850742757320405",
         {"driver_scan"}),
    ],
)  # fmt: skip
def test_a_changed_value_changes_the_verdict(
    edited: Edit, name: str, pattern: str, replacement: str, changed: set[str]
) -> None:
    rows = reproduce(read_published(edited(name, pattern, replacement)))
    assert changed <= {row.printed.key for row in rows if not row.as_known}
    with pytest.raises(NotReproducedError, match="verdicts are not those of the tables"):
        refuse_changed(rows)
