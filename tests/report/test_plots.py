import json

from zarrbench.report import plots


def models(value, kind):
    """All models of a kind in a document."""
    if isinstance(value, dict):
        if value.get("name") == kind:
            yield value
        for item in value.values():
            yield from models(item, kind)
    elif isinstance(value, list):
        for item in value:
            yield from models(item, kind)


def test_the_document_is_the_same_every_time_and_holds_its_plots():
    first, second = json.dumps(plots.document()), json.dumps(plots.document())
    assert first == second
    roots = json.loads(first)["roots"]
    names = [root["attributes"]["name"] for root in roots]
    assert names == ["r", "means", "people", "null", "effects", "ism", "slope"]


def test_the_plots_of_all_genes_share_a_source_and_those_of_the_window_a_range():
    document = plots.document()
    sources = [m["attributes"].get("name") for m in models(document, "ColumnDataSource")]
    assert sorted(filter(None, sources)) == sorted(plots._COLUMNS)  # each once: others refer to it
    ranges = [m["attributes"].get("name") for m in models(document, "Range1d")]
    assert ranges.count("window") == 1
    assert sum(1 for _ in models(document, "BoxSelectTool")) == 2


def test_plots_need_neither_eval_nor_network():
    text = json.dumps(plots.document())
    assert "CustomJS" not in text
    assert "http" not in text
    assert "$$" not in text  # would be mathematics, which is loaded from elsewhere


def test_the_library_is_one_script_that_ends_where_it_should():
    library = plots.library()
    assert 1e6 < len(library) < 1.5e6
    assert "</script" not in library
    assert "<!--" not in library
