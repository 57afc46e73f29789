"use strict";
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const narrow = matchMedia("(max-width: 760px)");
  const coarse = matchMedia("(pointer: coarse)");
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const darkColors = read("dark-colors");
  const details = read("details");
  const PRINT_WIDTH = 680;
  let printing = false;

  const element = (tag, attributes = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  };

  /* Charts */

  const isDark = () => dark.matches && !printing;

  const recolored = (figure) =>
    isDark() ? JSON.parse(figure.replace(/"#[0-9a-f]{6}"/g, (c) => `"${darkColors[c.slice(1, -1)] || c.slice(1, -1)}"`)) : JSON.parse(figure);

  const frame = () => {
    const [ink, muted, line] = isDark() ? ["#e3e8ee", "#9aa7b4", "#2c3640"] : ["#1c2733", "#5b6875", "#e3e7ec"];
    const axis = { gridcolor: line, linecolor: line, zeroline: false, automargin: true, tickcolor: line,
                   tickfont: { color: muted }, title: { font: { size: 12, color: muted }, standoff: 8 } };
    return { layout: {
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: ink },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      margin: { l: 48, r: 14, t: 10, b: 40 }, xaxis: axis, yaxis: axis, hovermode: "closest",
      hoverlabel: { bgcolor: isDark() ? "#2c3640" : "#ffffff", bordercolor: muted, font: { color: ink } },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: muted, activecolor: ink },
      legend: { orientation: "h", x: 0, xanchor: "left", y: 1.02, yanchor: "bottom", font: { size: 11 } },
    } };
  };

  const draw = (plot, source) => {
    const figure = recolored(source);
    const layout = { ...figure.layout, template: frame(), autosize: !printing, dragmode: coarse.matches ? false : "zoom" };
    if (printing) layout.width = PRINT_WIDTH;
    if (narrow.matches || printing) layout.margin = { l: 40, r: 8, t: 8, b: 36 };
    layout.height = plot.clientHeight;
    return Plotly.react(plot, figure.data, layout, { displaylogo: false, responsive: !printing, displayModeBar: coarse.matches ? false : "hover",
                                                      modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] });
  };

  const drawn = new Map();
  const add = (plot, source) => { drawn.set(plot, source); return draw(plot, source); };
  const redraw = () => drawn.forEach((source, plot) => draw(plot, source));

  const sources = [...document.querySelectorAll("script.figure")];
  const drawNext = async (index) => {
    document.body.dataset.charts = `${index}/${sources.length}`;
    if (index === sources.length) return;
    const source = sources[index];
    await add(document.getElementById(source.dataset.plot), source.textContent);
    setTimeout(() => drawNext(index + 1));
  };
  drawNext(0);

  dark.addEventListener("change", redraw);
  addEventListener("beforeprint", () => {
    printing = true;
    document.querySelectorAll("details").forEach((more) => { more.open = true; });
    redraw();
  });
  addEventListener("afterprint", () => { printing = false; redraw(); });

  /* Every trial */

  const table = document.getElementById("trial-table");

  const recipeTable = (stages) => {
    const fields = ["name", "trains", "epochs", "learning_rate", "cycles", "reached"];
    const titles = ["stage", "trains", "epochs", "peak learning rate", "restart cycles", table.dataset.reached];
    const cells = (values, tag) => values.map((value) => element(tag, {}, String(value)));
    return element("div", { class: "scroll" }, element("table", {},
      element("thead", {}, element("tr", {}, ...cells(titles, "th"))),
      element("tbody", {}, ...stages.map((stage) => element("tr", {}, ...cells(fields.map((field) => stage[field]), "td"))))));
  };

  const curves = (detail) => {
    const line = (name, values, color, dash) => ({ x: detail.epoch, y: values, name, mode: detail.epoch.length > 1 ? "lines" : "markers",
                                                   line: { color, dash, width: 2 }, marker: { color }, hovertemplate: `epoch %{x}: ${name} %{y:.4g}<extra></extra>` });
    const starts = detail.epoch.filter((epoch, index) => index && detail.stage[index] !== detail.stage[index - 1]);
    return JSON.stringify({
      data: [line("train_loss", detail.train_loss, "#5b6875", "dot"), line("val_loss", detail.val_loss, "#0072b2", "solid")],
      layout: { xaxis: { title: { text: "epoch (a dotted line: a new stage)" } }, yaxis: { title: { text: "loss" } },
                shapes: starts.map((x) => ({ type: "line", x0: x - 0.5, x1: x - 0.5, yref: "paper", y0: 0, y1: 1, line: { color: "#5b6875", width: 1, dash: "dot" } })) },
    });
  };

  const openRow = (row) => {
    const detail = details[row.dataset.trial];
    const inside = element("div", { class: "inside" });
    const opened = element("tr", { class: "detail" }, element("td", { colspan: row.cells.length }, inside));
    row.after(opened);
    if (detail.error) inside.append(element("h3", {}, "Why it failed"), element("pre", {}, detail.error));
    if (detail.stages.length) inside.append(recipeTable(detail.stages), element("p", { class: "note" }, detail.settings));
    const parameters = Object.entries(detail.parameters);
    if (parameters.length) inside.append(element("p", { class: "note" }, "Sampled: " + parameters.map(([name, value]) => `${name} = ${value}`).join(", ")));
    if (!detail.epoch.length) { inside.append(element("p", {}, "It has reported no epoch.")); return; }
    const title = `Trial ${row.dataset.trial}: where the training loss falls on and val_loss does not, it learns its pairs by heart`;
    const plot = element("div", { class: "plot", role: "img", "aria-label": title, style: "height:260px" });
    inside.append(element("figure", { class: "chart" }, element("figcaption", {}, title), plot));
    add(plot, curves(detail));
  };

  const closeRow = (row) => {
    const opened = row.nextElementSibling;
    opened.querySelectorAll(".plot").forEach((plot) => { drawn.delete(plot); Plotly.purge(plot); });
    opened.remove();
  };

  const toggle = (button) => {
    const row = button.closest("tr");
    const open = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!open));
    (open ? closeRow : openRow)(row);
  };

  const closeAll = () => table.querySelectorAll('.open[aria-expanded="true"]').forEach(toggle);

  const sortBy = (heading) => {
    closeAll();
    const falling = heading.getAttribute("aria-sort") === "ascending";
    table.querySelectorAll("thead th").forEach((other) => other.setAttribute("aria-sort", "none"));
    heading.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const key = (row) => {
      const cell = row.cells[heading.cellIndex];
      return "v" in cell.dataset ? (cell.dataset.v === "" ? null : Number(cell.dataset.v)) : cell.textContent;
    };
    const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b, undefined, { numeric: true }) : a - b);
    const rows = [...table.tBodies[0].rows].map((row) => [key(row), row]);
    rows.sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : falling ? compare(b, a) : compare(a, b)));
    table.tBodies[0].append(...rows.map(([, row]) => row));
  };

  const filter = () => {
    closeAll();
    const words = document.getElementById("filter-text").value.toLowerCase().split(/\s+/).filter(Boolean);
    const status = document.getElementById("filter-status").value;
    let shown = 0;
    for (const row of table.tBodies[0].rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = Boolean(status && row.dataset.status !== status) || !words.every((word) => text.includes(word));
      shown += !row.hidden;
    }
    document.getElementById("filter-count").value = `${shown} shown`;
  };

  if (table) {
    table.tHead.addEventListener("click", (event) => event.target.closest("button") && sortBy(event.target.closest("th")));
    table.tBodies[0].addEventListener("click", (event) => { const button = event.target.closest(".open"); if (button) toggle(button); });
    document.getElementById("filter-text").addEventListener("input", filter);
    document.getElementById("filter-status").addEventListener("change", filter);
  }

  /* While the search runs */

  if ("live" in document.body.dataset) {
    setInterval(() => { if (!document.hidden && !document.querySelector(".detail")) location.reload(); }, 30000);
  }
})();
