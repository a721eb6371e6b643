// The api of this origin. A key, where one is needed, lives in sessionStorage alone: it is gone when
// the tab is closed, and no other site or tab is sent it.

import { askForKey } from "./key.js";

const NAME = "polyhead.key";

export class ApiError extends Error {
  constructor(message, status = 0, code = null) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

let key = read();
let asking = null;

function read() {
  try {
    return sessionStorage.getItem(NAME);
  } catch {
    return null;
  }
}

export const hasKey = () => key !== null;

/** Ask for a key, or for another one; at most one question at a time. True if one was given. */
export function changeKey(message) {
  asking ??= askForKey(message).then((given) => {
    asking = null;
    if (given === null) return false;
    key = given || null;
    try {
      if (key === null) sessionStorage.removeItem(NAME);
      else sessionStorage.setItem(NAME, key);
    } catch {
      // Then it holds until the page is loaded again.
    }
    document.dispatchEvent(new Event("keychange"));
    return true;
  });
  return asking;
}

/**
 * Send a request and read its JSON. `json` and `body` are what is sent.
 * Throws ApiError; an AbortError where the view was left.
 */
export async function api(path, options = {}) {
  const { response, answer } = await send(path, options);
  return { ...answer, headers: undefined, times: times(response) };
}

/** The same, for a file. */
export async function download(path, signal) {
  const { response } = await send(path, { signal, raw: true });
  return response.blob();
}

async function send(path, options) {
  for (;;) {
    const used = key;
    const response = await attempt(path, options, used);
    if (response.ok) return { response, answer: options.raw ? null : await response.json() };
    const error = await readError(response);
    if (response.status !== 401) throw error;
    // Somebody else's question may have brought a new key meanwhile.
    if (used === key && !(await changeKey(used === null ? "" : "That key is not accepted."))) throw error;
  }
}

async function attempt(path, { method = "GET", json, body, signal }, used) {
  const headers = {};
  if (used !== null) headers.authorization = `Bearer ${used}`;
  if (json !== undefined) headers["content-type"] = "application/json";
  try {
    return await fetch(path, {
      method,
      headers,
      body: json === undefined ? body : JSON.stringify(json),
      signal,
      credentials: "omit",
      cache: "no-store",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The service does not answer. Is it running?");
  }
}

async function readError(response) {
  try {
    const { error } = await response.json();
    return new ApiError(String(error.message), response.status, error.code);
  } catch {
    return new ApiError(`The service answered ${response.status}.`, response.status);
  }
}

function times(response) {
  const read = (name) => Number(response.headers.get(`x-${name}-time`) ?? Number.NaN);
  return { total: read("total"), inference: read("inference"), cache: read("cache"), queue: read("queue") };
}

/** A path with its parts escaped: path`/v1/tasks/${name}`. */
export function path(strings, ...parts) {
  return strings.reduce((left, right, place) => left + encodeURIComponent(parts[place - 1]) + right);
}
