// What the page does beyond being read. Without it every table, sentence and picture is there.
const read = (id) => JSON.parse(document.getElementById(id).textContent);
const data = read("data");
const specs = read("charts");
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

// -- small things ---------------------------------------------------------------------------------

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children); // strings become text, never markup
  return element;
}

// The view that a fragment keeps: #at=ID&STUDY.sort=1&STUDY.hide=0,3&gates.block=SE_3_1
const view = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");

function keep(key, value) {
  if (value === "" || value == null) view.delete(key);
  else view.set(key, value);
  history.replaceState(null, "", view.size ? `#${view}` : location.pathname + location.search);
}

// -- the tip that shows what is under the mouse or has the focus ------------------------------------

const tip = make("div", { id: "tip", role: "tooltip", hidden: true });
document.body.append(tip);

function rowOf(study, label) {
  return data.studies[study]?.rows.find((row) => row.row === label);
}

function facts(datum) {
  const row = rowOf(datum.study, datum.row);
  if (!row) return datum.facts ?? [];
  const seeds = row.seeds.map((error) => error.toFixed(2)).join(", ");
  const interval = row.high > row.low ? `${row.low.toFixed(2)} to ${row.high.toFixed(2)}` : ["none: no result", "none: one seed"][row.seeds.length] ?? "none: the seeds tie";
  return [
    ...(datum.epoch ? [[`epoch ${datum.epoch}, held out`, `${datum.held.toFixed(2)} %`]] : []),
    ["test error (%)", row.error],
    ["95 % interval", interval],
    [row.seeds.length === 1 ? "its seed" : `its ${row.seeds.length} seeds`, seeds || "no result"],
    ...(row.reference ? [[`minus ${row.reference}`, row.difference]] : []),
    ["command", data.studies[datum.study].command],
  ];
}

function showTip(datum, x, y) {
  const lines = facts(datum).flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]);
  tip.replaceChildren(make("b", {}, datum.row ?? datum.name), make("dl", {}, ...lines));
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  const left = Math.min(x + 14, document.documentElement.clientWidth - width - 8);
  const top = y + 18 + height > innerHeight ? y - height - 12 : y + 18;
  tip.style.left = `${Math.max(8, left)}px`;
  tip.style.top = `${Math.max(8, top)}px`;
}

const hideTip = () => { tip.hidden = true; };

// -- the record of a row ------------------------------------------------------------------------

const dialog = make("dialog", { id: "record", "aria-labelledby": "record-title" });
document.body.append(dialog);
dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());

function openRecord(cell) {
  const record = data.records[cell];
  if (!record) return;
  hideTip();
  const title = make("h3", { id: "record-title" }, `The record of “${record.label}”`);
  const runs = record.runs.map((run) => make("li", {}, ...runLine(run)));
  const config = Object.entries(record.config).flatMap(([name, value]) =>
    [make("dt", {}, name), make("dd", {}, String(value))]);
  dialog.replaceChildren(
    make("button", { class: "close", onclick: () => dialog.close() }, "Close"), title,
    make("p", {}, "Trained by ", make("code", {}, record.command)),
    make("ul", {}, ...runs),
    make("h4", {}, "Config"), make("dl", {}, ...config));
  dialog.showModal();
}

function runLine(run) {
  const error = run.error == null ? "" : `, ${run.error.toFixed(2)} % test error`;
  const how = [run.processor, run.precision, run.step && `${run.step} step`].filter(Boolean).join(", ");
  return [`seed ${run.seed}: ${run.state}${error}`, make("br"),
    make("a", { href: `${run.path}/config.json` }, run.path), make("br"),
    ...(run.commit ? ["commit ", make("code", {}, run.commit.slice(0, 12)), ` · ${how}`] : [])];
}
