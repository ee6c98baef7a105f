// A form for the parameters of any operation, made from their JSON schema.
import { h } from "./core.js";

const resolve = (schema, root) => {
  let found = schema;
  if (found.$ref) found = { ...root.$defs[found.$ref.split("/").pop()], ...found, $ref: undefined };
  const options = (found.anyOf || found.oneOf || []).filter((each) => each.type !== "null");
  // Of several forms a list of texts, or one text, is the easiest to fill in.
  const easiest = options.length === 1 ? options[0]
    : options.find((each) => each.type === "array" && each.items?.type === "string") || options.find((each) => each.type === "string");
  if (easiest) found = { ...resolve(easiest, root), ...found, anyOf: undefined, oneOf: undefined, optional: true };
  return found;
};

let counter = 0;

/**
 * Make the fields of an operation, filled in from its example if it needs parameters. `read()` returns the parameters that differ from their defaults; it throws
 * an Error that names the field if one cannot be read.
 */
export function form(schema, example = {}, needsParams = false) {
  const required = new Set(schema.required || []);
  const fields = Object.entries(schema.properties || {}).map(([name, property]) =>
    field(name, resolve(property, schema), required.has(name), needsParams ? example[name] : undefined));
  return {
    element: h("div", { className: "fields" }, fields.map((each) => each.element)),
    isEmpty: fields.length === 0,
    needsInput: needsParams,
    read: () => {
      const values = {};
      for (const each of fields) {
        const value = each.read();
        if (value !== undefined) values[each.name] = value;
      }
      return values;
    },
  };
}

function field(name, schema, isRequired, example) {
  const id = `field-${counter += 1}`;
  const words = name.replaceAll("_", " ");
  const described = schema.description ? `${id}-help` : null;
  const { input, value } = control(id, name, schema, example, described);
  const help = schema.description ? h("div", { className: "soft small", id: described }, schema.description) : null;
  const label = h("label", { htmlFor: id }, words, isRequired ? " (required)" : "");
  const read = () => {
    const found = value();
    if (found === undefined && isRequired) throw new Error(`${words}: a value is required`);
    return JSON.stringify(found) === JSON.stringify(schema.default) ? undefined : found;
  };
  const isTick = schema.type === "boolean";
  return { name, read, element: h("div", {}, isTick ? h("div", { className: "row" }, input, label) : [label, input], help) };
}

function control(id, name, schema, example, describedBy) {
  const common = { id, "aria-describedby": describedBy };
  const start = example ?? schema.default;
  if (schema.enum) {
    const input = h("select", common, schema.optional ? h("option", { value: "" }, "–") : null,
      schema.enum.map((each) => h("option", { value: String(each), selected: each === start }, String(each))));
    const byText = new Map(schema.enum.map((each) => [String(each), each]));
    return { input, value: () => byText.get(input.value) };
  }
  if (schema.type === "boolean") {
    const input = h("input", { ...common, type: "checkbox", checked: Boolean(start) });
    return { input, value: () => input.checked };
  }
  if (schema.type === "integer" || schema.type === "number") {
    const input = h("input", {
      ...common, type: "number", value: start ?? "", step: schema.type === "integer" ? 1 : "any",
      min: schema.minimum ?? null, max: schema.maximum ?? null,
    });
    return { input, value: () => {
      if (input.value === "") return undefined;
      if (!input.checkValidity()) throw new Error(`${name}: ${input.validationMessage}`);
      return Number(input.value);
    } };
  }
  if (schema.type === "array" && schema.items?.type === "string") return chips(common, Array.isArray(start) ? start : []);
  if (schema.type === "string") {
    const isLong = (schema.maxLength || 0) > 300;
    const input = h(isLong ? "textarea" : "input", { ...common, value: start ?? "", rows: isLong ? 3 : null });
    return { input, value: () => (input.value === "" ? undefined : input.value) };
  }
  // No example here: it would have to fit what is entered in the other fields.
  const preset = schema.default ?? null;
  const input = h("textarea", { ...common, rows: 2, placeholder: "JSON", value: preset === null ? "" : JSON.stringify(preset) });
  return { input, value: () => {
    if (input.value.trim() === "") return undefined;
    try { return JSON.parse(input.value); } catch { throw new Error(`${name}: this is not valid JSON`); }
  } };
}

/** A list of texts: Enter or a comma adds what is typed. */
function chips(common, start) {
  const texts = [...start];
  const list = h("div", { className: "chips" });
  const input = h("input", { ...common, placeholder: "Type and press Enter", onkeydown: (event) => {
    if (event.key !== "Enter" && event.key !== ",") return;
    event.preventDefault();
    take();
  } });
  const take = () => {
    const text = input.value.trim();
    if (text && !texts.includes(text)) texts.push(text);
    input.value = "";
    show();
  };
  const show = () => list.replaceChildren(...texts.map((text) => h("span", { className: "chip" }, text,
    h("button", { type: "button", "aria-label": `Remove ${text}`, onclick: () => { texts.splice(texts.indexOf(text), 1); show(); input.focus(); } }, "×"))));
  show();
  return { input: h("div", {}, list, input), value: () => { if (input.value.trim()) take(); return texts.length ? [...texts] : undefined; } };
}
