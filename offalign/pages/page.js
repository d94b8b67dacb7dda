"use strict";
// Without this script a page is whole; with it, tables sort, commands copy and
// comparisons can be filtered.

const said = document.getElementById("said");

function compare(a, b, numeric) {
  if (a === "" || b === "") return 0;
  return numeric ? a - b : a.localeCompare(b, "en", { numeric: true });
}

for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const written = [...body.rows]; // equal rows keep this order
  const heads = [...table.tHead.rows[0].cells];
  table.tHead.addEventListener("click", (event) => {
    const head = event.target.closest("button")?.closest("th");
    if (!head) return;
    const other = { ascending: "descending", descending: "ascending" };
    const order = other[head.getAttribute("aria-sort")] ?? head.dataset.first;
    const at = heads.indexOf(head);
    const sign = order === "ascending" ? 1 : -1;
    const numeric = head.classList.contains("number");
    const key = (row) => row.cells[at].dataset.key;
    const rows = [...written].sort(
      (a, b) =>
        (key(a) === "") - (key(b) === "") ||
        sign * compare(key(a), key(b), numeric),
    );
    for (const each of heads) each.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", order);
    body.append(...rows);
    said.textContent = `Sorted by ${head.textContent}, ${order}.`;
  });
}

for (const button of document.querySelectorAll("button.copy")) {
  button.addEventListener("click", async () => {
    const code = button.parentElement.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
      said.textContent = "Copied.";
    } catch {
      // Not every browser lets a file write: leave it selected.
      getSelection().selectAllChildren(code);
      button.textContent = "Selected";
      said.textContent = "Selected: press the keys that copy.";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
}

for (const bar of document.querySelectorAll(".filters")) {
  const items = [...bar.parentElement.querySelectorAll("[data-outcomes]")];
  const show = () => {
    const wanted = bar.querySelector("input:checked")?.value ?? "";
    const of = bar.querySelector("select")?.value ?? "";
    let count = 0;
    for (const item of items) {
      const found = item.dataset.outcomes.split(" ");
      const looked = of === "" ? found : [found[of]];
      item.hidden = wanted !== "" && !looked.includes(wanted);
      count += !item.hidden;
    }
    bar.querySelector(".shown").textContent =
      `${count} of ${items.length} prompts are shown.`;
  };
  bar.hidden = false;
  bar.addEventListener("change", show);
  show();
}
