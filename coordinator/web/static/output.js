// Live output of one node. It arrives as bytes and is shown as text only; old text is let go so that the page stays light.

import { bytes } from "./words.js";

const KEEP_CHARACTERS = 2_000_000;
const KEEP_PARTS = 4_000;
// Colours and cursor moves of terminals, complete; and the start of one that is still to come.
const ESCAPES = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])/g;
const UNFINISHED = /\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]*\x1b?)?$/;
// Kept are line ends and tabs; other control characters become visible.
const CONTROLS = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/g;

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
    Object.assign(this, { rank, from: null, ended: false, pending: "", returned: false, kept: 0 });
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
    this.source.addEventListener("again", () => this.show(`${this.line() ? "\n" : ""}── tried again ──\n`));
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
    this.show(this.decoder.decode(data, { stream: true }));
  }

  finish() {
    this.close();
    this.show(this.decoder.decode());
    this.ended = true;
    this.pre.dataset.empty = "No output.";
    this.say("Complete");
  }

  show(text) {
    let ready = (this.pending + text).replace(ESCAPES, "");
    this.pending = UNFINISHED.exec(ready)?.[0] ?? "";
    if (this.pending.length > 4096) this.pending = "";
    ready = ready.slice(0, ready.length - this.pending.length).replace(/\r+\n/g, "\n");
    // A lone carriage return starts the line again: progress bars.
    const lines = ready.replace(CONTROLS, (c) => (c === "\x7f" ? "\u2421" : String.fromCharCode(0x2400 + c.charCodeAt(0)))).split("\n");
    lines.forEach((part, i) => this.append(part, i < lines.length - 1));
    this.trim();
    if (this.follow.checked) this.toEnd();
  }

  line() {
    return this.last.data;
  }

  append(part, complete) {
    const pieces = part.split("\r");
    pieces.forEach((piece, i) => {
      if (i > 0) this.returned = true;
      if (!piece) return;
      if (this.returned) this.last.data = "";
      this.returned = false;
      this.last.appendData(piece);
    });
    if (!complete) return;
    this.returned = false;
    this.last.appendData("\n");
    this.kept += this.last.length;
    this.last = this.pre.appendChild(document.createTextNode(""));
  }

  trim() {
    let cut = false;
    while (this.pre.childNodes.length > KEEP_PARTS || (this.kept > KEEP_CHARACTERS && this.pre.childNodes.length > 1)) {
      this.kept -= this.pre.firstChild.length;
      this.pre.firstChild.remove();
      cut = true;
    }
    if (this.last.length > KEEP_CHARACTERS) {
      this.last.deleteData(0, this.last.length - KEEP_CHARACTERS);
      cut = true;
    }
    if (cut) this.tell("Only the newest output is shown; download it to have all of it.");
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
