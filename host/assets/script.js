// What pages can do beyond reading and forms, which work without it: a theme that stays, live parts, live logs, a question before
// dangerous deeds, uploads with progress, and copying.
"use strict";

const THEME = "bothost-theme";

function stored() {
  try { return localStorage.getItem(THEME); } catch { return null; }
}

function showTheme(theme) {
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
}

// Before the body is there, so that no page flashes in the other theme.
showTheme(stored());

function themeSwitch(button) {
  button.hidden = false;
  button.addEventListener("click", () => {
    const chosen = document.documentElement.dataset.theme;
    const isDark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    const theme = isDark ? "light" : "dark";
    try { localStorage.setItem(THEME, theme); } catch { /* It stays for this page. */ }
    showTheme(theme);
  });
}

// Live parts: elements with `data-live` and an id take the place of themselves when the host says that something changed.
let isRefreshing = false;
let isStale = false;

async function refresh() {
  if (document.hidden || isRefreshing) { isStale = true; return; }
  isRefreshing = true;
  isStale = false;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (answer.redirected || !answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of document.querySelectorAll("[data-live][id]")) {
      const next = fresh.getElementById(part.id);
      // What somebody is about to press, has chosen or reads is not taken away under the hand.
      if (part.matches(":focus-within") || part.querySelector("input:checked, details[open]")) { isStale = true; continue; }
      if (next && next.innerHTML !== part.innerHTML) part.innerHTML = next.innerHTML;
    }
    wire(document);
  } catch { /* The next change asks again. */ } finally { isRefreshing = false; }
}

function live() {
  if (!document.querySelector("[data-live]")) return;
  const source = new EventSource("/live");
  source.addEventListener("changed", refresh);
  document.addEventListener("visibilitychange", () => { if (isStale) refresh(); });
  document.addEventListener("focusout", () => setTimeout(() => { if (isStale) refresh(); }, 200));
  addEventListener("pagehide", () => source.close());
}

// Live logs: `data-logs` names the bot.
const LOG_LINES_MAX = 500;

function logLine(pane, line) {
  const row = document.createElement("span");
  const level = String(line.level ?? "").toLowerCase();
  if (level === "error" || level === "warn") row.className = level;
  const text = line.message ?? "";
  row.textContent = `${line.time ?? ""} ${level.toUpperCase().padEnd(5)} ${text}\n`;
  const isAtEnd = pane.scrollHeight - pane.scrollTop - pane.clientHeight < 32;
  pane.append(row);
  while (pane.childElementCount > LOG_LINES_MAX) pane.firstElementChild.remove();
  if (isAtEnd) pane.scrollTop = pane.scrollHeight;
}

function logs(button) {
  const pane = document.getElementById(button.dataset.target);
  let source = null;
  button.hidden = false;
  const stop = () => { source?.close(); source = null; button.textContent = button.dataset.start; };
  button.addEventListener("click", () => {
    if (source) { stop(); return; }
    pane.textContent = "";
    source = new EventSource(`/api/v1/logs?follow=true&lines=100&bot=${encodeURIComponent(button.dataset.logs)}`);
    source.addEventListener("message", (event) => logLine(pane, JSON.parse(event.data)));
    source.addEventListener("error", () => { if (source?.readyState === EventSource.CLOSED) stop(); });
    button.textContent = button.dataset.stop;
  });
  addEventListener("pagehide", stop);
}

// An upload is one request of raw bytes; the answer says what was found.
function upload(form) {
  const [file, bar, said] = ["input[type=file]", "progress", "output"].map((part) => form.querySelector(part));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const chosen = file.files[0];
    if (!chosen) return;
    // `fetch` tells nothing of how far a body is.
    const request = new XMLHttpRequest();
    request.open("PUT", `/api/v1/components/${encodeURIComponent(chosen.name)}`);
    request.setRequestHeader("Content-Type", "application/wasm");
    request.setRequestHeader("X-CSRF-Token", form.elements.csrf.value);
    bar.hidden = false;
    request.upload.addEventListener("progress", (now) => { bar.max = now.total; bar.value = now.loaded; });
    request.addEventListener("loadend", () => {
      bar.hidden = true;
      let answer = {};
      try { answer = JSON.parse(request.responseText); } catch { /* No JSON: only the status is known. */ }
      const isGood = request.status >= 200 && request.status < 300;
      said.className = isGood ? "flash good" : "flash bad";
      said.textContent = isGood ? form.dataset.done : answer.detail ?? `${request.status} ${request.statusText}`;
    });
    request.send(chosen);
  });
}

function copy(button) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.dataset.copy);
    const before = button.textContent;
    button.textContent = button.dataset.copied;
    setTimeout(() => { button.textContent = before; }, 1500);
  });
}

function chooseAll(box) {
  box.hidden = false;
  box.addEventListener("change", () => {
    for (const one of box.form.querySelectorAll("input[name=choose]")) one.checked = box.checked;
  });
}

// Each element is wired once, also when live parts bring new ones.
function wire(root) {
  const each = (selector, start) => {
    for (const element of root.querySelectorAll(selector)) {
      if (element.dataset.wired) continue;
      element.dataset.wired = "yes";
      start(element);
    }
  };
  each("[data-theme-switch]", themeSwitch);
  each("[data-logs]", logs);
  each("[data-upload]", upload);
  each("[data-copy]", copy);
  each("[data-choose-all]", chooseAll);
  each("[data-submit]", (select) => select.addEventListener("change", () => select.form.requestSubmit()));
}

document.addEventListener("submit", (event) => {
  const question = event.submitter?.dataset.confirm;
  if (question && !confirm(question)) event.preventDefault();
}, true);

document.addEventListener("DOMContentLoaded", () => { wire(document); live(); });
