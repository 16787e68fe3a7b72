// The stories, newest first. A row is made anew only when its story has changed.

import { $, announce, ask, h, redraw } from "./dom.js";
import { deliveries, link, outcome, settledAt, stateOf, stories } from "./live.js";
import { say, span, when } from "./words.js";
import { timeline } from "./timeline.js";

const AGAIN = 2000; // ms between two looks at an old story, of which the server tells nothing

const rows = new Map(); // id → row: its element, and how to draw it
const form = $("#filter");
let wanted = null; // the story that the address names

/** Begin: the filter filters, and an address or an id is looked for also among what is not here. */
export function begin() {
  const states = ["running", "waiting", "due", "lost", "parked", "failed", "done"];
  form.elements.state.append(option("", say("any")), ...states.map((state) => option(state, say(state))));
  form.elements.handler.append(option("", say("any")));
  form.addEventListener("input", filter);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const text = form.elements.text.value.trim();
    if (/@|^[0-9a-f-]{8,36}…?$/i.test(text)) await find(text);
    filter();
  });
}

const option = (value, label) => h("option", { value }, label);

/** Offer the handlers that there are. */
export function offer(handlers) {
  const known = new Set([...form.elements.handler.options].map(({ value }) => value));
  form.elements.handler.append(...handlers.filter((name) => !known.has(name)).map((name) => option(name, name)));
}

/** Draw the stories that have changed, each in its place. */
export function show(changed) {
  for (const story of changed) {
    if (!stories.has(story.id)) continue;
    if (!rows.has(story.id)) rows.set(story.id, row(story.id));
    rows.get(story.id).draw();
  }
  for (const [id, { element }] of rows) if (!stories.has(id)) { element.remove(); rows.delete(id); }
  let place = $("#list").firstElementChild;
  for (const { id } of [...stories.values()].sort((a, b) => b.at - a.at)) {
    const { element } = rows.get(id) ?? {};
    if (element === place) place = place?.nextElementSibling ?? null;
    else if (element) $("#list").insertBefore(element, place);
  }
  filter();
  if (wanted && rows.has(wanted)) reveal();
}

/** Show one story, also an old one, open. */
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
    const found = await ask(`/page/stories/${encodeURIComponent(text)}`);
    for (const story of found) if (!stories.has(story.id)) stories.set(story.id, { ...story, kept: true });
    show(found);
  } catch (error) {
    if (error.status !== 422 && error.status !== 404) throw error;
  }
}

/** Let time pass: countdowns, and what has become of old stories. */
export function tick() {
  for (const each of document.querySelectorAll("#list [data-span]")) each.textContent = each.say();
  for (const each of rows.values()) each.tick();
}

function filter() {
  const { text, handler, state } = Object.fromEntries(new FormData(form));
  const words = text.trim().toLowerCase().replace(/…$/, "").split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const [id, { element }] of rows) {
    element.hidden = !fits(stories.get(id), words, handler, state);
    shown += !element.hidden;
  }
  $("#none").hidden = shown > 0 || link.state === "wait";
  $("#none").textContent = say(stories.size ? "noneFound" : "none");
}

function fits(story, words, handler, state) {
  if (handler || state) {
    const like = (each) => (!state || stateOf(each) === state || (state === "failed" && each.failures)) && (!handler || each.name === handler);
    if (!deliveries(story).some(like) && !(state === "done" && !handler && outcome(story) === "done")) return false;
    if (state === "done" && !handler && outcome(story) !== "done") return false;
  }
  if (!words.length) return true;
  story.text ??= [story.id, ...story.nodes.flatMap((n) => [n.id, n.name, n.about, n.process, n.error])].join(" ").toLowerCase();
  return words.every((word) => story.text.includes(word));
}

function row(id) {
  const button = h("button", { class: "row", "aria-expanded": "false", "data-key": id, click: () => open(tree.hidden) });
  const tree = h("div", { class: "tree", hidden: true });
  const element = h("li", { class: "story" }, button, tree);
  let [line, drawn] = [null, ""];
  let looked = Date.now();

  function draw() {
    const story = stories.get(id);
    const before = element.dataset.state;
    button.replaceChildren(...summary(story));
    element.dataset.state = outcome(story);
    if (!tree.hidden && before !== element.dataset.state) announce(`${button.querySelector("bdi").textContent}: ${say(element.dataset.state)}`);
    drawn = progress(story);
    if (!tree.hidden) redraw(tree, ...(line = timeline(story)).elements);
  }
  function open(shows) {
    tree.hidden = !shows;
    button.setAttribute("aria-expanded", String(shows));
    if (shows) draw();
    else tree.replaceChildren();
  }
  function tick() {
    const story = stories.get(id);
    if (!story || (tree.hidden && outcome(story) === "done")) return;
    if (drawn !== progress(story)) draw(); // a lease can end, and something be due, without any news
    if (tree.hidden) return;
    line?.tick();
    if (story.kept && settledAt(story) === null && Date.now() - looked > AGAIN) {
      looked = Date.now();
      ask(`/page/stories/${id}`).then(([found]) => { stories.set(id, { ...found, kept: true }); draw(); }, () => {});
    }
  }
  return { element, draw, open, tick };
}

const progress = (story) => deliveries(story).map((each) => stateOf(each)).join();

function summary(story) {
  const [first] = story.nodes;
  const about = story.nodes.find((node) => node.kind === "event" && node.about)?.about;
  const owed = deliveries(story);
  const marks = owed.slice(0, 24).map((each) => h("i", { class: `mark ${each.failures && each.state === "done" ? "mended" : stateOf(each)}` }));
  return [
    h("time", {}, when(story.at)),
    h("span", { class: "what" }, h("b", { class: "code" }, first?.name ?? "…"), h("bdi", {}, about ?? "")),
    h("span", { class: "marks", "aria-hidden": "true" }, marks),
    h("span", { class: "outcome" }, ended(story, owed)),
  ];
}

function ended(story, owed) {
  const end = settledAt(story);
  const count = (state) => owed.filter((each) => stateOf(each) === state).length;
  const open = ["running", "waiting", "due", "lost", "parked"].filter(count).map((state) => `${count(state)} ${say(state)}`);
  return open.length ? open.join(", ") : owed.length ? say("doneIn", span(end - story.at)) : say("done");
}
