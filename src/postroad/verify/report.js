"use strict";
(() => {
  const CHUNK = 500;
  const FIRST = 100;
  const find = (id) => document.getElementById(id);
  const form = find("filters");
  const body = find("rows");
  const more = find("more");
  const { names, rows } = JSON.parse(find("data").textContent);
  const [ADDRESS, VERDICT, REASON, PROVIDER, HOST, CONFIDENCE, FLAGS, MEANT, EVIDENCE] = Array(9).keys();
  const suggestion = names.flags.findIndex(([flag]) => flag === "suggestion");
  const texts = rows.map((row) =>
    [row[ADDRESS], row[MEANT], names.hosts[row[HOST]], names.providers[row[PROVIDER]], row[EVIDENCE]]
      .join("\n")
      .toLowerCase(),
  );
  let matching = [];
  let drawn = 0;
  let timer = 0;

  const number = (value) => String(value).replace(/\B(?=(\d{3})+$)/g, "\u202f");

  const make = (tag, attributes, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };
  const isolated = (text) => make("bdi", {}, text);
  const block = (...children) => make("span", { class: "block soft" }, ...children);

  /* One row, as report_table.py writes it. Texts become text nodes: nothing in them is markup. */
  const line = (row) => {
    const verdict = names.verdicts[row[VERDICT]];
    const [, words, meaning] = names.reasons[row[REASON]];
    const head = make("th", { scope: "row", role: "rowheader" }, isolated(row[ADDRESS]));
    if (row[MEANT]) head.append(block("perhaps ", isolated(row[MEANT])));
    const marks = names.flags.filter((_, bit) => bit !== suggestion && row[FLAGS] & (1 << bit));
    if (marks.length) {
      const tags = marks.flatMap(([, label]) => [make("span", { class: "mark" }, label), " "]);
      head.append(make("span", { class: "block" }, ...tags));
    }
    const host = make("td", { role: "cell" }, isolated(names.hosts[row[HOST]]));
    if (row[PROVIDER]) host.append(block(isolated(names.providers[row[PROVIDER]])));
    return make(
      "tr",
      { role: "row" },
      head,
      make(
        "td",
        { role: "cell" },
        make("span", { class: `badge v-${verdict}` }, verdict),
        " ",
        make("span", { class: "soft" }, `${row[CONFIDENCE]}\u202f%`),
      ),
      make("td", { role: "cell" }, make("span", { title: meaning }, words)),
      host,
      make("td", { role: "cell", class: "evidence" }, isolated(row[EVIDENCE])),
    );
  };

  const draw = (count) => {
    const piece = document.createDocumentFragment();
    for (const index of matching.slice(drawn, drawn + count)) piece.append(line(rows[index]));
    body.append(piece);
    drawn = Math.min(matching.length, drawn + count);
    const left = matching.length - drawn;
    more.hidden = left === 0;
    more.textContent = `Show ${number(Math.min(CHUNK, left))} more of ${number(left)}`;
  };

  const chosen = (name) => [...form.querySelectorAll(`input[name=${name}]:checked`)].map((box) => box.value);

  const state = () => {
    const params = new URLSearchParams();
    for (const name of ["q", "reason", "provider"]) {
      const value = form.elements[name].value.trim();
      if (value) params.set(name, value);
    }
    for (const name of ["verdict", "flag"]) {
      const values = chosen(name);
      if (values.length) params.set(name, values.join(","));
    }
    return params;
  };

  const filter = () => {
    const wanted = state();
    const words = (wanted.get("q") || "").toLowerCase().split(/\s+/).filter(Boolean);
    const verdicts = (wanted.get("verdict") || "").split(",").filter(Boolean);
    const reason = wanted.get("reason");
    const reasons = reason && (names.groups[reason] || [reason]);
    const provider = wanted.get("provider");
    const flags = (wanted.get("flag") || "").split(",").filter(Boolean);
    const bits = names.flags.reduce((sum, [flag], bit) => (flags.includes(flag) ? sum | (1 << bit) : sum), 0);
    matching = [];
    rows.forEach((row, index) => {
      if (verdicts.length && !verdicts.includes(names.verdicts[row[VERDICT]])) return;
      if (reasons && !reasons.includes(names.reasons[row[REASON]][0])) return;
      if (provider && names.providers[row[PROVIDER]] !== provider) return;
      if ((row[FLAGS] & bits) !== bits) return;
      if (words.every((word) => texts[index].includes(word))) matching.push(index);
    });
    body.replaceChildren();
    drawn = 0;
    draw(FIRST);
    find("count").textContent = `${number(matching.length)} of ${number(rows.length)} addresses`;
    return wanted.toString();
  };

  const remember = () => {
    const wanted = filter();
    try {
      history.replaceState(null, "", wanted ? `#${wanted}` : "#addresses");
    } catch {
      /* Where a page may not set its own address, the filter works without. */
    }
  };

  /* The filter that stands in the page's address; false where none does. */
  const recall = () => {
    const params = new URLSearchParams(location.hash.slice(1));
    const known = ["q", "reason", "provider", "verdict", "flag"];
    if (!known.some((name) => params.has(name))) return false;
    form.elements.q.value = params.get("q") || "";
    for (const name of ["reason", "provider"]) {
      form.elements[name].value = params.get(name) || "";
      if (form.elements[name].selectedIndex < 0) form.elements[name].value = "";
    }
    for (const name of ["verdict", "flag"]) {
      const values = (params.get(name) || "").split(",");
      for (const box of form.querySelectorAll(`input[name=${name}]`)) box.checked = values.includes(box.value);
    }
    filter();
    find("addresses").scrollIntoView();
    find("addresses").focus({ preventScroll: true });
    return true;
  };

  for (const link of document.querySelectorAll("a[data-filter]")) {
    link.setAttribute("href", `#${link.dataset.filter}`);
    link.addEventListener("click", () => {
      if (link.hash === location.hash) recall();
    });
  }
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(remember, 80);
  });
  form.addEventListener("reset", () => setTimeout(remember, 0));
  more.addEventListener("click", () => draw(CHUNK));
  addEventListener("hashchange", recall);
  form.hidden = false;
  if (!recall()) filter();
})();
