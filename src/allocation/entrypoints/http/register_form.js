// Puts a form to register a user into the page: a panel of the application.

import { $, announce, ask, h, sending } from "/page/assets/dom.js";
import { language } from "/page/assets/words.js";

const WORDS = {
  en: { name: "Name", email: "E-mail", register: "Register a user", registered: "registered" },
  ru: { name: "Имя", email: "Эл. почта", register: "Зарегистрировать", registered: "готово" },
};
const words = WORDS[language];

const field = (word, more) => h("label", {}, h("span", {}, words[word]), " ", h("input", { name: word, autocomplete: "off", required: true, maxlength: 400, ...more }));
const form = h("form", { id: "register", "aria-label": words.register },
  field("name"), field("email", { type: "text", inputmode: "email" }),
  h("button", { class: "main" }, words.register), h("p", { class: "wrong", role: "alert" }));

let attempt = null; // the same key until it is known what became of it
sending(form, async ({ name, email }) => {
  const said = `${name}\n${email}`;
  if (attempt?.said !== said) attempt = { said, key: crypto.getRandomValues(new Uint32Array(4)).join("-") };
  const user = await ask("/users", { name, email }, { headers: { "Idempotency-Key": attempt.key } });
  attempt = null;
  form.reset();
  form.elements.name.focus();
  announce(`${user.name}: ${words.registered}`);
});
$("#filter").before(form);
