// Makes elements. Text stays text: nothing that anybody has typed becomes markup.

import { now, outstanding, parse, stateOf } from "./live.js";
import { say, span, when } from "./words.js";

export const $ = (selector, root = document) => root.querySelector(selector);

/** Return an element: attributes that are functions become listeners, and null is left out. */
export function h(name, attributes = {}, ...children) {
  const space = SVG.has(name) ? "http://www.w3.org/2000/svg" : "http://www.w3.org/1999/xhtml";
  const element = document.createElementNS(space, name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(key, value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}
const SVG = new Set(["svg", "path"]);

/** Return the name of a process; one that has none is named by its host and number. */
export const who = (process) => process.replace(/(?<=.)@[^@]*$/, "");

/** Replace the content of an element; the focus stays on the same data-key. */
export function redraw(element, ...children) {
  const focused = element.contains(document.activeElement) && document.activeElement.dataset.key;
  element.replaceChildren(...children);
  if (focused) element.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
}

/** Announce a text to users of screen readers. */
export function announce(text) {
  $("#said").textContent = text;
}

/** Call the server; return its response, or throw its problem. */
export async function ask(path, body = null, { method = body ? "POST" : "GET", headers = {} } = {}) {
  const content = body && { body: JSON.stringify(body), headers: { "Content-Type": "application/json", ...headers } };
  const answer = await fetch(path, { cache: "no-store", method, ...content });
  const text = await answer.text();
  const answered = text && parse(text);
  if (!answer.ok) throw Object.assign(new Error(answered.detail ?? answered.title), { status: answer.status });
  return answered;
}

/** Send a form, and show problems in it. */
export function sending(form, send) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const wrong = $(".wrong", form);
    wrong.textContent = "";
    try {
      await send(Object.fromEntries(new FormData(form)));
    } catch (error) {
      wrong.textContent = error.status === 401 ? say("notYou") : error.message;
    }
  });
}

/** Show whom something is about: a name that looks like an address is shown with the address. */
export function whom(about) {
  const [, name, address] = about.match(/^(.*) <([^<>@]+@[^<>]+)>$/s) ?? [null, about, ""];
  return [h("bdi", {}, name), address && " ", address && h("bdi", { class: "address" }, address)];
}

/** Show how long a delivery has been in its state, or will be; `tick` updates what changes with time. */
export function timing(row) {
  const live = (tell) => Object.assign(h("b", { "data-span": true }, tell()), { say: tell });
  const left = () => row.available_at - now();
  const tell = {
    due: () => live(() => (left() > 0 ? say("dueIn", span(left())) : say("dueFor", span(-left())))),
    retrying: () => live(() => say("retryIn", span(left()))),
    scheduled: () => live(() => say("dueIn", span(left()))),
    running: () => live(() => say("lease", span(left()))),
    lease_expired: () => live(() => say("leaseOver", span(-left()))),
    paused: () => h("b", {}, pausedBy(row.handler ?? row.name) ?? say("paused")),
    blocked: () => h("b", {}, say("blockedBy", row.blocked_by?.slice(0, 8) ?? "…")),
    parked: () => h("b", {}, say("parkedAt", when(row.parked_at))),
  };
  return tell[stateOf(row)]?.();
}

/** Update the times that `timing` has shown. */
export function tick() {
  for (const each of document.querySelectorAll("[data-span]")) each.textContent = each.say();
}

/** Return the buttons with which an operator decides about a delivery. */
export function choices(event, handler) {
  return ["retry", "discard"].map((action) => h("button", { class: action === "discard" ? "grave" : null, "data-key": `${action} ${event} ${handler}`, click: () => decide(action, [[event, handler]]) }, say(action)));
}

/** Show a dialog, and return which of its buttons was pressed; the first has the focus. */
export function dialog(title, content, buttons) {
  const element = $("#dialog");
  const choices = Object.entries(buttons).map(([value, label], index, all) => h("button", { value, class: all.length > 1 ? value : "main", autofocus: index === 0 }, label));
  element.replaceChildren(h("form", { method: "dialog" }, h("h2", { id: "dialog-title" }, title), ...content, h("p", { class: "choices" }, ...choices)));
  element.returnValue = "";
  element.showModal();
  return new Promise((resolve) => element.addEventListener("close", () => resolve(element.returnValue), { once: true }));
}

/** Let an operator confirm a decision about some deliveries, then carry it out. */
export function decide(action, deliveries) {
  const [sure, means] = action === "retry" ? ["sureRetry", "retryMeans"] : ["sureDiscard", "discardMeans"];
  const names = [...new Set(deliveries.map(([, handler]) => handler))].join(", ");
  return confirm(action, say(sure, say("deliveries", deliveries.length)), names, say(means), async () => {
    let done = 0;
    for (const [event, handler] of deliveries) done += await decided(action, `deliveries/${event}/${handler}`);
    return done;
  });
}

/** Retry or discard a delivery; return how many there were: none, if it is done by now. */
async function decided(action, path) {
  try {
    await (action === "retry" ? ask(`${path}/retry`, null, { method: "POST" }) : ask(path, null, { method: "DELETE" }));
    return 1;
  } catch (error) {
    if (error.status !== 404) throw error;
    return 0;
  }
}

/** Return who has paused a handler, and when; undefined if nobody has. */
export function pausedBy(handler) {
  const found = outstanding.pauses.find((each) => each.handler === handler);
  return found && say("pausedBy", when(found.paused_at), found.paused_by);
}

const OF_HANDLERS = { pause: ["surePause", "pausingMeans"], resume: ["sureResume", "resumingMeans"] };
const OF_SUBSCRIPTIONS = { pause: ["surePauseFrom", "pausingFromMeans"], resume: ["sureResumeFrom", "resumingFromMeans"] };

/** The same for pausing a handler or a subscription, or resuming it if it is paused. */
export function pauseOrResume(handler) {
  const action = pausedBy(handler) ? "resume" : "pause";
  const [sure, means] = (handler.startsWith("from.") ? OF_SUBSCRIPTIONS : OF_HANDLERS)[action];
  const method = action === "pause" ? "PUT" : "DELETE";
  return confirm(action, say(sure), handler, say(means), async () => (await ask(`handlers/${handler}/pause`, null, { method })).deliveries);
}

async function confirm(action, sure, names, means, act) {
  const chosen = await dialog(sure, [h("p", { class: "code" }, names), h("p", {}, means)], { "": say("cancel"), [action]: say(action) });
  if (chosen !== action) return;
  try {
    announce(say("decided", say(action), say("deliveries", await act())));
  } catch (error) {
    await dialog(say("wrong", error.message), [], { "": say("close") });
  }
}
