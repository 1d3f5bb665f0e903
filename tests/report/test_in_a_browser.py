"""The report as a reader uses it, in Chromium: the file, and the page that is served."""

import asyncio
import contextlib
import dataclasses
import io
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from zarrbench.report import page as pages
from zarrbench.report import server

pytestmark = pytest.mark.slow
# What the plots hold, since a canvas cannot be read
MODEL = "Bokeh.documents[0].get_model_by_name"

# Where the point of a gene is on the screen: plot, columns of the source, row
PLACE = """([name, x, y, row]) => {
  const model = (name) => Bokeh.documents[0].get_model_by_name(name);
  const view = Bokeh.index.find_one(model(name)), box = view.el.getBoundingClientRect();
  const { data } = model("genes");
  return [box.left + view.frame.x_scale.compute(data[x][row]),
          box.top + view.frame.y_scale.compute(data[y][row])];
}"""
# How often Tab stops within plots, whose parts lie in shadow roots
STOPS = """() => {
  const within = (root) => [...root.querySelectorAll("*")].flatMap((one) =>
    [one, ...(one.shadowRoot ? within(one.shadowRoot) : [])]);
  const plots = [...document.querySelectorAll(".plot")].flatMap(within);
  return plots.filter((one) => one.tabIndex >= 0 && one.getClientRects().length).length;
}"""
EMPTY = "could not set initial ranges"  # what Bokeh notes of a plot without a point


@pytest.fixture(scope="module")
def browser(chromium):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def served(shared_inputs) -> Iterator[str]:
    """The URL of the page, served as `zarrbench explore` does, in a thread."""
    html, said, ready = pages.report_html(shared_inputs, embed=False), [], threading.Event()

    def say(text):
        said.append(text)
        ready.set()

    async def run():
        serving.append((asyncio.get_running_loop(), asyncio.current_task()))
        with contextlib.suppress(asyncio.CancelledError):
            await server._serve(html, shared_inputs.views, 0, say, "of-this-test")

    serving = []
    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    assert ready.wait(20)
    yield said[0]
    loop, task = serving[0]
    loop.call_soon_threadsafe(task.cancel)
    thread.join(20)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def file(shared_inputs, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    pages.write_report(path, shared_inputs)
    return path.as_uri()


@pytest.fixture(params=["file", "served"])
def address(request) -> str:
    return request.getfixturevalue(request.param)


@pytest.fixture
def opened(browser):
    """Open an address; what goes wrong in the page fails the test at its end."""
    wrong, contexts = [], []

    def opener(address: str, width: int = 1280, scheme: str = "light", last: str = "#plot-slope",
               gene: str = "NAME0"):  # fmt: skip
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, accept_downloads=True
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (wrong.append("dialog"), dialog.dismiss()))
        page.on("console", lambda message: message.type in ("error", "warning")
                and EMPTY not in message.text
                and wrong.append(f"console: {message.text}"))  # fmt: skip
        own = re.split("[?#]", address)[0]
        page.on("request", lambda request: request.url.startswith((own, "data:", "blob:"))
                or wrong.append(f"request: {request.url}"))  # fmt: skip
        page.goto(address)
        shown(page, gene)
        page.locator(f"{last} canvas").first.wait_for(state="attached")
        return page

    yield opener
    for context in contexts:
        context.close()
    assert wrong == []


def shown(page, name: str) -> None:
    """Wait until the panel shows this gene, with its plots."""
    page.locator("#gene-panel:not([aria-busy=true]) #gene-title", has_text=name).wait_for()
    assert page.locator("#gene-problem").is_hidden()


def until(page, condition: str) -> None:
    """Wait until it holds: Playwright's way evaluates text in the page, which forbids that."""
    for _ in range(200):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(100)
    raise AssertionError(condition)


def listed(page) -> list[str]:
    return page.locator("#genes tbody th").all_text_contents()


def drag(page, plot: str, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag from one place of a plot to another, both as shares of its width and height."""
    target = page.locator(f"#{plot}")
    target.scroll_into_view_if_needed()
    box = target.bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)]
    page.mouse.move(*places[0])
    page.mouse.down()
    page.mouse.move(*places[1], steps=8)
    page.mouse.up()


def test_a_gene_is_searched_and_shown(opened, address, shared_inputs):
    page = opened(address)
    page.fill("#wanted", "ensg0000033")
    shown(page, "NAME33")
    snvs = page.evaluate(f"(({{distance, ism}}) => ({{distance, ism}}))({MODEL}('snvs').data)")
    table = shared_inputs.views.variants(["ENSG0000033"])[5:]
    assert list(snvs["distance"]) == table["distance"].tolist()
    np.testing.assert_allclose(list(snvs["ism"]), table["ism"], rtol=0.006)
    cells = page.evaluate(f"Array.from({MODEL}('cells').data.people)")
    view = shared_inputs.views.view("ENSG0000033")
    assert sorted(cells) == sorted(n for row in view["people"]["counts"] for n in row if n)
    assert f"{view['people']['suppressed']} of 150 people" in page.inner_text("#said-people")
    assert page.evaluate(f"Array.from({MODEL}('null-bars').data.top)") == [5] * 10
    rings = page.evaluate(f"Array.from({MODEL}('snvs').data.ring).filter((size) => size > 0)")
    assert len(rings) == 3
    assert "35 of 40 SNVs are drawn, with 3 drivers. 5 are left out" in page.inner_text(
        "#said-snvs"
    )
    page.fill("#wanted", "name3")
    offered = page.locator("#matches option").evaluate_all("all => all.map((one) => one.value)")
    assert offered == ["NAME3", *[f"NAME3{i}" for i in range(10)]]
    shown(page, "NAME3")
    assert page.inner_text("#no-snvs").startswith("0 of 0 SNVs are drawn")
    assert page.locator("#plot-ism").is_hidden()
    page.fill("#wanted", "no such gene")
    page.press("#wanted", "Enter")
    assert page.inner_text("#found") == "no gene matches"
    assert page.inner_text("#gene-title") == "NAME3"


def test_several_matches_are_said_and_none_is_taken(opened, file):
    page = opened(file)
    page.press("#wanted", "Enter")
    assert page.inner_text("#found") == ""
    page.fill("#wanted", "ensg00000")
    page.press("#wanted", "Enter")
    assert page.inner_text("#found").startswith("60 genes match")
    assert page.locator("#matches option").count() == 20
    assert page.inner_text("#gene-title") == "NAME0"
    page.click("#genes tbody tr:nth-child(6)")
    shown(page, "NAME5")
    assert page.inner_text("#found") == ""
    page.fill("#wanted", "  ")
    page.press("#wanted", "Enter")
    assert page.inner_text("#found") == ""
    assert page.inner_text("#gene-title") == "NAME5"


def test_the_address_names_the_gene(opened, address):
    page = opened(f"{address}#gene=ENSG0000033", gene="NAME33")
    page.evaluate("location.hash = '#gene=ENSG0000040'")
    shown(page, "NAME40")
    page.fill("#wanted", "NAME41")
    shown(page, "NAME41")
    assert page.evaluate("location.href") == f"{address}#gene=ENSG0000041"
    page.evaluate("location.hash = '#gene=%E0%<b>'")
    page.locator("#found", has_text="not in this run").wait_for()
    assert page.inner_text("#gene-title") == "NAME41"
    assert page.evaluate("location.hash = '#genes'; document.title")
    shown(page, "NAME41")


def test_hidden_people_and_a_null_that_was_not_kept(opened, shared_inputs, tmp_path):
    old = shared_inputs.statistics.drop_vars(["null_count", "null_bin"])
    observed, predicted = shared_inputs.observed.copy(), shared_inputs.predicted.copy()
    observed[0], predicted[0] = np.repeat([0.0, 1.0], 75), np.repeat([0.0, 1.0], 75)
    observed[0, 0] = 0.5
    views = dataclasses.replace(
        shared_inputs.views, statistics=old, observed=observed, predicted=predicted
    )
    path = tmp_path / "report.html"
    pages.write_report(path, dataclasses.replace(shared_inputs, statistics=old, views=views))
    page = opened(path.as_uri())
    assert "fewer than 5 of 150 people are in sparser ones" in page.inner_text("#said-people")
    assert "the band is mean ± SD" in page.inner_text("#said-null")
    assert page.evaluate(f"{MODEL}('null-bars').data.top.length") == 0
    left, right, visible = page.evaluate(
        f"(({{left, right, visible}}) => [left, right, visible])({MODEL}('null-band'))"
    )
    mean, sd = (float(old[name][0]) for name in ("null_mean", "null_sd"))
    np.testing.assert_allclose([left, right], [max(0, mean - sd), mean + sd], rtol=1e-5)
    assert visible
    assert not page.evaluate(f"{MODEL}('null').left[0].visible")
    below = "Bokeh.index.find_one(Bokeh.documents[0].get_model_by_name('null')).frame.bbox.height"
    assert page.evaluate(below) < 250  # the rest is the axis of |r|


def test_the_plots_of_the_window_begin_at_the_same_place(opened, file):
    page = opened(file)
    lefts = """(scale) => {
      const source = Bokeh.documents[0].get_model_by_name("snvs");
      source.data = { ...source.data, ism: Array.from(source.data.ism, (x) => x * scale) };
      return new Promise((done) => setTimeout(() => done(["ism", "slope"].map((name) =>
        Bokeh.index.find_one(Bokeh.documents[0].get_model_by_name(name)).frame.bbox.left)), 300));
    }"""
    for scale in (1, 1e-5, 1e-5, 3e13):
        ism, slope = page.evaluate(lefts, scale)
        assert ism == slope


def test_by_keyboard_alone(opened, file):
    page = opened(file)

    def tab_to(wanted: str) -> None:
        for _ in range(200):
            page.keyboard.press("Tab")
            if page.evaluate(f"document.activeElement.matches(`{wanted}`)"):
                return
        raise AssertionError(f"no way to {wanted} by keyboard")

    tab_to("#wanted")
    page.keyboard.type("name42")
    page.keyboard.press("Enter")
    shown(page, "NAME42")
    assert page.evaluate("document.activeElement.id") == "gene-title"
    tab_to("#zoom button[data-flank='']")
    until(page, f"({STOPS})() === 0")  # tools of plots are not on the way
    tab_to("#zoom button[data-flank='4000']")
    page.keyboard.press("Enter")
    assert page.evaluate(f"[{MODEL}('window').start, {MODEL}('window').end]") == [-4000, 4000]
    tab_to("#r-from")
    page.keyboard.type("0.55")
    tab_to("#r-to")
    page.keyboard.type("0.7")
    assert page.inner_text("#brushed") == "6 genes selected"
    assert listed(page) == [f"NAME{i}" for i in range(4, 10)]
    assert page.evaluate(f"Array.from({MODEL}('genes').selected.indices)") == list(range(4, 10))
    tab_to("#genes tbody button")
    page.keyboard.press("Enter")
    shown(page, "NAME4")


def test_brushing_links_the_plots_and_the_table(opened, address):
    page = opened(address)
    assert page.inner_text("#shown") == "1–20 of 60 genes"
    drag(page, "plot-r", (0.3, 0.15), (0.45, 0.8))
    page.locator("#clear:enabled").wait_for()
    rows = page.evaluate(f"Array.from({MODEL}('genes').selected.indices)")
    assert 0 < len(rows) <= 20  # all on one page
    assert page.inner_text("#brushed") == f"{len(rows)} genes selected"
    names = page.evaluate(f"{MODEL}('genes').data.name")
    assert sorted(listed(page)) == sorted(names[row] for row in rows)
    start, end = page.evaluate(f"[{MODEL}('r').x_range.start, {MODEL}('r').x_range.end]")
    r = page.evaluate(f"Array.from({MODEL}('genes').data.r)")
    inside = [(r[row] - start) / (end - start) for row in rows]
    assert 0.15 < min(inside) < max(inside) < 0.45
    one = page.evaluate(f"{MODEL}('means').renderers[0].data_source.id")
    assert one == page.evaluate(f"{MODEL}('r').renderers[0].data_source.id")
    page.click("#clear")
    assert page.inner_text("#shown") == "1–20 of 60 genes"
    assert page.evaluate(f"{MODEL}('genes').selected.indices.length") == 0
    page.fill("#r-from", "0.9")
    assert page.inner_text("#shown") == "no gene matches"
    assert page.locator("#export").is_disabled()


def test_a_click_on_a_point_shows_its_gene(opened, file):
    page = opened(file)
    page.locator("#plot-means").scroll_into_view_if_needed()
    columns = ["mean_predicted", "mean_observed"]
    places = np.array([page.evaluate(PLACE, ["means", *columns, row]) for row in range(60)])
    page.mouse.click(*places[1])
    page.locator("#gene-panel[aria-busy=false]").wait_for()
    title = page.inner_text("#gene-title")
    names = page.evaluate(f"{MODEL}('genes').data.name")
    near = np.hypot(*(places - places[1]).T) < 3
    assert title in [names[row] for row in np.flatnonzero(near)]
    assert page.locator("#clear").is_disabled()  # a click selects nothing


def test_names_are_text_wherever_they_stand(opened, address, shared_inputs):
    page = opened(address)
    hostile = str(shared_inputs.statistics["gene_name"].values[1])
    assert listed(page)[1:3] == [hostile, '<img src=x onerror="alert(1)">']
    page.fill("#wanted", "<img")
    page.press("#wanted", "Enter")
    shown(page, "<img src=x onerror")
    page.fill("#wanted", "</script>")
    page.press("#wanted", "Enter")
    shown(page, hostile)
    page.locator("#plot-r").scroll_into_view_if_needed()
    page.mouse.move(*page.evaluate(PLACE, ["r", "r", "p", 1]))
    page.locator(".bk-tooltip-content, .bk-Tooltip").get_by_text(hostile).first.wait_for()
    assert page.locator("img").count() == 0


def test_sorted_filtered_and_saved(opened, file):
    page = opened(file)
    page.click("#genes [data-column=tss]")
    assert page.get_attribute("#genes th:has([data-column=tss])", "aria-sort") == "descending"
    page.click("#genes [data-column=tss]")
    tss = [
        int(text) for text in page.locator("#genes tbody tr td:nth-child(7)").all_text_contents()
    ]
    assert tss == sorted(tss)
    page.check("#only-significant")
    page.fill("#text", "name")
    names = listed(page)
    assert len(names) == 20
    page.click("#next")
    names += listed(page)
    assert 20 < len(names) < 30
    with page.expect_download() as download:
        page.click("#export")
    assert download.value.suggested_filename == "genes.tsv"
    saved = pd.read_csv(io.BytesIO(Path(download.value.path()).read_bytes()), sep="\t")
    assert saved["gene_name"].tolist() == names
    assert saved["tss"].tolist() == sorted(saved["tss"])
    assert saved["significant"].all()
    assert saved.shape[1] == 21
    shown_r = page.locator("#genes tbody tr td:nth-child(2)").all_text_contents()
    assert [f"{r:.3f}".replace("-", "−") for r in saved["r"][20:]] == shown_r


def test_zoomed_by_mouse_and_button_and_back(opened, file):
    page = opened(file)
    window = f"[{MODEL}('window').start, {MODEL}('window').end]"
    whole = page.evaluate(window)
    assert whole[0] < -7000 < 9000 < whole[1]
    drag(page, "plot-ism", (0.4, 0.25), (0.6, 0.7))
    page.wait_for_timeout(200)
    zoomed = page.evaluate(window)
    assert whole[0] < zoomed[0] < zoomed[1] < whole[1]
    page.click("#zoom button[data-flank='10000']")
    assert page.evaluate(window) == [-10000, 10000]
    page.click("#zoom button[data-flank='']")
    assert page.evaluate(window) == whole


def test_no_width_makes_the_page_overflow(opened, file):
    for width in (360, 768, 1280):
        page = opened(file, width)
        page.check("#all-columns")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        plot = page.locator("#plot-r").bounding_box()
        assert 200 < plot["width"] < width


def test_colours_follow_the_reader(opened, file):
    page = opened(file, scheme="dark")

    def colours():
        return page.evaluate(
            f"""() => {{
              const style = getComputedStyle(document.documentElement);
              const wanted = (name) => style.getPropertyValue(name).trim();
              return [{MODEL}('r').below[0].axis_label_text_color, wanted('--ink'),
                      {MODEL}('genes').data.colour[5], wanted('--right')];
            }}"""
        )

    ink, wanted_ink, point, wanted_point = colours()
    assert (ink, point) == (wanted_ink, wanted_point)
    page.emulate_media(color_scheme="light")
    until(page, f"{MODEL}('r').below[0].axis_label_text_color !== '{ink}'")
    light = colours()
    assert light[0] == light[1] != ink
    assert light[2] == light[3] != point


def test_without_views_and_for_one_gene(opened, shared_inputs, tmp_path):
    path = tmp_path / "report.html"
    pages.write_report(path, dataclasses.replace(shared_inputs, views=None))
    page = opened(path.as_uri(), last="#plot-means")
    assert page.evaluate("Bokeh.documents[0].roots().length") == 2
    assert page.locator("canvas").count() == page.locator("figure canvas").count() > 0
    views = shared_inputs.views
    statistics = shared_inputs.statistics.isel(gene=[0])
    one = dataclasses.replace(
        shared_inputs,
        statistics=statistics.assign(r=statistics["r"] * np.nan, null_p=statistics["null_p"] * 0),
        views=dataclasses.replace(views, statistics=statistics, variants=None),
    )
    pages.write_report(path, one)
    page = opened(path.as_uri())
    assert "needs the stages attributions and drivers" in page.inner_text("#no-snvs")
    assert "The gene has no r." in page.inner_text("#said-null")
    page.fill("#r-from", "-1")
    assert page.inner_text("#shown") == "no gene matches"


def test_a_gene_that_cannot_be_read_is_said(browser, served):
    page = browser.new_page()
    page.route("**/genes/*", lambda route: route.fulfill(status=500, body="the bucket is gone"))
    page.goto(served)
    page.locator("#gene-problem:visible").wait_for()
    assert page.inner_text("#gene-problem").endswith("cannot be read: the bucket is gone")
    assert page.locator("#gene-plots").is_hidden()
    page.unroute("**/genes/*")
    page.fill("#wanted", "NAME40")
    shown(page, "NAME40")
    assert page.locator("#gene-plots").is_visible()
    page.close()
