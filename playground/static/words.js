// The panel's words. A step or fact is looked up as "experiment.step" first, and then as "step".

import { language } from "/page/assets/words.js";

const ENGLISH = {
  panel: "Break it yourself", processes: "Processes", mail: "Mail server", inbox: "Inbox", experiments: "Guided experiments",
  running: "running", frozen: "frozen", gone: "gone", number: "pid {pid}", tomorrow: "tomorrow’s version",
  kill: "Kill", freeze: "Freeze", thaw: "Go on", start: "Start",
  up: "up", refuses: "refuses", hangs: "hangs", slow: "slow", stalled: "{stalled} waiting for an answer from it",
  many: "Register 100", registering: "{answered} answered · {waiting} waiting · {repeated} asked again",
  empty: "No e-mail yet.", repeated: "again: the same Message-ID", begin: "Begin", again: "Once more", wait: "under way …",
  look: "Look at: {look}", trace: "its trace", promise: "The promise and its test", kept: "promise kept", broken: "broken", underWay: "under way",

  "killed.title": "Killed after the commit",
  "killed.what": "The mail server says nothing, and the process that waits for it is killed. Nobody has to notice: its lease runs out, and the other worker takes over.",
  "killed.look": "the lease of send_welcome_email, and the next token",
  "frozen.title": "The frozen owner",
  "frozen.what": "The process that sends an e-mail is stopped for longer than its lease, and then goes on as if no time had passed. Another one has done its work meanwhile: it changes nothing.",
  "frozen.look": "who has done it, and that it stays so",
  "mail.title": "Mail down for a minute",
  "mail.what": "The mail server refuses connections for a while. Each e-mail is tried again, after longer and longer pauses, and nothing else waits for it.",
  "mail.look": "all but the e-mails is done at once",
  "poison.title": "Poison",
  "poison.what": "One mailbox does not exist, and no retry helps: its e-mails are parked, and all others flow on. When the mailbox is there, they are retried.",
  "poison.look": "what is parked, and why",
  "coupons.title": "Never one coupon too many",
  "coupons.what": "A hundred users register at once, and ten coupons are left. Two workers allocate them at the same time.",
  "coupons.look": "ten traces have a coupon, and marketing is told once that there are no more",
  "later.title": "A handler added later",
  "later.what": "All processes are replaced by tomorrow’s version, which has one more handler. A replay creates deliveries for everything that happened before, each event once.",
  "later.look": "an e-mail to everybody who ever registered",

  hang: "The mail server accepts connections, and says nothing", register: "A user registers",
  running_email: "All is done but the e-mail: a worker waits for the mail server", killed: "That worker is killed (SIGKILL), and the mail server is up again",
  lease: "Its lease runs out, and the other worker takes over", stopped: "That worker is stopped (SIGSTOP), and the mail server is up again",
  woken: "It goes on (SIGCONT), and the next user is left to it", refuse: "The mail server refuses connections",
  "mail.register": "Five users register", "mail.others": "Everything else is done meanwhile", backoff: "The e-mails fail, again and again",
  "mail.up": "The mail server is up again, and they are sent", poison: "A user registers whose mailbox does not exist",
  "poison.others": "Three others register, and get what is theirs", stays: "What is refused for good is parked, and stays so", retry: "The mailbox is made, and what was parked is retried",
  "coupons.coupons": "There are ten coupons", "coupons.register": "A hundred users register", settle: "Two workers do what follows",
  "later.register": "Three users register with today’s version", replace: "All processes are replaced by tomorrow’s version",
  replay: "allocation deliveries replay announce_newsletter", work: "Workers do the work of the past", restore: "All is put back as it was",

  owner: "{first} had it with token {token}, {second} has done it with token {next_token}", one_email: "e-mails: {count}, with the Message-ID that each attempt has",
  works_on: "the next user’s registration was logged by {process}, which works on", changed_nothing: "the row is as it was before the late owner woke up",
  nobody_waited: "done while the mail server was away: {count} other deliveries", all_unsent: "tried again and again meanwhile: {count} e-mails",
  emails_once: "each has one welcome e-mail: {count} in all", parked: "parked at once: {count}", others_flow: "done meanwhile for the others: {count}",
  allocated: "coupons allocated: {count}, left: {left}", one_each: "users with a coupon: {count}, none with two", coupon_emails: "e-mails with a coupon: {count}",
  backfilled: "deliveries: {count}, for {past} registrations before", each_once: "e-mails: {count}, one for each user", failed: "it did not come to its end: {error}",
};

const RUSSIAN = {
  panel: "Сломайте сами", processes: "Процессы", mail: "Почтовый сервер", inbox: "Входящие", experiments: "Опыты",
  running: "работает", frozen: "заморожен", gone: "нет", number: "pid {pid}", tomorrow: "завтрашняя версия",
  kill: "Убить", freeze: "Заморозить", thaw: "Дальше", start: "Запустить",
  up: "работает", refuses: "отказ", hangs: "молчит", slow: "медлит", stalled: "ждут ответа: {stalled}",
  many: "Ещё 100 человек", registering: "отвечено {answered} · ждут {waiting} · спрошено снова {repeated}",
  empty: "Писем пока нет.", repeated: "снова: тот же Message-ID", begin: "Начать", again: "Ещё раз", wait: "идёт…",
  look: "Смотрите: {look}", trace: "трассировка", promise: "Обещание и его тест", kept: "обещание сдержано", broken: "нарушено", underWay: "идёт",

  "killed.title": "Убит после коммита",
  "killed.what": "Почтовый сервер молчит, а процесс, который его ждёт, убит. Замечать это никому не нужно: аренда истекает, и за дело берётся другой.",
  "killed.look": "аренда send_welcome_email и следующий fencing-токен",
  "frozen.title": "Замороженный владелец",
  "frozen.what": "Процесс, который отправляет письмо, остановлен дольше своей аренды, а потом продолжает, будто времени не прошло. Его дело уже сделал другой: он ничего не меняет.",
  "frozen.look": "кто это сделал, и что так и остаётся",
  "mail.title": "Почты нет минуту",
  "mail.what": "Почтовый сервер какое-то время отказывает. Каждое письмо пробуют снова, со всё более долгими паузами, и больше никто не ждёт.",
  "mail.look": "всё, кроме писем, сделано сразу",
  "poison.title": "Яд",
  "poison.what": "Одного ящика нет, и повторы тут не помогут: его доставки остановлены, остальное идёт своим чередом. Когда ящик появляется, их пробуют снова.",
  "poison.look": "что остановлено и почему",
  "coupons.title": "Ни одним купоном больше",
  "coupons.what": "Сто человек регистрируются разом, а купонов осталось десять. Два процесса раздают их одновременно.",
  "coupons.look": "у десяти трассировок есть купон, а отдел маркетинга узнаёт один раз, что их больше нет",
  "later.title": "Обработчик, добавленный позже",
  "later.what": "Все процессы заменены завтрашней версией, в которой на один обработчик больше. Повторная обработка даёт ему всё, что было раньше, каждое событие один раз.",
  "later.look": "письмо каждому, кто когда-либо зарегистрировался",

  hang: "Почтовый сервер принимает соединения и молчит", register: "Кто-то регистрируется",
  running_email: "Сделано всё, кроме письма: процесс ждёт почтовый сервер", killed: "Этот процесс убит (SIGKILL), почтовый сервер снова работает",
  lease: "Аренда истекает, и за дело берётся другой", stopped: "Этот процесс остановлен (SIGSTOP), почтовый сервер снова работает",
  woken: "Он продолжает (SIGCONT), и следующий пользователь достаётся ему", refuse: "Почтовый сервер отказывает",
  "mail.register": "Регистрируются пятеро", "mail.others": "Всё остальное тем временем сделано", backoff: "Письма не уходят, снова и снова",
  "mail.up": "Почтовый сервер снова работает, и они уходят", poison: "Регистрируется тот, чьего ящика нет",
  "poison.others": "Трое других регистрируются и получают своё", stays: "То, что отвергнуто навсегда, остановлено и ждёт", retry: "Ящик появился, остановленное пробуют снова",
  "coupons.coupons": "Есть десять купонов", "coupons.register": "Регистрируются сто человек", settle: "Два процесса делают остальное",
  "later.register": "Трое регистрируются при сегодняшней версии", replace: "Все процессы заменены завтрашней версией",
  replay: "allocation deliveries replay announce_newsletter", work: "Прошлое отрабатывается", restore: "Всё возвращено, как было",

  owner: "{first} держал это с fencing-токеном {token}, {second} выполнил с {next_token}", one_email: "писем: {count}, с тем же Message-ID, что у каждой попытки",
  works_on: "следующую регистрацию записал {process}: он работает дальше", changed_nothing: "строка такая же, как до пробуждения опоздавшего",
  nobody_waited: "сделано, пока почты не было: {count}", all_unsent: "тем временем пробовали снова и снова: писем {count}",
  emails_once: "у каждого одно письмо: всего {count}", parked: "остановлено сразу: {count}", others_flow: "тем временем сделано для других: {count}",
  allocated: "роздано купонов: {count}, осталось: {left}", one_each: "с купоном: {count}, ни у кого двух", coupon_emails: "писем с купоном: {count}",
  backfilled: "доставок: {count}, прежних регистраций: {past}", each_once: "писем: {count}, по одному каждому", failed: "до конца не дошло: {error}",
};

const WORDS = { en: ENGLISH, ru: RUSSIAN }[language];

/** Return words, with values in the places of their names in braces. */
export function say(word, values = {}) {
  return WORDS[word].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

/** Return the words of an experiment for something, or those that several have. */
export const tell = (experiment, word, values) => say(`${experiment}.${word}` in WORDS ? `${experiment}.${word}` : word, values);
