// What is owed: how much, by handler; and the first of it, to be retried or discarded.

import { $, decide, h, redraw, who } from "./dom.js";
import { link, now, owed } from "./live.js";
import { say, span, when } from "./words.js";

const MOST = 10_000; // of a state, that are counted
const STATES = ["due", "waiting", "leased", "parked"];
const chosen = { handler: "", state: "" };

/** Draw it anew. */
export function show() {
  const parked = owed.counts.filter(({ state }) => state === "parked").reduce((sum, { count }) => sum + count, 0);
  $("#owed-count").replaceChildren(parked ? h("b", { title: `${parked} ${say("parked")}` }, `${parked}`) : "");
  if ($("#view-owed").hidden) return;
  if (!owed.counts.length) return redraw($("#owed"), link.state === "wait" ? "" : h("p", { class: "quiet" }, say("nothingOwed")));
  redraw($("#owed"), table(), ...list());
}

/** Let time pass. */
export function tick() {
  for (const each of document.querySelectorAll("#owed [data-span]")) each.textContent = each.say();
}

function table() {
  const counts = new Map(owed.counts.map(({ handler, state, count }) => [`${handler} ${state}`, count]));
  const handlers = [...new Set(owed.counts.map(({ handler }) => handler))];
  const cell = (handler, state) => {
    const count = counts.get(`${handler} ${state}`);
    if (!count) return h("td", { class: "quiet" }, "–");
    const choose = () => { Object.assign(chosen, { handler, state }); show(); };
    return h("td", { class: state }, h("button", { "data-key": `${handler} ${state}`, "aria-label": `${handler}: ${count} ${say(state)}`, click: choose }, count.toLocaleString()));
  };
  const isMuch = owed.counts.some(({ count }) => count >= MOST);
  return h("div", { class: "scroll", role: "group", "aria-labelledby": "h-owed", tabindex: "0" }, h("table", {},
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, say("handler")), STATES.map((state) => h("th", { scope: "col" }, say(state))))),
    h("tbody", {}, handlers.map((handler) => h("tr", {}, h("th", { scope: "row", class: "code" }, handler), STATES.map((state) => cell(handler, state)))))),
    isMuch ? h("p", { class: "quiet" }, say("orMore")) : null);
}

function list() {
  const shown = owed.first.filter((row) => (!chosen.handler || row.handler === chosen.handler) && (!chosen.state || row.state === chosen.state));
  const keys = shown.map((row) => [row.event_id, row.handler]);
  const handlers = [...new Set([...owed.first.map(({ handler }) => handler), chosen.handler].filter(Boolean))];
  const all = ["retryAll", "discardAll"].map((word) => h("button", { "data-key": word, disabled: !shown.length, click: () => decide(word.slice(0, -3), keys) }, say(word)));
  return [
    h("div", { class: "tools" }, choice("handler", handlers, (name) => name), choice("state", STATES, say), h("span", { class: "quiet" }, say("shown", shown.length)), all),
    h("ol", { class: "owed" }, shown.map(item)),
  ];
}

function choice(name, values, label) {
  const options = ["", ...values].map((value) => h("option", { value, selected: chosen[name] === value }, value ? label(value) : say("any")));
  const change = (event) => { chosen[name] = event.target.value; show(); };
  return h("label", {}, h("span", {}, say(name)), h("select", { "data-key": `choose-${name}`, change }, options));
}

function item(row) {
  const live = (tell) => Object.assign(h("b", { "data-span": true }, tell()), { say: tell });
  const times = {
    due: () => live(() => say("dueFor", span(now() - row.due_at))),
    waiting: () => live(() => say("retryIn", span(row.due_at - now()))),
    leased: () => live(() => say("lease", span(row.due_at - now()))),
    parked: () => h("b", {}, say("parkedAt", when(row.parked_at))),
  };
  const facts = [say("attempt", row.attempts), row.process && who(row.process)].filter(Boolean).join(" · ");
  const button = (action) => h("button", { "data-key": `${action} ${row.event_id} ${row.handler}`, click: () => decide(action, [[row.event_id, row.handler]]) }, say(action));
  return h("li", { class: row.state },
    h("p", {}, h("i", { class: `mark ${row.state === "leased" ? "running" : row.state}`, "aria-hidden": "true" }), h("span", { class: "code" }, row.handler), " ",
      h("span", { class: "quiet code" }, row.event_type)),
    h("p", { class: "outcome" }, times[row.state](), ` · ${facts} · `, h("a", { href: `#story=${row.story}`, "data-key": `story ${row.event_id} ${row.handler}` }, say("story"))),
    h("p", { class: "choices" }, button("retry"), button("discard")),
    row.error ? h("p", { class: "reason" }, row.error) : null);
}
