// Outstanding deliveries: how many, by handler; and the first ones, to be retried or discarded.

import { $, choices, decide, h, pauseOrResume, pausedBy, redraw, timing, who, whom } from "./dom.js";
import { link, now, outstanding, stateOf } from "./live.js";
import { say, when } from "./words.js";

const MOST = 10_000; // of a state, that are counted
const STATES = ["due", "retrying", "running", "scheduled", "lease_expired", "paused", "blocked", "parked"];
const chosen = { handler: "", state: "", later: false };

/** Scheduled deliveries are shown on demand: there may be many, for weeks. */
const wanted = (rows) => rows.filter((row) => chosen.later || !(row.later ?? isForLater(row)));
const isForLater = (row) => stateOf(row) === "scheduled" || (row.state === "paused" && row.available_at > now() && !row.attempts && !row.last_error);

/** Draw it again. */
export function show() {
  const parked = outstanding.counts.filter(({ state }) => state === "parked").reduce((sum, { count }) => sum + count, 0);
  $("#outstanding-count").replaceChildren(parked ? h("b", { title: `${parked} ${say("parked")}` }, `${parked}`) : "");
  if ($("#view-outstanding").hidden) return;
  if (!outstanding.counts.length && !outstanding.pauses.length && !outstanding.schedules.length) return redraw($("#outstanding"), link.state === "wait" ? "" : h("p", { class: "quiet" }, say("nothingOutstanding")));
  const counts = wanted(outstanding.counts);
  const parts = counts.length || outstanding.pauses.length ? [table(counts), ...list()] : [h("p", { class: "quiet" }, say("nothingOutstanding"))];
  redraw($("#outstanding"), ...unknown(), ...parts, ...forLater(), ...schedules());
}

/** Deliveries that no process of this version can run, shown in time to react. */
const unknown = () => outstanding.unknown.map(({ handler, deliveries, first_due_at: at }) => h("p", { class: "reason", role: "status" }, say("unknownHandler", handler, say("deliveries", deliveries), when(at))));

/** The schedules: when each comes next, when it came last, and the trace of that event. */
const schedules = () => (outstanding.schedules.length ? [h("h2", { class: "tools" }, say("schedules")), h("ol", { class: "outstanding" }, outstanding.schedules.map(schedule))] : []);

function schedule({ name, cron, tz, next_at: next, last_at: last, missed, correlation_id: id, is_late: isLate }) {
  const facts = next ? [say(isLate ? "lateSince" : "nextAt", when(next)), last ? say("lastAt", when(last)) : say("noneYet"), missed > 0 && say("missedBefore", missed)] : [say("notBegun")];
  const link = id && h("a", { href: `#trace=${id}`, "data-key": `schedule ${name}` }, say("trace"));
  return h("li", {},
    h("p", {}, h("span", { class: "code" }, name), " ", h("span", { class: "quiet" }, `${cron} ${tz}`)),
    h("p", { class: isLate || !next ? "reason" : "outcome" }, facts.filter(Boolean).join(" · "), link && " · ", link));
}

/** How many deliveries are scheduled, and a button to show them. */
function forLater() {
  const sum = outstanding.counts.filter(({ later }) => later).reduce((all, { count }) => all + count, 0);
  if (!sum) return [];
  const toggle = () => { chosen.later = !chosen.later; show(); };
  return [h("p", { class: "quiet" }, say("forLater", sum.toLocaleString()), " ", h("button", { "data-key": "later", "aria-pressed": `${chosen.later}`, click: toggle }, say(chosen.later ? "hideLater" : "showLater")))];
}

function table(some) {
  const counts = new Map();
  for (const { handler, state, count } of some) counts.set(`${handler} ${state}`, (counts.get(`${handler} ${state}`) ?? 0) + count);
  const states = STATES.filter((state) => state === "due" || state === "parked" || some.some((each) => each.state === state));
  const handlers = [...new Set([...some, ...outstanding.pauses].map(({ handler }) => handler))];
  const cell = (handler, state) => {
    const count = counts.get(`${handler} ${state}`);
    if (!count) return h("td", { class: "quiet" }, "–");
    const choose = () => { Object.assign(chosen, { handler, state }); show(); };
    return h("td", { class: state }, h("button", { "data-key": `${handler} ${state}`, "aria-label": `${handler}: ${count} ${say(state)}`, click: choose }, count.toLocaleString()));
  };
  const isMuch = some.some(({ count }) => count >= MOST);
  return h("div", { class: "scroll", role: "group", "aria-labelledby": "h-outstanding", tabindex: "0" }, h("table", {},
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, say("handler")), states.map((state) => h("th", { scope: "col" }, say(state))), h("td"))),
    h("tbody", {}, handlers.map((handler) => h("tr", {}, h("th", { scope: "row", class: "code" }, handler), states.map((state) => cell(handler, state)), h("td", {}, pausing(handler)))))),
    isMuch ? h("p", { class: "quiet" }, say("orMore")) : null);
}

function pausing(handler) {
  const by = pausedBy(handler);
  return [h("button", { "data-key": `pause ${handler}`, "aria-label": `${handler}: ${say(by ? "resume" : "pause")}`, click: () => pauseOrResume(handler) }, say(by ? "resume" : "pause")), by && h("span", { class: "quiet" }, ` ${by}`)];
}

function list() {
  const first = wanted(outstanding.first);
  const shown = first.filter((row) => (!chosen.handler || row.handler === chosen.handler) && (!chosen.state || stateOf(row) === chosen.state));
  const keys = shown.map((row) => [row.event_id, row.handler]);
  const handlers = [...new Set([...first.map(({ handler }) => handler), chosen.handler].filter(Boolean))];
  const all = ["retryAll", "discardAll"].map((word) => h("button", { class: word === "discardAll" ? "grave" : null, "data-key": word, disabled: !shown.length, click: () => decide(word.slice(0, -3), keys) }, say(word)));
  return [
    h("div", { class: "tools" }, choice("handler", handlers, (name) => name), choice("state", STATES, say), h("span", { class: "quiet" }, say("shown", shown.length)), all),
    h("ol", { class: "outstanding" }, shown.map(item)),
  ];
}

function choice(name, values, label) {
  const options = ["", ...values].map((value) => h("option", { value, selected: chosen[name] === value }, value ? label(value) : say(name === "state" ? "anyState" : "any")));
  const change = (event) => { chosen[name] = event.target.value; show(); };
  return h("label", {}, h("span", {}, say(name)), h("select", { "data-key": `choose-${name}`, change }, options));
}

function item(row) {
  const state = stateOf(row);
  const facts = [row.attempts && say("attempt", row.attempts), row.owner && who(row.owner)].filter(Boolean).join(" · ");
  return h("li", { class: state },
    h("p", {}, h("i", { class: `mark ${state}`, "aria-hidden": "true" }), h("span", { class: "code" }, row.handler), " ",
      h("span", { class: "whom" }, ...whom(row.about || row.event_type))),
    h("p", { class: "outcome" }, timing(row), facts && ` · ${facts}`, " · ", h("a", { href: `#trace=${row.correlation_id}`, "data-key": `trace ${row.event_id} ${row.handler}` }, say("trace"))),
    h("p", { class: "choices" }, choices(row.event_id, row.handler)),
    row.held_by ? h("p", { class: "reason" }, say("heldBy", row.held_by)) : null,
    row.last_error ? h("p", { class: "reason" }, row.last_error) : null);
}
