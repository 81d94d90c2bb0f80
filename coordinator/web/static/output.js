// Live output of one node. It arrives as bytes and is shown as text only; old text is let go so that the page stays light.

import { bytes } from "./words.js";

const KEEP_CHARACTERS = 1_000_000;
const KEEP_LINE = 100_000;
// New output is shown at most this often (milliseconds): laying out long text costs more than receiving it.
const PAUSE = 60;
// Colours and cursor moves of terminals, complete; and the start of one that is still to come.
const ESCAPES = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])/g;
const UNFINISHED = /\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]*\x1b?)?$/;
// Kept are line ends and tabs; other control characters become visible.
const CONTROLS = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/g;

function visible(control) {
  return control === "\x7f" ? "\u2421" : String.fromCharCode(0x2400 + control.charCodeAt(0));
}

export class Output {
  constructor(job) {
    this.job = job;
    this.pre = document.getElementById("output");
    this.note = document.getElementById("logs-note");
    this.state = document.getElementById("logs-state");
    this.follow = document.getElementById("follow");
    const wrap = document.getElementById("wrap");
    wrap.addEventListener("change", () => this.pre.classList.toggle("wrap", wrap.checked));
    this.pre.addEventListener("scroll", () => this.scrolled());
    this.follow.addEventListener("change", () => this.toEnd());
    document.addEventListener("visibilitychange", () => (document.hidden ? this.close() : this.resume()));
    addEventListener("pagehide", () => this.close());
  }

  open(rank) {
    this.close();
    Object.assign(this, { rank, from: null, ended: false, waiting: "", pending: "", line: "", returned: false, kept: 0, cut: false });
    this.decoder = new TextDecoder("utf-8");
    this.pre.replaceChildren();
    this.last = this.pre.appendChild(document.createTextNode(""));
    document.getElementById("download").href = this.address();
    this.resume();
  }

  address() {
    return `/api/jobs/${encodeURIComponent(this.job)}/logs?rank=${this.rank}`;
  }

  resume() {
    if (this.ended || this.rank === undefined) return;
    this.close();
    this.say("Connecting");
    this.source = new EventSource(this.address() + (this.from === null ? "" : `&from=${this.from}`));
    this.source.addEventListener("start", (event) => this.started(JSON.parse(event.data)));
    this.source.addEventListener("output", (event) => this.take(event));
    this.source.addEventListener("dropped", (event) => this.skip(event));
    this.source.addEventListener("again", () => this.receive("\n── tried again ──\n"));
    this.source.addEventListener("end", () => this.finish());
    this.source.addEventListener("signed-out", () => location.reload());
    this.source.addEventListener("error", () => this.failed());
  }

  failed() {
    this.say("Reconnecting");
    if (this.source.readyState === EventSource.CLOSED) this.again = setTimeout(() => this.resume(), 2000);
  }

  close() {
    clearTimeout(this.again);
    this.source?.close();
    this.flush();
  }

  say(words) {
    this.state.textContent = words;
  }

  started({ offset }) {
    this.say("Live");
    if (this.from !== null) return;
    this.from = offset;
    this.tell(offset > 0 ? `The first ${bytes(offset)} are left out here; download the output to have all of it.` : "");
    if (!this.pre.textContent) this.pre.dataset.empty = "No output yet.";
  }

  tell(words) {
    this.note.textContent = words;
    this.note.hidden = !words;
  }

  take(event) {
    this.from = Number(event.lastEventId);
    const data = Uint8Array.from(atob(event.data), (character) => character.charCodeAt(0));
    this.receive(this.decoder.decode(data, { stream: true }));
  }

  skip(event) {
    const gap = JSON.parse(event.data);
    this.from = Number(event.lastEventId);
    this.receive(`${this.decoder.decode()}\n── ${bytes(gap.dropped_bytes)} of output dropped here${gap.drop_reason ? `: ${gap.drop_reason}` : ""} ──\n`);
  }

  finish() {
    this.receive(this.decoder.decode());
    this.close();
    this.ended = true;
    this.pre.dataset.empty = "No output.";
    this.say("Complete");
  }

  receive(text) {
    this.waiting += text;
    this.timer ??= setTimeout(() => this.flush(), PAUSE);
  }

  flush() {
    clearTimeout(this.timer);
    this.timer = undefined;
    if (!this.waiting) return;
    let ready = (this.pending + this.waiting).replace(ESCAPES, "");
    this.waiting = "";
    this.pending = UNFINISHED.exec(ready)?.[0] ?? "";
    ready = ready.slice(0, ready.length - this.pending.length).replace(/\r+\n/g, "\n");
    if (this.pending.length > 4096) this.pending = "";
    this.show(ready.replace(CONTROLS, visible).split("\n"));
    if (this.follow.checked) this.toEnd();
  }

  show(lines) {
    const complete = [];
    lines.forEach((part, i) => {
      this.extend(part);
      if (i === lines.length - 1) return;
      complete.push(this.line);
      Object.assign(this, { line: "", returned: false });
    });
    if (complete.length) {
      const block = document.createTextNode(`${complete.join("\n")}\n`);
      this.kept += block.length;
      this.pre.insertBefore(block, this.last);
    }
    this.last.data = this.line;
    this.trim();
  }

  // A lone carriage return starts the line again: progress bars.
  extend(part) {
    part.split("\r").forEach((piece, i) => {
      if (i > 0) this.returned = true;
      if (!piece) return;
      this.line = this.returned ? piece : this.line + piece;
      this.returned = false;
    });
    if (this.line.length <= KEEP_LINE) return;
    this.line = this.line.slice(-KEEP_LINE);
    this.cut = true;
  }

  trim() {
    while (this.kept > KEEP_CHARACTERS && this.pre.firstChild !== this.last) {
      this.kept -= this.pre.firstChild.length;
      this.pre.firstChild.remove();
      this.cut = true;
    }
    if (this.cut) this.tell("Only the newest output is shown; download it to have all of it.");
  }

  toEnd() {
    if (!this.follow.checked) return;
    this.moving = true;
    this.pre.scrollTop = this.pre.scrollHeight;
  }

  // Scrolling up stops following; scrolling to the end starts it again.
  scrolled() {
    if (this.moving) {
      this.moving = false;
      return;
    }
    this.follow.checked = this.pre.scrollHeight - this.pre.scrollTop - this.pre.clientHeight < 40;
  }
}
