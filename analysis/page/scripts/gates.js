// -- the gates ---------------------------------------------------------------------------------------

// Of a class, the same in its swatch and its line: 7 colours, which mean nothing else, and 10 dashes.
const INKS = ["v0", "v1", "v2", "v3", "v4", "v5", "v6"];
const DASHES = [[1, 0], [9, 3], [2, 2], [9, 3, 2, 3], [5, 5], [14, 3], [1, 4], [5, 2, 1, 2, 1, 2], [14, 3, 4, 3], [3, 1]];
const lookOf = (c) => ({ color: `var(--${INKS[c % INKS.length]})`, dash: DASHES[c % DASHES.length] });

function unpack(block, name, at) {
  block.bytes ??= {};
  block.bytes[name] ??= Uint8Array.from(atob(block[name]), (letter) => letter.charCodeAt(0));
  return block[`${name}_low`] + block[`${name}_step`] * block.bytes[name][at];
}

function gateRows(network, block, classes, { spread, sorted, deviation }) {
  const k = block.channels?.length ?? block.width;
  const total = network.images.reduce((sum, n) => sum + n, 0);
  const mean = (c, channel) => unpack(block, "mean", c * k + channel);
  const overall = Array.from({ length: k }, (_, channel) =>
    network.images.reduce((sum, n, c) => sum + (n / total) * mean(c, channel), 0));
  const order = [...overall.keys()];
  if (sorted) order.sort((a, b) => overall[b] - overall[a]);
  const less = deviation && block.start != null ? block.start : 0;
  const line = (name, look, value, deviationOf) => order.map((channel, place) => {
    const number = block.channels?.[channel] ?? channel;
    const std = deviationOf?.(channel);
    return { name, ...look, place, mean: value(channel) - less,
      ...(std == null ? {} : { low: value(channel) - less - std, high: value(channel) - less + std }),
      facts: [["channel", String(number)], ["mean gate", value(channel).toFixed(4)],
        ...(std == null ? [] : [["deviation within the class", std.toFixed(4)]])] };
  });
  return [
    ...(spread ? [] : line("all classes", { color: "var(--ink)", dash: [1, 0] }, (channel) => overall[channel])),
    ...classes.flatMap((c) => line(network.classes[c], lookOf(c),
      (channel) => mean(c, channel), spread ? (channel) => unpack(block, "std", c * k + channel) : undefined)),
  ];
}

function explorer(form) {
  const chart = form.parentElement.querySelector(".chart[data-chart=gates]");
  const field = (name) => form.elements[name];
  const networks = data.gates;
  const network = () => networks[field("network").value];
  const fill = (select, names) => select.replaceChildren(...names.map((name, at) => make("option", { value: at }, name)));
  const boxes = () => all("[name=class]", form);
  const chosen = () => boxes().filter((box) => box.checked).map((box) => Number(box.value));
  const choose = (names) => boxes().forEach((box) => { box.checked = names.includes(network().classes[box.value]); });

  function fillNetwork() {
    const before = network().blocks[field("block").value]?.name;
    fill(field("block"), network().blocks.map((block) => block.name));
    field("classes").replaceChildren(make("legend", {}, "Classes"), ...network().classes.map((name, at) =>
      make("label", {}, make("input", { type: "checkbox", name: "class", value: at }), swatch(lookOf(at), 40), name)));
    const place = network().blocks.findIndex((block) => block.name === before);
    field("block").value = place >= 0 ? place : network().widest;
    field("deviation").disabled = network().blocks[0].start == null;
  }

  function restore() {
    fill(field("network"), networks.map((one) => one.label));
    const kept = (name) => view.get(`gates.${name}`);
    field("network").value = Math.max(0, networks.findIndex((one) => one.cell === kept("network")));
    fillNetwork();
    const place = network().blocks.findIndex((block) => block.name === kept("block"));
    if (place >= 0) field("block").value = place;
    const names = kept("classes")?.split(",").map((at) => network().classes[at]); // "none" is no class
    choose(names ?? network().first);
    for (const name of ["spread", "sorted", "deviation"]) {
      if (kept(name)) field(name).checked = kept(name) === "1";
    }
  }

  function show(isKept = true) {
    const block = network().blocks[field("block").value];
    const options = Object.fromEntries(["spread", "sorted", "deviation"].map((name) => [name, field(name).checked]));
    if (isKept) {
      keep("gates.network", network().cell);
      keep("gates.block", block.name);
      keep("gates.classes", chosen().join(",") || "none");
      for (const [name, on] of Object.entries(options)) keep(`gates.${name}`, on ? "1" : "0");
    }
    const step = block.mean_step / 2;
    const start = options.deviation && block.start != null ? `, minus its start at ${Number(block.start.toPrecision(3))}` : "";
    chart.dataset.along = options.sorted ? "channel, from the most to the least open" : "channel";
    chart.dataset.measured = `mean gate${start.replace(", minus its start at", " minus")}`;
    chart.dataset.alt = `Mean gate of each channel of ${block.name}${start}: ${network().label}.`;
    form.elements.said.value = `${network().label}, block ${block.name}, seed ${network().seed}: ${options.spread ?
      "mean gate ± deviation within a class" : "mean gate by class"}${start}; ${options.sorted ?
      "channels sorted by their mean over all classes" : "channels as they are"}. Read off a grid: ± ${step.toPrecision(1)}.`;
    draw(chart, gateRows(network(), block, chosen(), options));
  }

  function preset(count, spread) {
    choose(network().first.slice(0, count));
    field("spread").checked = spread;
    show();
  }
  form.addEventListener("change", (event) => {
    if (event.target.name === "network") { fillNetwork(); choose(network().first); }
    show();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.querySelector("[data-view='6']").addEventListener("click", () => preset(4, false));
  form.querySelector("[data-view='7']").addEventListener("click", () => preset(2, true));
  restore();
  show(false);
}
