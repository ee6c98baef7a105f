// Shapes over a photo, in pixels of the upright photo.
import { h } from "./core.js";

// Of the palette of Okabe and Ito: they differ for people who do not see all colours. Numbers differ as well.
const MARKS = ["#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#f0e442"];
export const markOf = (label) => {
  let sum = 0;
  for (const letter of String(label)) sum = (sum * 31 + letter.codePointAt(0)) % 9973;
  return MARKS[sum % MARKS.length];
};

/** A photo with a drawing over it. `show(shapes)` draws; `light(index)` marks one of them. */
export function overlay(image, width, height) {
  const drawing = h("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "xMidYMid meet", "aria-hidden": "true" });
  const element = h("div", { className: "canvas" }, image, drawing);
  const scale = Math.max(width, height) / 640;
  let groups = [];
  return {
    element,
    clear: () => { groups = []; drawing.replaceChildren(); },
    light: (index, on = true) => groups[index]?.classList.toggle("lit", on),
    show: (shapes) => {
      groups = shapes.map((shape, index) => group(shape, index, scale));
      drawing.replaceChildren(...groups);
    },
  };
}

function group(shape, index, scale) {
  const mark = markOf(shape.label ?? index);
  const parts = [];
  let corner;
  if (shape.box) {
    const [x0, y0, x1, y1] = shape.box;
    const frame = { x: x0, y: y0, width: Math.max(x1 - x0, 1), height: Math.max(y1 - y0, 1), rx: 3 * scale };
    parts.push(h("rect", { class: "halo", ...frame }), h("rect", { class: "shape", ...frame }));
    corner = [x0, y0];
  }
  if (shape.quad) {
    const points = shape.quad.map((point) => point.join(",")).join(" ");
    parts.push(h("polygon", { class: "halo", points }), h("polygon", { class: "shape", points }));
    corner = shape.quad[0];
  }
  for (const [x, y] of shape.points || []) parts.push(h("circle", { class: "dot", cx: x, cy: y, r: 3 * scale }));
  if (corner && shape.number) {
    const text = h("text", { x: corner[0] + 3 * scale, y: Math.max(corner[1] + 14 * scale, 14 * scale) }, String(shape.number));
    text.style.setProperty("font-size", `${13 * scale}px`);
    text.style.setProperty("stroke-width", `${3 * scale}px`);
    parts.push(text);
  }
  const made = h("g", { class: "group" }, parts);
  made.style.setProperty("--mark", mark);
  return made;
}
