// Filters, search and order of the scoreboard. Without this script it is a table of all rows.
document.addEventListener("DOMContentLoaded", () => {
  const table = document.getElementById("scoreboard");
  if (!table) return;
  const form = document.querySelector(".scoreboard-filters");
  const rows = [...table.tBodies[0].rows];
  // What is folded in a claim can be found too.
  const text = new Map(
    rows.map((row) => {
      const claim = document.getElementById(row.querySelector("a").hash.slice(1));
      return [row, `${row.textContent} ${claim ? claim.textContent : ""}`.toLowerCase()];
    }),
  );

  const show = () => {
    const { paper, verdict, dataset, find } = form.elements;
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const names = [...verdict.options].map((option) => option.value).slice(1);
    let shown = 0;
    for (const row of rows) {
      const own = row.dataset;
      const fits =
        (!paper.value || own.paper === paper.value) &&
        (!verdict.value || names[own.verdict] === verdict.value) &&
        (!dataset.value || (dataset.value === "first" ? "first" in own : own.dataset === dataset.value)) &&
        words.every((word) => text.get(row).includes(word));
      row.hidden = !fits;
      shown += fits;
    }
    form.querySelector("output").value = `${shown} of ${rows.length} verdicts`;
    const query = new URLSearchParams([...new FormData(form)].filter(([name, value]) => value !== standard[name]));
    const address = `${location.pathname}${query.size ? `?${query}` : ""}${location.hash}`;
    try {
      history.replaceState(null, "", address);
    } catch {
      // Some browsers refuse it to pages from disk: the address then does not remember the filter.
    }
  };

  const standard = Object.fromEntries(new FormData(form));
  for (const [name, value] of new URLSearchParams(location.search)) {
    const field = form.elements[name];
    if (field && (!field.options || [...field.options].some((option) => option.value === value))) field.value = value;
  }
  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(show));

  for (const head of table.querySelectorAll("th[data-sort]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      table.querySelectorAll("th[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = (row) => row.dataset[head.dataset.sort];
      const order = (a, b) => key(a).localeCompare(key(b), "en", { numeric: true }) || a.dataset.place - b.dataset.place;
      table.tBodies[0].append(...[...rows].sort((a, b) => (down ? order(b, a) : order(a, b))));
    });
  }
  form.hidden = false;
  show();
});
