"use strict";
// One pair at a time; ratings stay in this browser until they are saved.

const box = document.querySelector(".rating");
const pairs = [...box.querySelectorAll(".pair")];
const progress = box.querySelector(".progress");
const rater = box.querySelector(".rater");
const save = box.querySelector(".save");
const store = `offalign-${box.dataset.name}`;
let given = {};
let at = 0;

try {
  const kept = JSON.parse(localStorage.getItem(store) ?? "{}");
  given = kept.given ?? {};
  rater.value = kept.rater ?? "";
} catch {
  given = {}; // a browser that keeps nothing: the file has it all
}

function keep() {
  try {
    localStorage.setItem(store, JSON.stringify({ given, rater: rater.value }));
  } catch {
    // See above.
  }
}

function show() {
  pairs.forEach((pair, i) => { pair.hidden = i !== at; });
  const done = Object.keys(given).length;
  const said = given[at] ? ` You said: ${given[at]}.` : "";
  progress.textContent = at < pairs.length
    ? `Pair ${at + 1} of ${pairs.length}; ${done} rated.${said}`
    : `${done} of ${pairs.length} rated. Save the ratings.`;
  box.querySelector(".choices").hidden = at >= pairs.length;
}

function choose(choice) {
  if (choice === "back") {
    at = Math.max(at - 1, 0);
  } else if (at < pairs.length) {
    given[at] = choice;
    at += 1;
  }
  keep();
  show();
}

const keys = {
  1: "left", ArrowLeft: "left",
  2: "right", ArrowRight: "right",
  0: "tie", ArrowDown: "tie",
  u: "back", ArrowUp: "back",
};

document.addEventListener("keydown", (event) => {
  if (event.target === rater || event.ctrlKey || event.metaKey) return;
  const choice = keys[event.key];
  if (!choice) return;
  event.preventDefault();
  choose(choice);
});

box.addEventListener("click", (event) => {
  const choice = event.target.closest("button")?.dataset.choice;
  if (choice) choose(choice);
});

rater.addEventListener("input", keep);

function written() {
  const ratings = pairs.flatMap((pair, i) => given[i] ? [{
    prompt: pair.dataset.prompt,
    left: pair.dataset.left,
    right: pair.dataset.right,
    preferred: given[i],
    rater: rater.value.trim(),
  }] : []);
  return JSON.stringify({ ratings }, null, 1) + "\n";
}

save.addEventListener("click", () => {
  const link = document.createElement("a");
  const name = rater.value.trim().replace(/[^\w.-]+/g, "-") || "rater";
  const file = new Blob([written()], { type: "application/json" });
  link.href = URL.createObjectURL(file);
  link.download = `${box.dataset.name}-${name}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  progress.textContent = `Saved as ${link.download}.`;
});

while (at < pairs.length && given[at]) at += 1;
save.hidden = false;
show();
