// Makes elements. Text is text: nothing that anybody typed ever becomes markup.

import { say } from "./words.js";

export const $ = (selector, root = document) => root.querySelector(selector);

/** Return an element: functions among the attributes listen, what is null is left out. */
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

/** Return the name of a process; one that has none is told by its host and number. */
export const who = (process) => process.replace(/(?<=.)@[^@]*$/, "");

/** Change what is in an element; who had the focus there, by its data-key, has it afterwards. */
export function redraw(element, ...children) {
  const focused = element.contains(document.activeElement) && document.activeElement.dataset.key;
  element.replaceChildren(...children);
  if (focused) element.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
}

/** Tell those who do not see the page. */
export function announce(text) {
  $("#said").textContent = text;
}

/** Ask the server; return what it answers, or throw what it says is wrong. */
export async function ask(path, body = null, headers = {}) {
  const options = body && { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json", ...headers } };
  const answer = await fetch(path, { cache: "no-store", ...options });
  const text = await answer.text();
  const content = text && JSON.parse(text);
  if (!answer.ok) throw Object.assign(new Error(content.detail ?? content.title), { status: answer.status });
  return content;
}

/** Show a dialog, and return which of its buttons was pressed. */
export function dialog(title, content, buttons) {
  const element = $("#dialog");
  const choices = Object.entries(buttons).map(([value, label], index) => h("button", { value, class: index === 0 ? "main" : null }, label));
  element.replaceChildren(h("form", { method: "dialog" }, h("h2", { id: "dialog-title" }, title), ...content, h("p", { class: "choices" }, ...choices)));
  element.returnValue = "";
  element.showModal();
  return new Promise((resolve) => element.addEventListener("close", () => resolve(element.returnValue), { once: true }));
}

/** Have a person confirm what he decides about some deliveries, and do it. */
export async function decide(action, deliveries) {
  const count = say("deliveries", deliveries.length);
  const [sure, means] = action === "retry" ? ["sureRetry", "retryMeans"] : ["sureDiscard", "discardMeans"];
  const names = [...new Set(deliveries.map(([, handler]) => handler))].join(", ");
  const chosen = await dialog(say(sure, count), [h("p", { class: "code" }, names), h("p", {}, say(means))], { [action]: say(action), "": say("cancel") });
  if (chosen !== action) return;
  try {
    const { done } = await ask("/page/decisions", { action, deliveries });
    announce(say("decided", say(action), say("deliveries", done)));
  } catch (error) {
    await dialog(say("wrong", error.message), [], { "": say("close") });
  }
}
