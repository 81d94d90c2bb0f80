// The page of the whole cluster.

import { List, badge, bar, el, pager, replace, text } from "./dom.js";
import { hostCard } from "./host.js";
import { Watch } from "./live.js";
import { progress } from "./progress.js";
import { ago, bytes, bytesOf, percent, plural, since, usd } from "./words.js";

const page = { q: "", hosts_from: 0, jobs_from: 0 };
const watch = new Watch(address, render);
const hosts = new List(document.getElementById("hosts"), "id", hostCard);
const jobRows = el("tbody");
const jobs = new List(jobRows, "id", jobRow);
const jobTable = table(["Job", "State", "Nodes", "Asks for", "Submitted", "Time"], jobRows, "jobs-table");

function address() {
  return `/api/events?${new URLSearchParams(page)}`;
}

function turn(name, from) {
  page[name] = from;
  watch.open();
}

function table(titles, body, kind) {
  const head = el("thead", {}, el("tr", {}, titles.map((title) => el("th", { scope: "col" }, title))));
  return el("table", { class: kind }, head, body);
}

function render(cluster) {
  tiles(cluster);
  showJobs(cluster);
  showHosts(cluster);
  showGpus(cluster);
  showNetworks(cluster);
}

function tile(title, value, detail, share) {
  const track = share === undefined ? null : bar(title, share, "");
  return el("div", { class: "card tile" }, el("h2", {}, title), el("p", { class: "big" }, value), track, el("p", { class: "hint" }, detail));
}

function states(counts, ...names) {
  const parts = names.filter((name) => counts[name]).map((name) => `${counts[name].toLocaleString("en")} ${name}`);
  return parts.join(" · ");
}

function tiles({ summary }) {
  const all = Object.values(summary.hosts).reduce((a, b) => a + b, 0);
  const away = [states(summary.hosts, "suspect", "lost", "offline"), summary.hosts_cordoned ? `${summary.hosts_cordoned} cordoned` : ""];
  const broken = summary.gpus_broken ? ` · ${summary.gpus_broken} broken` : "";
  const memory = `${bytesOf(summary.memory_used_bytes, summary.memory_bytes)} memory held`;
  const of = (used, total) => (total ? `${used.toLocaleString("en")} / ${total.toLocaleString("en")}` : "0");
  const free = Math.max(0, summary.gpus - summary.gpus_used - summary.gpus_broken);
  const share = (used, total) => (total ? used / total : 0);
  const busy = summary.jobs.starting + summary.jobs.running + summary.jobs.stopping;
  const ended = states(summary.jobs, "queued", "done", "failed", "stopped");
  replace(
    "tiles",
    tile("Hosts online", of(summary.hosts.online, all), away.filter(Boolean).join(" · ") || (all ? "all in contact" : "none joined yet"), share(summary.hosts.online, all)),
    tile("GPUs in use", of(summary.gpus_used, summary.gpus), summary.gpus ? `${free} free${broken}` : "no host has reported a GPU", share(summary.gpus_used, summary.gpus)),
    tile("CPUs in use", of(summary.cpus_used, summary.cpus), memory, share(summary.cpus_used, summary.cpus)),
    tile("Jobs active", String(busy), ended || "nothing submitted yet", undefined),
  );
}

function empty(title, words, ...commands) {
  return el("div", { class: "empty" }, el("h3", {}, title), el("p", {}, words), commands.map((line) => el("pre", {}, el("code", {}, line))));
}

function showJobs(cluster) {
  const { jobs: list, jobs_total: total, jobs_from: from, limit } = cluster;
  text("jobs-count", total ? plural(total, "job") : "");
  pager("jobs-pager", from, list.length, total, limit, (to) => turn("jobs_from", to));
  if (list.length) {
    jobs.show(list);
    if (!jobTable.isConnected) replace("jobs", jobTable);
  } else if (page.q) replace("jobs", empty("No job matches", `Nothing is named like “${page.q}”.`));
  else replace("jobs", empty("No jobs yet", "Submit one from a machine that has the client's context:", "coordinator submit --nodes 2 --placement any -- hostname"));
}

function jobRow(job) {
  const name = el("a", { href: `/jobs/${encodeURIComponent(job.id)}` }, job.name);
  const exit = job.exit_code === null || job.state === "done" ? null : el("span", { class: "hint" }, `exit code ${job.exit_code}`);
  const reason = job.reason ? el("p", { class: "reason" }, job.reason) : null;
  const asks = job.spec.resources.gpu ? gpuWords(job.spec.resources.gpu) : "CPU only";
  return el(
    "tr",
    { "data-job": job.id },
    el("td", { class: "name" }, name, el("span", { class: "hint" }, `${job.id} · ${job.user}`), reason),
    el("td", { "data-label": "State" }, badge(job.state), exit),
    el("td", { "data-label": "Nodes" }, progress(job)),
    el("td", { "data-label": "Asks for" }, asks, el("span", { class: "hint" }, job.spec.placement === "cluster" ? "in one network" : "on any host")),
    el("td", { "data-label": "Submitted" }, ago(job.submitted_at)),
    el("td", { "data-label": "Time" }, since(job.started_at, job.ended_at), job.spent ? el("span", { class: "hint" }, usd(job.spent)) : null),
  );
}

function gpuWords({ count, names }) {
  const many = count.min === count.max || count.max === null ? count.min : `${count.min ?? 0} to ${count.max}`;
  return `${many} × ${names.length ? names.join(" or ") : "any"} GPU`;
}

function showHosts(cluster) {
  const { hosts: list, hosts_total: total, hosts_from: from, limit } = cluster;
  text("hosts-count", total ? plural(total, "host") : "");
  pager("hosts-pager", from, list.length, total, limit, (to) => turn("hosts_from", to));
  if (list.length) return hosts.show(list);
  hosts.shown.clear();
  const host = location.hostname.includes(":") ? `[${location.hostname}]` : location.hostname;
  const address = `${host}:${document.getElementById("hosts").dataset.port || "PORT"}`;
  const words = "Make a join token on the coordinator, then use it on the machine that shall join:";
  const card = page.q
    ? empty("No host matches", `Nothing is named like “${page.q}”.`)
    : empty("No hosts yet", words, "coordinator token create > token", `agent join ${address} --token-file token\nagent run`);
  card.classList.add("card");
  replace("hosts", card);
}

function showGpus({ gpu_models: models, summary }) {
  text("gpus-count", summary.gpus ? `${plural(summary.gpus, "GPU")} of ${plural(models.length, "model")}` : "");
  if (!models.length) return replace("gpus", empty("No GPUs", "Hosts without GPUs still run jobs that ask for none. On a host that has GPUs, this says what is wrong:", "agent doctor"));
  const rows = models.map((model) =>
    el(
      "tr",
      {},
      el("td", { class: "name" }, model.name, el("span", { class: "hint" }, model.memory_bytes === null ? "memory unknown" : `${bytes(model.memory_bytes)} in all`)),
      el("td", { "data-label": "In use" }, bar("In use", model.used / model.total, `${model.used} of ${model.total}`)),
      el("td", { "data-label": "Busy" }, bar("Busy", model.utilization_percent === null ? null : model.utilization_percent / 100, percent(model.utilization_percent))),
      el("td", { "data-label": "Broken" }, model.broken ? badge("failed", `${model.broken} broken`) : el("span", { class: "hint" }, "none broken")),
    ),
  );
  replace("gpus", table(["Model", "In use", "Busy", "Broken"], el("tbody", {}, rows), "gpu-table"));
}

function showNetworks({ networks, networks_total: total }) {
  text("networks-count", total ? plural(total, "network") : "");
  if (networks.length) return replace("networks", networks.map(networkCard));
  const words = "Hosts that were seen to reach each other appear here as one network. Jobs with placement “any” need none.";
  const card = empty("No networks seen", words);
  card.classList.add("card");
  replace("networks", card);
}

function networkCard(network) {
  const hidden = network.hosts_total - network.host_names.length;
  const chips = network.host_names.map((name) => el("li", { class: "chip" }, name));
  if (hidden) chips.push(el("li", { class: "hint" }, `and ${hidden} more`));
  const links = network.broken_links.map((link) => el("li", {}, link));
  if (network.broken_links_total > links.length) links.push(el("li", {}, `and ${network.broken_links_total - links.length} more`));
  const state = network.broken_links_total ? badge("suspect", plural(network.broken_links_total, "broken link")) : badge("online", "all reach all");
  return el(
    "article",
    { class: "card network" },
    el("div", { class: "row" }, el("h3", {}, network.name || "(no name)"), el("span", { class: "hint" }, plural(network.hosts_total, "host")), state),
    el("ul", { class: "chips" }, chips),
    links.length ? el("ul", { class: "broken" }, links) : null,
  );
}

let typing;
document.getElementById("query").addEventListener("input", (event) => {
  clearTimeout(typing);
  typing = setTimeout(() => {
    Object.assign(page, { q: event.target.value.trim(), hosts_from: 0, jobs_from: 0 });
    watch.open();
  }, 200);
});
document.getElementById("search").addEventListener("submit", (event) => event.preventDefault());
