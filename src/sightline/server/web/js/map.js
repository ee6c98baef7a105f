// A map of the world with candidates, clusters and the two circles of uncertainty.
import { h } from "./core.js";
import { LAND } from "./land.js";

const EARTH_KM = 6371.0088; // mean radius, IUGG

/** Corners of a circle on the Earth, as pieces that do not cross the edge of the map. */
export function circle(lat, lon, radiusKm, steps = 180) {
  const angle = Math.min(radiusKm / EARTH_KM, Math.PI), radians = Math.PI / 180;
  const [phi, lambda] = [lat * radians, lon * radians];
  const pieces = [[]];
  let before = null;
  for (let step = 0; step <= steps; step += 1) {
    const bearing = (2 * Math.PI * step) / steps;
    const y = Math.asin(Math.sin(phi) * Math.cos(angle) + Math.cos(phi) * Math.sin(angle) * Math.cos(bearing));
    const turn = Math.atan2(Math.sin(bearing) * Math.sin(angle) * Math.cos(phi), Math.cos(angle) - Math.sin(phi) * Math.sin(y));
    const x = ((((lambda + turn) / radians + 540) % 360) + 360) % 360 - 180;
    if (before !== null && Math.abs(x - before) > 180) pieces.push([]);
    pieces.at(-1).push([x, -y / radians]);
    before = x;
  }
  return pieces;
}

const path = (pieces) => pieces.filter((piece) => piece.length > 1)
  .map((piece) => `M${piece.map(([x, y]) => `${x.toFixed(2)} ${y.toFixed(2)}`).join("L")}`).join("");

/** `geo` is the data of geolocate: candidates, and perhaps uncertainty. */
export function worldMap(geo) {
  const [first] = geo.candidates;
  const parts = [h("path", { class: "land", d: LAND })];
  const uncertain = geo.uncertainty;
  for (const cluster of uncertain?.clusters || []) {
    parts.push(h("ellipse", { class: "cluster", cx: cluster.lon, cy: -cluster.lat, rx: 2 + 10 * Math.sqrt(cluster.mass), ry: 2 + 10 * Math.sqrt(cluster.mass) }));
  }
  if (uncertain && first) {
    if (uncertain.radius_50_km) parts.push(h("path", { class: "ring", d: path(circle(first.lat, first.lon, uncertain.radius_50_km)) }));
    if (uncertain.radius_90_km) parts.push(h("path", { class: "ring outer", d: path(circle(first.lat, first.lon, uncertain.radius_90_km)) }));
  }
  [...geo.candidates.entries()].reverse().forEach(([index, place]) => {
    parts.push(h("circle", { class: "place", cx: place.lon, cy: -place.lat, r: index === 0 ? 2.4 : 1.6 }));
    if (index < 5) parts.push(h("text", { x: place.lon + 2.6, y: -place.lat + 1.8 }, String(index + 1)));
  });
  return h("svg", { class: "map", viewBox: "-180 -84 360 142", role: "img", "aria-label": "Map of the world with the candidates; the list below says the same" }, parts);
}
