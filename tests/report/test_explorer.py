import base64
import dataclasses
import json
import re
import zlib

import numpy as np

from zarrbench.report import explorer, page

ROOM = 6_000_000  # characters for views


def unpacked(packs: list[str]) -> list[dict]:
    """The views in a report, as its script unpacks them."""
    read = [json.loads(zlib.decompress(base64.b64decode(pack))) for pack in packs]
    assert {len(pack) for pack in read[:-1]} == {explorer._GENES_A_PACK}
    return [view for pack in read for view in pack]


def embedded(html: str) -> list[dict]:
    return unpacked(json.loads(re.search(r'id="gene-views">(.*?)</script>', html, re.S)[1]))


def of_file(inputs) -> list[dict]:
    """The views that a report would hold."""
    return unpacked(explorer.explored(inputs.statistics, inputs.views, embed=True, used=0)["packs"])


def test_views_in_the_file_are_those_of_the_genes(inputs):
    html = page.report_html(inputs)
    assert "connect-src 'none'" in html
    found = embedded(html)
    assert found == list(inputs.views.views(inputs.views.genes, digits=3))
    assert found[4]["snvs"]["thinned"] == 0


def test_no_person_is_in_the_file(inputs):
    """Neither ids, nor anything that stands for fewer than five."""
    html = page.report_html(inputs)
    found = embedded(html)
    everything = html + json.dumps(found)
    for person in inputs.predicted["individual"].values:
        assert str(person) not in everything
    for view in found:
        assert set(view["people"]) == {
            "people", "suppressed", "observed_edges", "predicted_edges", "counts", "means",
        }  # fmt: skip
        counts = np.array(view["people"]["counts"])
        assert ((counts == 0) | (counts >= 5)).all()
        assert min(view["people"]["means"]["people"]) >= 5
        assert max(len(values) for values in view["people"]["means"].values()) <= 10
    few = [d for view in found for d in view["snvs"]["distance"] if d < -7000]
    assert few == []  # the SNVs of fewer than five carriers


def test_a_gene_of_few_people_shows_none(inputs):
    observed = inputs.observed.copy()
    observed[5, 4:] = np.nan
    statistics = inputs.statistics.copy(deep=True)
    statistics["n_individuals"][5] = 4
    views = dataclasses.replace(inputs.views, observed=observed, statistics=statistics)
    found = of_file(dataclasses.replace(inputs, statistics=statistics, views=views))
    assert found[5]["people"] == {"people": 4}
    assert found[5]["null"] is None
    assert found[6]["null"] == [5] * 10


def test_points_are_in_the_file_only_if_asked_for_and_they_fit(inputs):
    views = dataclasses.replace(inputs.views, individual_points=True)
    asked = dataclasses.replace(inputs, views=views, individual_points=True)
    html = page.report_html(asked)
    assert "so many points do not fit" not in html
    assert len(embedded(html)[0]["people"]["observed"]) == 150
    assert not re.search(r"HG\d{5}", html)
    kept = explorer.Thinning(2000, individual_points=False)
    [first, *_] = explorer.packed(views, kept)[0]
    assert "counts" in json.loads(zlib.decompress(base64.b64decode(first)))[0]["people"]


def test_thinning_grows_with_the_number_of_genes_and_people():
    assert explorer.thinning(100, 400, False, ROOM) == explorer.Thinning(2000, False)
    assert explorer.thinning(100, 400, True, ROOM).individual_points
    large = explorer.thinning(6800, 839, True, ROOM)
    assert large == explorer.Thinning(large.most_snvs, False)
    assert 20 <= large.most_snvs < 100
    assert explorer.thinning(10**6, 839, False, ROOM).most_snvs == 10
    assert explorer.thinning(0, 0, False, ROOM).most_snvs == 2000


def test_what_the_rest_of_the_page_takes_is_not_left_to_views(inputs, monkeypatch):
    rooms = []
    monkeypatch.setattr(
        explorer, "thinning",
        lambda *given: rooms.append(given[-1]) or explorer.Thinning(10, False),
    )  # fmt: skip
    for used in (0, 2_000_000):
        explorer.explored(inputs.statistics, inputs.views, embed=True, used=used)
    assert rooms[0] - rooms[1] == 2_000_000
    assert 7_000_000 < rooms[0] < 9_000_000  # Bokeh is in the file, too


def test_what_was_thinned_is_said(inputs, monkeypatch):
    assert explorer.explored(inputs.statistics, inputs.views, embed=True, used=0)["thinned"] == 0
    kept = explorer.Thinning(12, individual_points=False)
    monkeypatch.setattr(explorer, "thinning", lambda *sizes: kept)
    html = page.report_html(inputs)
    assert "of the SNVs of each gene the 12 that\n  matter most" in html
    found = embedded(html)
    assert {len(view["snvs"]["distance"]) for view in found} == {0, 12}
    assert found[0]["snvs"]["thinned"] == 23


def test_the_served_page_holds_no_view_and_reads_none(inputs):
    html = page.report_html(inputs, embed=False)
    assert inputs.views.variants.asked == []
    assert 'id="gene-views"' not in html
    assert "connect-src 'self'" in html
    assert '"served":true' in html


def test_a_page_without_views_shows_all_genes_and_none_alone(inputs):
    html = page.report_html(dataclasses.replace(inputs, views=None))
    assert 'id="plot-r"' in html
    assert 'id="plot-people"' not in html
    assert '"served":false' in html


def test_old_statistics_have_no_histogram_of_the_null(inputs):
    old = inputs.statistics.drop_vars(["null_count", "null_bin"])
    views = dataclasses.replace(inputs.views, statistics=old)
    made = explorer.explored(old, views, embed=True, used=0)
    assert made["facts"]["null_edges"] == []
    assert {view["null"] for view in unpacked(made["packs"])} == {None}
