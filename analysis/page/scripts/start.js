// -- folds, places, and the start ----------------------------------------------------------------------

function enhanceFold(fold) {
  const key = `open.${fold.id}`;
  if (view.get(key)) fold.open = true;
  fold.addEventListener("toggle", () => {
    keep(key, fold.open ? "1" : "");
    if (fold.open) all(".chart", fold).forEach((chart) => isNear.observe(chart));
  });
}

function goTo(id) {
  const target = document.getElementById(id);
  if (!target) return;
  target.closest("details")?.setAttribute("open", "");
  target.scrollIntoView();
}

document.documentElement.classList.add("has-scripts");
const hasRoom = matchMedia("(min-width: 75rem)"); // beside the page, as in the style sheet
const fitContents = () => { document.querySelector("nav.contents details").open = hasRoom.matches; };
hasRoom.addEventListener("change", fitContents);
fitContents();
all("table.data").forEach(enhanceTable);
all(".legend").forEach(addLegend);
all("details[id]").forEach(enhanceFold);
all(".chart[data-chart]:not([data-chart=gates])").forEach((chart) => isNear.observe(chart));
all("form.explorer").forEach(explorer);
all("a[data-here]").forEach((link) => link.addEventListener("click", (event) => {
  event.preventDefault();
  keep("at", link.dataset.here);
  navigator.clipboard?.writeText(location.href).then(() => { link.dataset.said = "copied"; }, () => {});
  goTo(link.dataset.here);
}));
if (view.get("at") && performance.getEntriesByType("navigation")[0]?.type !== "reload") goTo(view.get("at"));
addEventListener("hashchange", (event) => { // a view that was put into the address of the open page
  if (new URL(event.newURL).hash.includes("=")) location.reload();
});
all("a[href^='#claim-']").forEach((link) => link.addEventListener("click", () => goTo(link.hash.slice(1))));
let width = innerWidth;
addEventListener("resize", () => {
  if (width === innerWidth) return;
  width = innerWidth;
  for (const element of views.keys()) if (element.dataset.chart === "forest") draw(element);
});
window.report = { isDrawn: () => waiting === 0, views };
