"use strict";
// Tables that sort, filter and copy; texts of the points of figures. All works on what the page has.
document.documentElement.classList.add("js");

const numberOf = (cell) => {
  const found = /^[-+]?\d+(\.\d+)?(e[-+]?\d+)?/.exec(cell.textContent.trim().replace(/,/g, ""));
  return found ? Number(found[0]) : NaN;
};

function sortBy(table, place) {
  const head = table.tHead.rows[0].cells[place];
  const up = head.getAttribute("aria-sort") !== "ascending";
  for (const one of table.tHead.rows[0].cells) one.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const rows = [...table.tBodies[0].rows].map((row) => [row, row.cells[place]]);
  rows.sort(([, a], [, b]) => {
    const [x, y] = [numberOf(a), numberOf(b)];
    if (place === 0 || (isNaN(x) && isNaN(y)))
      return (up ? 1 : -1) * a.textContent.localeCompare(b.textContent);
    if (isNaN(x) || isNaN(y)) return isNaN(x) - isNaN(y); // what has no value is last
    return (up ? 1 : -1) * (x - y);
  });
  table.tBodies[0].append(...rows.map(([row]) => row));
}

function filter(section) {
  const chosen = {};
  for (const one of section.querySelectorAll("[data-filter]")) chosen[one.dataset.filter] = one.value;
  const text = (chosen.rows || "").toLowerCase();
  for (const part of section.querySelectorAll("[data-metric]")) {
    part.hidden = Boolean(chosen.metric) && part.dataset.metric !== chosen.metric;
    const table = part.querySelector("table");
    const seen = [...table.tHead.rows[0].cells].map(({ dataset: { mechanism, level } }) =>
      (!mechanism || !chosen.mechanism || chosen.mechanism === mechanism) &&
      (mechanism === undefined || !chosen.level || chosen.level === level));
    for (const row of table.rows) [...row.cells].forEach((cell, place) => { cell.hidden = !seen[place]; });
    for (const row of table.tBodies[0].rows)
      row.hidden = !row.cells[0].textContent.toLowerCase().includes(text);
  }
}

const visible = (table) =>
  [...table.rows].filter((row) => !row.hidden).map((row) =>
    [...row.cells].filter((cell) => !cell.hidden).map((cell) => cell.textContent.trim()));

const TEX = { "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "²": "\\textsuperscript{2}" };
const tex = (text) => text.replace(/[\\~^²%_#$&{}]/g, (letter) => TEX[letter] || "\\" + letter);

const FORMATS = {
  csv: (rows) => rows.map((row) =>
    row.map((cell) => (/[",\n]/.test(cell) ? `"${cell.replace(/"/g, '""')}"` : cell)).join(",")).join("\n"),
  markdown: ([head, ...rows]) => [head, head.map(() => "---"), ...rows].map((row) =>
    `| ${row.map((cell) => cell.replace(/\|/g, "\\|")).join(" | ")} |`).join("\n"),
  latex: ([head, ...rows]) => [
    `\\begin{tabular}{l${"r".repeat(head.length - 1)}}`, "\\toprule",
    head.map(tex).join(" & ") + " \\\\", "\\midrule",
    ...rows.map((row) => row.map(tex).join(" & ") + " \\\\"), "\\bottomrule", "\\end{tabular}"].join("\n"),
};

async function copy(section) {
  const format = FORMATS[section.querySelector("[data-copy]").value];
  const parts = [...section.querySelectorAll("[data-metric]")].filter((part) => !part.hidden);
  const text = parts.map((part) => format(visible(part.querySelector("table")))).join("\n\n") + "\n";
  let done = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // A page that was opened from a file may have no clipboard of its own.
    const area = Object.assign(document.createElement("textarea"), { value: text });
    document.body.append(area);
    area.select();
    done = document.execCommand("copy");
    area.remove();
  }
  section.dataset.copied = text;
  section.querySelector(".tools output").textContent = done ? "copied" : "the browser refused";
}

for (const section of document.querySelectorAll(".tables")) {
  for (const table of section.querySelectorAll("table"))
    [...table.tHead.rows[0].cells].forEach((head, place) => {
      const button = Object.assign(document.createElement("button"), { type: "button" });
      button.append(...head.childNodes);
      button.addEventListener("click", () => sortBy(table, place));
      head.append(button);
    });
  for (const one of section.querySelectorAll("[data-filter]"))
    one.addEventListener("input", () => filter(section));
  section.querySelector("[data-do=copy]").addEventListener("click", () => copy(section));
  filter(section);
}

// What was filtered away on the screen is printed all the same.
addEventListener("beforeprint", () => {
  for (const one of document.querySelectorAll("details")) one.open = true;
  for (const one of document.querySelectorAll(".tables [hidden]")) one.hidden = false;
});
addEventListener("afterprint", () => document.querySelectorAll(".tables").forEach(filter));

const tip = Object.assign(document.createElement("div"), { id: "tip", hidden: true });
document.body.append(tip);
const REACH = 16; // pixels from a point within which it is meant

for (const drawing of document.querySelectorAll("figure > svg")) {
  const points = [...drawing.querySelectorAll("[data-tip]")];
  const show = (event) => {
    let nearest = null, least = REACH;
    for (const point of points) {
      const box = point.getBoundingClientRect();
      const away = Math.hypot(event.clientX - (box.left + box.right) / 2, event.clientY - (box.top + box.bottom) / 2);
      if (away < least) [nearest, least] = [point, away];
    }
    tip.hidden = !nearest;
    if (!nearest) return;
    tip.textContent = nearest.dataset.tip;
    tip.style.left = `${Math.min(event.clientX + 12, innerWidth - tip.offsetWidth - 8)}px`;
    tip.style.top = `${Math.max(4, event.clientY - tip.offsetHeight - 10)}px`;
  };
  drawing.addEventListener("pointermove", show);
  drawing.addEventListener("pointerdown", show);
  drawing.addEventListener("pointerleave", () => { tip.hidden = true; });
}
