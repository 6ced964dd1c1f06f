"use strict";
// Tables sort by a click on a column's title: numbers by value, the rest by text, what has no number last.
(() => {
  const report = window.thetascope;

  const compared = (place, down) => (a, b) => {
    const [left, right] = [a, b].map((row) => row.cells[place]);
    const [x, y] = [left, right].map((cell) => (cell.dataset.value === undefined ? null : Number(cell.dataset.value)));
    if (x === null && y === null) return (down ? -1 : 1) * left.textContent.localeCompare(right.textContent, "en", { numeric: true });
    if (x === null || y === null) return x === null ? 1 : -1;
    return down ? y - x : x - y;
  };

  report.startTables = () => {
    for (const table of document.querySelectorAll("table.sortable")) {
      const heads = [...table.tHead.rows[0].cells];
      heads.forEach((head, place) => {
        head.querySelector("button").addEventListener("click", () => {
          const down = head.getAttribute("aria-sort") === "ascending" || (head.getAttribute("aria-sort") === null && head.classList.contains("number"));
          heads.forEach((other) => other.removeAttribute("aria-sort"));
          head.setAttribute("aria-sort", down ? "descending" : "ascending");
          table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compared(place, down)));
        });
      });
    }
  };
})();
