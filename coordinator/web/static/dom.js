// Small helpers to build the page. Text only ever enters through text nodes, so output and names can't become markup.

export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "class") element.className = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function replace(id, ...children) {
  document.getElementById(id).replaceChildren(...children.flat().filter(Boolean));
}

export function text(id, value) {
  const element = document.getElementById(id);
  if (element.textContent !== value) element.textContent = value;
}

// Shows a list and builds again only the items that changed, keeping the keyboard's place and what is unfolded.
export class List {
  constructor(parent, key, build) {
    Object.assign(this, { parent, key, build, shown: new Map() });
  }

  show(items) {
    const before = this.shown;
    this.shown = new Map();
    for (const item of items) {
      const old = before.get(item[this.key]);
      const element = old?.item === item ? old.element : this.rebuild(item, old?.element);
      this.shown.set(item[this.key], { item, element });
    }
    const wanted = [...this.shown.values()].map((entry) => entry.element);
    const same = wanted.length === this.parent.children.length && wanted.every((e, i) => e === this.parent.children[i]);
    if (!same) this.parent.replaceChildren(...wanted);
  }

  rebuild(item, old) {
    const element = this.build(item);
    if (!old) return element;
    const open = old.querySelectorAll("details");
    element.querySelectorAll("details").forEach((details, i) => (details.open = open[i]?.open ?? false));
    const focusable = "a, button, summary";
    const place = [...old.querySelectorAll(focusable)].indexOf(document.activeElement);
    old.replaceWith(element);
    if (place >= 0) element.querySelectorAll(focusable)[place]?.focus();
    return element;
  }
}

// A bar with its value in words; `share` is 0 to 1, null when unknown.
export function bar(label, share, words) {
  const known = share !== null && share !== undefined && Number.isFinite(share);
  const fill = el("i");
  if (known) fill.style.width = `${Math.min(100, Math.max(0, share * 100))}%`;
  const attributes = known
    ? { role: "meter", "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Math.round(share * 100) }
    : { role: "img" };
  const track = el("span", { class: known ? "bar" : "bar unknown", "aria-label": `${label}: ${words}`, ...attributes }, fill);
  return el("span", { class: "meter" }, el("span", { class: "meter-label" }, label), track, el("span", { class: "meter-value" }, words));
}

export function badge(state, words = state) {
  return el("span", { class: "badge", "data-state": state }, words);
}

// Links to the pages before and after this one; `go(from)` turns to another.
export function pager(id, from, shown, total, limit, go) {
  const button = (words, to, enabled) => {
    const made = el("button", { class: "quiet", type: "button", disabled: !enabled }, words);
    made.addEventListener("click", () => go(to));
    return made;
  };
  if (total <= limit && from === 0) return replace(id);
  const range = el("span", { class: "count" }, shown ? `${from + 1} to ${from + shown} of ${total}` : `none of ${total}`);
  replace(id, range, button("Previous", Math.max(0, from - limit), from > 0), button("Next", from + limit, from + shown < total));
}
