// What every page needs beside the theme: labels for tables that a phone shows as cards, and unfolded claims on paper.
// A browser lets no page from disk read another: the search goes without excerpts there, and without an error for each.
if (location.protocol === "file:" && typeof DOCUMENTATION_OPTIONS !== "undefined") {
  DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
}

document.addEventListener("DOMContentLoaded", () => {
  for (const table of document.querySelectorAll("article table.table")) {
    const names = [...(table.tHead?.rows[0]?.cells ?? [])].map((cell) => cell.textContent.trim());
    if (names.length < 2) continue;
    table.classList.add("cards");
    // As blocks they would be no table to a screen reader.
    table.setAttribute("role", "table");
    table.querySelectorAll("thead, tbody").forEach((part) => part.setAttribute("role", "rowgroup"));
    table.querySelectorAll("thead th").forEach((cell) => cell.setAttribute("role", "columnheader"));
    for (const row of table.rows) {
      row.setAttribute("role", "row");
      [...row.cells].forEach((cell, place) => {
        if (cell.tagName === "TD") cell.setAttribute("role", "cell");
        if (cell.tagName === "TD" && names[place]) cell.dataset.label = names[place];
      });
    }
  }

  // The theme's sidebar is no landmark, and its search button says "Search" for what reads "Search Ctrl + K".
  const sidebar = document.getElementById("pst-primary-sidebar");
  sidebar?.setAttribute("role", "navigation");
  sidebar?.setAttribute("aria-label", "Book");
  document.querySelectorAll(".search-button-field").forEach((button) => button.removeAttribute("aria-label"));

  // What scrolls sideways can be reached with the keyboard.
  document.querySelectorAll('article [style*="overflow-x"]').forEach((part) => (part.tabIndex = 0));

  // A link to a claim, or to what is folded in it, unfolds it.
  const unfold = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let part = target; part; part = part.parentElement) if (part.tagName === "DETAILS") part.open = true;
    if (target) target.scrollIntoView();
  };
  addEventListener("hashchange", unfold);
  unfold();
});

let folded = [];
addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("details.verdict:not([open])")];
  folded.forEach((part) => (part.open = true));
});
addEventListener("afterprint", () => folded.forEach((part) => (part.open = false)));
