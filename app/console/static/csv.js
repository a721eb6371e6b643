// A look into a file before it is sent. The service reads it anew and has the last word.

const LOOK_BYTES = 4 * 1024 * 1024;

/** The file's columns, first rows and row count: {columns, rows, whole}. Throws Error with a reason. */
export async function lookInto(file) {
  const name = file.name.toLowerCase();
  const text = await file.slice(0, LOOK_BYTES).text();
  const whole = file.size <= LOOK_BYTES;
  if (!text.trim()) throw new Error("The file is empty.");
  if (/\.(jsonl|ndjson)$/.test(name)) return { ...fromLines(text, whole), whole };
  if (/\.(csv|tsv)$/.test(name)) return { ...fromTable(text, whole), whole };
  throw new Error("Expected a file ending in .csv, .tsv or .jsonl.");
}

function fromLines(text, whole) {
  const lines = text.split("\n");
  if (!whole) lines.pop(); // cut in the middle
  const rows = lines.filter((line) => line.trim()).map((line, place) => {
    try {
      return JSON.parse(line);
    } catch {
      throw new Error(`Line ${place + 1} is not JSON.`);
    }
  });
  const columns = [...new Set(rows.slice(0, 100).flatMap((row) => Object.keys(row ?? {})))];
  const shown = (value) => (Array.isArray(value) ? value.join("|") : String(value ?? ""));
  return { columns, rows: rows.map((row) => columns.map((column) => shown(row?.[column]))), json: true };
}

function fromTable(text, whole) {
  const [header, ...rows] = parse(text.replace(/^\uFEFF/, ""));
  if (!whole) rows.pop();
  const columns = header.map((column) => column.trim());
  if (columns.length < 2) throw new Error("The first line must name at least two columns: the text and its label.");
  if (!rows.length) throw new Error("There are no rows under the first line.");
  return { columns, rows, json: false };
}

/** Rows of a CSV, with quotes; the separator is the commonest of , ; and tab in the first line. */
export function parse(text) {
  const first = text.split("\n", 1)[0];
  const times = (mark) => first.split(mark).length - 1;
  const separator = [",", ";", "\t"].reduce((best, mark) => (times(mark) > times(best) ? mark : best));
  const rows = [];
  let row = [];
  let cell = "";
  let quoted = false;
  const endRow = () => {
    row.push(cell);
    if (row.length > 1 || row[0] !== "") rows.push(row);
    row = [];
    cell = "";
  };
  for (let place = 0; place < text.length; place += 1) {
    const letter = text[place];
    if (quoted) {
      if (letter !== '"') cell += letter;
      else if (text[place + 1] === '"') {
        cell += '"';
        place += 1;
      } else quoted = false;
    } else if (letter === '"' && cell === "") quoted = true;
    else if (letter === separator) {
      row.push(cell);
      cell = "";
    } else if (letter === "\n") endRow();
    else if (letter !== "\r" || text[place + 1] !== "\n") cell += letter;
  }
  if (cell !== "" || row.length) endRow();
  return rows;
}

/** The likeliest columns of texts and of labels. */
export function guess(columns, rows) {
  const named = (names) => columns.find((column) => names.includes(column.toLowerCase()));
  const length = (place) => rows.slice(0, 50).reduce((sum, row) => sum + (row[place] ?? "").length, 0);
  const longest = columns.reduce((best, _, place) => (length(place) > length(best) ? place : best), 0);
  const text = named(["text", "sentence", "content", "message", "body", "title"]) ?? columns[longest];
  const label = named(["label", "labels", "class", "category", "target", "intent", "value"]) ?? columns.findLast((column) => column !== text);
  return { text, label };
}
