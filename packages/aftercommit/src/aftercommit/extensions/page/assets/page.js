// Starts the page: the address after "#" decides what is shown; texts, views and the server's news meet here.

import * as map from "./map.js";
import * as outstanding from "./outstanding.js";
import * as traces from "./traces.js";
import { $, ask, sending, tick } from "./dom.js";
import { link, listen } from "./live.js";
import { NAME, say, span, translate, when } from "./words.js";

const VIEWS = ["traces", "map", "outstanding"];
const TICK = 250; // ms
const PER_FRAME = 50; // traces
const IS_MOUNTED = "mounted" in document.body.dataset; // in an application that lets operators in by itself
const MUCH = 3; // seconds that the page may lag behind without saying so

translate(document);
traces.begin();

function route() {
  const [[name, id] = []] = new URLSearchParams(location.hash.slice(1)); // takes whatever it is
  const view = name === "trace" ? "traces" : VIEWS.includes(name) ? name : "traces";
  for (const each of VIEWS) $(`#view-${each}`).hidden = each !== view;
  for (const each of document.querySelectorAll("nav a")) {
    if (each.hash === `#${view}`) each.setAttribute("aria-current", "page");
    else each.removeAttribute("aria-current");
  }
  document.title = `${say(view)} · ${NAME}`;
  if (view === "outstanding") outstanding.show();
  if (view === "map") map.load().then(map.draw, refuse);
  if (name === "trace" && id) traces.point(id).catch(() => {});
}

let waiting = []; // traces that are to be drawn: so many a frame, that the page never stands still

function hear(changed, isNew, backlogChanged) {
  tellLink();
  if (!waiting.length) soon(draw);
  waiting.push(...changed);
  if (backlogChanged || isNew) outstanding.show();
  if (backlogChanged) map.mark();
  if (isNew) $("#leave").hidden = IS_MOUNTED;
  if (isNew) map.load().then(traces.offer, () => {});
}

const soon = (draws) => (document.hidden ? setTimeout(draws, TICK) : requestAnimationFrame(draws));

function draw() {
  const now = waiting.slice(0, PER_FRAME);
  waiting = waiting.slice(PER_FRAME);
  if (waiting.length) soon(draw);
  traces.show(now);
  map.show(now);
}

function tellLink() {
  const { state, since, behind, error } = link;
  const banner = since ? say("cutOff", when(since)) : error ? say("error", error) : behind > MUCH ? say("behind", span(behind)) : "";
  if ($("#banner").textContent !== banner) $("#banner").textContent = banner;
  $("#banner").hidden = !banner;
  if ($("#link").dataset.state === state) return;
  $("#link").dataset.state = state;
  $("#link-word").textContent = say(state);
}

function refuse() {
  $("#entry").hidden = IS_MOUNTED;
  for (const each of VIEWS) $(`#view-${each}`).hidden = true;
  $("#banner").hidden = !IS_MOUNTED;
  $("#banner").textContent = say("notLetIn");
  $("#leave").hidden = true;
  $("#entry").elements.token.focus();
}

sending($("#entry"), async ({ token }) => {
  await ask("page/session", { token });
  location.reload();
});

addEventListener("hashchange", route);
$(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address says what is shown
  $("#main").focus();
});
setInterval(() => {
  if (document.hidden) return;
  traces.tick();
  tick();
}, TICK);

$("#leave").addEventListener("click", async () => {
  await ask("page/session", null, { method: "DELETE" }).catch(() => {});
  location.reload();
});

const code = new URLSearchParams(location.hash.slice(1)).get("code");
if (code) { // a link that is good once
  history.replaceState(null, "", location.pathname);
  await ask("page/session", { token: code }).catch(() => {});
}
route();
listen(hear, refuse);
