// -- charts ----------------------------------------------------------------------------------------

const config = {
  aria: false, background: null, font: "system-ui, sans-serif", view: { stroke: null },
  axis: { labelColor: "var(--ink)", titleColor: "var(--ink)", gridColor: "var(--line)", domainColor: "var(--quiet)",
    tickColor: "var(--quiet)", labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal", labelOverlap: true },
  text: { fontSize: 12 }, point: { strokeWidth: 1.5 },
};
const views = new Map(); // element -> what Vega made of it
let waiting = 0;

const isHidden = (study, place) => (view.get(`${study}.hide`) ?? "").split(",").includes(String(place));

function rowsOf(element) {
  const { chart, study } = element.dataset;
  if (chart === "forest") return data.forests[element.dataset.group].rows;
  const found = data.studies[study];
  const shown = found.rows.filter((row, place) => !isHidden(study, place)).map((row) => row.row);
  const rows = chart === "curves" ? found.curves : found.rows.filter((row) => row.mean != null);
  return rows.filter((row) => shown.includes(row.row)).map((row) => ({ ...row, study }));
}

function specOf(element) {
  const spec = structuredClone(specs[element.dataset.chart]);
  if (element.dataset.chart === "forest") {
    const isWide = element.clientWidth > 640;
    const labels = isWide ? 180 : 156;
    const { rows, low, high, margin } = data.forests[element.dataset.group];
    const title = ["test error minus that of the", "reference (points); left is better"];
    spec.encoding.y.scale = { domain: rows.map((row) => row.key) };
    Object.assign(spec.encoding.y.axis, { minExtent: labels, maxExtent: labels });
    spec.layer[3].layer[0].encoding.x.title = isWide ? title.join(" ") : title;
    spec.params = Object.entries({ low, high, margin, isWide, labels }).map(([name, value]) => ({ name, value }));
    spec.height = { step: isWide ? 19 : 24 }; // numbers stand beside an arrow, or below it
    spec.padding = { left: 0, top: 5, bottom: 5, right: 12 };
  }
  if (element.dataset.chart === "gates") {
    spec.encoding.x.title = element.dataset.along;
    spec.layer[1].encoding.y.title = element.dataset.measured;
  }
  return spec;
}

async function draw(element, rows = rowsOf(element)) {
  waiting += 1;
  views.get(element)?.finalize();
  const target = element.querySelector(".canvas") ?? element.appendChild(make("div", { class: "canvas" }));
  const spec = { ...specOf(element), datasets: { rows }, config };
  const tooltip = (handler, event, item, value) =>
    (value ? showTip(value, event.clientX, event.clientY) : hideTip());
  const found = await vegaEmbed(target, spec, { actions: false, renderer: "svg", tooltip });
  target.setAttribute("role", "img"); // Vega has set others
  target.setAttribute("aria-label", element.dataset.alt);
  found.view.addEventListener("click", (event, item) => item?.datum?.cell && openRecord(item.datum.cell));
  views.set(element, found);
  element.closest("figure")?.classList.add("is-live");
  waiting -= 1;
}

const isNear = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (isIntersecting && !views.has(target)) { views.set(target, undefined); draw(target); }
  }
}, { rootMargin: "900px" });

function redraw(study) {
  for (const element of views.keys()) if (element.dataset.study === study) draw(element);
}

// -- the legend hides rows --------------------------------------------------------------------------

function swatch(row, width = 20) {
  const paths = { circle: "M10 2a4 4 0 1 0 .01 0z", square: "M6 2h8v8H6z", diamond: "M10 1l5 5-5 5-5-5z",
    "triangle-up": "M10 1l5 9H5z", "triangle-down": "M10 11l5-9H5z", cross: "M8 1h4v3h3v4h-3v3H8V8H5V4h3z",
    "triangle-left": "M5 6l9-5v10z", "triangle-right": "M15 6L6 1v10z" };
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "swatch");
  svg.setAttribute("viewBox", `0 0 ${width} 12`);
  svg.setAttribute("aria-hidden", "true");
  svg.innerHTML = `<path fill="none" stroke-width="1.6" d="M0 6h${width}"/><path d="${paths[row.shape] ?? ""}"/>`;
  svg.style.color = row.color;
  svg.firstChild.setAttribute("stroke-dasharray", row.dash[1] ? row.dash.join(" ") : "none");
  return svg;
}

function addLegend(element) {
  const study = element.dataset.study;
  const rows = data.studies[study].rows;
  const buttons = rows.map((row, place) => make("button", { "aria-pressed": !isHidden(study, place) ? "true" : "false",
    title: "Show or hide this row in the charts", onclick: () => {
      const hidden = rows.map((_, at) => at).filter((at) => isHidden(study, at) !== (at === place));
      keep(`${study}.hide`, hidden.join(","));
      markHidden(study, buttons);
      redraw(study);
    } }, swatch(row), row.row));
  element.append(...buttons);
  markHidden(study, buttons);
}

function markHidden(study, buttons) {
  buttons.forEach((button, place) => button.setAttribute("aria-pressed", String(!isHidden(study, place))));
  const hidden = data.studies[study].rows.filter((_, place) => isHidden(study, place)).map((row) => row.row);
  for (const row of all(`table[data-study="${CSS.escape(study)}"] tbody tr`)) {
    row.classList.toggle("is-dim", hidden.includes(row.dataset.row));
  }
}
