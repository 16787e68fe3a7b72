// A story as a timeline: what caused what, from the commit until it was settled.
//
// Time is compressed: a wait of a minute is not a thousand times as wide as the work around it.

import { decide, h, who } from "./dom.js";
import { now, stateOf } from "./live.js";
import { say, span, when } from "./words.js";

const GRAIN = 0.004; // seconds; what is shorter is about as wide
const WAIT = 0.8; // seconds; a wait that is told
const LOST = "it had not finished when its lease ended"; // what the server stores of such an attempt

/** Return the elements of a story's timeline, and how to let time pass in it. */
export function timeline(story) {
  const nodes = inOrder(story.nodes);
  const spans = nodes.map((node) => ({ node, bars: barsOf(node, nodes) }));
  const axis = h("div", { class: "axis", "aria-hidden": "true" });
  const all = h("span");
  const tracks = spans.map(({ bars }) => h("div", { class: "track", "aria-hidden": "true" }, bars.map(({ element }) => element)));
  const items = spans.map(({ node }, index) => item(node, tracks[index]));
  const source = story.nodes.find((node) => node.kind === "command")?.about;
  const elements = [
    h("p", { class: "quiet facts" },
      h("a", { href: `#story=${story.id}`, "data-key": `link-${story.id}` }, say("link")), h("span", { class: "code" }, story.id),
      source ? h("bdi", {}, say("from", source)) : null, all),
    axis,
    h("ol", { class: "nodes" }, items),
    story.more ? h("p", { class: "quiet" }, say("more")) : null,
  ].filter(Boolean);

  function tick() {
    all.textContent = say("inAll", span(place(spans.flatMap(({ bars }) => bars), axis)));
  }
  tick();
  return { elements, tick };
}

function inOrder(nodes) {
  const depths = new Map();
  return nodes.map((node) => {
    const depth = depths.has(node.parent) ? depths.get(node.parent) + 1 : 0;
    depths.set(node.id, depth);
    return { ...node, depth };
  });
}

/** The bars of a node, each from and to some time; null is now. */
function barsOf(node, nodes) {
  if (node.kind !== "delivery") {
    const below = descendants(node, nodes).filter((each) => each.kind === "delivery");
    const ends = below.map((each) => each.finished_at ?? each.parked_at ?? null);
    const to = ends.includes(null) ? null : Math.max(node.finished_at, ...ends);
    return [bar(node.kind, node.finished_at, to)];
  }
  const bars = [];
  const committed = nodes.find((each) => each.id === node.parent)?.finished_at ?? node.finished_at ?? now();
  let free = committed; // since when nobody has had it in hand
  for (const failure of node.failures ?? []) {
    const held = failure.attempt === 1 || failure.error === LOST; // of others, only the end is stored
    if (!held) bars.push(bar("pause", free, failure.failed_at));
    bars.push(bar("broken", held ? free : failure.failed_at, failure.failed_at, failure.attempt));
    free = failure.failed_at;
  }
  const state = stateOf(node);
  if (state === "done") {
    const from = Math.max(free, node.finished_at - (node.seconds ?? 0));
    bars.push(bar("pause", free, from), bar("good", from, node.finished_at, node.failures ? node.attempts : null));
  } else if (state === "parked") bars.push(bar("halt", node.parked_at, node.parked_at));
  else if (state === "running") bars.push(bar("busy", free, null, node.failures ? node.attempts : null));
  else bars.push(bar("pause", free, null));
  return bars.filter(({ kind, from, to }) => kind !== "pause" || to !== from);
}

function descendants(node, nodes) {
  const inside = new Set([node.id]);
  return nodes.filter((each) => inside.has(each.parent) && inside.add(each.id));
}

const bar = (kind, from, to, number = null) => ({ kind, from, to, element: h("i", { class: `bar ${kind}` }, number === null ? "" : h("b", {}, `${number}`)) });

/** Put bars where they belong on an axis of compressed time, and tell the long waits on it.
 * Return how long all of it has taken. */
function place(bars, axis) {
  const time = now();
  const points = [...new Set(bars.flatMap(({ from, to }) => [from, to ?? time]))].sort((a, b) => a - b);
  const places = new Map([[points[0], 0]]);
  let sum = 0;
  const gaps = points.slice(1).map((point, index) => {
    const seconds = point - points[index];
    const gap = { seconds, from: sum, to: (sum += Math.log1p(seconds / GRAIN)) };
    places.set(point, sum);
    return gap;
  });
  const percent = (value) => `${sum ? (100 * value) / sum : 0}%`;
  for (const { from, to, element } of bars) {
    element.style.setProperty("--from", percent(places.get(from)));
    element.style.setProperty("--length", percent(places.get(to ?? time) - places.get(from)));
  }
  const waits = gaps.filter(({ seconds, from, to }) => seconds > WAIT && (to - from) / sum > 0.08).map(({ seconds, from, to }) => {
    const label = h("span", { class: "wait" }, span(seconds));
    label.style.setProperty("--from", percent(from));
    label.style.setProperty("--length", percent(to - from));
    return label;
  });
  axis.replaceChildren(...waits);
  return points.at(-1) - points[0];
}

function item(node, track) {
  const failures = node.kind === "delivery" ? (node.failures ?? []).map((failure, index, all) => reason(failure, all[index - 1])) : [];
  const told = node.failures?.at(-1)?.error === node.error;
  const label = h("span", { class: "label" }, h("i", { class: `kind ${node.kind}`, "aria-hidden": "true" }), h("span", { class: "code" }, node.name),
    node.about && node.kind === "event" ? h("bdi", { class: "quiet" }, node.about) : null);
  const element = h("li", { class: `node ${node.kind} ${stateOf(node)}` }, label, track, h("span", { class: "outcome" }, ...status(node)),
    failures.length || (node.error && !told) ? h("div", { class: "reasons" }, failures, node.error && !told ? h("p", { class: "reason" }, node.error) : null) : null);
  element.style.setProperty("--depth", node.depth);
  return element;
}

function reason(failure, before) {
  const what = failure.error === before?.error ? say("same") : failure.error;
  return h("p", { class: "reason" }, h("span", {}, `${say("attemptFailed", failure.attempt, when(failure.failed_at))}${failure.process ? `, ${who(failure.process)}` : ""}: `), what);
}

/** What is said of a node, and what may be done about it. */
function status(node) {
  if (node.kind !== "delivery") return [h("span", { class: "quiet" }, say("committed", when(node.finished_at)))];
  const left = (to) => to - now();
  const attempts = say("attempt", node.attempts ?? 0);
  const facts = [node.process && who(node.process), say("fence", node.token ?? 0)].filter(Boolean);
  const tell = {
    done: () => [say("doneIn", span(node.seconds ?? 0)), node.attempts > 1 ? attempts : null, ...facts],
    running: () => [say("running"), attempts, live(() => say("lease", span(left(node.due_at)))), ...facts],
    lost: () => [live(() => say("leaseOver", span(-left(node.due_at)))), attempts, ...facts],
    waiting: () => [live(() => (left(node.due_at) > 0 ? say("retryIn", span(left(node.due_at))) : say("due"))), say("attempt", (node.attempts ?? 0) + 1)],
    due: () => [live(() => say("dueFor", span(-left(node.due_at)))), say("attempt", (node.attempts ?? 0) + 1)],
    parked: () => [say("parkedAt", when(node.parked_at)), attempts],
  };
  const parts = tell[stateOf(node)]().filter(Boolean);
  const words = parts.flatMap((part, index) => (index ? [" · ", part] : [index === 0 && typeof part === "string" ? h("b", {}, part) : part]));
  return stateOf(node) === "parked" ? [...words, ...choices(node)] : words;
}

function choices(node) {
  const split = node.id.lastIndexOf(":");
  const key = [node.id.slice(0, split), node.id.slice(split + 1)];
  return ["retry", "discard"].map((action) => h("button", { "data-key": `${action}-${node.id}`, click: () => decide(action, [key]) }, say(action)));
}

function live(tell) {
  const element = h("b", { "data-span": true }, tell());
  element.say = tell;
  return element;
}
