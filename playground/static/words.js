// The panel's words. A step or fact is looked up as "experiment.step" first, and then as "step".

import { language } from "/page/assets/words.js";

const ENGLISH = {
  panel: "Break it yourself", hero: "Kill the worker that sends an e-mail: watch", heroHint: "A user is committed, and the worker that is sending the e-mail is killed. Ten seconds later, you know what is lost.", close: "Close", step: "{number} of {all}", processes: "Processes", mail: "Mail server", inbox: "Inbox", experiments: "Guided experiments",
  running: "running", frozen: "frozen", gone: "gone", number: "pid {pid}", tomorrow: "tomorrow’s version",
  kill: "Kill", freeze: "Freeze", thaw: "Resume", start: "Start",
  up: "up", refuses: "refuses", hangs: "hangs", slow: "slow", stalled: "{stalled} waiting for its answer",
  many: "Register 100", registering: "{answered} answered · {waiting} waiting · {repeated} repeated",
  empty: "No e-mail yet.", repeated: "again: the same Message-ID", begin: "Begin", again: "Once more", wait: "under way …",
  look: "Look at: {look}", trace: "show trace", promise: "The promise and its test", kept: "promise kept", broken: "broken", underWay: "under way",

  "killed.title": "Killed after the commit",
  "killed.what": "The mail server does not answer, and the process that waits for it is killed. Its lease expires by itself, and the other worker takes over.",
  "killed.look": "the lease of send_welcome_email, and the next token",
  "frozen.title": "The frozen owner",
  "frozen.what": "The process that sends an e-mail is stopped for longer than its lease, and then goes on as if no time had passed. Another process has done the work meanwhile, so its late write is rejected.",
  "frozen.look": "which process has done it, and that this stays so",
  "mail.title": "Mail down for a minute",
  "mail.what": "The mail server refuses connections for a while. Each e-mail is retried, after growing pauses, and nothing else waits for it.",
  "mail.look": "all work but the e-mails is done immediately",
  "poison.title": "Poison",
  "poison.what": "One mailbox does not exist, so its e-mails are parked, and all others are sent. When the mailbox exists, the parked ones are retried.",
  "poison.look": "which deliveries are parked, and why",
  "coupons.title": "Never one coupon too many",
  "coupons.what": "A hundred users register at once, and ten coupons are left. Two workers allocate them at the same time.",
  "coupons.look": "ten traces have a coupon, and marketing is notified once that none is left",
  "later.title": "A handler added later",
  "later.what": "All processes are replaced by tomorrow’s version, which has one more handler. A replay creates deliveries for everything that happened before, each event once.",
  "later.look": "an e-mail to each user who has registered",

  hang: "The mail server accepts connections, and does not answer", register: "A user registers",
  running_email: "All is done but the e-mail: a worker waits for the mail server", killed: "That worker is killed (SIGKILL), and the mail server is up again",
  lease: "Its lease expires, and the other worker takes over", stopped: "That worker is stopped (SIGSTOP), and the mail server is up again",
  woken: "It resumes (SIGCONT), and runs the handlers of the next user", refuse: "The mail server refuses connections",
  "mail.register": "Five users register", "mail.others": "Everything else is done meanwhile", backoff: "The e-mails fail, and are retried",
  "mail.up": "The mail server is up again, and the e-mails are sent", poison: "A user registers whose mailbox does not exist",
  "poison.others": "Three others register, and get their e-mails", stays: "The refused e-mails are parked, and stay parked", retry: "The mailbox is created, and the parked deliveries are retried",
  "coupons.coupons": "There are ten coupons", "coupons.register": "A hundred users register", complete: "Two workers run the handlers",
  "later.register": "Three users register with today’s version", replace: "All processes are replaced by tomorrow’s version",
  replay: "allocation deliveries replay announce_newsletter", work: "Workers process the past events", restore: "Everything is restored",

  owner: "{first} had it with token {token}, {second} has done it with token {next_token}", one_email: "e-mails: {count}, with the Message-ID that each attempt has",
  works_on: "the next user’s registration was logged by {process}, which works on", changed_nothing: "the row is as it was before the late owner woke up",
  nobody_waited: "done while the mail server was away: {count} other deliveries", all_unsent: "retried meanwhile: {count} e-mails",
  emails_once: "each has one welcome e-mail: {count} in all", parked: "parked immediately: {count}", others_flow: "done meanwhile for the others: {count}",
  allocated: "coupons allocated: {count}, left: {left}", one_each: "users with a coupon: {count}, none with two", coupon_emails: "e-mails with a coupon: {count}",
  backfilled: "deliveries created: {count}, for {past} earlier registrations", each_once: "e-mails: {count}, one for each user", failed: "the experiment was interrupted: {error}",
};

const RUSSIAN = {
  panel: "Сломайте сами", hero: "Убить воркер, который отправляет письмо: смотреть", heroHint: "Пользователь закоммичен, а воркер, который отправляет письмо, убит. Через десять секунд видно, что потеряно.", close: "Закрыть", step: "{number} из {all}", processes: "Процессы", mail: "Почтовый сервер", inbox: "Почтовый ящик", experiments: "Эксперименты",
  running: "работает", frozen: "заморожен", gone: "нет", number: "pid {pid}", tomorrow: "завтрашняя версия",
  kill: "Убить", freeze: "Заморозить", thaw: "Разморозить", start: "Запустить",
  up: "работает", refuses: "отказывает", hangs: "молчит", slow: "тормозит", stalled: "ждут ответа: {stalled}",
  many: "Ещё 100 регистраций", registering: "ответов {answered} · ждут {waiting} · повторов {repeated}",
  empty: "Писем пока нет.", repeated: "снова: тот же Message-ID", begin: "Начать", again: "Ещё раз", wait: "идёт…",
  look: "Смотрите: {look}", trace: "трассировка", promise: "Гарантия и её тест", kept: "гарантия соблюдена", broken: "нарушена", underWay: "идёт",

  "killed.title": "Убит после коммита",
  "killed.what": "Почтовый сервер молчит, а процесс, который ждёт его ответа, убивают. Аренда истекает сама, и доставку забирает другой воркер.",
  "killed.look": "аренда send_welcome_email и следующий fencing-токен",
  "frozen.title": "Замороженный владелец",
  "frozen.what": "Процесс, который отправляет письмо, замораживают дольше срока аренды, а потом он продолжает, будто времени не прошло. Работу уже сделал другой процесс, поэтому запоздалая запись отвергнута.",
  "frozen.look": "какой процесс выполнил доставку и что так и остаётся",
  "mail.title": "Почты нет минуту",
  "mail.what": "Почтовый сервер какое-то время отказывает. Каждое письмо пробуют отправить снова, со всё более длинными паузами, а остальное его не ждёт.",
  "mail.look": "всё, кроме писем, сделано сразу",
  "poison.title": "Ядовитое сообщение",
  "poison.what": "Одного ящика не существует, и повторы не помогут: доставки писем в него остановлены, а остальные письма уходят. Когда ящик появляется, остановленные доставки запускают снова.",
  "poison.look": "что остановлено и почему",
  "coupons.title": "Ни одного лишнего купона",
  "coupons.what": "Сто человек регистрируются разом, а купонов осталось десять. Два воркера раздают их одновременно.",
  "coupons.look": "купон есть в десяти трассировках, а отделу маркетинга один раз сообщают, что купоны кончились",
  "later.title": "Обработчик, добавленный позже",
  "later.what": "Все процессы заменяют завтрашней версией, в которой одним обработчиком больше. Команда replay создаёт для него доставки по всем прошлым событиям, по одной на событие.",
  "later.look": "письмо каждому, кто уже зарегистрировался",

  hang: "Почтовый сервер принимает соединения и молчит", register: "Кто-то регистрируется",
  running_email: "Сделано всё, кроме письма: воркер ждёт почтовый сервер", killed: "Этот воркер убит (SIGKILL), почтовый сервер снова работает",
  lease: "Аренда истекает, и доставку забирает другой воркер", stopped: "Этот воркер заморожен (SIGSTOP), почтовый сервер снова работает",
  woken: "Он разморожен (SIGCONT) и выполняет обработчики следующего пользователя", refuse: "Почтовый сервер отказывает",
  "mail.register": "Регистрируются пятеро", "mail.others": "Всё остальное тем временем сделано", backoff: "Письма не уходят, попытки повторяются",
  "mail.up": "Почтовый сервер снова работает, письма уходят", poison: "Регистрируется тот, чьего ящика нет",
  "poison.others": "Трое других регистрируются и получают свои письма", stays: "Доставки отвергнутых писем остановлены и ждут", retry: "Ящик создан, остановленные доставки запущены снова",
  "coupons.coupons": "Есть десять купонов", "coupons.register": "Регистрируются сто человек", complete: "Два воркера выполняют обработчики",
  "later.register": "Трое регистрируются в сегодняшней версии", replace: "Все процессы заменены завтрашней версией",
  replay: "allocation deliveries replay announce_newsletter", work: "Воркеры обрабатывают прошлые события", restore: "Всё восстановлено",

  owner: "{first} захватил доставку с fencing-токеном {token}, {second} выполнил её с {next_token}", one_email: "писем: {count}, Message-ID у всех попыток один",
  works_on: "следующую регистрацию записал в журнал {process}: он работает дальше", changed_nothing: "строка та же, что и до пробуждения опоздавшего",
  nobody_waited: "других доставок выполнено, пока почты не было: {count}", all_unsent: "писем, которые за это время пробовали отправить снова: {count}",
  emails_once: "у каждого одно приветственное письмо: всего {count}", parked: "остановлено сразу: {count}", others_flow: "тем временем выполнено для других: {count}",
  allocated: "роздано купонов: {count}, осталось: {left}", one_each: "пользователей с купоном: {count}, двух нет ни у кого", coupon_emails: "писем с купоном: {count}",
  backfilled: "создано доставок: {count}, для прошлых регистраций: {past}", each_once: "писем: {count}, по одному каждому", failed: "эксперимент прерван: {error}",
};

const WORDS = { en: ENGLISH, ru: RUSSIAN }[language];

/** Return words, with values in the places of their names in braces. */
export function say(word, values = {}) {
  return WORDS[word].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

/** Return the words of an experiment for something, or those that several have. */
export const tell = (experiment, word, values) => say(`${experiment}.${word}` in WORDS ? `${experiment}.${word}` : word, values);
