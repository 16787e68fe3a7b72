// A trace as a timeline: what caused what, from the commit to the end of the last delivery.
//
// Time is compressed: a wait of a minute is not a thousand times as wide as the work around it.

import { choices, h, timing, who, whom } from "./dom.js";
import { hasFailed, now, stateOf } from "./live.js";
import { say, span, when } from "./words.js";

const GRAIN = 0.004; // seconds; what is shorter is about as wide
const ENDS = { failed: "endFailed", lease_expired: "endFailed", released: "endReleased", interrupted: "endInterrupted", superseded: "endRevoked" };
const DECISIONS = { retry: "wasRetry", discard: "wasDiscard", replay: "wasReplay", pause: "wasPause", resume: "wasResume", erase: "wasErase" };
const WAIT = 0.8; // seconds; a wait that is written
const LABEL = 62; // pixels, in which that fits

/** Return the elements of a trace's timeline, and a function that updates its times. */
export function timeline(trace) {
  const nodes = inOrder(trace.nodes);
  const spans = nodes.map((node) => ({ node, bars: barsOf(node, nodes) }));
  const axis = h("div", { class: "axis", "aria-hidden": "true" });
  const all = h("span");
  const tracks = spans.map(({ bars }) => h("div", { class: "track", "aria-hidden": "true" }, bars.map(({ element }) => element)));
  const items = spans.map(({ node }, index) => item(node, tracks[index]));
  const source = trace.nodes.find((node) => node.kind === "command")?.about;
  const elements = [
    h("p", { class: "quiet facts" },
      h("a", { href: `#trace=${trace.id}`, "data-key": `link-${trace.id}`, title: trace.id }, `${say("link")} ${trace.id.slice(0, 8)}…`),
      source ? h("bdi", {}, say("from", source)) : null, all),
    axis,
    h("ol", { class: "nodes" }, items),
    trace.more ? h("p", { class: "quiet" }, say("more")) : null,
  ].filter(Boolean);

  function tick() {
    place(spans.flatMap(({ bars }) => bars), axis, tracks[0].clientWidth);
    all.textContent = say("inAll", span(lasted(spans.filter(({ node }) => stateOf(node) !== "scheduled").flatMap(({ bars }) => bars))));
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

/** The bars of a node, each with a begin and an end; null is now. */
function barsOf(node, nodes) {
  if (node.kind !== "delivery") {
    const caused = descendants(node, nodes);
    const below = caused.filter((each) => each.kind === "delivery" && stateOf(each) !== "scheduled");
    const from = Math.min(node.completed_at, ...caused.filter((each) => each.kind === "event").map((each) => each.completed_at)); // a command is noted after them
    const ends = below.map((each) => each.completed_at ?? each.parked_at ?? null);
    const to = ends.includes(null) ? null : Math.max(node.completed_at, ...ends);
    return [bar(node.kind, from, to)];
  }
  const bars = [];
  const committed = nodes.find((each) => each.id === node.parent)?.completed_at ?? node.completed_at ?? now();
  let free = committed; // since when no process has run it
  for (const end of (node.history ?? []).filter(({ attempt }) => attempt !== null)) {
    const held = end.what === "lease_expired"; // the whole lease; of others, only the end is stored
    if (!held) bars.push(bar("pause", free, end.recorded_at));
    if (end.what !== "released") bars.push(bar("broken", held ? free : end.recorded_at, end.recorded_at, end.attempt));
    free = end.recorded_at;
  }
  const state = stateOf(node);
  if (state === "done" || state === "given_up" || state === "discarded") {
    const from = Math.max(free, node.completed_at - (node.seconds ?? 0));
    bars.push(bar("pause", free, from), bar(state === "done" ? "good" : "halt", from, node.completed_at, state === "done" && hasFailed(node) ? node.attempts : null));
  } else if (state === "parked") bars.push(bar("halt", node.parked_at, node.parked_at));
  else if (state === "running") bars.push(bar("busy", free, null, hasFailed(node) ? node.attempts : null));
  else bars.push(bar("pause", free, null));
  return bars.filter(({ kind, from, to }) => kind !== "pause" || to !== from);
}

function descendants(node, nodes) {
  const inside = new Set([node.id]);
  return nodes.filter((each) => inside.has(each.parent) && inside.add(each.id));
}

const bar = (kind, from, to, number = null) => ({ kind, from, to, element: h("i", { class: `bar ${kind}` }, number === null ? "" : h("b", {}, `${number}`)) });

/** From the begin of the first bar to the end of the last, in seconds. */
const lasted = (bars) => Math.max(...bars.map(({ to }) => to ?? now())) - Math.min(...bars.map(({ from }) => from));

/** Place bars on an axis of compressed time, and label the long waits. */
function place(bars, axis, width) {
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
  const waits = gaps.filter(({ seconds, from, to }) => seconds > WAIT && ((to - from) / sum) * width > LABEL).map(({ seconds, from, to }) => {
    const label = h("span", { class: "wait" }, say("waited", span(seconds)));
    label.style.setProperty("--from", percent(from));
    label.style.setProperty("--length", percent(to - from));
    return label;
  });
  axis.replaceChildren(...waits);
}

function item(node, track) {
  const past = (node.history ?? []).map((entry, index, all) => reason(entry, all[index - 1]));
  const shown = node.history?.some(({ why }) => why === node.error);
  const label = h("span", { class: "label" }, h("i", { class: `kind ${node.kind}`, "aria-hidden": "true" }), h("span", { class: "code" }, node.name),
    node.about && node.kind === "event" ? h("span", { class: "quiet about" }, ...whom(node.about)) : null);
  const element = h("li", { class: `node ${node.kind} ${stateOf(node)}` }, label, track, h("span", { class: "outcome" }, ...status(node)),
    past.length || (node.error && !shown) ? h("div", { class: "reasons" }, past, node.error && !shown ? h("p", { class: "reason" }, node.error) : null) : null);
  element.style.setProperty("--depth", node.depth);
  return element;
}

/** How a claim ended, or what an operator has decided: when, by whom, why. */
function reason({ what, attempt, token, by, why, recorded_at }, before) {
  const isEnd = attempt !== null;
  const facts = [isEnd ? say(ENDS[what], attempt, when(recorded_at)) : say(DECISIONS[what], when(recorded_at)), isEnd && say("fence", token), by && (isEnd ? who(by) : by)];
  const kind = !isEnd ? "reason decision" : what === "released" ? "reason harmless" : "reason";
  return h("p", { class: kind }, h("span", {}, facts.filter(Boolean).join(", ") + (why ? ": " : "")), why && why === before?.why ? say("same") : why);
}

/** The text about a node, and what may be done about it. */
function status(node) {
  if (node.kind !== "delivery") return [h("span", { class: "quiet" }, say("committed", when(node.completed_at)))];
  const state = stateOf(node);
  const isNext = ["due", "retrying", "scheduled"].includes(state);
  const attempts = say("attempt", (node.attempts ?? 0) + isNext);
  const facts = [node.owner && who(node.owner), say("fence", node.token ?? 0)];
  const parts = {
    done: () => [say("doneIn", span(node.seconds ?? 0)), node.attempts > 1 && attempts, ...facts],
    running: () => [say("running"), attempts, timing(node), ...facts],
    given_up: () => [say("givenUpAt", when(node.completed_at)), node.given_up, ...facts],
    discarded: () => [say("discardedAt", when(node.completed_at)), attempts],
    lease_expired: () => [timing(node), attempts, ...facts],
  }[state]?.() ?? [timing(node), attempts];
  const [first, ...rest] = parts.filter(Boolean);
  const words = [typeof first === "string" ? h("b", {}, first) : first, ...rest.flatMap((part) => [" · ", part])];
  const split = node.id.lastIndexOf(":");
  return state === "parked" ? [...words, ...choices(node.id.slice(0, split), node.id.slice(split + 1))] : words;
}
