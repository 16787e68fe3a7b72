// Begins the page: what is shown is in the address after "#"; words, views and the stream meet here.

import * as map from "./map.js";
import * as owed from "./owed.js";
import * as stories from "./stories.js";
import { $, announce, ask } from "./dom.js";
import { link, listen } from "./live.js";
import { say, span, translate, when } from "./words.js";

const VIEWS = ["stories", "map", "owed"];
const TICK = 250; // ms
const PER_FRAME = 50; // stories
const MUCH = 3; // seconds that somebody may be behind without being told

translate(document);
stories.begin();

function route() {
  const [name, id] = decodeURIComponent(location.hash.slice(1)).split("=");
  const view = name === "story" ? "stories" : VIEWS.includes(name) ? name : "stories";
  for (const each of VIEWS) $(`#view-${each}`).hidden = each !== view;
  for (const each of document.querySelectorAll("nav a")) {
    if (each.hash === `#${view}`) each.setAttribute("aria-current", "page");
    else each.removeAttribute("aria-current");
  }
  document.title = `${say(view)} · allocation`;
  if (view === "owed") owed.show();
  if (view === "map") map.load().then(map.draw, refuse);
  if (name === "story" && id) stories.point(id).catch(() => {});
}

let waiting = []; // stories that are to be drawn: so many a frame, that the page never stands still

function hear(changed, isNew, owedChanged) {
  tellLink();
  if (!waiting.length) soon(draw);
  waiting.push(...changed);
  if (owedChanged || isNew) owed.show();
  if (isNew) map.load().then(stories.offer, () => {});
}

const soon = (draws) => (document.hidden ? setTimeout(draws, TICK) : requestAnimationFrame(draws));

function draw() {
  const now = waiting.slice(0, PER_FRAME);
  waiting = waiting.slice(PER_FRAME);
  if (waiting.length) soon(draw);
  stories.show(now);
  map.show(now);
}

function tellLink() {
  const { state, since, behind, trouble } = link;
  const banner = since ? say("cutOff", when(since)) : trouble ? say("trouble", trouble) : behind > MUCH ? say("behind", span(behind)) : "";
  if ($("#banner").textContent !== banner) $("#banner").textContent = banner;
  $("#banner").hidden = !banner;
  if ($("#link").dataset.state === state) return;
  $("#link").dataset.state = state;
  $("#link-word").textContent = say(state);
}

function refuse() {
  $("#entry").hidden = false;
  for (const each of VIEWS) $(`#view-${each}`).hidden = true;
  $("#banner").hidden = true;
  $("#entry").elements.token.focus();
}

/** Send a form, and tell in it what is wrong. */
function sending(form, send) {
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

sending($("#entry"), async ({ token }) => {
  await ask("/page/session", { token });
  location.reload();
});

let attempt = null; // the same key until it is known what became of it
sending($("#register"), async ({ name, email }) => {
  const said = `${name}\n${email}`;
  if (attempt?.said !== said) attempt = { said, key: crypto.getRandomValues(new Uint32Array(4)).join("-") };
  const user = await ask("/users", { name, email }, { "Idempotency-Key": attempt.key });
  attempt = null;
  $("#register").reset();
  $("#register").elements.name.focus();
  announce(`${user.name}: ${say("registered")}`);
});

addEventListener("hashchange", route);
$(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address says what is shown
  $("#main").focus();
});
setInterval(() => {
  if (document.hidden) return;
  stories.tick();
  owed.tick();
}, TICK);

route();
listen(hear, refuse);
