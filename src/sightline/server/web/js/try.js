// Try it: give photos, choose what to ask, see the answers drawn.
import { apiKey, copy, h, head, megabytes, problemNotice, request } from "./core.js";
import { form } from "./form.js";
import { overlay } from "./overlay.js";
import { renderData, waterfall } from "./results.js";
import { contentsOf, snippets } from "./snippets.js";

const SAMPLES = [["cat", "A cat"], ["astronaut", "An astronaut"], ["coffee", "A cup of coffee"], ["rocket", "A rocket"]];
const SHOWN_BY_BROWSERS = /^image\/(jpeg|png|webp|gif|bmp|avif)$/;
const AT_ONCE = 3;
const MAX_PHOTOS = 30;
// Chosen at first if nothing is installed: a download of a few megabytes, and no key.
const FIRST_CHOICES = ["detect_faces", "read_text"];
const CHOSEN = "sightline-chosen";

const state = { operations: [], licences: new Map(), chosen: new Set(), forms: new Map(), photos: [], needsKey: false };
const found = h("div", { className: "photos" });
const said = h("p", { className: "visually-hidden", role: "status", "aria-live": "polite" });

// -- Requests: a few at a time, in order ---------------------------------------------------------------------
const waiting = [];
let running = 0;
function enqueue(work) {
  waiting.push(work);
  next();
}
function next() {
  while (running < AT_ONCE && waiting.length) {
    running += 1;
    waiting.shift()().finally(() => { running -= 1; next(); });
  }
}

// -- Photos --------------------------------------------------------------------------------------------------
let numberOfUnnamed = 0;
/** Browsers name every pasted or taken photo the same, such as image.png: number it instead. */
function renamed(file) {
  if (!/^(image)?(\.\w+)?$/i.test(file.name)) return file;
  numberOfUnnamed += 1;
  const ending = /\.\w+$/.exec(file.name)?.[0] || `.${file.type.split("/")[1] || "png"}`;
  return new File([file], `photo-${numberOfUnnamed}${ending}`, { type: file.type });
}

/** `isOnDisk`: the user has them as files of these names. */
function addFiles(files, isOnDisk = true) {
  const room = MAX_PHOTOS - state.photos.length;
  const list = [...files];
  if (list.length > room) showNotice(`${list.length} photos were given; this page takes ${MAX_PHOTOS}. The first ${Math.max(room, 0)} were taken. For folders use: sightline analyze *.jpg`);
  for (const file of list.slice(0, Math.max(room, 0))) addPhoto({ name: file.name, file, isOnDisk });
}

function showNotice(text) {
  const notice = h("div", { className: "notice", role: "alert" }, text, " ", h("button", { className: "small", type: "button", onclick: () => notice.remove() }, "Close"));
  found.prepend(notice);
}

async function addSample(name) {
  const response = await fetch(`web/samples/${name}.jpg`);
  addFiles([new File([await response.blob()], `${name}.jpg`, { type: "image/jpeg" })], false);
}

function addPhoto(photo) {
  photo.results = new Map();
  photo.body = h("div", { className: "results" });
  photo.stage = h("div", { className: "canvas-column" }, h("p", { className: "soft" }, h("span", { className: "spinner" }), " Opening"));
  photo.card = h("section", { className: "card", "aria-label": photo.name },
    h("div", { className: "spread" }, h("h2", {}, photo.name),
      h("div", { className: "row" }, photo.facts = h("span", { className: "soft small" }),
        h("button", { className: "small", type: "button", onclick: () => removePhoto(photo) }, "Remove"))),
    h("div", { className: "photo" }, photo.stage, photo.body));
  state.photos.unshift(photo);
  found.prepend(photo.card);
  if (matchMedia("(max-width: 820px)").matches) photo.card.scrollIntoView({ block: "start" });
  open(photo);
}

function removePhoto(photo) {
  photo.isRemoved = true;
  state.photos.splice(state.photos.indexOf(photo), 1);
  for (const entry of photo.results.values()) entry.abort.abort();
  for (const address of [photo.address, photo.original]) if (address) URL.revokeObjectURL(address);
  photo.card.remove();
}

/** Show the photo: by the browser, or as the server sees it where the browser cannot. */
async function open(photo) {
  try {
    const shown = photo.file && (SHOWN_BY_BROWSERS.test(photo.file.type) || photo.file.type === "");
    let image = null;
    if (shown) {
      const address = URL.createObjectURL(photo.file);
      image = await loaded(address).catch(() => null);
      if (image) photo.address = address;
    }
    if (!image) image = await preview(photo);
    if (photo.isRemoved) { URL.revokeObjectURL(photo.address); return; }
    photo.overlay = overlay(image, image.naturalWidth, image.naturalHeight);
    photo.facts.textContent = [`${image.naturalWidth} × ${image.naturalHeight}`, photo.file ? megabytes(photo.file.size) : ""].filter(Boolean).join(" · ");
    photo.stage.replaceChildren(photo.overlay.element);
  } catch (error) {
    const isAsked = state.operations.some((each) => each.needs_image && state.chosen.has(each.name));
    // Every result says what is wrong: here it is said only if there are none.
    photo.stage.replaceChildren(isAsked ? h("p", { className: "soft" }, "This photo cannot be shown.") : problemNotice(error));
  }
  runAll(photo);
}

function loaded(address) {
  return new Promise((resolve, reject) => {
    const image = h("img", { alt: "" });
    image.onload = () => resolve(image);
    image.onerror = () => { URL.revokeObjectURL(address); reject(new Error("not shown")); };
    image.src = address;
  });
}

/** A copy that any browser shows; boxes are in pixels of the original, so its size comes along. */
async function preview(photo) {
  const response = await request("v1/preview", photoBody(photo, {}, true));
  const address = URL.createObjectURL(await response.blob());
  const image = await loaded(address);
  const [width, height] = [Number(response.headers.get("X-Image-Width")), Number(response.headers.get("X-Image-Height"))];
  if (width && height) {
    Object.defineProperty(image, "naturalWidth", { value: width });
    Object.defineProperty(image, "naturalHeight", { value: height });
  }
  photo.address = address;
  return image;
}

function photoBody(photo, fields, raw = false) {
  if (photo.url) {
    return { method: "POST", raw, headers: { "Content-Type": "application/json" }, body: JSON.stringify({ url: photo.url, ...fields }) };
  }
  const body = new FormData();
  if (photo.file) body.append("image", photo.file, photo.name);
  for (const [name, value] of Object.entries(fields)) body.append(name, JSON.stringify(value));
  return { method: "POST", raw, body };
}

// -- Questions -----------------------------------------------------------------------------------------------
function runAll(photo) {
  for (const operation of state.operations) {
    if (state.chosen.has(operation.name) && operation.needs_image) run(photo, operation);
  }
}

function run(photo, operation) {
  photo.results.get(operation.name)?.abort.abort();
  const abort = new AbortController();
  const card = h("section", { className: "result", "aria-label": operation.name });
  const before = photo.results.get(operation.name)?.card;
  if (before) before.replaceWith(card);
  else photo.body.append(card);
  photo.results.set(operation.name, { card, abort });
  let params;
  try {
    params = formOf(operation).read();
  } catch (error) {
    card.replaceChildren(title(operation), h("p", { className: "notice error", role: "alert" }, error.message));
    return;
  }
  const busy = h("p", { className: "soft" }, h("span", { className: "spinner" }), " ", progress(operation));
  card.replaceChildren(title(operation, false, h("button", { className: "small", type: "button", onclick: () => abort.abort() }, "Cancel")), busy);
  enqueue(async () => {
    if (abort.signal.aborted) return cancelled(card, photo, operation);
    const watch = setInterval(() => showDownload(operation, busy), 2000);
    try {
      const task = { operation: operation.name, params };
      const answer = await request("v1/analyze", { ...photoBody(photo, { tasks: [task] }), signal: abort.signal });
      const entry = answer.images[0];
      const result = entry.results[operation.name];
      if (entry.error || result.status === "error") throw Object.assign(new Error((entry.error || result.error).message), { code: (entry.error || result.error).code, retryAfterS: (entry.error || result.error).retry_after_s });
      showResult(card, photo, operation, params, result, answer);
    } catch (error) {
      if (error.name === "AbortError") return cancelled(card, photo, operation);
      if (error.code === "model_unavailable") note(operation, " Its model could not be downloaded.");
      card.replaceChildren(title(operation), problemNotice(error, () => run(photo, operation)));
      said.textContent = `${operation.name}: ${error.message}`;
    } finally {
      clearInterval(watch);
    }
    return undefined;
  });
}

function cancelled(card, photo, operation) {
  card.replaceChildren(title(operation), h("p", { className: "row soft" }, "Cancelled.",
    h("button", { className: "small", type: "button", onclick: () => run(photo, operation) }, "Ask again")));
}

const progress = (operation) => (operation.missing?.length ? `Downloading the model first: ${operation.download}` : "Working");

async function showDownload(operation, busy) {
  if (!operation.missing?.length) return;
  try {
    const { models } = await request("v1/models");
    const coming = models.find((each) => operation.missing.includes(each.name) && each.download);
    if (coming) busy.lastChild.textContent = `${coming.name}: ${megabytes(coming.download.done_bytes)}${coming.download.total_bytes ? ` of ${megabytes(coming.download.total_bytes)}` : ""} at ${megabytes(coming.download.bytes_per_s)}/s`;
  } catch { /* the request itself says what is wrong */ }
}

const title = (operation, isMadeUp = false, ...more) => h("header", {},
  h("h3", {}, operation.name.replaceAll("_", " "), isMadeUp ? [" ", h("strong", { className: "tag" }, "made up")] : null), more);

function showResult(card, photo, operation, params, result, answer) {
  operation.missing = [];
  note(operation, "");
  const used = result.models || (result.model ? [result.model] : []);
  const isMadeUp = used.some((model) => model.provenance === "random");
  card.classList.toggle("made-up", isMadeUp);
  const show = photo.overlay ? drawing(photo, card) : null;
  const body = result.status === "skipped"
    ? h("p", { className: "soft" }, result.error?.message || result.message || "Skipped: there is nothing of this kind in the photo.")
    : h("div", {}, renderData(result.data, show));
  if (isMadeUp) tellOfMadeUp();
  const warnings = (result.warnings || []).filter((each) => !(isMadeUp && each.includes("random weights")));
  card.replaceChildren(
    title(operation, isMadeUp, h("button", { className: "small", type: "button", onclick: () => run(photo, operation) }, "Ask again")),
    ...warnings.map((each) => h("p", { className: "notice" }, each)), body,
    h("details", { className: "small" }, h("summary", {}, `${Math.round(result.timing_ms.total)} ms · ${used.map((model) => model.name).join(", ")}`),
      waterfall(result.timing_ms),
      used.map((model) => h("p", { className: "soft" }, `${model.name} · fingerprint ${model.fingerprint} · ${model.provenance} · licence ${state.licences.get(model.name) || "–"}`))),
    sourceTabs(photo, operation, params, answer));
  if (show) for (const event of ["mouseenter", "focusin"]) card.addEventListener(event, show.again);
  said.textContent = `${operation.name}: done`;
}

/** Said once for all answers; each of them has a frame and a mark besides. */
function tellOfMadeUp() {
  const place = document.getElementById("made-up");
  if (!place.firstChild) place.append(h("p", { className: "notice" }, h("strong", {}, "Some models have random weights. "), "Answers that are marked as made up mean nothing."));
}

const note = (operation, text) => { if (operation.note) operation.note.textContent = text; };

/** Several results draw on one photo: the one under the pointer or with the focus wins, as it was last drawn. */
function drawing(photo, card) {
  let shapes = null;
  const show = (next) => {
    shapes = next;
    photo.drawn = card;
    photo.overlay.show(shapes);
  };
  return { show, light: photo.overlay.light, again: () => { if (shapes && photo.drawn !== card) show(shapes); } };
}

/** The address of the photo's own bytes, which may differ from the copy that is shown. */
function originalOf(photo) {
  photo.original ||= URL.createObjectURL(photo.file);
  return photo.original;
}

/** The text of a request, with the photo's contents in it where only their place is shown. */
async function complete(text, photo) {
  const place = photo.file && JSON.stringify(contentsOf(photo.name));
  if (!place || !text.includes(place)) return text;
  const reader = new FileReader();
  await new Promise((resolve) => { reader.onloadend = resolve; reader.readAsDataURL(photo.file); });
  return text.replace(place, () => JSON.stringify(reader.result.split(",")[1]));
}

let numberOfSources = 0;
function sourceTabs(photo, operation, params, answer) {
  const base = new URL("./", document.baseURI).href;
  const texts = { ...snippets(base, operation.name, params, photo.url || photo.name, Boolean(photo.url), state.needsKey), Answer: JSON.stringify(answer, null, 2) };
  const id = `source-${numberOfSources += 1}`;
  const panel = h("pre", { tabIndex: 0, id, role: "tabpanel", "aria-label": "The request" });
  const copyButton = h("button", { className: "small", type: "button", onclick: async () => copy(await complete(panel.textContent, photo), copyButton) }, "Copy");
  const buttons = Object.keys(texts).map((name) => h("button", {
    className: "small", type: "button", role: "tab", "aria-selected": "false", "aria-controls": id, tabIndex: -1,
    onclick: (event) => {
      for (const button of buttons) {
        button.setAttribute("aria-selected", String(button === event.target));
        button.tabIndex = button === event.target ? 0 : -1;
      }
      panel.textContent = texts[name];
      panel.setAttribute("aria-label", name);
    },
    onkeydown: (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = buttons[(buttons.indexOf(event.target) + step + buttons.length) % buttons.length];
      next.focus();
      next.click();
    },
  }, name));
  return h("details", { className: "small", ontoggle: (event) => { if (event.target.open && !panel.textContent) buttons[0].click(); } },
    h("summary", {}, "Same request as curl, Python, CLI, JSON"),
    photo.file && !photo.isOnDisk ? h("p", { className: "soft" }, `These read the file ${photo.name}. `, h("a", { href: originalOf(photo), download: photo.name }, "Save it"), " first.") : null,
    h("div", { className: "spread" }, h("div", { className: "tabs", role: "tablist", "aria-label": "Forms of the request" }, buttons), copyButton), panel);
}

// -- The page ------------------------------------------------------------------------------------------------
function formOf(operation) {
  if (!state.forms.has(operation.name)) state.forms.set(operation.name, form(operation.params, operation.example?.params || {}, operation.needs_params));
  return state.forms.get(operation.name);
}

function choice(operation) {
  const fields = formOf(operation);
  const box = h("input", { type: "checkbox", id: `op-${operation.name}`, checked: state.chosen.has(operation.name), onchange: () => {
    if (box.checked) state.chosen.add(operation.name);
    else state.chosen.delete(operation.name);
    localStorage.setItem(CHOSEN, JSON.stringify([...state.chosen]));
    if (box.checked && operation.needs_image) state.photos.forEach((photo) => run(photo, operation));
  } });
  operation.note = h("span", {}, operation.lacking ? ` Needs a setting: ${operation.lacking}.` : operation.missing?.length ? ` Downloads ${operation.download} first.` : "");
  const again = h("button", { className: "small primary", type: "button", onclick: () => ask(operation, box) }, "Ask");
  const settings = fields.isEmpty ? null : h("details", { open: fields.needsInput && state.chosen.has(operation.name) },
    h("summary", { className: "small" }, "Parameters"), fields.element, again);
  return h("div", { className: "choice" }, h("div", { className: "row" }, operation.needs_image ? box : null,
    h("label", { htmlFor: operation.needs_image ? `op-${operation.name}` : null }, h("span", { className: "name" }, operation.name.replaceAll("_", " ")),
      h("div", { className: "soft small" }, operation.description, operation.note))), settings ?? (operation.needs_image ? null : again));
}

// By what an operation needs. The first that fits has it; what fits none, such as a plug-in's, comes last.
const GROUPS = [
  ["Animals", ["species", "animal_boxes"]],
  ["Places", ["geolocation", "places"]],
  ["Kinds of picture", ["label_sets", "membership", "nsfw_score"]],
  ["Words", ["caption", "answer", "text_lines"]],
  ["People and things", ["person_boxes", "face_boxes", "object_boxes"]],
  ["Vectors", ["image_embedding", "text_embedding"]],
];
const ORDER = ["People and things", "Words", "Kinds of picture", "Animals", "Places", "Vectors", "More"];

function grouped(operations) {
  const groupOf = (operation) => GROUPS.find(([, needs]) => operation.needs.some((each) => needs.includes(each)))?.[0] || "More";
  return ORDER.map((name) => [name, operations.filter((each) => groupOf(each) === name)]).filter(([, some]) => some.length)
    .map(([name, some]) => h("fieldset", { className: "choices" }, h("legend", {}, name), some.map(choice)));
}

/** Ask with the parameters as they are now: about every photo, or about none. */
function ask(operation, box) {
  if (operation.needs_image) {
    if (!state.photos.length) { showNotice("Give a photo first."); return; }
    box.checked = true;
    state.chosen.add(operation.name);
    state.photos.forEach((photo) => run(photo, operation));
    return;
  }
  const photo = { name: "", results: new Map(), body: h("div", { className: "results" }) };
  const remove = () => { photo.results.forEach((entry) => entry.abort.abort()); photo.card.remove(); };
  photo.card = h("section", { className: "card", "aria-label": operation.name }, h("div", { className: "spread" }, h("h2", {}, "Without a photo"),
    h("button", { className: "small", type: "button", onclick: remove }, "Remove")), photo.body);
  found.prepend(photo.card);
  run(photo, operation);
}

function dropZone() {
  const input = h("input", { type: "file", id: "files", accept: "image/*,.heic,.heif,.avif,.tif,.tiff", multiple: true, className: "visually-hidden", onchange: () => { addFiles(input.files); input.value = ""; } });
  const camera = h("input", { type: "file", id: "camera", accept: "image/*", className: "visually-hidden", tabIndex: -1, onchange: () => { addFiles([...camera.files].map(renamed), false); camera.value = ""; } });
  camera.setAttribute("capture", "environment");
  const address = h("input", { type: "url", id: "address", placeholder: "https://…" });
  const byAddress = (event) => {
    event.preventDefault();
    if (!/^https?:\/\//.test(address.value)) { address.focus(); return; }
    addPhoto({ name: address.value.split("/").pop().slice(0, 80) || address.value, url: address.value });
    address.value = "";
  };
  return h("div", { className: "card" }, h("div", { className: "drop", id: "drop" },
    h("p", {}, h("strong", {}, "Drop photos here"), h("span", { className: "soft" }, ", or paste one")),
    h("div", { className: "row", style: { "justify-content": "center" } },
      h("button", { className: "primary", type: "button", onclick: () => input.click() }, "Choose photos"),
      h("button", { type: "button", onclick: () => camera.click() }, "Take a photo")),
    h("label", { htmlFor: "files", className: "visually-hidden" }, "Photo files"), input,
    h("label", { htmlFor: "camera", className: "visually-hidden" }, "Camera"), camera,
    h("form", { onsubmit: byAddress }, h("label", { htmlFor: "address", className: "soft small" }, "or the address of one"),
      h("div", { className: "address" }, address, h("button", { type: "submit" }, "Fetch")))),
  h("p", { className: "soft small" }, "Or try one of these:"),
  h("div", { className: "samples" }, SAMPLES.map(([name, words]) => h("button", { type: "button", onclick: () => addSample(name) }, h("img", { src: `web/samples/${name}.jpg`, alt: words })))));
}

function listen() {
  let depth = 0;
  const dragging = (on) => document.body.classList.toggle("dragging", on);
  document.addEventListener("dragenter", () => { depth += 1; dragging(true); });
  document.addEventListener("dragleave", () => { depth -= 1; if (depth <= 0) dragging(false); });
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    dragging(false);
    addFiles([...event.dataTransfer.files]);
  });
  document.addEventListener("paste", (event) => {
    if (event.target.closest("input, textarea")) return;
    const files = [...event.clipboardData.files];
    const text = event.clipboardData.getData("text").trim();
    if (files.length) addFiles(files.map(renamed), false);
    else if (/^https?:\/\/\S+$/.test(text)) addPhoto({ name: text.split("/").pop().slice(0, 80) || text, url: text });
  });
}

function firstChoices() {
  try {
    const kept = JSON.parse(localStorage.getItem(CHOSEN) || "null");
    if (Array.isArray(kept)) return new Set(kept);
  } catch { /* what was kept is of no use */ }
  const installed = state.operations.filter((each) => each.needs_image && each.ready && !each.needs_params).map((each) => each.name);
  const usual = installed.filter((name) => !name.startsWith("embed") && !name.startsWith("classify"));
  return new Set(usual.length ? usual : FIRST_CHOICES);
}

async function start() {
  try {
    const [{ operations }, { models }] = await Promise.all([request("v1/operations"), request("v1/models")]);
    state.operations = operations;
    state.licences = new Map(models.map((each) => [each.name, each.licence]));
    state.needsKey = Boolean(apiKey());
    state.chosen = firstChoices();
    const rank = (each) => (each.needs_image ? 0 : 4) + (each.ready ? 0 : each.lacking ? 2 : 1);
    const ordered = [...operations].sort((one, other) => rank(one) - rank(other));
    document.getElementById("page").replaceChildren(
      h("div", { id: "made-up" }),
      h("div", { className: "layout" },
        h("div", { className: "give" }, dropZone()),
        h("div", { className: "answers" }, found, h("p", { className: "soft", id: "empty" }, "Photos stay on this server. Results appear here.")),
        h("section", { className: "card ask" }, h("h2", {}, "Ask"), grouped(ordered))), said);
    if (models.some((each) => each.provenance === "random")) tellOfMadeUp();
  } catch (error) {
    document.getElementById("page").replaceChildren(problemNotice(error, start));
  }
}

head("./");
listen();
document.addEventListener("keychange", start);
start();
