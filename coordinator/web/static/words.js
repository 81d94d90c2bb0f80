// Numbers and times in words for people. Unknown is null and is said so.

import { el } from "./dom.js";

export function bytes(value) {
  if (value === null || value === undefined) return "unknown";
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let step = 0;
  while (value >= 1024 && step < units.length - 1) {
    value /= 1024;
    step += 1;
  }
  return `${value >= 100 || step === 0 ? Math.round(value) : Number(value.toFixed(1))} ${units[step]}`;
}

// "61 of 80 GiB": the unit once when both have it.
export function bytesOf(used, total) {
  const [some, all] = [bytes(used), bytes(total)];
  const [number, unit] = some.split(" ");
  return unit && all.endsWith(` ${unit}`) ? `${number} of ${all}` : `${some} of ${all}`;
}

export function percent(value) {
  return value === null || value === undefined ? "unknown" : `${Math.round(value)} %`;
}

export function usd(value) {
  return value >= 0.1 || value === 0 ? `$${value.toFixed(2)}` : `$${Number(value.toPrecision(2))}`;
}

export function plural(count, word) {
  return `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
}

export function duration(seconds) {
  seconds = Math.max(0, Math.round(seconds));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
}

// Elements with data-since or data-ago are kept current by tick().
export function since(start, end) {
  if (!start) return el("span", {}, "–");
  if (end) return el("span", {}, duration(end - start));
  return el("span", { "data-since": start }, duration(Date.now() / 1000 - start));
}

export function ago(moment) {
  if (!moment) return el("span", {}, "never");
  const date = new Date(moment * 1000);
  return el("time", { datetime: date.toISOString(), title: date.toLocaleString(), "data-ago": moment }, agoWords(moment));
}

function agoWords(moment) {
  const seconds = Date.now() / 1000 - moment;
  return seconds < 10 ? "just now" : `${duration(seconds - (seconds > 60 ? seconds % 60 : 0)).replace(" 0 s", "")} ago`;
}

function tick() {
  const now = Date.now() / 1000;
  const set = (element, words) => element.textContent !== words && (element.textContent = words);
  document.querySelectorAll("[data-since]").forEach((e) => set(e, duration(now - e.dataset.since)));
  document.querySelectorAll("[data-ago]").forEach((e) => set(e, agoWords(Number(e.dataset.ago))));
}

setInterval(tick, 1000);

export function range(limits, words = String) {
  if (limits.min !== null && limits.min === limits.max) return words(limits.min);
  if (limits.min === null && limits.max === null) return "any";
  if (limits.max === null) return `${words(limits.min)} or more`;
  if (limits.min === null) return `up to ${words(limits.max)}`;
  return `${words(limits.min)} to ${words(limits.max)}`;
}
