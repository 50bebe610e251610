// Adds what a page can do without: times of this place, fresh contents, copying. Every page works when this is not there.
"use strict";

const inWords = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const zone = new Intl.DateTimeFormat(undefined, { timeZoneName: "short" });
const nameOfZone = (at) => zone.formatToParts(at).find((part) => part.type === "timeZoneName")?.value ?? "";

// The moment in the reader's zone; UTC stays in the title.
function localTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (!Number.isNaN(at.getTime())) time.textContent = `${inWords.format(at)} ${nameOfZone(at)}`;
  }
}

function copying(root) {
  for (const button of root.querySelectorAll("button[data-copy]")) {
    button.hidden = !navigator.clipboard;
    button.addEventListener("click", async () => {
      const text = document.getElementById(button.dataset.copy)?.textContent ?? "";
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    });
  }
}

// Nobody's place, choice or half-written form is taken away.
function isBusy(part) {
  const selection = document.getSelection();
  const inside = part.contains(document.activeElement) && document.activeElement !== document.body;
  return inside || (selection && !selection.isCollapsed) || part.querySelector("details[open], input:checked") !== null;
}

// Asks for this page again while somebody looks at it, and shows the parts that differ.
async function refresh() {
  if (document.hidden) return;
  const answer = await fetch(location.href, { headers: { accept: "text/html" }, redirect: "manual" });
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of document.querySelectorAll("[data-live]")) {
    const fresh = page.getElementById(part.id);
    if (!fresh || isBusy(part)) continue;
    const now = document.importNode(fresh, true);
    const news = newsOf(fresh);
    if (news !== shown.get(part.id)) now.classList.add("fresh");
    shown.set(part.id, news);
    part.replaceWith(now);
    localTimes(now);
    copying(now);
  }
}

// What is told when it changes: not that something grew older.
function newsOf(part) {
  const copy = part.cloneNode(true);
  for (const age of copy.querySelectorAll("[data-age]")) age.remove();
  return copy.outerHTML;
}

// As they came, before this script touched them: only so can they be compared.
const shown = new Map();
for (const part of document.querySelectorAll("[data-live]")) shown.set(part.id, newsOf(part));

// The row of pages is longer than a phone is wide.
document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
localTimes(document);
copying(document);

async function keepFresh() {
  await refresh().catch(() => {});
  setTimeout(keepFresh, 1000 * Number(document.body.dataset.every || 5));
}
if (shown.size > 0) {
  setTimeout(keepFresh, 1000 * Number(document.body.dataset.every || 5));
  document.addEventListener("visibilitychange", () => refresh().catch(() => {}));
}
