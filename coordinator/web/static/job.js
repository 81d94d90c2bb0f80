// The page of one job: its nodes and the output of one of them.

import { List, badge, el, pager, replace, text } from "./dom.js";
import { Watch } from "./live.js";
import { Output } from "./output.js";
import { progress } from "./progress.js";
import { ago, bytes, duration, plural, range, since, usd } from "./words.js";

const job = document.getElementById("job").dataset.job;
const page = { nodes_from: 0 };
const rank = document.getElementById("rank");
const output = new Output(job);
const rows = el("tbody");
const nodes = new List(rows, "rank", nodeRow);
let parameters = [];
const titles = ["Rank", "State", "Host", "Attempt", "GPUs", "Time", "Output"];
const table = el("table", { class: "nodes-table" }, el("thead", {}, el("tr", {}, titles.map((t) => el("th", { scope: "col" }, t)))), rows);
const watch = new Watch(() => `/api/jobs/${encodeURIComponent(job)}/events?${new URLSearchParams(page)}`, render);

function render(document_) {
  head(document_.job);
  rank.max = document_.job.spec.nodes - 1;
  const { nodes: list, nodes_total: total, nodes_from: from, limit } = document_;
  text("nodes-count", `${total.toLocaleString("en")} of ${document_.job.spec.nodes.toLocaleString("en")} placed so far`);
  pager("nodes-pager", from, list.length, total, limit, (to) => {
    page.nodes_from = to;
    watch.open();
  });
  columns(list);
  if (!list.length) return replace("nodes", el("div", { class: "empty" }, el("h3", {}, "No node has been placed yet"), el("p", {}, document_.job.reason || "The job waits for its turn.")));
  nodes.show(list);
  if (!table.isConnected) replace("nodes", table);
}

// A column for each parameter, once the first nodes show which there are.
function columns(list) {
  const names = [...new Set(list.flatMap((node) => Object.keys(node.parameters)))].sort();
  if (names.join("\n") === parameters.join("\n")) return;
  parameters = names;
  nodes.show([]);
  table.tHead.rows[0].replaceChildren(...["Rank", ...names, ...titles.slice(1)].map((t) => el("th", { scope: "col" }, t)));
}

function head(record) {
  const { spec } = record;
  const exit = record.exit_code === null ? null : el("span", { class: "hint" }, `exit code ${record.exit_code}`);
  replace(
    "job",
    el("div", { class: "row" }, el("h1", {}, record.name), badge(record.state), exit),
    record.reason ? el("p", { class: "reason" }, record.reason) : null,
    progress(record),
    el("dl", { class: "facts" }, facts(record).flatMap(([name, value]) => [el("div", {}, el("dt", {}, name), el("dd", {}, value))])),
    el("pre", { class: "command" }, el("code", {}, spec.argv.length ? spec.argv.join(" ") : spec.commands.join("\n"))),
  );
}

function facts({ id, user, spec, spare_hosts: spares, submitted_at: submitted, started_at: started, ended_at: ended, spent, price_per_hour: hourly, preflight }) {
  const { resources } = spec;
  const gpu = resources.gpu;
  return [
    ["Id", id],
    ["User", user],
    ["Nodes", spec.nodes.toLocaleString("en")],
    ...(spec.spares ? [["Spares", `${spares.length} of ${spec.spares}${spares.length ? `: ${spares.join(", ")}` : ""}`]] : []),
    ["Placement", spec.placement === "cluster" ? "cluster: all in one network" : "any host"],
    ["GPUs a node", gpu ? `${range(gpu.count)}${gpu.names.length ? ` of ${gpu.names.join(", ")}` : ""}` : "none"],
    ["CPUs a node", range(resources.cpus)],
    ["Memory a node", range(resources.memory_bytes, bytes)],
    ["Time limit", spec.max_duration_seconds === null ? "none" : duration(spec.max_duration_seconds)],
    ["Submitted", ago(submitted)],
    ["Time", since(started, ended)],
    ...(spent || spec.budget !== null ? [["Cost", cost(spent, hourly, spec.budget)]] : []),
    ...(preflight ? [["Preflight", measured(preflight)]] : []),
  ];
}

// What the group measured before it started: the middle of it, and what is slow.
function measured({ bandwidth, round_trip_seconds: latency, all_reduce: together, slow }) {
  const parts = [
    bandwidth === null ? null : bits(bandwidth),
    latency === null ? null : `${(latency * 1000).toPrecision(2)} ms`,
    together === null ? null : `all-reduce ${bits(together)}`,
    slow.length ? `slow: ${slow[0]}${slow.length > 1 ? ` and ${slow.length - 1} more` : ""}` : "nothing slow",
  ];
  return parts.filter(Boolean).join(", ");
}

function bits(rate) {
  const [unit, name] = rate >= 1e9 ? [1e9, "Gbit/s"] : [1e6, "Mbit/s"];
  return `${(rate / unit).toPrecision(3)} ${name}`;
}

function cost(spent, hourly, budget) {
  const parts = [usd(spent), hourly ? `${usd(hourly)}/h now` : null, budget === null ? null : `budget ${usd(budget)}`];
  return parts.filter(Boolean).join(", ");
}

function nodeRow(node) {
  const button = el("button", { class: "quiet", type: "button", "aria-label": `Show output of rank ${node.rank}` }, node.log_bytes ? bytes(node.log_bytes) : "Show");
  button.addEventListener("click", () => choose(node.rank, true));
  const exit = node.exit_code === null ? null : el("span", { class: "hint" }, `exit code ${node.exit_code}`);
  return el(
    "tr",
    { "data-rank": node.rank },
    el("td", { class: "name" }, [node.group, String(node.rank)].filter(Boolean).join(" "), node.variant ? el("span", { class: "hint" }, node.variant) : null, node.reason ? el("p", { class: "reason" }, node.reason) : null),
    parameters.map((name) => el("td", { "data-label": name }, node.parameters[name] ?? "–")),
    el("td", { "data-label": "State" }, badge(node.state), exit),
    el("td", { "data-label": "Host" }, node.host_name || "–", node.address ? el("span", { class: "hint" }, node.address) : null, otherCopies(node)),
    el("td", { "data-label": "Attempt" }, String(node.attempt)),
    el("td", { "data-label": "GPUs" }, node.gpu_uuids.length ? el("span", { title: node.gpu_uuids.join("\n") }, plural(node.gpu_uuids.length, "GPU")) : "none"),
    el("td", { "data-label": "Time" }, since(node.started_at, node.ended_at)),
    el("td", { "data-label": "Output" }, button),
  );
}

// With redundancy: the attempts beside the one that leads the node.
function otherCopies({ attempt, copies }) {
  return copies.filter((copy) => copy.attempt !== attempt).map((copy) => el("span", { class: "hint", title: copy.reason || "" }, `attempt ${copy.attempt} ${copy.state} on ${copy.host_name}`));
}

function choose(value, scroll) {
  rank.value = value;
  history.replaceState(null, "", `?rank=${value}`);
  output.open(value);
  if (scroll) document.getElementById("logs-title").scrollIntoView({ block: "start" });
}

rank.addEventListener("change", () => rank.checkValidity() && rank.value !== "" && choose(Number(rank.value), false));
const asked = Number(new URLSearchParams(location.search).get("rank"));
rank.value = Number.isInteger(asked) && asked >= 0 ? asked : 0;
output.open(Number(rank.value));
