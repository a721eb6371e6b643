// Numbers for people. Reports of imported versions may hold anything, so nothing is taken on trust.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const NONE = "–";

export const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
export const list = (value) => (Array.isArray(value) ? value : []);
export const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

export const count = (value) => (isNumber(value) ? whole.format(value) : NONE);
export const percent = (value, digits = 1) => (isNumber(value) ? `${(value * 100).toFixed(digits)}%` : NONE);
export const decimal = (value, digits = 3) => (isNumber(value) ? value.toFixed(digits) : NONE);

/** Three figures: 0.0123, 1.23, 12.3, 123. */
export function short(value) {
  if (!isNumber(value)) return NONE;
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1000) return whole.format(value);
  return value.toPrecision(size >= 100 ? 3 : size >= 0.0001 ? 3 : 2).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "");
}

export function milliseconds(value) {
  if (!isNumber(value)) return NONE;
  return value >= 1000 ? `${short(value / 1000)} s` : `${short(value)} ms`;
}

export function plural(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

/** A message of the service as a sentence. */
export const sentence = (message) => (message ? `${message[0].toUpperCase()}${message.slice(1)}.` : "");

export function date(seconds) {
  if (!isNumber(seconds)) return NONE;
  const day = new Date(seconds * 1000);
  return Number.isNaN(day.getTime())
    ? NONE
    : day.toLocaleString("en-GB", { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" });
}

export const KINDS = { single_label: "one label", multi_label: "several labels", regression: "a number" };
