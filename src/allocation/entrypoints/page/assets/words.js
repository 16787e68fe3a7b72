// The words, in the languages that the page speaks; what is not here is a name, and the same in all.

const ENGLISH = {
  skip: "To the content", views: "Views", stories: "Stories", map: "Map", owed: "Owed",
  entry: "Who is there?", token: "Token", enter: "Enter", notYou: "That is another token.",
  entryHint: "The operator’s token is ALLOCATION_OPERATOR_TOKEN, or in what the server printed at its start.",
  name: "Name", email: "E-mail", register: "Register a user", registered: "registered",
  search: "Search", searchHint: "e-mail, id, name, process", handler: "Handler", state: "State", any: "any",
  none: "Nothing has happened yet. Register a user, and watch.", noneFound: "Nothing here is like that.",
  live: "live", wait: "connecting", cut: "cut off",
  cutOff: "Cut off from the server since {0}. What is shown is as old; trying again …",
  behind: "Behind by {0}: more happens than gets through to here.", trouble: "The database cannot be read: {0}",
  running: "running", waiting: "waiting", due: "due", parked: "parked", done: "done", failed: "failed once",
  leased: "in hand", lost: "lease over",
  doneIn: "done in {0}", attempt: "attempt {0}", lease: "lease {0}", fence: "token {0}", retryIn: "retry in {0}",
  leaseOver: "lease over for {0}, for others to take", dueFor: "due for {0}", parkedAt: "parked {0}",
  attemptFailed: "attempt {0} failed {1}", same: "the same again", committed: "committed {0}",
  inAll: "{0} in all", link: "Link to this story", from: "from {0}", more: "This story is longer; allocation trace shows all of it.",
  retry: "Retry", discard: "Discard", retryAll: "Retry all shown", discardAll: "Discard all shown", cancel: "Cancel",
  close: "Close", sureRetry: "Retry {0}?", sureDiscard: "Discard {0}?",
  retryMeans: "It is due at once, with all its attempts before it. A worker then does it.",
  discardMeans: "It will never be done, and counts as settled. This cannot be undone.",
  decided: "{0}: {1}", nothingOwed: "Nothing is owed. Everything that was promised is done.",
  shown: "{0} shown", story: "Story", orMore: "more than 10,000 are not counted",
  mapHint: "What handles what, read from the running program. Edges light up when a message passes.",
  commands: "commands", events: "events", handlers: "handlers", outside: "outside", database: "database",
  exactlyOnce: "Changes the database: takes effect exactly once.",
  atLeastOnce: "Has an effect outside: at least once, each time with the same idempotency key.",
  changesNothing: "Is handled by a process that is not this one.", wrong: "That did not work: {0}", nobody: "nobody handles it",
  ms: "{0} ms", s: "{0} s", min: "{0} min", h: "{0} h", d: "{0} d",
  deliveries: { one: "{0} delivery", other: "{0} deliveries" },
};

const RUSSIAN = {
  skip: "К содержанию", views: "Виды", stories: "Истории", map: "Карта", owed: "Долги",
  entry: "Кто там?", token: "Токен", enter: "Войти", notYou: "Это другой токен.",
  entryHint: "Токен оператора — в ALLOCATION_OPERATOR_TOKEN или в том, что сервер напечатал при запуске.",
  name: "Имя", email: "Эл. почта", register: "Зарегистрировать", registered: "готово",
  search: "Поиск", searchHint: "почта, id, имя, процесс", handler: "Обработчик", state: "Состояние", any: "любое",
  none: "Пока ничего не произошло. Зарегистрируйте кого-нибудь и смотрите.", noneFound: "Ничего похожего здесь нет.",
  live: "на связи", wait: "соединение", cut: "нет связи",
  cutOff: "Нет связи с сервером с {0}. То, что показано, устарело; пробуем снова…",
  behind: "Отставание {0}: происходит больше, чем доходит сюда.", trouble: "База данных не читается: {0}",
  running: "в работе", waiting: "ждёт", due: "пора", parked: "отложено", done: "сделано", failed: "были сбои",
  leased: "в руках", lost: "аренда истекла",
  doneIn: "сделано за {0}", attempt: "попытка {0}", lease: "аренда {0}", fence: "токен {0}", retryIn: "повтор через {0}",
  leaseOver: "аренда истекла {0} назад, возьмут другие", dueFor: "пора уже {0}", parkedAt: "отложено {0}",
  attemptFailed: "попытка {0} не удалась {1}", same: "снова то же", committed: "записано {0}",
  inAll: "всего {0}", link: "Ссылка на историю", from: "откуда: {0}", more: "История длиннее; целиком её покажет allocation trace.",
  retry: "Повторить", discard: "Отбросить", retryAll: "Повторить все показанные", discardAll: "Отбросить все показанные", cancel: "Отмена",
  close: "Закрыть", sureRetry: "Повторить: {0}?", sureDiscard: "Отбросить: {0}?",
  retryMeans: "Срок наступает сразу, все попытки впереди. Сделает рабочий процесс.",
  discardMeans: "Это никогда не будет сделано и считается закрытым. Отменить нельзя.",
  decided: "{0}: {1}", nothingOwed: "Долгов нет. Всё обещанное сделано.",
  shown: "показано: {0}", story: "История", orMore: "сверх 10 000 не считается",
  mapHint: "Кто что обрабатывает — из работающей программы. Рёбра загораются, когда проходит сообщение.",
  commands: "команды", events: "события", handlers: "обработчики", outside: "снаружи", database: "база данных",
  exactlyOnce: "Меняет базу данных: действует ровно один раз.",
  atLeastOnce: "Действует снаружи: хотя бы один раз, с одним и тем же ключом идемпотентности.",
  changesNothing: "Обрабатывает другой процесс, не этот.", wrong: "Не получилось: {0}", nobody: "никто не обрабатывает",
  ms: "{0} мс", s: "{0} с", min: "{0} мин", h: "{0} ч", d: "{0} д",
  deliveries: { one: "{0} доставка", few: "{0} доставки", many: "{0} доставок", other: "{0} доставки" },
};

const LANGUAGES = { en: ENGLISH, ru: RUSSIAN };
const wanted = navigator.languages.map((tag) => tag.slice(0, 2)).find((tag) => tag in LANGUAGES);
export const language = wanted ?? "en";
const plural = new Intl.PluralRules(language);
const decimal = new Intl.NumberFormat(language, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat(language, { day: "numeric", month: "short" });

/** Return words, with values in the places of {0} and {1}; of what is counted by the first value. */
export function say(word, ...values) {
  const found = LANGUAGES[language][word];
  const text = typeof found === "object" ? found[plural.select(values[0])] : found;
  return text.replace(/\{(\d)\}/g, (_, number) => values[number]);
}

/** Tell a span of seconds, as short as it is useful. */
export function span(seconds) {
  const s = Math.max(0, seconds);
  if (s < 0.9995) return say("ms", Math.round(s * 1000));
  if (s < 60) return say("s", decimal.format(s));
  if (s < 3600) return `${say("min", Math.floor(s / 60))} ${say("s", Math.round(s % 60))}`;
  if (s < 86400) return `${say("h", Math.floor(s / 3600))} ${say("min", Math.round((s % 3600) / 60))}`;
  return say("d", Math.round(s / 86400));
}

/** Tell when something was, of seconds since 1970: the time, and the day if it is another. */
export function when(seconds) {
  const moment = new Date(seconds * 1000);
  const isToday = moment.toDateString() === new Date().toDateString();
  return isToday ? clock.format(moment) : `${day.format(moment)} ${clock.format(moment)}`;
}

/** Put the words into the page as it was sent. */
export function translate(root) {
  document.documentElement.lang = language;
  for (const each of root.querySelectorAll("[data-word]")) each.textContent = say(each.dataset.word);
  for (const each of root.querySelectorAll("[data-label]")) each.setAttribute("aria-label", say(each.dataset.label));
  for (const each of root.querySelectorAll("[data-hint]")) each.placeholder = say(each.dataset.hint);
}
