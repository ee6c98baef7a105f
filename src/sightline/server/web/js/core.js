// What every page uses: elements, requests, the key, the theme and the head of the page.

/** Make an element. Strings become text, never markup. `on*` properties are listeners. */
export function h(tag, properties = {}, ...children) {
  const svg = SVG_TAGS.has(tag);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, each] of Object.entries(value)) element.style.setProperty(key, each);
    else if (!svg && name in element && name !== "list") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}
const SVG_TAGS = new Set(["svg", "g", "path", "rect", "circle", "line", "polygon", "text", "ellipse"]);

const KEY = "sightline-api-key";
export const apiKey = () => sessionStorage.getItem(KEY) || "";

/** An error of the server: `code`, `message`, `status`, and `retryAfterS` if it said when to come back. */
export class Problem extends Error {
  constructor(status, code, message, retryAfterS = null) {
    super(message);
    Object.assign(this, { status, code, retryAfterS });
  }
}

/** Request an address below the page's own folder and return the JSON of the answer. Throws a Problem. */
export async function request(path, options = {}) {
  const headers = new Headers(options.headers);
  if (apiKey()) headers.set("X-API-Key", apiKey());
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "unreachable", "The server does not answer. Is it still running?");
  }
  if (response.ok) return options.raw ? response : response.json();
  let problem = {};
  try { problem = await response.json(); } catch { /* a proxy's page */ }
  if (response.status === 401) askForKey();
  const retry = Number(response.headers.get("Retry-After"));
  throw new Problem(
    response.status,
    problem.code || String(response.status),
    problem.detail || response.statusText || "The server refused the request.",
    Number.isFinite(retry) && retry > 0 ? retry : null,
  );
}

let keyDialog = null;
/** Ask for the API key. It is kept in this tab's session storage only. */
export function askForKey() {
  if (keyDialog?.open) return;
  const field = h("input", { type: "password", id: "key-field", autocomplete: "off", value: apiKey(), size: 36 });
  const save = () => {
    if (field.value) sessionStorage.setItem(KEY, field.value);
    else sessionStorage.removeItem(KEY);
    keyDialog.close();
    document.dispatchEvent(new CustomEvent("keychange"));
  };
  keyDialog = h("dialog", { "aria-labelledby": "key-title" },
    h("h2", { id: "key-title" }, "API key"),
    h("p", {}, "This server needs a key, or refused the one it got. It is kept in this tab until you close it."),
    h("form", { method: "dialog", onsubmit: (event) => { event.preventDefault(); save(); } },
      h("label", { htmlFor: "key-field" }, "Key"), field,
      h("p", { className: "row" }, h("button", { className: "primary", type: "submit" }, "Use it"),
        h("button", { type: "button", onclick: () => keyDialog.close() }, "Cancel"))));
  keyDialog.addEventListener("close", () => keyDialog.remove());
  document.body.append(keyDialog);
  keyDialog.showModal();
}

const THEME = "sightline-theme";
function applyTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
}

/** Fill the head of the page. `current` is the address of this page. */
export function head(current) {
  applyTheme(localStorage.getItem(THEME));
  const dark = () => (document.documentElement.dataset.theme
    || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const theme = h("button", { className: "small", type: "button", onclick: () => {
    const next = dark() ? "light" : "dark";
    localStorage.setItem(THEME, next);
    applyTheme(next);
    theme.textContent = next === "dark" ? "Light" : "Dark";
  } }, dark() ? "Light" : "Dark");
  theme.setAttribute("aria-label", "Switch between light and dark");
  const link = ([address, name]) => h("a", { href: address, "aria-current": address === current ? "page" : null }, name);
  document.getElementById("top").append(
    h("a", { className: "brand", href: "./" }, h("img", { src: "web/favicon.svg", alt: "" }), "Sightline"),
    h("nav", { "aria-label": "Pages" },
      [["./", "Try it"], ["models", "Models"], ["collections", "Collections"], ["library", "Library"], ["docs", "API reference"]].map(link)),
    h("div", { className: "row" },
      h("button", { className: "small", type: "button", onclick: askForKey }, "Key"), theme));
}

/** A notice for an error, with what can be done about it. `again` is called by its button. */
export function problemNotice(error, again = null) {
  const cure = CURES[error.code] || (error.status === 401 ? CURES.unauthorized : null);
  const notice = h("div", { className: "notice error", role: "alert" },
    h("strong", {}, error.message), cure ? h("div", { className: "small" }, cure) : null);
  if (again) {
    const button = h("button", { className: "small", type: "button", onclick: again }, "Try again");
    notice.append(h("div", {}, button));
    if (error.retryAfterS) countDown(button, error.retryAfterS);
  }
  return notice;
}
const CURES = {
  unauthorized: "Give a valid key with the button Key at the top of the page.",
  unreachable: "Start it again with: sightline serve",
  model_loading: "The model is being downloaded or loaded. The page Models shows how far it is.",
  model_unavailable: "Download the model on the page Models, or on the command line: sightline models pull",
  overloaded: "The server is busy.",
  rate_limited: "Your share of requests is used up for now.",
};

function countDown(button, seconds) {
  let left = Math.ceil(seconds);
  button.disabled = true;
  const tick = () => {
    if (left <= 0) { button.disabled = false; button.textContent = "Try again"; return; }
    button.textContent = `Try again in ${left} s`;
    left -= 1;
    setTimeout(tick, 1000);
  };
  tick();
}

/** Copy a text, and say so on the button. */
export async function copy(text, button) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Select and press Ctrl+C";
  }
  setTimeout(() => { button.textContent = before; }, 2000);
}

export const megabytes = (bytes) => (bytes < 1e6 ? `${Math.round(bytes / 1e3)} kB` : bytes >= 1e9 ? `${(bytes / 1e9).toFixed(2)} GB` : `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`);
export const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;
