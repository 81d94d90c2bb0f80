// A host's card: what it is, what is held of it, and each of its GPUs.

import { badge, bar, el } from "./dom.js";
import { ago, bytes, bytesOf, percent } from "./words.js";

export function hostCard(host) {
  const inContact = host.state === "online" || host.state === "suspect";
  return el(
    "article",
    { class: "card host", "data-host": host.id, "data-state": host.state },
    el("div", { class: "row" }, el("h3", {}, host.name), badge(host.state), closed(host)),
    el("p", { class: "hint" }, place(host)),
    host.warning ? el("p", { class: "reason" }, host.warning) : null,
    host.hardware ? machine(host, inContact) : el("p", { class: "hint" }, "Joined; its agent has not called yet. Start it with “agent run”."),
    host.hardware ? gpus(host, inContact) : null,
    held(host),
    events(host),
    facts(host),
  );
}

function closed(host) {
  if (host.vacates_at) return badge(host.allocations.length ? "draining" : "drained");
  return host.cordoned ? badge("cordoned") : null;
}

function place({ facts, network }) {
  const price = facts.price_per_hour === null ? null : `$${facts.price_per_hour.toFixed(2)}/h`;
  return [facts.backend, facts.region === facts.backend ? null : facts.region, facts.instance_type, facts.fleet ? `fleet ${facts.fleet}` : null, network ? `network ${network}` : "no network seen", facts.spot ? "spot" : null, price].filter(Boolean).join(" · ");
}

function machine(host, inContact) {
  const { cpus, memory_bytes: memory } = host.hardware;
  if (!inContact) return el("p", { class: "hint" }, `Last seen `, ago(host.last_seen_at), `; ${cpus} CPUs, ${bytes(memory)} memory.`);
  return el(
    "div",
    { class: "meters" },
    bar("CPUs", cpus ? host.cpus_used / cpus : null, `${host.cpus_used} of ${cpus} held`),
    bar("Memory", memory ? host.memory_used_bytes / memory : null, `${bytesOf(host.memory_used_bytes, memory)} held`),
  );
}

function gpus(host, inContact) {
  const { gpus: list, gpu_problem: problem } = host.hardware;
  const used = new Set(host.gpu_uuids_used);
  const health = new Map(host.gpu_health.map((record) => [record.gpu_uuid, record]));
  const rows = list.map((gpu) => gpuRow(gpu, used.has(gpu.uuid), inContact, health.get(gpu.parent ?? gpu.uuid)));
  const own = health.get(null);
  if (own) rows.unshift(el("li", { "data-gpu": "" }, el("div", { class: "row" }, el("span", { class: "gpu-name" }, "GPU driver and bus"), healthBadge(own)), el("p", { class: "reason" }, own.reason)));
  if (problem) rows.unshift(el("li", { class: "reason" }, problem));
  return rows.length ? el("ul", { class: "gpus" }, rows) : el("p", { class: "hint" }, "No GPU");
}

const HEALTH = { suspect: "suspect", draining: "stopping", quarantined: "failed", testing: "starting" };

// Nothing for a healthy one: most are. What nobody looks after is not healthy, but unknown.
function healthBadge(record, watched = true) {
  if (record) return badge(HEALTH[record.state] ?? "suspect", record.state);
  return watched ? null : badge("offline", "health unknown");
}

function gpuRow(gpu, used, inContact, health) {
  const state = gpu.problem ? badge("failed", "broken") : used ? badge("running", "in use") : inContact ? badge("done", "free") : badge("offline", "away");
  const name = el("span", { class: "gpu-name", title: `${gpu.name ?? "GPU"} ${gpu.uuid}` }, `${gpu.index}: ${(gpu.name ?? "GPU").replace(/^NVIDIA /, "")}`);
  const title = el("div", { class: "row" }, name, state, healthBadge(health, gpu.health_watched));
  const unsound = health ? el("p", { class: "reason" }, health.reason) : null;
  if (gpu.problem) return el("li", { "data-gpu": gpu.uuid }, title, el("p", { class: "reason" }, gpu.problem));
  if (!inContact) return el("li", { "data-gpu": gpu.uuid }, title, unsound);
  const known = gpu.memory_used_bytes !== null && gpu.memory_bytes !== null;
  const memory = known ? bytesOf(gpu.memory_used_bytes, gpu.memory_bytes) : gpu.memory_bytes === null ? "unknown" : `? of ${bytes(gpu.memory_bytes)}`;
  const heat = gpu.temperature_celsius === null ? "temperature unknown" : `${Math.round(gpu.temperature_celsius)} °C`;
  const limit = gpu.power_limit_watts === null ? "" : ` of ${Math.round(gpu.power_limit_watts)}`;
  const power = gpu.power_watts === null ? "power unknown" : `${Math.round(gpu.power_watts)}${limit} W`;
  return el(
    "li",
    { "data-gpu": gpu.uuid },
    title,
    unsound,
    el(
      "div",
      { class: "readings" },
      bar("Busy", gpu.utilization_percent === null ? null : gpu.utilization_percent / 100, percent(gpu.utilization_percent)),
      bar("Memory", known && gpu.memory_bytes ? gpu.memory_used_bytes / gpu.memory_bytes : null, memory),
      el("span", { class: "hint" }, heat),
      el("span", { class: "hint" }, power),
    ),
  );
}

// An allocation is named JOB.RANK.ATTEMPT.
function held(host) {
  if (!host.allocations.length) return null;
  const shown = host.allocations.slice(0, 8).map((name) => {
    const [job, rank] = name.split(".");
    return el("li", {}, el("a", { class: "chip", href: `/jobs/${encodeURIComponent(job)}?rank=${rank}` }, `${job} rank ${rank}`));
  });
  if (host.allocations.length > shown.length) shown.push(el("li", { class: "hint" }, `and ${host.allocations.length - shown.length} more`));
  return el("ul", { class: "chips", "aria-label": "Runs here" }, shown);
}

function events(host) {
  if (!host.events?.length) return null;
  const lines = host.events.map((event) => el("li", { "data-event": event.number }, ago(event.happened_at), ` ${event.text}`, event.evidence && !event.text.includes(event.evidence) ? el("span", { class: "hint" }, ` seen: ${event.evidence}`) : null));
  return el("details", {}, el("summary", {}, "Events"), el("ul", { class: "events" }, lines));
}

function facts(host) {
  const { hardware } = host;
  const rows = [["Id", host.id], ["Agent", host.agent_build || host.agent_version || "unknown"], ["Peers reach it at", host.peer_endpoint || "not known"]];
  if (host.round_trip_seconds !== null) rows.push(["Its calls take", `${(host.round_trip_seconds * 1000).toFixed(1)} ms`]);
  if (hardware) {
    const addresses = hardware.interfaces.filter((i) => !i.loopback).flatMap((i) => i.addresses.map((a) => `${a.ip} (${i.name}${i.speed_mbps ? `, ${i.speed_mbps} Mb/s` : ""})`));
    rows.push(["System", [hardware.os, hardware.kernel, hardware.arch].filter(Boolean).join(" · ") || "unknown"], ["Processor", hardware.cpu_model || "unknown"], ["Driver", hardware.driver_version ? `${hardware.driver_version} · CUDA ${hardware.cuda_version || "unknown"}` : "none"], ["Addresses", addresses.join(", ") || "none"]);
    const ports = hardware.rdma.map((p) => `${p.device}:${p.port} (${p.link_layer}${p.rate_gbps ? `, ${p.rate_gbps} Gb/s` : ""}, ${p.state})`);
    const linked = hardware.gpus.filter((g) => g.nvlinks);
    if (linked.length) rows.push(["NVLinks up", linked.map((g) => `${g.index}: ${g.nvlinks}`).join(", ")]);
    if (ports.length) rows.push(["RDMA", ports.join(", ")]);
    rows.push(["Disks", hardware.disks.map((d) => `${d.path}: ${bytes(d.free_bytes)} of ${bytes(d.total_bytes)} free`).join(", ") || "unknown"]);
  }
  const labels = Object.entries(host.facts.labels).map(([k, v]) => `${k}=${v}`);
  if (labels.length) rows.push(["Labels", labels.join(", ")]);
  const items = rows.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]);
  return el("details", {}, el("summary", {}, "Details"), el("dl", {}, items));
}
