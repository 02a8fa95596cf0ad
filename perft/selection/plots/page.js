// Shows one trial in all figures: under the pointer, or kept by a click (Escape lets it go).
"use strict";
const facts = JSON.parse(document.getElementById("facts").textContent);
const tip = document.getElementById("tip");
const marks = new Map();
let kept = null;

function choose(number) {
  document.body.classList.toggle("chosen", number !== null);
  for (const [other, elements] of marks)
    for (const element of elements) element.classList.toggle("on", other === number);
}

function tell(number, event) {
  tip.replaceChildren(...facts[number].map((line) => {
    const row = document.createElement("div");
    row.textContent = line;
    return row;
  }));
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  const left = event.clientX + 16 + width < innerWidth ? event.clientX + 16 : event.clientX - width - 16;
  tip.style.left = `${Math.max(4, left)}px`;
  tip.style.top = `${Math.max(4, Math.min(event.clientY + 12, innerHeight - height - 4))}px`;
}

// A thin line is hard to hit: a wide transparent one lies over it.
function widen(mark) {
  for (const path of mark.querySelectorAll(":scope > path")) {
    const wide = path.cloneNode();
    wide.style.stroke = "transparent";
    wide.style.strokeWidth = "9px";
    wide.style.pointerEvents = "stroke";
    mark.append(wide);
  }
}

function listen(mark, number) {
  mark.classList.add("mark");
  marks.set(number, [...(marks.get(number) ?? []), mark]);
  mark.addEventListener("pointermove", (event) => { choose(number); tell(number, event); });
  mark.addEventListener("pointerleave", () => { tip.hidden = true; choose(kept); });
  mark.addEventListener("click", (event) => {
    event.stopPropagation();
    kept = kept === number ? null : number;
    choose(kept);
  });
}

for (const mark of document.querySelectorAll("svg g[id]")) {
  const found = /^(?:front|bar|curve|parallel)-(\d+)$/.exec(mark.id);
  if (found && found[1] in facts) {
    widen(mark);
    listen(mark, found[1]);
  }
}
for (const row of document.querySelectorAll("tr[data-trial]")) listen(row, row.dataset.trial);
addEventListener("click", () => { kept = null; choose(null); });
addEventListener("keydown", (event) => { if (event.key === "Escape") { kept = null; choose(null); } });
