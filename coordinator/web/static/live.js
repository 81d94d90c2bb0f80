// Keeps a document up to date from an event stream: a complete snapshot first, then only what changes.

const KEYS = { hosts: "id", jobs: "id", nodes: "rank" };

export function merge(before, change) {
  const after = { ...before };
  for (const [name, value] of Object.entries(change)) {
    after[name] = name in KEYS && !Array.isArray(value) ? mergeItems(before[name], value, KEYS[name]) : value;
  }
  return after;
}

function mergeItems(items, { changed, order }, key) {
  const byKey = new Map(items.map((item) => [item[key], item]));
  changed.forEach((item) => byKey.set(item[key], item));
  return (order ?? items.map((item) => item[key])).map((id) => byKey.get(id));
}

function show(state, text) {
  const pill = document.getElementById("live");
  pill.dataset.state = state;
  if (pill.textContent !== text) pill.textContent = text;
}

export class Watch {
  // `address()` is asked at each connection. A hidden page does not listen: browsers allow few connections to a server.
  constructor(address, render) {
    this.address = address;
    this.render = render;
    this.document = null;
    document.addEventListener("visibilitychange", () => (document.hidden ? this.close() : this.open()));
    addEventListener("pagehide", () => this.close());
    addEventListener("pageshow", (event) => event.persisted && this.open());
    this.open();
  }

  open() {
    this.close();
    this.source = new EventSource(this.address());
    this.source.addEventListener("open", () => show("ok", "Live"));
    this.source.addEventListener("snapshot", (event) => this.take(JSON.parse(event.data)));
    this.source.addEventListener("change", (event) => this.take(merge(this.document, JSON.parse(event.data))));
    this.source.addEventListener("signed-out", () => location.reload());
    this.source.addEventListener("gone", () => {
      this.close();
      show("bad", "No longer kept");
    });
    this.source.addEventListener("error", () => this.failed());
  }

  failed() {
    show("bad", "Reconnecting");
    // The browser itself tries again after a lost connection, but not after an answer that is no stream.
    if (this.source.readyState === EventSource.CLOSED) {
      clearTimeout(this.again);
      this.again = setTimeout(() => this.check(), 2000);
    }
  }

  async check() {
    try {
      const answer = await fetch("/api/overview?limit=1");
      if (answer.status === 401) return location.reload();
    } catch {
      // The coordinator is away: keep trying.
    }
    this.open();
  }

  close() {
    clearTimeout(this.again);
    this.source?.close();
  }

  take(document) {
    this.document = document;
    this.render(document);
  }
}
