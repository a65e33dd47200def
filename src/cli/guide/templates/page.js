
"use strict";
const placeholder = "<your External ID>";
const value = document.getElementById("value");
const advice = document.getElementById("advice");
const explained = advice.textContent;

// AWS's rules for an External ID.
const isSound = (text) => /^[A-Za-z0-9_+=,.@:/-]{2,1224}$/.test(text);

function filled(text) {
  return value.value && isSound(value.value) ? text.replaceAll(placeholder, value.value) : text;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without the clipboard's newer interface, as where the browser asks for a secure origin.
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    if (!copied) throw new Error("the browser does not let the page copy");
  }
}

function say(button, text) {
  button.dataset.label ??= button.textContent;
  button.textContent = text;
  button.classList.add("done");
  clearTimeout(button.timer);
  button.timer = setTimeout(() => {
    button.textContent = button.dataset.label;
    button.classList.remove("done");
  }, 2500);
}

async function copyFor(button, text) {
  try {
    await copy(text);
    say(button, text.includes(placeholder) ? "Copied, with the placeholder" : "Copied");
  } catch {
    say(button, "Select it, and copy by keyboard");
  }
}

for (const button of document.querySelectorAll("button.copy")) {
  const code = button.closest("figure").querySelector("code");
  button.addEventListener("click", () => copyFor(button, filled(code.textContent)));
}

for (const button of document.querySelectorAll("button.save")) {
  button.addEventListener("click", (event) => {
    event.preventDefault();
    const link = document.createElement("a");
    const text = button.closest("details").querySelector("code").textContent;
    link.href = URL.createObjectURL(new Blob([text], { type: "application/octet-stream" }));
    link.download = button.dataset.name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    say(button, "Saved");
  });
}

function judge() {
  const wrong = value.value !== "" && !isSound(value.value);
  advice.classList.toggle("wrong", wrong);
  advice.textContent = wrong
    ? "AWS takes 2 to 1224 characters: letters, digits and _ + = , . @ : / - (no blanks). Copies keep the placeholder."
    : explained;
}

function show(visible) {
  value.type = visible ? "text" : "password";
  const button = document.getElementById("show");
  button.setAttribute("aria-pressed", visible);
  button.textContent = visible ? "Hide" : "Show";
}

value.addEventListener("input", judge);
document.getElementById("make").addEventListener("click", () => {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  value.value = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  judge();
});
document.getElementById("show").addEventListener("click", () => show(value.type === "password"));
document.getElementById("take").addEventListener("click", (event) => {
  if (value.value) copyFor(event.currentTarget, value.value);
  else value.focus();
});

// A link to a file opens it.
function open() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target instanceof HTMLDetailsElement) target.open = true;
}
addEventListener("hashchange", open);
open();

// Without this script it would be of no use. It belongs to the chapter about the External ID, the first.
const field = document.getElementById("external-id");
document.getElementById("chapter-2").before(field);
field.hidden = false;
