// Receives changed traces from the server, through a request that waits for news.

const SILENCE = 16_000; // ms; the server answers in five seconds, also if nothing is new
const PAUSE = 100; // ms between two requests
const HIDDEN = 60_000; // ms; nobody looks

export const traces = new Map(); // id → trace; as many as the server keeps, and those looked for
export const outstanding = { counts: [], first: [], pauses: [], unknown: [], schedules: [] };
export const link = { state: "wait", since: null, behind: 0, error: null, older: false };

let ahead = 0; // seconds, of the server's clock
let cursor = ""; // what was seen last
let isLoading = true; // what is sent at the beginning, in pieces, is not late
let before = new Set(); // ids of traces from before the server restarted

/** Return what the server has sent, with times in seconds, and without empty histories. */
export const parse = (text) => JSON.parse(text, (key, value) => (key.endsWith("_at") && typeof value === "string" ? Date.parse(value) / 1000 : key === "history" && value?.length === 0 ? undefined : value));

/** The time in seconds since 1970, by the clock of the database. */
export const now = () => Date.now() / 1000 + ahead;

/** Poll: `onNews` is called with the traces that have changed, `onRefusal` if the session is not valid. */
export async function listen(onNews, onRefusal) {
  let again = 1000;
  for (let looked = Date.now(); ; looked = document.hidden ? looked : Date.now()) {
    if (Date.now() - looked > HIDDEN) await shown();
    try {
      const answer = await fetch(`page/changes?after=${cursor}`, { cache: "no-store", signal: AbortSignal.timeout(SILENCE) });
      if ([401, 403].includes(answer.status) || answer.redirected) break;
      if (!answer.ok) throw new Error(answer.statusText);
      const news = parse(await answer.text());
      take(news);
      again = 1000;
      onNews(news.traces, news.full, Boolean(news.outstanding));
      if (news.last) await pause(PAUSE);
    } catch {
      link.since ??= Date.now() / 1000;
      link.state = "cut";
      onNews([]);
      await pause(again);
      again = Math.min(again * 2, 8000);
    }
  }
  Object.assign(link, { state: "out", since: null });
  onNews([]);
  onRefusal();
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const shown = () => new Promise((resolve) => (document.hidden ? document.addEventListener("visibilitychange", resolve, { once: true }) : resolve()));

function take(news) {
  cursor = news.cursor;
  if (news.now) ahead = news.now - Date.now() / 1000;
  if (news.full) [before, link.error, isLoading] = [new Set(traces.keys()), null, true];
  for (const trace of news.traces) {
    if (trace.nodes.length) traces.set(trace.id, trace);
    else traces.delete(trace.id); // it was pruned
    before.delete(trace.id);
  }
  if (news.traces.length) forget(news.most);
  else if (!news.full) forgetOthers();
  if (news.outstanding) Object.assign(outstanding, news.outstanding);
  if ("error" in news) link.error = news.error;
  Object.assign(link, { state: "live", since: null, behind: isLoading ? 0 : news.behind, older: news.older });
  isLoading &&= !news.last;
}

/** Forget traces of another server that this one has not sent: it has another database. */
function forgetOthers() {
  for (const id of before) if (!traces.get(id)?.kept) traces.delete(id);
  before.clear();
}

function forget(most) {
  if (traces.size <= most) return;
  const newest = [...traces.values()].filter((trace) => !trace.kept).sort((a, b) => b.at - a.at);
  for (const trace of newest.slice(most)) traces.delete(trace.id);
}

/** The current state of a delivery, because time passes without news. */
export function stateOf({ state, owner, available_at: until }, time = now()) {
  if (!["scheduled", "due", "retrying", "running", "lease_expired"].includes(state)) return state;
  if (owner) return until > time ? "running" : "lease_expired";
  return until > time ? state : "due";
}

/** Whether a claim ended with a failure, or may have had an effect that was not stored. */
export const hasFailed = (node) => Boolean(node.history?.some(({ what }) => ["failed", "lease_expired", "interrupted", "superseded"].includes(what)));

export const deliveries = (trace) => trace.nodes.filter((node) => node.kind === "delivery");

/** The state of a trace: the one that needs attention most. */
export function outcome(trace) {
  const states = new Set(deliveries(trace).map((delivery) => stateOf(delivery)));
  return ["parked", "lease_expired", "due", "retrying", "scheduled", "paused", "blocked", "running"].find((state) => states.has(state)) ?? "done";
}

/** When the last delivery of a trace was done; null while one is not. */
export function settledAt(trace) {
  const ends = deliveries(trace).map((delivery) => delivery.completed_at ?? delivery.parked_at ?? null);
  return ends.includes(null) ? null : Math.max(trace.at, ...ends);
}
