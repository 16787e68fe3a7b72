// The texts, in the languages of the page; what is not listed is a name, and the same in all.

const ENGLISH = {
  skip: "To the content", views: "Views", traces: "Traces", map: "Map", outstanding: "Outstanding",
  entry: "Operator sign-in", token: "Token", enter: "Enter", notYou: "Wrong token.", leave: "Log out",
  notLetIn: "This page is no longer open to you: sign in to the application, and reload.",
  entryHint: "The operator’s token is {NAME}_OPERATOR_TOKEN, or in what the server printed at its start.",
  search: "Search", searchHint: "id, subject, name, process", handler: "Handler", state: "State", any: "any", anyState: "any",
  intro: "Each row is a trace: a command or an event, and everything that it has caused, in all processes; open it to see when, where and how often each handler ran.",
  legend: "What the signs mean", older: "Only the newest 1,000 are shown. To find an older one, search for what it is about, or for its id, and press Enter.",
  runningMeans: "a process runs it, under a lease", dueMeans: "dashed: due, retrying, scheduled, paused, blocked, or its lease has expired", parkedMeans: "parked: waits for an operator",
  doneMeans: "done", mendedMeans: "done, after failed attempts", givenUpMeans: "given up: something else happened instead", discardedMeans: "discarded by an operator: never done",
  commandMeans: "a command, until all that it caused has ended", eventMeans: "an event", deliveryMeans: "a delivery: one handler’s share in an event",
  workMeans: "an attempt that did it, as long as it took", brokenMeans: "an attempt that failed, when it did; or a lease that expired", pauseMeans: "nobody works on it; time is compressed, so long waits are written above",
  outstandingHint: "Deliveries that are not done: pending ones, which workers take by themselves, and parked ones, which wait for you.",
  none: "Nothing has happened yet. Execute a command, and watch.", noneFound: "No matches.", pressEnter: "No matches. To search older ones, too, press Enter.",
  live: "live", wait: "connecting", cut: "cut off", out: "logged out",
  cutOff: "Cut off from the server since {0}. What is shown is as old; trying again …",
  behind: "This view is {0} behind: too many updates.", error: "The database cannot be read: {0}",
  running: "running", retrying: "retrying", scheduled: "scheduled", due: "due", lease_expired: "lease expired", parked: "parked", paused: "paused", blocked: "blocked",
  done: "done", given_up: "given up", discarded: "discarded", failed: "had failures",
  doneIn: "done in {0}", attempt: "attempt {0}", lease: "lease {0}", fence: "token {0}", retryIn: "retry in {0}", dueIn: "due in {0}", givenUpAt: "given up {0}", discardedAt: "discarded {0}",
  leaseOver: "lease expired {0} ago, others may take over", dueFor: "due for {0}", parkedAt: "parked {0}",
  endFailed: "attempt {0} failed {1}", endReleased: "attempt {0} released {1}, uncounted",
  endInterrupted: "attempt {0} interrupted {1}", endRevoked: "attempt {0} revoked {1}",
  wasRetry: "retried {0}", wasDiscard: "discarded {0}", wasReplay: "replayed {0}", wasPause: "paused {0}", wasResume: "resumed {0}", wasErase: "erased {0}", heldBy: "held by a limit: {0}",
  unknownHandler: "No handler of this version is called {0}: {1} stored, the first due {2}.", same: "the same again", committed: "committed {0}",
  inAll: "{0} in all", waited: "wait {0}", ofState: "{0} {1}", link: "Trace", from: "from {0}", more: "This trace is longer; {name} trace shows all of it.",
  retry: "Retry", discard: "Discard", retryAll: "Retry all shown", discardAll: "Discard all shown", cancel: "Cancel",
  close: "Close", sureRetry: "Retry {0}?", sureDiscard: "Discard {0}?",
  retryMeans: "Its attempts are reset, and it is due now. A worker then runs it.",
  discardMeans: "It will never be done. This cannot be undone.",
  pause: "Pause", resume: "Resume", pausedBy: "paused {0} by {1}", blockedBy: "blocked, the first of its lane is {0}", surePause: "Pause this handler?", sureResume: "Resume this handler?",
  pausingMeans: "No process begins with its deliveries until it is resumed; what runs ends as always. Nothing is lost, and nothing is late.",
  resumingMeans: "Each of its deliveries is due when it would have been: perhaps many at once.",
  surePauseFrom: "Pause this subscription?", sureResumeFrom: "Resume this subscription?",
  pausingFromMeans: "No process takes its messages until it is resumed. They wait at the broker, and nothing is lost.",
  resumingFromMeans: "Its messages are taken again, beginning with those that have waited.",
  decided: "{0}: {1}", nothingOutstanding: "Nothing is outstanding.",
  forLater: "{0} scheduled.", showLater: "Show", hideLater: "Hide",
  schedules: "Schedules", nextAt: "next {0}", lastAt: "last {0}", lateSince: "late since {0}: does a worker run?", missedBefore: "{0} missed before it",
  noneYet: "none has come yet", notBegun: "has not begun: it begins when a worker first runs",
  shown: "{0} shown", trace: "Trace", orMore: "more than 10,000 are not counted",
  mapHint: "What handles what, read from the running program. Edges light up when a message passes.",
  subscription: "subscription", comesFrom: "What another service publishes: {0}.", command: "command", event: "event", outside: "external system",
  exactlyOnce: "Changes the database: takes effect exactly once.",
  atLeastOnce: "Has an external effect: at least once, each time with the same idempotency key.",
  changesNothing: "Handled by another process.", wrong: "That did not work: {0}", nobody: "nobody handles it",
  ms: "{0} ms", s: "{0} s", min: "{0} min", h: "{0} h", d: "{0} d",
  deliveries: { one: "{0} delivery", other: "{0} deliveries" },
};

const RUSSIAN = {
  skip: "К содержанию", views: "Виды", traces: "Трассировки", map: "Карта", outstanding: "Невыполненные",
  entry: "Вход оператора", token: "Токен", enter: "Войти", notYou: "Неверный токен.", leave: "Выйти",
  notLetIn: "Эта страница вам больше не открыта: войдите в приложение и обновите её.",
  entryHint: "Токен оператора — в {NAME}_OPERATOR_TOKEN или в том, что сервер напечатал при запуске.",
  search: "Поиск", searchHint: "id, субъект, имя, процесс", handler: "Обработчик", state: "Состояние", any: "любой", anyState: "любое",
  intro: "Каждая строка — трассировка: команда или событие и всё, к чему это привело, во всех процессах; откройте её — и увидите, когда, где и сколько раз работал каждый обработчик.",
  legend: "Обозначения", older: "Показаны только 1000 последних. Чтобы найти более старую, введите, о ком или о чём она, или её id и нажмите Enter.",
  runningMeans: "выполняется процессом, пока действует аренда", dueMeans: "пунктир: готова к выполнению, ждёт повтора, запланирована, на паузе, ждёт очереди или аренда истекла", parkedMeans: "ждёт оператора",
  doneMeans: "завершена", mendedMeans: "завершена после неудачных попыток", givenUpMeans: "обработчик не смог: вместо него сделано другое", discardedMeans: "отброшена человеком: выполнена не будет",
  commandMeans: "команда: до конца всего, к чему она привела", eventMeans: "событие", deliveryMeans: "доставка: работа одного обработчика по событию",
  workMeans: "удачная попытка и её длительность", brokenMeans: "попытка не удалась или аренда истекла", pauseMeans: "никто ею не занят; время сжато, длинные паузы подписаны сверху",
  outstandingHint: "Доставки, которые ещё не завершены: одни воркеры возьмут сами, а отложенные ждут вашего решения.",
  none: "Пока ничего не произошло. Выполните команду и смотрите.", noneFound: "Ничего не найдено.", pressEnter: "Ничего не найдено. Чтобы искать и среди старых, нажмите Enter.",
  live: "на связи", wait: "соединение", cut: "нет связи", out: "вход не выполнен",
  cutOff: "Нет связи с сервером с {0}. Показано то, что было тогда; подключаемся снова…",
  behind: "Страница отстаёт на {0}: слишком много изменений.", error: "Не удаётся прочитать базу данных: {0}",
  running: "выполняется", retrying: "ждёт повтора", scheduled: "запланирована", due: "готова к выполнению", lease_expired: "аренда истекла", parked: "ждёт оператора", paused: "на паузе", blocked: "ждёт очереди",
  done: "завершена", given_up: "сделано другое", discarded: "отброшена", failed: "были сбои",
  doneIn: "завершена за {0}", attempt: "попытка {0}", lease: "аренда {0}", fence: "fencing-токен {0}", retryIn: "повтор через {0}", dueIn: "начнётся через {0}", givenUpAt: "вместо неё сделано другое {0}", discardedAt: "отброшена {0}",
  leaseOver: "аренда истекла {0} назад, может взять другой процесс", dueFor: "ждёт {0}", parkedAt: "ждёт оператора с {0}",
  endFailed: "попытка {0} не удалась {1}", endReleased: "попытка {0} возвращена {1}, не в счёт",
  endInterrupted: "попытка {0} прервана {1}", endRevoked: "попытка {0} отозвана {1}",
  wasRetry: "повтор {0}", wasDiscard: "отброшена {0}", wasReplay: "воспроизведена {0}", wasPause: "пауза {0}", wasResume: "снята с паузы {0}", wasErase: "данные стёрты {0}", heldBy: "удерживается лимитом: {0}",
  unknownHandler: "В этой версии нет обработчика {0}: хранится {1}, срок первой — {2}.", same: "та же ошибка", committed: "коммит {0}",
  inAll: "всего {0}", waited: "пауза {0}", ofState: "{1}: {0}", link: "Трассировка", from: "источник: {0}", more: "Трассировка длиннее; целиком её покажет {name} trace.",
  retry: "Повторить", discard: "Отбросить", retryAll: "Повторить все показанные", discardAll: "Отбросить все показанные", cancel: "Отмена",
  close: "Закрыть", sureRetry: "Повторить: {0}?", sureDiscard: "Отбросить: {0}?",
  retryMeans: "Счётчик попыток обнулится, срок наступит сразу. Выполнит воркер.",
  discardMeans: "Работа не будет выполнена никогда. Отменить это нельзя.",
  pause: "Пауза", resume: "Снять с паузы", pausedBy: "на паузе с {0} ({1})", blockedBy: "ждёт очереди, первое в ней — {0}", surePause: "Поставить обработчик на паузу?", sureResume: "Снять обработчик с паузы?",
  pausingMeans: "Пока он на паузе, ни один процесс не начнёт его доставки; то, что уже выполняется, закончится как обычно. Ничего не потеряется и не будет просрочено.",
  resumingMeans: "Сроки доставок — те же, что были бы без паузы: возможно, сразу многие начнут выполняться.",
  surePauseFrom: "Поставить подписку на паузу?", sureResumeFrom: "Снять подписку с паузы?",
  pausingFromMeans: "Пока она на паузе, её сообщений никто не берёт: они ждут в брокере, и ничего не пропадёт.",
  resumingFromMeans: "Сообщения снова принимаются, начиная с тех, что ждали.",
  decided: "{0}: {1}", nothingOutstanding: "Невыполненных доставок нет.",
  forLater: "Запланировано: {0}.", showLater: "Показать", hideLater: "Скрыть",
  schedules: "Расписания", nextAt: "следующий раз {0}", lastAt: "последний раз {0}", lateSince: "опаздывает с {0}: работает ли воркер?", missedBefore: "перед этим пропущено: {0}",
  noneYet: "время ещё не наступало", notBegun: "ещё не началось: начнётся, когда впервые заработает воркер",
  shown: "показано: {0}", trace: "Трассировка", orMore: "свыше 10 000 не подсчитывается",
  mapHint: "Кто что обрабатывает в работающей программе. Линии загораются, когда по ним проходит сообщение.",
  subscription: "подписка", comesFrom: "Сообщения другого сервиса: {0}.", command: "команда", event: "событие", outside: "внешняя система",
  exactlyOnce: "Меняет базу данных: изменение применяется ровно один раз.",
  atLeastOnce: "Внешнее действие: хотя бы один раз, всегда с одним и тем же ключом идемпотентности.",
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

/** The name of the application. */
export const NAME = document.querySelector(".name").textContent.trim();

/** Return a text, with values in place of {0} and {1}; the first value decides about singular and plural. */
export function say(word, ...values) {
  const found = LANGUAGES[language][word];
  const text = typeof found === "object" ? found[plural.select(values[0])] : found;
  const named = text.replace("{name}", NAME).replace("{NAME}", NAME.toUpperCase());
  return named.replace(/\{(\d)\}/g, (_, number) => values[number]);
}

/** Return a span of seconds as a short text. */
export function span(seconds) {
  const s = Math.max(0, seconds);
  if (s < 0.9995) return say("ms", Math.round(s * 1000));
  if (s < 60) return say("s", decimal.format(s));
  if (s < 3600) return `${say("min", Math.floor(s / 60))} ${say("s", Math.round(s % 60))}`;
  if (s < 86400) return `${say("h", Math.floor(s / 3600))} ${say("min", Math.round((s % 3600) / 60))}`;
  return say("d", Math.round(s / 86400));
}

/** Return a time, in seconds since 1970, as a text, with the day if it is not today. */
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
