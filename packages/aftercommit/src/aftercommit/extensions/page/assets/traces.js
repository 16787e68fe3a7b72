// The traces, newest first. A row is rebuilt only when its trace has changed.

import { $, announce, ask, h, redraw, whom } from "./dom.js";
import { deliveries, hasFailed, link, outcome, settledAt, stateOf, traces } from "./live.js";
import { say, span, when } from "./words.js";
import { timeline } from "./timeline.js";

const SHORTEST = 3; // characters that are looked for among what is not here, too
const LONG = 300; // nodes
const AGAIN = 2000; // ms between two looks at an old trace, of which the server reports nothing
const SIGNS = {
  "mark running": "runningMeans", "mark due": "dueMeans", "mark parked": "parkedMeans", "mark done": "doneMeans", "mark mended": "mendedMeans", "mark given_up": "givenUpMeans", "mark discarded": "discardedMeans",
  "kind command": "commandMeans", "kind event": "eventMeans", "kind delivery": "deliveryMeans",
  "bar good": "workMeans", "bar broken": "brokenMeans", "bar pause": "pauseMeans",
};

const rows = new Map(); // id → row: its element, and how to draw it
const form = $("#filter");
let wanted = null; // the trace that the address names

/** Start: the filter filters; Enter also searches traces that are not shown. */
export function begin() {
  const states = ["running", "retrying", "scheduled", "due", "lease_expired", "paused", "blocked", "parked", "failed", "done", "given_up", "discarded"];
  form.elements.state.append(option("", say("anyState")), ...states.map((state) => option(state, say(state))));
  form.elements.handler.append(option("", say("any")));
  $("#signs").append(...Object.entries(SIGNS).map(([sign, means]) => h("div", {}, h("dt", {}, h("i", { class: sign })), h("dd", {}, say(means)))));
  keepPlace();
  form.addEventListener("input", () => filter());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const text = form.elements.text.value.trim();
    if (text.length >= SHORTEST) await find(text);
    filter(text);
  });
}

const option = (value, label) => h("option", { value }, label);

/** Offer the existing handlers. */
export function offer(handlers) {
  const known = new Set([...form.elements.handler.options].map(({ value }) => value));
  form.elements.handler.append(...handlers.filter((name) => !known.has(name)).map((name) => option(name, name)));
}

/** Draw the traces that have changed, each in its place. */
export function show(changed) {
  for (const trace of changed) {
    if (!traces.has(trace.id)) continue;
    if (!rows.has(trace.id)) rows.set(trace.id, row(trace.id));
    rows.get(trace.id).draw();
  }
  for (const [id, { element }] of rows) if (!traces.has(id)) { element.remove(); rows.delete(id); }
  let place = $("#list").firstElementChild;
  for (const { id } of [...traces.values()].sort((a, b) => b.at - a.at)) {
    const { element } = rows.get(id) ?? {};
    if (element === place) place = place?.nextElementSibling ?? null;
    else if (element) $("#list").insertBefore(element, place);
  }
  filter();
  if (wanted && rows.has(wanted)) reveal();
}

/** Keep the scroll position for somebody who reads further down while new traces arrive above. */
function keepPlace() {
  let read = null; // the first row that can be seen, and where
  const moved = () => read.row.getBoundingClientRect().top - read.top;
  addEventListener("scroll", () => {
    if (read?.row.isConnected && Math.abs(moved()) < 1) return; // it was this: places are whole pixels
    const list = [...$("#list").children];
    const row = list[0]?.getBoundingClientRect().top < 0 && list.find((each) => each.getBoundingClientRect().bottom > 0);
    read = row ? { row, top: row.getBoundingClientRect().top } : null;
  });
  new ResizeObserver(() => {
    if (read?.row.isConnected && !read.row.hidden) scrollBy(0, moved());
  }).observe($("#list"));
}

/** Show one trace, even an old one, opened. */
export async function point(id) {
  wanted = id;
  if (rows.has(id)) reveal();
  else await find(id);
}

function reveal() {
  const { open, element } = rows.get(wanted);
  wanted = null;
  element.hidden = false;
  open(true);
  element.scrollIntoView({ block: "start" });
  element.firstElementChild.focus({ preventScroll: true });
}

async function find(text) {
  try {
    const found = await ask(`traces/${encodeURIComponent(text)}`);
    const grouped = [...Map.groupBy(found, (node) => node.correlation_id)].map(([id, nodes]) => kept(id, nodes, text));
    for (const trace of grouped) if (!traces.has(trace.id)) traces.set(trace.id, trace);
    show(grouped);
  } catch (error) {
    if (error.status !== 422 && error.status !== 404) throw error;
  }
}

/** Return a trace found by a text, which finds it again; if it is very long, the beginning. */
const kept = (id, nodes, text) => ({ id, at: nodes[0].completed_at, more: nodes.length > LONG, nodes: nodes.slice(0, LONG), kept: text });

/** Update what depends on time: deliveries that became due, and the age of traces. */
export function tick() {
  for (const each of rows.values()) each.tick();
}

function filter(sought = null) {
  const { text, handler, state } = Object.fromEntries(new FormData(form));
  const words = text.trim().toLowerCase().replace(/…$/, "").split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const [id, { element }] of rows) {
    element.hidden = !fits(traces.get(id), words, handler, state);
    shown += !element.hidden;
  }
  $("#older").hidden = !link.older;
  $("#none").hidden = shown > 0 || link.state === "wait";
  const older = text.trim().length >= SHORTEST && sought !== text.trim();
  $("#none").textContent = say(!traces.size ? "none" : older ? "pressEnter" : "noneFound");
}

function fits(trace, words, handler, state) {
  if (handler || state) {
    const like = (each) => (!state || stateOf(each) === state || (state === "failed" && hasFailed(each))) && (!handler || each.name === handler);
    if (!deliveries(trace).some(like) && !(state === "done" && !handler && outcome(trace) === "done")) return false;
    if (state === "done" && !handler && outcome(trace) !== "done") return false;
  }
  if (!words.length) return true;
  trace.text ??= [trace.id, ...trace.nodes.flatMap((n) => [n.id, n.name, n.about, n.owner, n.error])].join(" ").toLowerCase();
  return words.every((word) => trace.text.includes(word));
}

function row(id) {
  const button = h("button", { class: "row", "aria-expanded": "false", "data-key": id, click: () => open(tree.hidden) });
  const tree = h("div", { class: "tree", hidden: true });
  const element = h("li", { class: "trace" }, button, tree);
  let [line, drawn] = [null, ""];
  let looked = Date.now();

  function draw() {
    const trace = traces.get(id);
    const before = element.dataset.state;
    button.replaceChildren(...summary(trace));
    element.dataset.state = outcome(trace);
    if (!tree.hidden && before !== element.dataset.state) announce(`${button.querySelector("bdi").textContent}: ${say(element.dataset.state)}`);
    drawn = progress(trace);
    if (!tree.hidden) redraw(tree, ...(line = timeline(trace)).elements);
  }
  function open(shows) {
    tree.hidden = !shows;
    button.setAttribute("aria-expanded", String(shows));
    if (shows) draw();
    else tree.replaceChildren();
  }
  function tick() {
    const trace = traces.get(id);
    if (!trace || (tree.hidden && outcome(trace) === "done")) return;
    if (drawn !== progress(trace)) draw(); // a lease can end, and something be due, without any news
    if (tree.hidden) return;
    line?.tick();
    if (trace.kept && settledAt(trace) === null && Date.now() - looked > AGAIN) {
      looked = Date.now();
      const mine = (found) => found.filter((node) => node.correlation_id === id);
      ask(`traces/${encodeURIComponent(trace.kept)}`).then((found) => { traces.set(id, kept(id, mine(found), trace.kept)); draw(); }, () => {});
    }
  }
  return { element, draw, open, tick };
}

const progress = (trace) => deliveries(trace).map((each) => stateOf(each)).join();

function summary(trace) {
  const [first] = trace.nodes;
  const events = trace.nodes.filter((node) => node.kind === "event");
  const about = events.find((event) => event.about)?.about ?? events[0]?.subject;
  const all = deliveries(trace);
  const marks = all.slice(0, 24).map((each) => h("i", { class: `mark ${hasFailed(each) && each.state === "done" ? "mended" : stateOf(each)}` }));
  return [
    h("time", {}, when(trace.at)),
    h("span", { class: "what" }, h("b", { class: "code" }, first?.name ?? "…"), " ", ...whom(about ?? "")),
    h("span", { class: "marks", "aria-hidden": "true" }, marks),
    h("span", { class: "outcome" }, ended(trace, all)),
  ];
}

function ended(trace, all) {
  const end = settledAt(trace);
  const count = (state) => all.filter((each) => stateOf(each) === state).length;
  const open = ["running", "retrying", "scheduled", "due", "lease_expired", "paused", "blocked", "parked", "given_up", "discarded"].filter(count).map((state) => say("ofState", count(state), say(state)));
  return open.length ? open.join(", ") : all.length ? say("doneIn", span(end - trace.at)) : say("done");
}
