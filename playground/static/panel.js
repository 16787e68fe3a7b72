// The panel of the playground: what there is to break, experiments, and the inbox of the mail server.

import { $, announce, ask, h, redraw } from "/page/assets/dom.js";
import { when } from "/page/assets/words.js";
import { say, tell } from "./words.js";

const POLL = 300; // ms
const ACTIONS = { running: ["kill", "freeze"], frozen: ["kill", "thaw"], gone: ["start"] };
const MAIL = ["up", "refuses", "hangs", "slow"];
const MARKS = { running: "●", frozen: "❄", gone: "✕" };

const FIRST = "killed"; // the experiment that everybody should see
const drawn = new Map(); // part → what it shows, so that nothing unchanged is drawn again
let watched = null; // the same, until the next one
let began = null; // the experiment that this viewer has begun, until its trace is there

const order = (path, body = {}) => ask(`/playground/${path}`, body).then(show, (error) => announce(error.message));
const button = (key, word, press, more = {}) => h("button", { type: "button", "data-key": key, click: press, ...more }, say(word));

/** Draw a part, if what it shows has changed; tell whether it has. */
function part(selector, seen, draw) {
  const now = JSON.stringify(seen);
  if (drawn.get(selector) === now) return false;
  drawn.set(selector, now);
  redraw($(selector), ...[draw(seen)].flat());
  return true;
}

function process({ name, state, pid, version }) {
  const press = (action) => button(`${name} ${action}`, action, () => order(`processes/${name}`, { action }), { "aria-label": `${say(action)}: ${name}` });
  const text = version === "allocation" ? say(state) : `${say(state)} · ${say("tomorrow")}`;
  return h("li", { class: state, id: `process-${name}` },
    h("span", { class: "sign", "aria-hidden": "true" }, MARKS[state]), h("span", {}, h("strong", {}, name), " ", h("small", {}, pid ? say("number", { pid }) : "")), h("span", { class: "state" }, text),
    h("span", { class: "presses" }, ACTIONS[state].map(press)));
}

function mail({ state, stalled }) {
  const choice = (each) => h("label", {}, h("input", { type: "radio", name: "mail", value: each, checked: each === state, "data-key": `mail ${each}`, change: () => order("mail", { state: each }) }), h("span", {}, say(each)));
  return [h("div", { class: "segments", role: "radiogroup", "aria-labelledby": "panel-mail-title" }, MAIL.map(choice)), stalled ? h("p", { class: "quiet" }, say("stalled", { stalled })) : ""];
}

function email({ at, recipient, subject, message_id, is_repeated }) {
  return h("li", {},
    h("time", { datetime: at }, when(Date.parse(at) / 1000)), h("strong", {}, subject), h("span", {}, recipient),
    h("code", { title: message_id }, message_id), is_repeated ? h("em", {}, say("repeated")) : "");
}

function inbox({ count, latest }) {
  $("#panel-count").textContent = count;
  return latest.length ? h("ol", { reversed: true, tabindex: 0, "data-key": "inbox", "aria-labelledby": "panel-inbox-title" }, latest.map(email)) : h("p", { class: "quiet" }, say("empty"));
}

/** Keep the step that is under way in sight, where the panel is shorter than what is in it. */
function follow(name) {
  const now = $(`#experiment-${name}[open] .now`);
  const beyond = now ? now.getBoundingClientRect().bottom - $("#panel").getBoundingClientRect().bottom : 0;
  if (beyond > 0) $("#panel").scrollBy({ top: beyond + 40 });
}

/** The first thing to do: everything else is below. */
function hero() {
  const press = () => {
    $(`#experiment-${FIRST}`).open = true;
    begin(FIRST);
  };
  return h("section", { id: "panel-hero" }, button("hero", "hero", press, { class: "main", disabled: true }), h("p", { class: "quiet" }, say("heroHint")));
}

/** Where the panel is above the traces: the steps of what this viewer has begun stay in view, below the tree. */
function strip({ name, steps, state, passed, facts }) {
  const all = [...steps, "restore"];
  const isOver = state === "kept" || state === "broken";
  const now = all.indexOf(passed.at(-1));
  const line = (each, index) => h("li", { class: !isOver && index === now ? "now" : passed.includes(each) ? "done" : "next" }, tell(name, each));
  return [
    h("p", {}, h("strong", {}, tell(name, "title")), " ", isOver ? h("span", { class: "verdict", "data-state": state }, say(state)) : h("span", { class: "quiet" }, say("step", { number: Math.max(now, 0) + 1, all: all.length }))),
    isOver ? h("ul", { class: "found" }, facts.map((each) => fact(name, each))) : h("ol", { class: "steps" }, all.map(line)),
    isOver ? button("close strip", "close", () => ($("#strip").hidden = true)) : null,
  ].filter(Boolean);
}

/** The frame of an experiment, which stays; its course is drawn into it. */
function frame({ name, promise, proof }) {
  return h("details", { name: "experiment", id: `experiment-${name}` },
    h("summary", {}, h("span", {}, tell(name, "title")), h("span", { class: "verdict" })),
    h("p", {}, tell(name, "what")),
    h("p", { class: "quiet" }, say("look", { look: tell(name, "look") }), "."),
    h("div", { class: "course" }),
    h("p", { class: "quiet" }, h("a", { href: `/playground/experiments/${name}`, target: "_blank", title: proof }, say("promise")), ": ", promise, "."));
}

function course({ name, steps, state, passed, facts, trace, isBusy }) {
  const all = [...steps, "restore"];
  const now = state === "running" ? passed.at(-1) : null;
  const mark = (step) => (step === now ? "now" : passed.includes(step) ? "done" : "next");
  const shown = state === "idle" ? null : h("ol", { class: "steps" }, all.map((each) => h("li", { class: mark(each), "aria-current": each === now ? "step" : null }, tell(name, each))));
  const found = facts.map((each) => fact(name, each));
  const isOver = state === "kept" || state === "broken";
  const verdict = found.length ? h("ul", { class: "found" }, found) : null;
  return [
    h("p", {}, button(`begin ${name}`, state === "running" ? "wait" : state === "idle" ? "begin" : "again", () => begin(name), { class: "main", disabled: isBusy }), " ", trace ? h("a", { href: `#trace=${trace}` }, say("trace")) : ""),
    ...(isOver ? [verdict, shown] : [shown, verdict]),
  ].filter(Boolean);
}

const fact = (name, { name: what, is_so, values }) => h("li", { class: is_so ? "so" : "not" }, h("span", { class: "sign" }, is_so ? "✓" : "✗"), tell(name, what, values));

function begin(name) {
  began = watched = name;
  $("#strip").hidden = false;
  $("#strip").setAttribute("aria-label", tell(name, "title"));
  location.hash = "traces";
  order(`experiments/${name}`);
}

function experiment(one, isBusy) {
  const { name, state, trace } = one;
  const verdict = { running: "underWay", kept: "kept", broken: "broken" }[state];
  if (name === began && trace) {
    began = null;
    location.hash = `trace=${trace}`;
  }
  if (name === watched) part("#strip", one, strip);
  if (part(`#experiment-${name} .course`, { ...one, isBusy }, course)) follow(name);
  const text = verdict ? say(verdict) : "";
  const shown = $(`#experiment-${name} .verdict`);
  if (shown.textContent === text) return;
  shown.textContent = text;
  shown.dataset.state = state;
  if (state !== "idle") announce(`${tell(name, "title")}: ${text}`);
}

function build({ experiments }) {
  const titled = (id, word, ...content) => h("section", { "aria-labelledby": `panel-${id}-title` }, h("h3", { id: `panel-${id}-title` }, say(word), " ", id === "inbox" ? h("span", { class: "count", id: "panel-count" }) : ""), ...content);
  $("#panel").append(
    titled("experiments", "experiments", experiments.map(frame)),
    titled("processes", "processes", h("ul", { id: "panel-processes" })),
    titled("mail", "mail", h("div", { id: "panel-mail" })),
    h("section", { class: "many" }, button("many", "many", () => order("registrations", { count: 100 })), h("p", { class: "quiet", id: "panel-registering" })),
    titled("inbox", "inbox", h("div", { id: "panel-inbox" })),
  );
}

async function show() {
  const state = await ask("/playground/state");
  $("#panel").hidden = false;
  if (!$("#panel-processes")) build(state);
  const isBusy = state.experiments.some((each) => each.state === "running");
  part("#panel-processes", state.processes, (all) => all.map(process));
  part("#panel-mail", { state: state.mail.state, stalled: state.mail.stalled }, mail);
  part("#panel-registering", state.registering, (counts) => say("registering", counts));
  part("#panel-inbox", { count: state.mail.count, latest: state.mail.latest }, inbox);
  for (const each of state.experiments) experiment(each, isBusy);
  $("#panel-hero button").disabled = isBusy;
}

async function watch() {
  const isWanted = !document.hidden || !$("#panel-processes");
  if (isWanted) await show().catch(({ status }) => (status === 401 && !location.hash.includes("code=") ? ($("#panel").hidden = true) : null)); // the page says that it is cut off
  setTimeout(watch, POLL);
}

document.head.append(h("link", { rel: "stylesheet", href: "/playground/panel.css" }));
document.body.append(h("section", { id: "strip", hidden: true }));
$("#panel").append(h("h2", {}, say("panel")), hero());
$("#panel").setAttribute("aria-label", say("panel"));
$("#panel").hidden = false; // at once; what is in it comes with the first response
watch();
