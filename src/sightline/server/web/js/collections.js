// Collections: teach a class with photos in two areas, compare versions, promote and roll back.
import { h, head, percent, problemNotice, request } from "./core.js";

const page = document.getElementById("page");
const LEAST = 5;

function area(side, title, help) {
  const files = [];
  const thumbs = h("div", { className: "thumbs" });
  const count = h("span", { className: "soft small" }, "no photos");
  const input = h("input", { type: "file", id: `files-${side}`, multiple: true, accept: "image/*", className: "visually-hidden", onchange: () => { add(input.files); input.value = ""; } });
  const show = () => {
    count.textContent = files.length ? `${files.length} photos` : "no photos";
    thumbs.replaceChildren(...files.slice(0, 24).map(({ file, address }) => h("button", { type: "button", className: "small", title: `Remove ${file.name}`, "aria-label": `Remove ${file.name}`, onclick: () => {
      files.splice(files.findIndex((each) => each.file === file), 1);
      URL.revokeObjectURL(address);
      show();
    } }, h("img", { src: address, alt: "" }))), files.length > 24 ? h("span", { className: "soft small" }, `and ${files.length - 24} more`) : "");
  };
  const add = (list) => {
    for (const file of list) files.push({ file, address: URL.createObjectURL(file) });
    show();
  };
  const element = h("section", { className: "card drop", "aria-label": title,
    ondragover: (event) => event.preventDefault(),
    ondrop: (event) => { event.preventDefault(); event.stopPropagation(); add(event.dataTransfer.files); },
  }, h("h2", {}, title), h("p", { className: "soft small" }, help), h("div", { className: "row", style: { "justify-content": "center" } },
    h("button", { type: "button", onclick: () => input.click() }, "Choose photos"), count),
  h("label", { htmlFor: `files-${side}`, className: "visually-hidden" }, title), input, thumbs);
  return { element, files };
}

function teach() {
  const belongs = area("in", "Belongs to it", "Drop photos that show it.");
  const others = area("out", "Does not", "Drop photos of other things, the more like it the better.");
  const name = h("input", { id: "collection-name", required: true, pattern: "[A-Za-z0-9][A-Za-z0-9._\\-]{0,63}", title: "Letters, digits, dots, dashes and underscores" });
  const embedding = h("select", { id: "embedding" }, ["clip", "dinov2", "clip+dinov2"].map((each) => h("option", {}, each)));
  const said = h("div", { "aria-live": "polite" });
  const button = h("button", { className: "primary", type: "submit" }, "Train");
  const submit = async (event) => {
    event.preventDefault();
    if (belongs.files.length < LEAST || others.files.length < LEAST) {
      said.replaceChildren(h("p", { className: "notice", role: "alert" }, `Each side needs at least ${LEAST} photos; twenty or more work better.`));
      return;
    }
    button.disabled = true;
    try {
      const body = new FormData();
      for (const { file } of belongs.files) body.append("in", file, file.name);
      for (const { file } of others.files) body.append("out", file, file.name);
      body.append("embedding", embedding.value);
      const id = encodeURIComponent(name.value);
      let job = await request(`v1/collections/${id}/train`, { method: "POST", body });
      while (job.state === "waiting" || job.state === "running") {
        said.replaceChildren(h("p", {}, h("span", { className: "spinner" }), ` ${job.state === "waiting" ? "Waiting for another training" : job.step || "Starting"}`),
          job.total ? h("progress", { max: job.total, value: job.done, "aria-label": `${job.done} of ${job.total}` }) : "");
        await new Promise((resolve) => { setTimeout(resolve, 700); });
        job = await request(`v1/collections/${id}/train/${job.job}`);
      }
      if (job.state !== "done") throw new Error(job.error?.message || `The training was ${job.state}.`);
      said.replaceChildren(trained(job.result), h("p", {}, h("span", { className: "spinner" }), " Looking for doubtful examples"));
      await showList();
      said.lastChild.replaceWith(await doubtful(name.value, belongs.files, others.files));
    } catch (error) {
      said.replaceChildren(problemNotice(error));
    } finally {
      button.disabled = false;
    }
  };
  return h("form", { className: "card", onsubmit: submit }, h("h2", {}, "Teach a class"),
    h("div", { className: "row" }, h("div", {}, h("label", { htmlFor: "collection-name" }, "Name"), name), h("div", {}, h("label", { htmlFor: "embedding" }, "Embedding"), embedding)),
    h("div", { className: "two" }, belongs.element, others.element), h("div", { className: "row" }, button), said);
}

function trained(result) {
  const scores = result.trained.held_out;
  return h("div", {}, h("p", {}, h("strong", {}, "Trained. "), result.serving === result.trained.version ? "The new version serves." : `Version ${result.serving} was better and still serves.`),
    scores ? h("p", { className: "small" }, scoreWords(scores)) : h("p", { className: "small soft" }, "Too few photos to hold some out for a test."),
    result.skipped?.length ? h("details", {}, h("summary", {}, `${result.skipped.length} photos could not be used`), h("ul", {}, result.skipped.map((each) => h("li", {}, Object.values(each).join(": "))))) : null);
}

const scoreWords = (scores) => ["precision", "recall", "average_precision"].filter((name) => typeof scores[name] === "number")
  .map((name) => `${name.replaceAll("_", " ")} ${percent(scores[name])}`).join(" · ");

/** The examples of which the new classifier is least sure, or that it takes for the other side. */
async function doubtful(collection, belongs, others) {
  const found = [];
  const params = { collection_id: collection };
  for (const [wanted, files] of [[true, belongs], [false, others]]) {
    for (const { file, address } of files.slice(0, 60)) {
      const body = new FormData();
      body.append("image", file, file.name);
      body.append("tasks", JSON.stringify([{ operation: "classify", params }]));
      try {
        const answer = await request("v1/analyze", { method: "POST", body });
        const { data } = answer.images[0].results.classify;
        if (data) found.push({ file, address, wanted, data, doubt: wanted ? 1 - data.probability : data.probability });
      } catch { /* a photo that cannot be used is listed above */ }
    }
  }
  const shown = found.filter((each) => each.doubt > 0.25).sort((one, other) => other.doubt - one.doubt).slice(0, 12);
  if (!shown.length) return h("p", { className: "soft" }, "No doubtful examples.");
  return h("section", {}, h("h3", {}, "Doubtful examples"), h("p", { className: "soft small" }, "Check that they are on the right side."),
    h("div", { className: "row" }, shown.map((each) => h("figure", { style: { margin: "0" } }, h("span", { className: "thumbs" }, h("img", { src: each.address, alt: each.file.name })),
      h("figcaption", { className: "small" }, `${each.wanted ? "in" : "out"}, scored ${percent(each.data.probability)}`)))));
}

const list = h("div");
// Collections whose versions are shown: they stay open when the list is read again.
const opened = new Set();

async function showList() {
  try {
    const { collections } = await request("v1/collections");
    list.replaceChildren(...(collections.length ? collections.map(card) : [h("p", { className: "soft" }, "No collections yet.")]));
  } catch (error) {
    list.replaceChildren(problemNotice(error, showList));
  }
}

function card(summary) {
  const versions = h("div");
  const open = async () => {
    try {
      const found = await request(`v1/collections/${encodeURIComponent(summary.collection)}`);
      versions.replaceChildren(table(found));
    } catch (error) {
      versions.replaceChildren(problemNotice(error, open));
    }
  };
  const serving = summary.serving;
  return h("section", { className: "card", "aria-label": summary.collection }, h("h2", {}, summary.collection),
    serving ? h("p", { className: "small" }, `Version ${serving.version} serves · ${serving.examples} examples, ${serving.positives} of them in · `, serving.held_out ? scoreWords(serving.held_out) : "not tested") : null,
    summary.problem ? h("p", { className: "notice" }, summary.problem) : null,
    h("details", { open: opened.has(summary.collection), ontoggle: (event) => {
      if (!event.target.open) { opened.delete(summary.collection); return; }
      opened.add(summary.collection);
      open();
    } }, h("summary", {}, `Versions (${summary.versions})`), versions));
}

function table(found) {
  const change = async (action, body) => {
    try {
      await request(`v1/collections/${encodeURIComponent(found.collection)}/${action}`, { method: "POST", headers: { "Content-Type": "application/json" }, body: body ? JSON.stringify(body) : null });
      await showList();
      // The button is gone with the old list: the keyboard goes on from the same collection.
      [...list.children].find((each) => each.getAttribute("aria-label") === found.collection)?.querySelector("summary").focus();
    } catch (error) {
      list.prepend(problemNotice(error));
    }
  };
  const figure = (scores, name) => (typeof scores?.[name] === "number" ? percent(scores[name]) : "–");
  return h("div", { className: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, ["Version", "Examples", "Precision", "Recall", "Same test", "Action"].map((each) => h("th", { scope: "col" }, each)))),
    h("tbody", {}, found.versions.map((each) => h("tr", {}, h("td", {}, each.version, each.serving ? h("strong", { className: "small" }, " serves") : null), h("td", {}, each.examples ?? "–"),
      h("td", {}, figure(each.held_out, "precision")), h("td", {}, figure(each.held_out, "recall")), h("td", {}, each.newest_held_out ? scoreWords(each.newest_held_out) : "–"),
      h("td", {}, each.serving ? null : h("button", { className: "small", type: "button", onclick: () => change("promote", { version: each.version }), "aria-label": `Promote ${each.version}` }, "Promote")))))),
  h("p", {}, h("button", { className: "small", type: "button", onclick: () => change("rollback"), disabled: found.history.length === 0 }, "Roll back to what served before")),
  h("p", { className: "soft small" }, "Precision and recall are of each version's own held-out photos. Same test compares all versions on the newest held-out photos."));
}

head("collections");
document.addEventListener("keychange", showList);
page.replaceChildren(teach(), h("h2", {}, "Collections"), list);
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => event.preventDefault());
showList();
