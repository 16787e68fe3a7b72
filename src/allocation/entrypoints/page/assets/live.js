// What the server tells: a stream of stories that have changed. It is opened again when it was cut.

const SILENCE = 16_000; // ms; the server says something every five seconds
const HIDDEN = 60_000; // ms; nobody looks

export const stories = new Map(); // id → story; as many as the server keeps, and those looked for
export const owed = { counts: [], first: [] };
export const link = { state: "wait", since: null, behind: 0, trouble: null };

let ahead = 0; // seconds, of the server's clock
let last = ""; // what was seen last
let source = null;
let before = new Set(); // ids of stories that were there before the server began anew
let heard = 0;
let tell = () => {};
let failed = () => {};
let again = 1000;

/** The time in seconds since 1970, by the clock of the database. */
export const now = () => Date.now() / 1000 + ahead;

/** Begin to listen: `onNews` is told which stories have changed, `onRefusal` that it is closed. */
export function listen(onNews, onRefusal) {
  [tell, failed] = [onNews, onRefusal];
  open();
  setInterval(() => Date.now() - heard > SILENCE && source && cut(), 1000);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && !source) open();
    else setTimeout(() => document.hidden && close(), HIDDEN);
  });
}

function open() {
  close();
  heard = Date.now();
  source = new EventSource(`/page/stream?after=${last}`);
  source.onmessage = hear;
  source.onerror = cut;
}

function close() {
  source?.close();
  source = null;
}

async function cut() {
  close();
  link.since ??= Date.now() / 1000;
  link.state = "cut";
  tell([]);
  const refused = await fetch("/page/session").then((answer) => answer.status === 401, () => false);
  if (refused) return failed();
  setTimeout(() => source || open(), again);
  again = Math.min(again * 2, 8000);
}

function hear(message) {
  const news = JSON.parse(message.data);
  [heard, again] = [Date.now(), 1000];
  if (message.lastEventId) last = message.lastEventId;
  if (news.now) ahead = news.now - Date.now() / 1000;
  if (news.full) [before, link.trouble] = [new Set(stories.keys()), null];
  for (const story of news.stories) {
    stories.set(story.id, story);
    before.delete(story.id);
  }
  if (news.stories.length) forget(news.most);
  else if (!news.full) forgetOthers();
  if (news.owed) Object.assign(owed, news.owed);
  if ("trouble" in news) link.trouble = news.trouble;
  Object.assign(link, { state: "live", since: null, behind: news.behind });
  tell(news.stories, news.full, Boolean(news.owed));
}

/** Forget what another server has told, and this one has not: it knows another database. */
function forgetOthers() {
  for (const id of before) if (!stories.get(id)?.kept) stories.delete(id);
  before.clear();
}

function forget(most) {
  if (stories.size <= most) return;
  const newest = [...stories.values()].filter((story) => !story.kept).sort((a, b) => b.at - a.at);
  for (const story of newest.slice(most)) stories.delete(story.id);
}

/** What has become of a delivery by now. */
export function stateOf(delivery, time = now()) {
  if (delivery.state === "leased") return delivery.due_at > time ? "running" : "lost";
  if (delivery.state === "waiting") return delivery.due_at > time ? "waiting" : delivery.process ? "lost" : "due";
  return delivery.state;
}

export const deliveries = (story) => story.nodes.filter((node) => node.kind === "delivery");

/** What has become of a story: that which most needs to be looked at. */
export function outcome(story) {
  const states = new Set(deliveries(story).map((delivery) => stateOf(delivery)));
  return ["parked", "lost", "due", "waiting", "running"].find((state) => states.has(state)) ?? "done";
}

/** When the last thing in a story was done; null while something is not. */
export function settledAt(story) {
  const ends = deliveries(story).map((delivery) => delivery.finished_at ?? delivery.parked_at ?? null);
  return ends.includes(null) ? null : Math.max(story.at, ...ends);
}
