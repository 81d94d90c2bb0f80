// How far the nodes of a job are, as one bar of their states.

import { el } from "./dom.js";

const ORDER = ["done", "running", "placed", "stopping", "failed", "stopped", "pending"];

export function progress(job) {
  const total = job.spec.nodes;
  const present = ORDER.filter((state) => job.counts[state]);
  const words = present.map((state) => `${job.counts[state].toLocaleString("en")} ${state}`).join(" · ");
  const parts = present.map((state) => {
    const part = el("i", { "data-state": state });
    part.style.width = `${(100 * job.counts[state]) / total}%`;
    return part;
  });
  const track = el("span", { class: "bar states", role: "img", "aria-label": `${total} nodes: ${words}` }, parts);
  return el("span", { class: "progress" }, track, el("span", { class: "meter-value" }, words || `${total} pending`));
}
