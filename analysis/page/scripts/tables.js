// -- tables: sorted by their columns, filtered by words ------------------------------------------------

function valueOf(cell) {
  const text = cell.textContent.trim();
  const found = text.replaceAll(",", "").match(/^[+-]?\d+(\.\d+)?/);
  return found ? Number(found[0]) : text;
}

function compare(a, b, sign) {
  if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1; // holes and words stand last
  return sign * (typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true }));
}

function sortTable(table, asked) {
  const order = Number.isInteger(asked) && Math.abs(asked) <= all("thead th", table).length ? asked : 0;
  const column = Math.abs(order) - 1;
  const body = table.tBodies[0];
  const rows = [...body.rows].sort((a, b) => a.dataset.place - b.dataset.place);
  if (order) rows.sort((a, b) => compare(valueOf(a.cells[column]), valueOf(b.cells[column]), Math.sign(order)));
  body.append(...rows);
  all("thead th", table).forEach((head, at) => head.setAttribute("aria-sort",
    order && at === column ? (order > 0 ? "ascending" : "descending") : "none"));
}

function filterTable(table, words, count) {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  const rows = [...table.tBodies[0].rows];
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = !wanted.every((word) => text.includes(word));
  }
  const shown = rows.filter((row) => !row.hidden).length;
  count.textContent = wanted.length ? `${shown} of ${rows.length} rows` : "";
}

function enhanceTable(table) {
  const name = table.dataset.name;
  [...table.tBodies[0].rows].forEach((row, place) => { row.dataset.place = place; });
  all("thead th", table).forEach((head, at) => {
    const next = (order) => (order === at + 1 ? -at - 1 : order === -at - 1 ? 0 : at + 1);
    head.replaceChildren(make("button", { class: "sort", onclick: () => {
      const order = next(Number(view.get(`${name}.sort`)));
      keep(`${name}.sort`, order || "");
      sortTable(table, order);
    } }, ...head.childNodes));
  });
  sortTable(table, Number(view.get(`${name}.sort`)));
  if (table.tBodies[0].rows.length > 4) addFilter(table, name);
  if (table.dataset.study) all("tbody tr", table).forEach((row) => enhanceRow(row, table.dataset.study));
}

function addFilter(table, name) {
  const count = make("output", {});
  const field = make("input", { type: "search", placeholder: "Filter rows", "aria-label": "Filter the rows of this table",
    oninput: () => { keep(`${name}.filter`, field.value); filterTable(table, field.value, count); } });
  field.value = view.get(`${name}.filter`) ?? "";
  filterTable(table, field.value, count);
  table.parentElement.before(make("div", { class: "tools" }, field, count));
}

function enhanceRow(row, study) {
  const head = row.cells[0];
  const label = row.dataset.row;
  const datum = rowOf(study, label);
  if (!datum) return;
  const at = (element) => { const r = element.getBoundingClientRect(); return [r.left + 24, r.bottom - 12]; };
  const button = make("button", { class: "row", "aria-describedby": "tip", "aria-haspopup": "dialog",
    onclick: () => openRecord(datum.cell), onblur: hideTip,
    onfocus: () => button.matches(":focus-visible") && showTip({ study, row: label }, ...at(button)) }, ...head.childNodes);
  head.append(button);
  row.addEventListener("mousemove", (event) => showTip({ study, row: label }, event.clientX, event.clientY));
  row.addEventListener("mouseleave", hideTip);
  row.addEventListener("click", (event) => event.target.closest("button, a") || openRecord(datum.cell));
}
