// The map of messages and handlers. What a handler causes is known from traces only.

import { $, ask, dialog, h, pauseOrResume, pausedBy } from "./dom.js";
import { now, traces } from "./live.js";
import { language, say } from "./words.js";

const LIT = 1400; // ms
const LONG_AGO = 10; // seconds; what had happened before somebody looked lights nothing

let tables = null;
const causes = new Map(); // handler → events that it has caused, in the traces that are here
const known = new Map(); // trace → what of it has been seen: id of a node → its state
const nodes = new Map(); // key → its button
const edges = new Map(); // "key key" → its line

/** Fetch the handler map, once; return the names of the handlers. */
export async function load() {
  tables ??= await ask("page/handler-map");
  return [...new Set(Object.values(tables.events).flat())];
}

/** Learn from changed traces what causes what, and animate what is new in them. */
export function show(changed) {
  let learned = false;
  const passed = new Set();
  for (const trace of changed) {
    const isPast = !known.has(trace.id) && trace.at < now() - LONG_AGO;
    const seen = known.get(trace.id) ?? new Map();
    const byId = new Map(trace.nodes.map((node) => [node.id, node]));
    for (const node of trace.nodes) {
      const before = seen.get(node.id);
      const progress = `${node.state}${node.attempts ?? 0}`;
      seen.set(node.id, progress);
      learned = learn(node, byId.get(node.parent)) || learned;
      if (before !== progress && !isPast) for (const edge of steps(node, byId.get(node.parent))) passed.add(edge);
    }
    known.set(trace.id, seen);
  }
  for (const id of known.keys()) if (!traces.has(id)) known.delete(id);
  if ($("#view-map").hidden || !tables) return;
  if (learned || !nodes.size) draw();
  for (const edge of passed) light(edge);
}

function learn(node, parent) {
  if (node.kind !== "event" || !parent) return false;
  const handler = parent.kind === "command" ? tables?.commands[parent.name]?.[0] ?? parent.name : parent.name;
  if (!causes.has(handler)) causes.set(handler, new Set());
  const before = causes.get(handler).size;
  return causes.get(handler).add(node.name).size > before;
}

function* steps(node, parent) {
  if (node.kind === "command") yield `c:${node.name} h:${tables?.commands[node.name]?.[0]}`;
  if (node.kind === "event" && parent) yield `h:${parent.kind === "command" ? tables?.commands[parent.name]?.[0] : parent.name} e:${node.name}`;
  if (node.kind === "delivery" && parent) {
    yield `e:${parent.name} h:${node.name}`;
    if (node.state === "done") for (const port of tables?.handlers[node.name]?.outside ?? []) yield `h:${node.name} o:${port}`;
  }
}

/** Mark the handlers that are paused. */
export function mark() {
  for (const [key, element] of nodes) element.classList.toggle("paused", "hs".includes(key[0]) && Boolean(pausedBy(key.slice(2))));
}

/** Draw nodes in columns, in the direction of messages; the effects of event handlers lead back. */
export function draw() {
  if (!tables) return;
  const ways = allWays();
  nodes.clear();
  const lines = h("svg", { "aria-hidden": "true" });
  const boxes = columns(ways).map((keys, index) => keys.length && h("div", { class: "column" }, h("h2", {}, say(ORDER[index])), h("ul", {}, keys.map((key) => h("li", {}, box(key))))));
  $("#handler-map").replaceChildren(lines, ...boxes.filter(Boolean));
  connect(lines, ways);
  mark();
}

function allWays() {
  const ways = [];
  for (const [source, commands] of Object.entries(tables.sources)) for (const name of commands) ways.push([`s:${source}`, `c:${name}`]);
  for (const [name, handlers] of Object.entries(tables.commands)) for (const handler of handlers) ways.push([`c:${name}`, `h:${handler}`]);
  for (const [name, handlers] of Object.entries(tables.events)) for (const handler of handlers) ways.push([`e:${name}`, `h:${handler}`]);
  for (const [handler, events] of causes) for (const event of events) ways.push([`h:${handler}`, `e:${event}`]);
  for (const [handler, { outside }] of Object.entries(tables.handlers)) for (const port of outside) ways.push([`h:${handler}`, `o:${port}`]);
  return ways;
}

/** Return the nodes of each column, ordered by the origins of their edges. */
function columns(ways) {
  const ofCommands = new Set(Object.values(tables.commands).flat());
  const place = (key) => (ofCommands.has(key.slice(2)) && key[0] === "h" ? 2 : { s: 0, c: 1, e: 3, h: 4, o: 5 }[key[0]]);
  const found = ORDER.map(() => []);
  for (const key of new Set([...ways.flat(), ...Object.keys(tables.events).map((name) => `e:${name}`)])) found[place(key)].push(key);
  const heights = new Map();
  for (const keys of found) {
    const sources = (key) => ways.filter(([from, to]) => to === key && heights.has(from)).map(([from]) => heights.get(from));
    const mean = (all) => (all.length ? all.reduce((a, b) => a + b) / all.length : 1);
    const height = new Map(keys.map((key) => [key, mean(sources(key))]));
    keys.sort((a, b) => height.get(a) - height.get(b));
    keys.forEach((key, index) => heights.set(key, (index + 0.5) / keys.length));
  }
  return found;
}

const KINDS = { s: "subscription", c: "command", e: "event", h: "handler", o: "outside" };
const ORDER = ["subscription", "command", "handler", "event", "handler", "outside"];

function box(key) {
  const kind = KINDS[key[0]];
  const name = key.slice(2);
  const element = h("button", { class: `box ${kind}`, "data-key": key, click: () => explain(key) }, h("span", { class: "unseen" }, `${say(kind)}: `), name);
  nodes.set(key, element);
  return element;
}

function connect(lines, ways) {
  edges.clear();
  const origin = $("#handler-map").getBoundingClientRect();
  const [left, top] = [origin.left - $("#handler-map").scrollLeft, origin.top - $("#handler-map").scrollTop];
  lines.setAttribute("width", $("#handler-map").scrollWidth);
  lines.setAttribute("height", $("#handler-map").scrollHeight);
  for (const [from, to] of ways) {
    const [a, b] = [from, to].map((key) => nodes.get(key).getBoundingClientRect()).sort((one, other) => one.left - other.left);
    const line = h("path", { d: curve(a, b, left, top), class: from[0] === "h" && to[0] === "e" ? "caused" : null });
    edges.set(`${from} ${to}`, line);
    lines.append(line);
  }
}

function curve(a, b, left, top) {
  const [x1, y1, x2, y2] = [a.right - left, (a.top + a.bottom) / 2 - top, b.left - left, (b.top + b.bottom) / 2 - top];
  const bend = (x2 - x1) / 2;
  return `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`;
}

function light(edge) {
  const parts = [edges.get(edge), ...edge.split(" ").map((key) => nodes.get(key))].filter(Boolean);
  for (const part of parts) {
    part.classList.add("lit");
    clearTimeout(part.fading);
    part.fading = setTimeout(() => part.classList.remove("lit"), LIT);
  }
}

async function explain(key) {
  const [kind, name] = [KINDS[key[0]], key.slice(2)];
  const handled = { command: tables.commands[name], event: tables.events[name] }[kind];
  const handlers = kind === "handler" || kind === "subscription" ? [name] : handled ?? Object.keys(tables.handlers).filter((each) => tables.handlers[each].outside.includes(name));
  const content = handlers.length ? handlers.flatMap((each) => described(each, each !== name)) : [h("p", {}, say("nobody"))];
  const isOfEvents = kind === "handler" && Object.values(tables.events).some((names) => names.includes(name));
  const pause = isOfEvents || kind === "subscription" ? { pause: say(pausedBy(name) ? "resume" : "pause") } : {};
  if (await dialog(name, content, { "": say("close"), ...pause })) pauseOrResume(name);
}

function described(name, isOneOfSome) {
  const handler = tables.handlers[name];
  const promise = handler ? (handler.uow ? "exactlyOnce" : "atLeastOnce") : "changesNothing";
  return [
    isOneOfSome ? h("h3", { class: "code" }, name) : null,
    handler?.about ? h("p", { lang: "en" }, handler.about) : null,
    handler?.origin ? h("p", {}, say("comesFrom", handler.origin)) : h("p", {}, say(promise)),
    pausedBy(name) ? h("p", {}, h("b", {}, pausedBy(name))) : null,
    handler ? h("p", { class: "quiet code" }, handler.place) : null,
    handler?.source ? h("pre", { tabindex: "0", class: "code", lang: "en" }, handler.source) : null,
  ].filter(Boolean);
}

new ResizeObserver(() => tables && !$("#view-map").hidden && draw()).observe($("#handler-map"));
