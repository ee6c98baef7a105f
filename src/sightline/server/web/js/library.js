// Library: search photos by words, by example, by place and date; photos that show the same.
import { h, head, problemNotice, request } from "./core.js";

const page = document.getElementById("page");
const results = h("div", { "aria-live": "polite" });
const state = { name: null, example: null };
const MOST = 40;

const FIELDS = [
  ["text", "What the photos show", "red bicycle in snow", "search"],
  ["minus", "But not", "people", "text"],
  ["after", "Taken from", "2021-06", "text"],
  ["before", "Taken before", "2022", "text"],
  ["near", "Near", "52.1,5.1,20km", "text"],
  ["where", "Condition", 'species = "Vulpes vulpes"', "text"],
];

const address = (rest) => `v1/libraries/${encodeURIComponent(state.name)}/${rest}`;

function field([name, label, example, type]) {
  const input = h("input", { id: `search-${name}`, type, placeholder: example });
  return { name, input, element: h("div", {}, h("label", { htmlFor: input.id, className: "small" }, label), input) };
}

function searchForm() {
  const fields = FIELDS.map(field);
  const shown = h("span", { className: "thumbs" });
  const file = h("input", { type: "file", id: "like", accept: "image/*", className: "visually-hidden", onchange: () => take(file.files[0]) });
  const take = (chosen) => {
    if (state.example) URL.revokeObjectURL(state.example.address);
    state.example = chosen ? { file: chosen, address: URL.createObjectURL(chosen) } : null;
    shown.replaceChildren(...(state.example ? [h("img", { src: state.example.address, alt: chosen.name }),
      h("button", { className: "small", type: "button", onclick: () => { file.value = ""; take(null); } }, "Without the photo")] : []));
  };
  const submit = (event) => {
    event.preventDefault();
    const query = new URLSearchParams({ limit: String(MOST) });
    for (const each of fields) if (each.input.value.trim()) query.append(each.name, each.input.value.trim());
    const options = { method: "POST" };
    if (state.example) {
      options.body = new FormData();
      options.body.append("image", state.example.file, state.example.file.name);
    }
    search(`search?${query}`, options);
  };
  const [text, ...others] = fields;
  return h("form", { className: "card", onsubmit: submit,
    ondragover: (event) => event.preventDefault(),
    ondrop: (event) => { event.preventDefault(); event.stopPropagation(); take(event.dataTransfer.files[0]); },
  }, h("div", { className: "row", style: { "align-items": "end" } }, text.element,
    h("button", { className: "primary", type: "submit" }, "Search"),
    h("button", { type: "button", onclick: () => file.click() }, "Like a photo"),
    h("label", { htmlFor: "like", className: "visually-hidden" }, "Photo to be like"), file, shown,
    h("button", { type: "button", onclick: () => duplicates() }, "Duplicates")),
  h("details", {}, h("summary", { className: "small" }, "More conditions"), h("div", { className: "two" }, others.map((each) => each.element))));
}

async function search(rest, options) {
  results.replaceChildren(h("p", {}, h("span", { className: "spinner" }), " Searching"));
  try {
    const found = await request(address(rest), options);
    const count = found.hits.length ? `${found.hits.length} of ${found.searched.toLocaleString()} photos, the best first` : `None of ${found.searched.toLocaleString()} photos matches clearly.`;
    results.replaceChildren(...found.warnings.map((each) => h("p", { className: "notice" }, each)),
      h("p", { className: "soft" }, count), h("div", { className: "gallery" }, found.hits.map(card)));
  } catch (error) {
    results.replaceChildren(problemNotice(error, () => search(rest, options)));
  }
}

async function duplicates() {
  results.replaceChildren(h("p", {}, h("span", { className: "spinner" }), " Comparing"));
  try {
    const { groups } = await request(address("duplicates"));
    const words = { exact: "Equal files", near: "The same picture", burst: "Taken within seconds" };
    results.replaceChildren(h("p", { className: "soft" }, groups.length ? `${groups.length} groups. The first photo of each is the one to keep. Nothing is deleted here.` : "No photos show the same."),
      ...groups.map((group) => h("section", { className: "card", "aria-label": words[group.kind] },
        h("h2", {}, words[group.kind]), h("p", { className: "soft small" }, `Keep the first: ${group.reason}`),
        h("div", { className: "gallery" }, [group.best, ...group.others].map(card)))));
  } catch (error) {
    results.replaceChildren(problemNotice(error, duplicates));
  }
}

/** One photo: its small copy, what is known of it, and a way to those that are like it. */
function card(item) {
  const name = item.path.split("/").pop();
  const image = h("img", { alt: name });
  thumbnail(item.id, image);
  const about = [item.taken_at?.slice(0, 10), item.place, item.copies?.length ? `${item.copies.length} copies` : null].filter(Boolean).join(" · ");
  const facts = h("dl", { className: "small" });
  return h("figure", { className: "found", "aria-label": name }, image,
    h("figcaption", {}, h("strong", {}, name), typeof item.score === "number" ? h("span", { className: "tag" }, item.score.toFixed(2)) : null,
      h("div", { className: "soft small" }, about), h("div", { className: "row" },
        h("button", { className: "small", type: "button", onclick: () => search("search", like(item.id)) }, "More like it")),
      h("details", { className: "small", ontoggle: (event) => { if (event.target.open) showFacts(item.id, facts); } }, h("summary", {}, "Details"), facts)));
}

const like = (id) => ({ method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ like: [id], limit: MOST }) });

async function thumbnail(id, image) {
  try {
    const response = await request(address(`items/${id}/thumbnail`), { raw: true });
    const shown = URL.createObjectURL(await response.blob());
    image.onload = () => URL.revokeObjectURL(shown);
    image.src = shown;
  } catch {
    image.alt += " (its file cannot be read now)";
  }
}

async function showFacts(id, list) {
  try {
    const { answers, ...facts } = await request(address(`items/${id}`));
    const rows = [...Object.entries(facts), ...Object.entries(answers).map(([name, value]) => [name, JSON.stringify(value)])];
    list.replaceChildren(...rows.filter(([, value]) => value !== null).flatMap(([name, value]) => [h("dt", {}, name.replaceAll("_", " ")), h("dd", {}, String(value))]));
  } catch (error) {
    list.replaceChildren(h("dd", {}, error.message));
  }
}

async function start() {
  try {
    const { libraries } = await request("v1/libraries");
    if (!libraries.length) {
      page.replaceChildren(h("section", { className: "card" }, h("p", {}, "There is no library yet. On the machine of this server, run:"), h("pre", { tabIndex: 0 }, "sightline index ~/Pictures")));
      return;
    }
    const choice = h("select", { id: "library", onchange: () => { state.name = choice.value; results.replaceChildren(); } },
      libraries.map((each) => h("option", { value: each.name }, `${each.name} (${each.photos.toLocaleString()} photos)`)));
    state.name = libraries.some((each) => each.name === state.name) ? state.name : libraries[0].name;
    choice.value = state.name;
    page.replaceChildren(h("div", { className: "row" }, h("label", { htmlFor: "library" }, "Library"), choice), searchForm(), results);
  } catch (error) {
    page.replaceChildren(problemNotice(error, start));
  }
}

head("library");
document.addEventListener("keychange", start);
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => event.preventDefault());
start();
