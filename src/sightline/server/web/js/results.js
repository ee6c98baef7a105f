// How results read: by the shape of their data, so that an operation nobody knew of is drawn as well.
import { copy, h, percent } from "./core.js";
import { markOf } from "./overlay.js";
import { worldMap } from "./map.js";

const FEW = 12;

/** The body of a result. `photo` is the overlay of its photo, or null for an operation without one. */
export function renderData(data, photo) {
  try {
    for (const [fits, draw] of RENDERERS) if (fits(data)) return draw(data, photo);
  } catch (error) { // data that looks like what a renderer draws, and is not
    console.warn(error);
  }
  return h("pre", {}, JSON.stringify(data, null, 2));
}

/** The first list of things that have a box, or null. */
function listOfBoxes(data) {
  const lists = Object.values(data).filter((each) => Array.isArray(each) && (each.length === 0 || Array.isArray(each[0]?.box)));
  return lists.find((each) => each.length) || (lists.length && Object.keys(data).length <= 2 ? lists[0] : null);
}

const scoreOf = (thing) => thing.score ?? thing.confidence ?? thing.probability ?? null;

/** `shapeOf` and `textOf` say how one of them is drawn and named. At first the best few are drawn. */
function finds(unsorted, photo, shapeOf, textOf) {
  const things = unsorted.every((thing) => scoreOf(thing) !== null) && unsorted.length > FEW && !unsorted[0].quad
    ? [...unsorted].sort((one, other) => scoreOf(other) - scoreOf(one)) : unsorted; // lines of text stay in the order of reading
  if (!things.length) return h("p", { className: "soft" }, "Nothing found.");
  const list = h("ul", { className: "finds" });
  const summary = h("p", { className: "soft small" });
  let least = 0, count = FEW;
  const show = () => {
    const scored = things.filter((thing) => (scoreOf(thing) ?? 1) >= least);
    const kept = scored.slice(0, count);
    const draw = () => photo?.show(kept.map((thing, index) => ({ number: index + 1, ...shapeOf(thing) })));
    draw();
    const rows = kept.map((thing, index) => {
      const light = (on) => { draw(); photo?.light(index, on); };
      const swatch = h("span", { className: "swatch", style: { "--mark": markOf(shapeOf(thing).label ?? index) } });
      const score = scoreOf(thing);
      return h("li", {}, h("button", {
        type: "button", onmouseenter: () => light(true), onmouseleave: () => light(false), onfocus: () => light(true), onblur: () => light(false),
      }, h("span", {}, swatch, `${index + 1}. `, textOf(thing)), score === null ? null : h("span", {}, percent(score))));
    });
    const toggle = (text, next) => rows.push(h("li", {}, h("button", { type: "button", onclick: () => { count = next; show(); } }, text)));
    if (kept.length < scored.length) toggle(`Show all ${scored.length}`, Infinity);
    else if (kept.length > FEW) toggle(`Show the first ${FEW} only`, FEW);
    summary.textContent = kept.length < things.length ? `${things.length} found, ${kept.length} shown` : `${things.length} found`;
    list.replaceChildren(...rows);
  };
  show();
  const slider = things.length > 2 && scoreOf(things[0]) !== null
    ? h("label", { className: "small row" }, "Least score",
      h("input", { type: "range", min: 0, max: 1, step: 0.05, value: 0, oninput: (event) => { least = Number(event.target.value); show(); } })) : null;
  return [summary, slider, list];
}

const boxes = (things, photo) => finds(things, photo,
  (thing) => ({ box: thing.box, points: thing.landmarks, label: thing.label }), (thing) => thing.label || "found");

const textLines = (data, photo) => [
  data.text ? h("blockquote", { className: "big" }, data.text.split("\n").map((line) => h("div", {}, line))) : null,
  finds(data.lines, photo, (line) => ({ quad: line.quad, label: "text" }), (line) => line.text),
];

function species(data, photo) {
  const reasons = { classifier: "by the classifier", detector: "by the detector", human: "a person", vehicle: "a vehicle" };
  const best = data.prediction;
  const about = (prediction) => h("div", { className: "species" },
    h("div", { className: "big" }, prediction.common_name || prediction.name),
    prediction.common_name !== prediction.name ? h("em", {}, prediction.name) : null,
    h("div", { className: "soft small" }, percent(prediction.score), " · ", reasons[prediction.reason] || String(prediction.reason || "").replaceAll("_", " ").replaceAll("+", ", "),
      prediction.level ? ` · known to the ${prediction.level}` : ""));
  const country = data.origin?.country_name || data.origin?.country;
  return [
    best ? about(best) : h("p", { className: "soft" }, "No animal found."),
    h("p", { className: "soft small" }, country
      ? `Species that do not live in ${country} were ruled out.`
      : "No country was given, so no species was ruled out. Set the parameter country."),
    finds(data.detections, photo, (thing) => ({ box: thing.box, label: thing.label }),
      (thing) => thing.prediction?.common_name || thing.label),
    data.classifications?.length ? h("details", {}, h("summary", {}, "All classes of the whole answer"),
      bars(data.classifications.map((each) => [each.common_name || each.name, each.score]))) : null,
  ];
}

function places(data) {
  const uncertain = data.uncertainty;
  return [
    worldMap(data),
    h("ol", {}, data.candidates.map((each) => h("li", {},
      `${each.place || `${each.lat.toFixed(3)}, ${each.lon.toFixed(3)}`} · ${percent(each.probability)} `,
      h("a", { href: `https://www.openstreetmap.org/?mlat=${each.lat}&mlon=${each.lon}#map=9/${each.lat}/${each.lon}`, target: "_blank", rel: "noopener noreferrer", className: "small" }, "map")))),
    uncertain ? h("p", { className: "soft small" },
      `Half of the probability lies within ${Math.round(uncertain.radius_50_km)} km of the first place (solid line), 90 % within ${Math.round(uncertain.radius_90_km)} km (dashed line).`) : null,
  ];
}

/** Bars of [name, share between 0 and 1], the greatest first. */
export function bars(pairs) {
  const sorted = [...pairs].sort((one, other) => other[1] - one[1]);
  const row = ([name, share]) => h("li", {}, h("span", {}, name), h("span", { className: "figure" }, percent(share)),
    h("span", { className: "track" }, h("span", { className: "fill", style: { width: `${Math.max(0, Math.min(1, share)) * 100}%` } })));
  const list = h("ul", { className: "bars" }, sorted.slice(0, FEW).map(row));
  if (sorted.length > FEW) {
    const more = h("li", {}, h("button", { type: "button", className: "small", onclick: () => list.replaceChildren(...sorted.map(row)) }, `Show ${sorted.length - FEW} more`));
    list.append(more);
  }
  return list;
}

function probabilities(data) {
  const passed = Object.entries(data.verdicts || {});
  return [
    data.label ? h("p", { className: "big" }, data.label) : null,
    bars(Object.entries(data.probabilities)),
    passed.length ? h("p", { className: "small" }, passed.map(([rule, holds]) => `${rule}: ${holds ? "yes" : "no"}`).join(" · ")) : null,
  ];
}

const meter = (score) => h("div", { className: "meter", role: "img", "aria-label": percent(score) }, h("span", { className: "fill", style: { width: `${score * 100}%` } }));
const range = (data) => [
  h("p", { className: "big" }, data.range, h("span", { className: "soft" }, ` · score ${percent(data.score)}`)), meter(data.score),
  data.caveat ? h("p", { className: "soft small" }, data.caveat) : null,
];
const membership = (data) => [
  h("p", { className: "big" }, data.is_in_collection ? "In the collection" : "Not in the collection", h("span", { className: "soft" }, ` · ${percent(data.probability)}`)),
  meter(data.probability), h("p", { className: "soft small" }, `Threshold ${percent(data.threshold ?? 0.5)} · version ${data.version ?? "–"}`),
];
const words = (data) => [
  h("blockquote", { className: "big" }, data.text),
  data.structured ? h("pre", {}, JSON.stringify(data.structured, null, 2)) : null,
  data.model ? h("p", { className: "soft small" }, `Answered by ${data.model}`) : null,
];

function vector(data) {
  const numbers = typeof data.vector === "string" ? decoded(data.vector) : data.vector;
  const most = Math.max(...numbers.map(Math.abs), 1e-12);
  const d = numbers.map((value, index) => `${index ? "L" : "M"}${index} ${(-value / most) * 30}`).join("");
  const button = h("button", { type: "button", className: "small", onclick: () => copy(JSON.stringify(numbers), button) }, "Copy the vector");
  return [
    h("svg", { class: "plot", viewBox: `0 -32 ${Math.max(numbers.length - 1, 1)} 64`, preserveAspectRatio: "none", role: "img", "aria-label": `Plot of ${numbers.length} numbers` },
      h("line", { x1: 0, x2: numbers.length, y1: 0, y2: 0 }), h("path", { d })),
    h("div", { className: "row" }, h("span", { className: "soft small" }, `${numbers.length} numbers · space ${data.space}${data.normalized ? " · length 1" : ""}`), button),
  ];
}

const decoded = (text) => [...new Float32Array(Uint8Array.from(atob(text), (each) => each.charCodeAt(0)).buffer)];

/** Where the time went. */
export function waterfall(timing) {
  const names = ["load", "prepare", "queue", "infer"];
  const total = Math.max(timing.total, names.reduce((sum, name) => sum + (timing[name] || 0), 0), 0.01);
  return h("div", {}, h("div", { className: "waterfall", role: "img", "aria-label": names.map((name) => `${name} ${timing[name]} ms`).join(", ") },
    names.map((name) => h("span", { className: name, style: { width: `${(100 * (timing[name] || 0)) / total}%` } }))),
  h("div", { className: "legend soft small" }, names.map((name) => h("span", {}, h("i", { className: `waterfall ${name}`, style: { background: COLOURS[name] } }), `${name} ${Math.round((timing[name] || 0) * 10) / 10} ms`)), h("span", {}, `total ${Math.round(timing.total)} ms`)));
}
const COLOURS = { load: "#9a6fd0", prepare: "#3aa0d8", queue: "#c9a227", infer: "#2f9e58" };

// The first that fits draws.
const RENDERERS = [
  [(data) => Array.isArray(data.candidates) && data.candidates.every((each) => "lat" in each && "lon" in each), places],
  [(data) => Array.isArray(data.lines) && typeof data.text === "string", textLines],
  [(data) => Array.isArray(data.detections) && "prediction" in data, species],
  [(data) => listOfBoxes(data) !== null, (data, photo) => boxes(listOfBoxes(data), photo)],
  [(data) => Array.isArray(data.box), (data, photo) => boxes([data], photo)],
  [(data) => Array.isArray(data.vector) || typeof data.vector === "string", vector],
  [(data) => data.probabilities && typeof data.probabilities === "object", probabilities],
  [(data) => typeof data.score === "number" && typeof data.range === "string", range],
  [(data) => typeof data.is_in_collection === "boolean", membership],
  [(data) => typeof data.text === "string", words],
];
