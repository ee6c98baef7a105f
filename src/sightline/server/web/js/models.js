// Models: what answers, what is missing, and downloads.
import { h, head, megabytes, problemNotice, request } from "./core.js";

const STATES = { ready: "in memory", available: "installed", missing: "not installed", loading: "being installed or loaded", failed: "failed" };
const page = document.getElementById("page");
const problems = h("div");
let timer = null;

async function pull(name) {
  problems.replaceChildren();
  try {
    await request(`v1/models/${encodeURIComponent(name)}/load`, { method: "POST" });
  } catch (error) {
    problems.replaceChildren(problemNotice(error, () => pull(name)));
  }
  await show();
}

function bar(download) {
  const text = `${megabytes(download.done_bytes)}${download.total_bytes ? ` of ${megabytes(download.total_bytes)}` : ""} · ${megabytes(download.bytes_per_s)}/s`;
  return h("div", {}, h("progress", { max: download.total_bytes || 1, value: download.total_bytes ? download.done_bytes : null, "aria-label": text }), h("div", { className: "soft small" }, text));
}

function row(model, usedBy) {
  const size = model.disk_bytes ? `${megabytes(model.disk_bytes)} on disk` : model.download_bytes ? `${megabytes(model.download_bytes)} to download` : "–";
  const canLoad = model.state === "missing" || model.state === "available" || model.state === "failed";
  const label = model.state === "missing" ? "Download" : model.state === "failed" ? "Try again" : "Load";
  return h("tr", {},
    h("td", {}, h("strong", {}, model.name), h("div", { className: "soft small" }, model.description),
      usedBy.length ? h("div", { className: "small" }, `for ${usedBy.map((each) => each.replaceAll("_", " ")).join(", ")}`) : null),
    h("td", {}, h("span", { className: `state-${model.state}` }, STATES[model.state] || model.state),
      model.provenance === "random" ? h("div", { className: "notice small" }, "made-up weights") : null,
      model.download ? bar(model.download) : null,
      model.problem ? h("div", { className: "small soft" }, model.problem) : null),
    h("td", {}, size, model.memory_bytes ? h("div", { className: "small" }, `${megabytes(model.memory_bytes)} in memory`) : null),
    h("td", {}, h("a", { href: model.homepage, rel: "noopener noreferrer", target: "_blank" }, model.licence),
      model.fingerprint ? h("div", { className: "soft small" }, h("code", {}, model.fingerprint)) : null),
    h("td", {}, canLoad ? h("button", { className: "small", type: "button", onclick: () => pull(model.name), "aria-label": `${label} ${model.name}` }, label) : null));
}

async function show() {
  clearTimeout(timer);
  try {
    const [{ operations }, { models }] = await Promise.all([request("v1/operations"), request("v1/models")]);
    const focused = document.activeElement?.getAttribute("aria-label");
    const usedBy = (name) => operations.filter((each) => each.models?.includes(name)).map((each) => each.name);
    const order = ["loading", "ready", "available", "failed", "missing"];
    const sorted = [...models].sort((one, other) => order.indexOf(one.state) - order.indexOf(other.state) || usedBy(other.name).length - usedBy(one.name).length);
    const now = operations.filter((each) => each.ready).map((each) => each.name.replaceAll("_", " "));
    const inMemory = models.reduce((sum, each) => sum + (each.memory_bytes || 0), 0);
    page.replaceChildren(
      h("p", {}, now.length ? `Answers now: ${now.join(", ")}.` : "No model is installed yet. Each is downloaded at its first request, or here."),
      h("p", { className: "soft small" }, `Weights in memory: ${megabytes(inMemory)}.`), problems,
      h("div", { className: "card scroll" }, h("table", { className: "stacked" }, h("thead", {}, h("tr", {}, ["Model", "State", "Size", "Licence", "Action"].map((each) => h("th", { scope: "col" }, each)))),
        h("tbody", {}, sorted.map((each) => row(each, usedBy(each.name)))))));
    if (focused) [...page.querySelectorAll("button")].find((each) => each.getAttribute("aria-label") === focused)?.focus();
    if (models.some((each) => each.state === "loading")) timer = setTimeout(show, 1000);
  } catch (error) {
    page.replaceChildren(problemNotice(error, show));
  }
}

head("models");
document.addEventListener("keychange", show);
show();
