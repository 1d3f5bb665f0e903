(() => {
  "use strict";
  const ROWS = 20, OFFERED = 20, REACH = 14;  // rows of a page, genes offered in a search, pixels of a click
  // name, heading, how it is written, whether it is shown before "all columns" is asked for
  const columns = [
    ["gene_name", "gene", "text", true], ["r", "r", "correlation", true],
    ["null_p", "null p", "probability", true], ["null_q", "q", "probability", true],
    ["significant", "significant", "boolean", true], ["contig", "contig", "text", true],
    ["tss", "TSS", "integer", true], ["n_variants", "variants", "integer", true],
    ["mean_observed", "mean observed", "number", true], ["mean_predicted", "mean predicted", "number", true],
    ["gene_id", "gene id", "text", false], ["strand", "strand", "text", false],
    ["n_individuals", "people", "integer", false], ["n_distinct_haplotypes", "distinct haplotypes", "integer", false],
    ["reference_prediction", "reference prediction", "number", false],
    ["sd_observed", "SD observed", "number", false], ["sd_predicted", "SD predicted", "number", false],
    ["p_r", "p of r", "probability", false], ["null_mean", "null mean |r|", "correlation", false],
    ["null_sd", "null SD", "number", false], ["null_t", "null t", "number", false],
  ].map(([name, label, kind, first]) => ({ name, label, kind, first }));
  const SUPPORT = {
    1: { said: "supported", marker: "circle", colour: "right" },
    "-1": { said: "not supported", marker: "inverted_triangle", colour: "wrong" },
    0: { said: "neutral", marker: "square", colour: "soft" },
  };
  const element = (id) => document.getElementById(id);
  const content = (id) => JSON.parse(element(id).textContent);
  const column = content("gene-data"), facts = content("explorer-facts");
  const number = (n) => n.toLocaleString("en");
  const counted = (n, one) => `${number(n)} ${one}${n === 1 ? "" : "s"}`;
  const minus = (text) => text.replace(/-/g, "−");
  const write = {
    text: (x) => x,
    integer: (x) => String(x),
    number: (x) => minus(x !== 0 && (Math.abs(x) < 1e-3 || Math.abs(x) >= 1e4) ? x.toExponential(2) : x.toPrecision(4)),
    correlation: (x) => minus(x.toFixed(3)),
    probability: (x) => minus(x >= 0.001 ? x.toFixed(3) : x.toExponential(1)),
    boolean: (x) => (x ? "yes" : "no"),
  };
  const written = (c, i) => (column[c.name][i] === null ? "NA" : write[c.kind](column[c.name][i]));
  const every = column.gene_id.map((_, i) => i);
  const called = every.map((i) => column.gene_name[i] || column.gene_id[i]);
  const haystack = every.map((i) => `${column.gene_id[i]} ${column.gene_name[i]} ${column.contig[i]}`.toLowerCase());
  const words = (text) => text.toLowerCase().split(/\s+/).filter(Boolean);
  const matches = (i, asked) => asked.every((word) => haystack[i].includes(word));
  // `brush` holds the genes of the selection, null without one; `gene` is the one shown, -1 for none
  const state = { by: "r", descending: true, page: 0, brush: null, gene: -1, view: null };

  // --- the table of all genes

  const head = document.querySelector("#genes thead"), body = document.querySelector("#genes tbody");

  function order() {
    const asked = words(element("text").value), only = element("only-significant").checked;
    const rows = every.filter((i) =>
      (!only || column.significant[i]) && (!state.brush || state.brush.has(i)) && matches(i, asked));
    const by = column[state.by], sign = state.descending ? -1 : 1;
    const missing = (x) => x === null || x === "";
    return rows.sort((a, b) => {
      const x = by[a], y = by[b];
      if (missing(x) || missing(y)) return missing(x) - missing(y);
      return sign * (typeof x === "string" ? x.localeCompare(y, "en", { numeric: true }) : x - y);
    });
  }

  function cell(tag, c, content) {
    const made = document.createElement(tag);
    if (!["text", "boolean"].includes(c.kind)) made.className = "n";
    made.append(content);
    return made;
  }

  function heading(c) {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.column = c.name;
    button.textContent = c.label;
    const th = cell("th", c, button);
    th.scope = "col";
    th.setAttribute("aria-sort", c.name !== state.by ? "none" : state.descending ? "descending" : "ascending");
    return th;
  }

  function row(i, shown) {
    const tr = document.createElement("tr");
    tr.dataset.gene = i;
    tr.classList.toggle("looked-at", i === state.gene);
    for (const c of shown) {
      if (c.name === "gene_name") {
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = called[i];
        button.title = column.gene_id[i];
        const th = cell("th", c, button);
        th.scope = "row";
        tr.append(th);
        continue;
      }
      const made = cell("td", c, written(c, i));
      if (c.name === "r" && column.significant[i]) made.classList.add(column.r[i] > 0 ? "right" : "wrong");
      tr.append(made);
    }
    return tr;
  }

  function draw() {
    const shown = columns.filter((c) => c.first || element("all-columns").checked);
    const focused = document.activeElement?.dataset.column;
    const headings = document.createElement("tr");
    headings.append(...shown.map(heading));
    head.replaceChildren(headings);
    if (focused) head.querySelector(`[data-column="${focused}"]`)?.focus();

    const rows = order();
    const pages = Math.max(1, Math.ceil(rows.length / ROWS));
    state.page = Math.min(Math.max(state.page, 0), pages - 1);
    const from = state.page * ROWS, to = Math.min(from + ROWS, rows.length);
    body.replaceChildren(...rows.slice(from, to).map((i) => row(i, shown)));
    element("shown").textContent = rows.length
      ? `${number(from + 1)}–${number(to)} of ${counted(rows.length, "gene")}` : "no gene matches";
    element("previous").disabled = state.page === 0;
    element("next").disabled = state.page === pages - 1;
    element("export").disabled = !rows.length;
  }

  function redraw() {
    state.page = 0;
    draw();
  }

  function turn(by) {
    state.page += by;
    draw();
  }

  head.addEventListener("click", (event) => {
    const name = event.target.closest("button")?.dataset.column;
    if (!name) return;
    const kind = columns.find((c) => c.name === name).kind;
    state.descending = name === state.by ? !state.descending : !["text", "probability"].includes(kind);
    state.by = name;
    redraw();
  });
  body.addEventListener("click", (event) => {
    const chosen = event.target.closest("tr")?.dataset.gene;
    if (chosen !== undefined) choose(Number(chosen), true);
  });
  for (const id of ["text", "only-significant", "all-columns"]) element(id).addEventListener("input", redraw);
  element("previous").addEventListener("click", () => turn(-1));
  element("next").addEventListener("click", () => turn(1));

  element("export").addEventListener("click", () => {
    const plain = (x) => (x === null ? "NA" : x === true ? "True" : x === false ? "False" : String(x).replace(/[\t\r\n]/g, " "));
    const names = Object.keys(column);
    const lines = [names, ...order().map((i) => names.map((name) => plain(column[name][i])))];
    const link = document.createElement("a");
    link.download = "genes.tsv";
    link.href = URL.createObjectURL(new Blob([lines.map((line) => line.join("\t") + "\n").join("")], { type: "text/tab-separated-values" }));
    link.click();
    URL.revokeObjectURL(link.href);
  });

  // --- the plots; a source is filled whole, colours and all

  const plots = Bokeh.require("document").Document.from_json(content("plots"));
  const model = (name) => plots.get_model_by_name(name);
  const fill = (name, data) => { model(name).data = data; };
  const defined = (values) => values.map((x) => (x === null ? NaN : x));
  const shade = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const accent = (i) => (column.r[i] === null ? "soft" : column.r[i] > 0 ? "right" : "wrong");

  function paint() {
    const ink = shade("ink"), soft = shade("soft"), line = shade("line"), faint = shade("faint");
    for (const plot of plots.roots()) {
      for (const axis of [...plot.below, ...plot.left]) {
        axis.axis_label_text_color = ink;
        axis.major_label_text_color = soft;
        axis.axis_line_color = axis.major_tick_line_color = soft;
      }
      for (const item of plot.center) {
        if ("grid_line_color" in item) item.grid_line_color = faint;
        else if (["zero", "tss"].includes(item.name)) item.line_color = item.name === "tss" ? soft : line;
      }
    }
  }

  function fillGenes() {
    const smallest = Math.min(...column.null_p.filter((p) => p > 0));  // for p that are too small to be told from 0
    const colours = Object.fromEntries(["right", "wrong", "soft"].map((name) => [name, shade(name)]));
    fill("genes", {
      name: called, id: column.gene_id, r: defined(column.r),
      p: column.null_p.map((p) => (p === null ? NaN : -Math.log10(Math.max(p, smallest)) + 0)),
      mean_predicted: defined(column.mean_predicted), mean_observed: defined(column.mean_observed),
      colour: every.map((i) => colours[column.significant[i] ? accent(i) : "soft"]),
    });
  }

  function ringGene() {
    const genes = model("genes").data, i = state.gene;
    const at = (name) => (i < 0 ? [] : [genes[name][i]]);
    fill("chosen", Object.fromEntries([
      ...["r", "p", "mean_predicted", "mean_observed"].map((name) => [name, at(name)]),
      ["colour", i < 0 ? [] : [shade("cut")]],
    ]));
  }

  // --- which genes are selected in the plots of all genes

  const selection = model("genes").selected;
  let typed = false;  // the selection changes because numbers were typed, not by mouse

  function brush(rows) {
    state.brush = rows && new Set(rows);
    element("clear").disabled = !rows;
    element("brushed").textContent = rows ? `${counted(rows.length, "gene")} selected` : "";
    redraw();
  }

  function brushTyped() {
    const limit = (id, otherwise) => (element(id).value === "" ? otherwise : Number(element(id).value));
    const from = limit("r-from", -Infinity), to = limit("r-to", Infinity);
    const rows = from === -Infinity && to === Infinity ? null
      : every.filter((i) => column.r[i] !== null && column.r[i] >= from && column.r[i] <= to);
    typed = true;
    selection.indices = rows ?? [];
    typed = false;
    brush(rows);
  }

  function clear() {
    element("r-from").value = element("r-to").value = "";
    brushTyped();
  }

  selection.properties.indices.change.connect(() => {
    if (typed) return;
    element("r-from").value = element("r-to").value = "";
    brush(selection.indices.length ? selection.indices : null);
  });
  for (const id of ["r-from", "r-to"]) element(id).addEventListener("input", brushTyped);
  element("clear").addEventListener("click", clear);

  /** Show the gene whose point is nearest to a click, within reach of it. */
  function showNearest(plot, x, y, event) {
    const { data } = model("genes");
    const pixels = (range, size) => size / (range.end - range.start);
    const across = pixels(plot.x_range, plot.inner_width), up = pixels(plot.y_range, plot.inner_height);
    let nearest = -1, best = REACH;
    for (const i of every) {
      const away = Math.hypot((data[x][i] - event.x) * across, (data[y][i] - event.y) * up);
      if (away < best) [nearest, best] = [i, away];
    }
    if (nearest >= 0) choose(nearest, true);
  }

  // --- one gene

  const single = element("gene-plots") !== null;
  const packs = new Map();  // those that were unpacked
  let texts = null;  // all of them, packed

  function unpacked(pack) {
    if (!packs.has(pack)) {
      texts ??= content("gene-views");
      const bytes = Uint8Array.from(atob(texts[pack]), (letter) => letter.charCodeAt(0));
      const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
      packs.set(pack, new Response(stream).json());
    }
    return packs.get(pack);
  }

  async function load(i) {
    if (!facts.served) return (await unpacked(Math.floor(i / facts.genes_a_pack)))[i % facts.genes_a_pack];
    const answer = await fetch(`genes/${encodeURIComponent(column.gene_id[i])}${location.search}`);
    if (!answer.ok) throw new Error(await answer.text());
    return answer.json();
  }

  /** Show a gene that a reader chose, and name it in the address, which can be kept and opened. */
  function choose(i, asked) {
    history.replaceState(history.state, "", `#${new URLSearchParams({ gene: column.gene_id[i] })}`);
    element("found").textContent = "";
    return show(i, asked);
  }

  /** Show a gene; `asked` for by somebody who wants to be taken there. */
  async function show(i, asked) {
    state.gene = i;
    describe(i);
    if (asked) {
      element("gene-panel").scrollIntoView({ block: "start" });
      element("gene-title").focus({ preventScroll: true });
    }
    if (!single) return;
    const panel = element("gene-panel"), problem = element("gene-problem");
    panel.setAttribute("aria-busy", "true");
    problem.hidden = true;
    try {
      const view = await load(i);
      if (state.gene !== i) return;
      state.view = view;
      fillGene();
      // A zoom into the gene before means nothing here.
      for (const name of ["people", "null", "effects", "ism", "slope"]) model(name).reset.emit();
    } catch (error) {
      if (state.gene !== i) return;
      problem.textContent = `The plots of this gene cannot be read: ${error.message}`;
      problem.hidden = false;
    }
    element("gene-plots").hidden = !problem.hidden;
    panel.setAttribute("aria-busy", "false");
  }

  function describe(i) {
    element("gene-panel").hidden = false;
    element("gene-title").textContent = called[i];
    element("gene-place").textContent = `${column.gene_id[i]} · ${column.contig[i]}:${column.tss[i]} (${column.strand[i]})`;
    const inTitle = ["gene_name", "gene_id", "contig", "tss", "strand"];
    element("gene-numbers").replaceChildren(...columns.filter((c) => !inTitle.includes(c.name)).map((c) => {
      const pair = document.createElement("div");
      const term = document.createElement("dt"), value = document.createElement("dd");
      term.textContent = c.label;
      value.textContent = written(c, i);
      if (c.name === "r") value.className = accent(i);
      pair.append(term, value);
      return pair;
    }));
    ringGene();
    for (const tr of body.children) tr.classList.toggle("looked-at", Number(tr.dataset.gene) === i);
  }

  function fillGene() {
    const { people, snvs } = state.view;
    fillPeople(people);
    fillNull(state.view.null);
    const some = Boolean(snvs?.distance.length);
    for (const figure of document.querySelectorAll(".snvs")) figure.hidden = !some;
    element("no-snvs").hidden = some;
    const said = snvs ? saidOfSnvs(snvs) : "What each SNV does in the network and in people needs the stages attributions and drivers, " +
      "which this run does not have, or has out of date.";
    element(some ? "said-snvs" : "no-snvs").textContent = said;
    fillSnvs(snvs ?? { distance: [], other: "", effect: "", frequency: [], ism: [], slope: [], increment: [], support: [] });
  }

  // null: 1 to 4, and the view does not say how many
  const few = (n) => (n === null ? `fewer than ${facts.minimum_people}` : number(n));

  function fillPeople(people) {
    const colour = shade(accent(state.gene)), ink = shade("ink"), drawn = [];
    const x = people.observed_edges ?? [], y = people.predicted_edges ?? [], counts = people.counts ?? [];
    counts.forEach((along, a) => along.forEach((n, b) => { if (n) drawn.push([x[a], x[a + 1], y[b], y[b + 1], n]); }));
    const most = Math.max(...drawn.map((one) => one[4]));
    const part = (k) => drawn.map((one) => one[k]);
    fill("cells", {
      left: part(0), right: part(1), bottom: part(2), top: part(3), people: part(4),
      alpha: part(4).map((n) => 0.08 + 0.42 * n / most), colour: drawn.map(() => ink),
    });
    const means = people.means ?? { observed: [], predicted: [], people: [] };
    fill("trend", { xs: [means.observed], ys: [means.predicted], colour: [colour] });
    fill("group-means", {
      x: means.observed, y: means.predicted, colour: means.observed.map(() => colour),
      edge_colour: means.observed.map(() => shade("card")),
    });
    const points = people.counts ? [] : people.observed ?? [];
    fill("points", { x: points, y: points.length ? people.predicted : [], colour: points.map(() => colour) });
    element("said-people").textContent = people.counts
      ? `Each cell holds ${facts.minimum_people} people or more; ${few(people.suppressed)} of ${number(people.people)} people are in ` +
        `sparser ones, which are not drawn. Points: means of ${counted(means.people.length, "group")} of ${facts.minimum_people} people or more, by observed expression.`
      : people.observed ? `Each point is one of ${number(people.people)} people.`
      : `Fewer than ${facts.minimum_people} people decide it: not drawn.`;
  }

  function fillNull(counts) {
    const i = state.gene, r = column.r[i] === null ? NaN : Math.abs(column.r[i]);
    const mean = column.null_mean[i], sd = column.null_sd[i], edges = facts.null_edges;
    const known = mean !== null, band = known && !counts?.length;
    let left = [], right = [], top = [];
    if (counts?.length) [left, right, top] = [counts.map((_, k) => edges[k]), counts.map((_, k) => edges[k + 1]), counts];
    const colour = shade("soft"), edge = shade("card");
    fill("null-bars", { left, right, top, colour: left.map(() => colour), edge_colour: left.map(() => edge) });
    Object.assign(model("null-band"), {
      visible: band, left: Math.max(0, mean - sd), right: mean + sd, fill_color: colour, fill_alpha: 0.3, line_color: null,
    });
    Object.assign(model("null-mean"), { visible: band, location: mean ?? 0, line_color: colour });
    const { left: axes, center } = model("null");
    for (const item of [...axes, ...center.filter((one) => one.dimension === 1)]) item.visible = !band;  // a band has no height
    Object.assign(model("gene-r"), { location: r || 0, visible: !Number.isNaN(r), line_color: shade(accent(i)) });
    const range = model("null-range"), end = Math.min(1.02, 1.08 * Math.max(0.05, right.at(-1) ?? 0, band ? mean + sd : 0, r || 0));
    Object.assign(range, { start: 0, end, reset_start: 0, reset_end: end });
    const high = 1.08 * Math.max(1, ...top);
    Object.assign(model("null-height"), { start: 0, end: high, reset_start: 0, reset_end: high });
    const told = !known ? "This gene has no null." : counts
      ? `|r| of ${number(facts.draws)} random predictors made of the gene's own variants: ${write.correlation(mean)} on average.`
      : `This run keeps no histogram of the null: the band is mean ± SD of |r| of ${number(facts.draws)} random predictors.`;
    const own = Number.isNaN(r) ? "The gene has no r." : `The line is this gene's |r|, ${write.correlation(r)}.`;
    element("said-null").textContent = `${told} ${own}`;
  }

  function fillSnvs(snvs) {
    const colours = Object.fromEntries(Object.values(SUPPORT).map((one) => [one.colour, shade(one.colour)]));
    const ring = shade("cut"), tss = column.tss[state.gene];
    const support = snvs.support.map((one) => SUPPORT[one]);
    fill("snvs", {
      distance: snvs.distance, position: snvs.distance.map((d) => tss + d), ism: defined(snvs.ism),
      slope: defined(snvs.slope), frequency: snvs.frequency,
      alleles: snvs.distance.map((_, k) => `${snvs.other[k]} → ${snvs.effect[k]}`),
      said: support.map((one) => one.said), marker: support.map((one) => one.marker),
      colour: support.map((one) => colours[one.colour]),
      ring: snvs.increment.map((x) => (x === null ? 0 : 11 + 9 * Math.min(1, Math.max(0, x)))),
      ring_colour: snvs.increment.map((x) => (x === null ? null : ring)),
    });
    const first = Math.min(0, ...snvs.distance), last = Math.max(0, ...snvs.distance);
    const margin = 0.03 * Math.max(100, last - first);
    zoom(first - margin, last + margin, true);
  }

  function zoom(start, end, whole) {
    const range = model("window");
    Object.assign(range, whole ? { start, end, reset_start: start, reset_end: end } : { start, end });
  }

  function saidOfSnvs(snvs) {
    const drivers = snvs.increment.filter((x) => x !== null).length;
    const said = [`${number(snvs.distance.length)} of ${counted(snvs.total, "SNV")} are drawn, with ${counted(drivers, "driver")}.`];
    if (snvs.few) said.push(`${number(snvs.few)} are left out: fewer than ${facts.minimum_people} people carry the rarer allele, or they have no ISM.`);
    if (snvs.thinned) said.push(`${number(snvs.thinned)} of small |ISM| are not in this file; zarrbench explore shows them.`);
    return said.join(" ");
  }

  element("zoom")?.addEventListener("click", (event) => {
    const flank = event.target.closest("button")?.dataset.flank, range = model("window");
    if (flank === undefined) return;
    if (flank) zoom(-Number(flank), Number(flank), false);
    else zoom(range.reset_start, range.reset_end, false);
  });

  // --- finding a gene

  const exact = (text) => {
    const wanted = text.trim().toLowerCase();
    const id = column.gene_id.findIndex((one) => one.toLowerCase() === wanted);
    return id >= 0 ? id : called.findIndex((one) => one.toLowerCase() === wanted);
  };
  const several = new Map();
  for (const name of called) several.set(name, (several.get(name) ?? 0) + 1);

  function found(text) {
    const asked = words(text);
    if (!asked.length) return [];
    const begins = (i) => called[i].toLowerCase().startsWith(asked[0]);
    const rows = every.filter((i) => matches(i, asked));
    return [...rows.filter(begins), ...rows.filter((i) => !begins(i))];
  }

  element("wanted").addEventListener("input", () => {
    const text = element("wanted").value, rows = found(text), one = exact(text);
    element("matches").replaceChildren(...rows.slice(0, OFFERED).map((i) => {
      const option = document.createElement("option");
      option.value = several.get(called[i]) > 1 ? column.gene_id[i] : called[i];
      option.label = `${called[i]} · ${column.gene_id[i]} · ${column.contig[i]}`;
      return option;
    }));
    if (one >= 0 && one !== state.gene) choose(one, false);
    element("found").textContent = !text.trim() ? "" : rows.length ? `${counted(rows.length, "gene")} found` : "no gene matches";
  });
  element("find").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = element("wanted").value, one = exact(text), rows = found(text);
    if (one >= 0) choose(one, true);
    else if (rows.length === 1) choose(rows[0], true);
    else if (rows.length) element("found").textContent = `${number(rows.length)} genes match: choose one, or write more of its name`;
    else if (text.trim()) element("found").textContent = "no gene matches";
  });

  /** The gene that the address names, -1 for none, which is said of one that is not here. */
  function addressed() {
    const id = new URLSearchParams(location.hash.slice(1)).get("gene");
    const i = id === null ? -1 : column.gene_id.indexOf(id);
    if (id !== null && i < 0) element("found").textContent = "the gene in the address is not in this run";
    return i;
  }
  window.addEventListener("hashchange", () => {
    element("found").textContent = "";
    const i = addressed();
    if (i >= 0 && i !== state.gene) show(i, true);
  });

  // --- from here on it lives

  function colourAll() {
    fillGenes();
    ringGene();
    if (single && state.view) fillGene();
    paint();
  }

  const places = {
    r: "plot-r", means: "plot-means", people: "plot-people", null: "plot-null",
    effects: "plot-effects", ism: "plot-ism", slope: "plot-slope",
  };
  for (const plot of [...plots.roots()]) {
    if (!element(places[plot.name])) plots.remove_root(plot);
    // Where fingers scroll the page, a plot takes them only for a tool that was asked for.
    if (matchMedia("(pointer: coarse)").matches) plot.toolbar.active_drag = null;
  }
  for (const [name, x, y] of [["r", "r", "p"], ["means", "mean_predicted", "mean_observed"]]) {
    model(name).on_event("tap", (event) => showNearest(model(name), x, y, event));
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", colourAll);

  /** Take toolbars out of the order of Tab: seven plots would need forty presses. */
  const passed = new WeakSet();
  function passOver(root) {
    if (passed.has(root)) return;
    passed.add(root);
    const pass = () => root.querySelectorAll("*").forEach((one) => {
      if (one.tabIndex >= 0) one.tabIndex = -1;
      if (one.shadowRoot) passOver(one.shadowRoot);
    });
    pass();
    new MutationObserver(pass).observe(root, { childList: true, subtree: true });  // they are made anew at will
  }

  async function begin() {
    colourAll();
    const asked = addressed();
    if (every.length) await show(asked >= 0 ? asked : order()[0], asked >= 0);  // the highest r, as in the table
    await Bokeh.embed.add_document_standalone(plots, document.body, plots.roots().map((plot) => element(places[plot.name])));
    for (const plot of document.querySelectorAll(".plot")) passOver(plot);
  }
  draw();
  document.addEventListener("DOMContentLoaded", begin);
})();
