"use strict";
// Everything that comes from a request or an answer reaches the page as text, never as markup.

const $ = (id) => document.getElementById(id);
const SHORT = 320; // characters of a passage shown before it is unfolded
const SHOWN = 10; // results of a system shown before the rest is unfolded
const EXAMPLE = {
  query: "how do coral reefs form",
  passages: [
    "Coral polyps take calcium carbonate out of seawater and build skeletons; over centuries these grow into reefs.",
    "The train to the coast leaves at nine and takes two hours.",
    "Fringing reefs grow along a coast; as a volcanic island sinks they become barrier reefs and, at last, atolls.",
    "Reef knots join two ends of the same rope, and form the base of many others.",
    "Warm seas bleach corals: the polyps lose the algae that feed them.",
  ],
};

let collection = null;
let asked = 0;

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function say(sentence, bad = false) {
  $("status").textContent = sentence;
  $("status").classList.toggle("bad", bad);
}

function headers() {
  const token = $("token").value;
  return { "Content-Type": "application/json", ...(token ? { Authorization: `Bearer ${token}` } : {}) };
}

function pastedPassages() {
  const text = $("passages").value.replaceAll("\r\n", "\n").trim();
  const parts = /\n[^\S\n]*\n/.test(text) ? text.split(/\n(?:[^\S\n]*\n)+/) : text.split("\n");
  return parts.map((part) => part.trim()).filter(Boolean);
}

function fromCollection() {
  return new FormData($("ask")).get("source") === "collection";
}

async function answerOf(response) {
  let content = null;
  try {
    content = await response.json();
  } catch {
    // An answer that is no JSON comes from something between the server and this page.
  }
  if (response.ok && content) return content;
  if (response.status === 401) {
    $("key").hidden = false;
    $("token").focus();
  }
  throw new Error(content?.message ?? `The server answered ${response.status}.`);
}

async function learn() {
  try {
    const content = await answerOf(await fetch("v1/models", { headers: headers() }));
    const names = content.data.map((model) => model.id);
    $("served").textContent = `BM25 beside ${names.join(" and ")}: the same passages, scores and latency.`;
    if (content.collection) {
      collection = content.collection;
      $("collection").textContent = `${collection.name} (${collection.passages.toLocaleString("en")} passages)`;
      $("sources").hidden = false;
    }
  } catch (error) {
    say(error.message, true);
  }
}

function question() {
  const query = $("query").value.trim();
  if (!query) throw new Error("Type a query first.");
  if (fromCollection()) return { query };
  const passages = pastedPassages();
  if (!passages.length) throw new Error("Paste at least one passage.");
  return { query, passages };
}

async function rank(event) {
  event.preventDefault();
  const mine = ++asked;
  const button = $("ask").querySelector("button[type=submit]");
  try {
    const body = JSON.stringify(question());
    say("Ranking …");
    button.disabled = true;
    const content = await answerOf(await fetch("compare", { method: "POST", headers: headers(), body }));
    if (mine !== asked) return;
    show(content);
    if (!collection) learn();
  } catch (error) {
    if (mine === asked) say(error instanceof TypeError ? "The server cannot be reached." : error.message, true);
  } finally {
    button.disabled = false;
  }
}

function show(content) {
  const first = new Map(content.systems[0].results.map((result, place) => [result.index, place]));
  $("results").replaceChildren(...content.systems.map((system) => column(system, content.passages, first)));
  const count = content.passages.length;
  const times = content.systems.map((system) => `${system.name} ${duration(system.milliseconds)}`);
  say(count ? `${count} passage${count === 1 ? "" : "s"}: ${times.join(", ")}.` : "No passage was found.");
}

function duration(milliseconds) {
  if (milliseconds >= 10000) return `${(milliseconds / 1000).toFixed(1)} s`;
  return `${milliseconds.toFixed(milliseconds < 10 ? 1 : 0)} ms`;
}

function column(system, passages, first) {
  const highest = Math.max(...system.results.map((result) => result.score), 0);
  const rows = system.results.map((result, place) => row(system, result, place, passages[result.index], first, highest));
  const title = element("h2", { textContent: system.name, id: `system-${system.kind}` });
  const head = element("header", {}, title, element("span", { className: "took", textContent: duration(system.milliseconds) }));
  const made = element("section", { className: `system ${system.kind}` }, head);
  made.setAttribute("aria-labelledby", title.id);
  made.append(element("ol", {}, ...rows.slice(0, SHOWN)));
  if (rows.length > SHOWN) {
    const rest = element("details", { className: "rest" });
    const list = element("ol", {}, ...rows.slice(SHOWN));
    rest.append(element("summary", { className: "more", textContent: `${rows.length - SHOWN} more` }), list);
    made.append(rest);
  }
  return made;
}

function row(system, result, place, passage, first, highest) {
  const lexical = result.probability === null || result.probability === undefined;
  const score = `score ${result.score.toFixed(3).replace("-", "−")}`;
  const figures = lexical ? score : `P ${result.probability.toFixed(3)} · ${score}`;
  const line = element(
    "div",
    { className: "top" },
    element("span", { className: "place", textContent: `${place + 1}` }),
    element("span", { className: "figures", textContent: figures }),
  );
  if (system.kind !== "bm25") line.append(moved(first.get(result.index), place));
  const share = lexical ? (highest > 0 ? result.score / highest : 0) : result.probability;
  const bar = element("meter", { className: "bar", min: 0, max: 1, value: share });
  bar.setAttribute("aria-hidden", "true");
  const item = element("li", {}, line, bar);
  if (passage.title) item.append(element("h3", { textContent: passage.title, dir: "auto" }));
  item.append(...textOf(passage.text));
  return item;
}

function moved(before, place) {
  const change = before - place;
  const words = change > 0 ? `up ${change}` : change < 0 ? `down ${-change}` : "as BM25";
  const arrow = change > 0 ? `▲ ${change}` : change < 0 ? `▼ ${-change}` : "=";
  const mark = element("span", { className: change > 0 ? "move up" : change < 0 ? "move down" : "move", textContent: arrow });
  mark.title = change === 0 ? "same place as BM25" : `${words} from BM25's place ${before + 1}`;
  mark.setAttribute("role", "img");
  mark.setAttribute("aria-label", mark.title);
  return mark;
}

function textOf(text) {
  const letters = [...text];
  if (letters.length <= SHORT) return [element("p", { className: "text", textContent: text, dir: "auto" })];
  const cut = letters.slice(0, SHORT).join("");
  const rest = element("details", {}, element("summary", { textContent: "whole passage" }));
  rest.append(element("p", { className: "text", textContent: text, dir: "auto" }));
  return [element("p", { className: "text", textContent: `${cut} …`, dir: "auto" }), rest];
}

function choose() {
  $("pasted").hidden = fromCollection();
}

function example() {
  $("query").value = EXAMPLE.query;
  $("passages").value = EXAMPLE.passages.join("\n");
  document.querySelector("input[value=pasted]").checked = true;
  choose();
  $("query").focus();
}

$("ask").addEventListener("submit", rank);
$("example").addEventListener("click", example);
$("passages").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("ask").requestSubmit();
});
for (const radio of document.querySelectorAll("input[name=source]")) radio.addEventListener("change", choose);
learn();
