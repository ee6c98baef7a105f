// The same request in other words: curl, Python, the command line, JSON.

/** A name that no program takes for an option or for standard input. */
const path = (name) => (name.startsWith("-") ? `./${name}` : name);
/** In quotes of curl's own: without them a semicolon or a comma would end the name. */
const uploaded = (name) => `image=@"${path(name).replaceAll("\\", "\\\\").replaceAll("\"", "\\\"")}"`;
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** In the JSON that is shown, in place of the contents of the file, which are copied with it. */
export const contentsOf = (name) => `<contents of ${name} in base64>`;

/** `photo` is the name of a file, a URL (`isUrl`), or null. The key is never part of a snippet. */
export function snippets(base, operation, params, photo, isUrl, needsKey) {
  const task = Object.keys(params).length ? { operation, params } : { operation };
  const tasks = JSON.stringify([task]);
  const address = `${base}v1/analyze`;
  const key = needsKey ? " \\\n  -H \"X-API-Key: $SIGHTLINE_API_KEY\"" : "";
  const body = { ...(isUrl ? { url: photo } : {}), tasks: [task] };
  const file = photo && !isUrl ? photo : null;
  return {
    curl: file
      ? `curl ${address}${key} \\\n  -F ${quoted(uploaded(file))} \\\n  -F ${quoted(`tasks=${tasks}`)}`
      : `curl ${address}${key} \\\n  -H 'Content-Type: application/json' \\\n  -d ${quoted(JSON.stringify(body))}`,
    Python: python(address, tasks, body, file, needsKey),
    CLI: cli(operation, params, photo),
    JSON: JSON.stringify(file ? { base64: contentsOf(file), tasks: [task] } : body, null, 2),
  };
}

function python(address, tasks, body, file, needsKey) {
  const headers = needsKey ? "headers = {\"X-API-Key\": os.environ[\"SIGHTLINE_API_KEY\"]}\n" : "";
  const sent = needsKey ? ", headers=headers" : "";
  const imports = `${needsKey ? "import os\n\n" : ""}import requests\n\n`;
  if (!file) return `${imports}${headers}answer = requests.post(${JSON.stringify(address)}, json=${literal(body)}${sent})\nprint(answer.json())`;
  return `${imports}${headers}with open(${JSON.stringify(file)}, "rb") as photo:\n    answer = requests.post(\n        ${JSON.stringify(address)},\n        files={"image": photo},\n        data={"tasks": ${JSON.stringify(tasks)}}${sent},\n    )\nprint(answer.json())`;
}

/** A value as Python writes it. */
function literal(value) {
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value === "object") return `{${Object.entries(value).map(([name, each]) => `${JSON.stringify(name)}: ${literal(each)}`).join(", ")}}`;
  return JSON.stringify(value);
}

function cli(operation, params, photo) {
  const values = Object.entries(params).map(([name, value]) => `${name}=${JSON.stringify(value)}`);
  const task = values.length ? `${operation}:${values.join(",")}` : operation;
  return `sightline analyze ${photo ? `${quoted(path(photo))} ` : ""}--task ${quoted(task)} --json`;
}
