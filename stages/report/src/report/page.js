"use strict";
(function () {
  var PAGE = 20;

  function el(tag, attrs, children) {
    var node = document.createElement(tag);
    Object.keys(attrs || {}).forEach(function (k) {
      if (k === "text") node.textContent = attrs[k]; else node.setAttribute(k, attrs[k]);
    });
    (children || []).forEach(function (c) { node.appendChild(c); });
    return node;
  }

  /* The same short form as the page was written with: four significant digits. */
  function short(x) {
    if (!isFinite(x)) return "–";
    if (x === 0) return "0";
    var size = Math.abs(x);
    if (Math.floor(x) === x && size < 1e6) return String(x);
    if (size < 1e-3 || size >= 1e6) return x.toExponential(2).replace("e+", "e");
    var text = x.toFixed(Math.min(6, Math.max(0, 3 - Math.floor(Math.log10(size)))));
    return text.indexOf(".") >= 0 ? text.replace(/0+$/, "").replace(/\.$/, "") : text;
  }
  function missing(v) { return v === "" || v === "NA"; }
  function shown(v, numeric) { return missing(v) ? "–" : numeric ? short(Number(v)) : v; }

  /* ---- tables: sort, search, pages, download ---- */
  function table(box) {
    var data = JSON.parse(box.querySelector("script").textContent);
    var rows = data.rows, view = rows.slice(), page = 0, sort = { column: -1, down: false };
    var body = box.querySelector("tbody"), heads = box.querySelectorAll("th");
    var search = el("input", { type: "search", placeholder: "Search " + rows.length + " rows", "aria-label": "Search this table" });
    var back = el("button", { type: "button", text: "‹", "aria-label": "Previous page" });
    var next = el("button", { type: "button", text: "›", "aria-label": "Next page" });
    var where = el("span", { "class": "table-foot", "aria-live": "polite" });
    var save = el("button", { type: "button", text: "Download TSV" });
    var tools = el("div", { "class": "table-tools" }, rows.length > 8 ? [search, back, where, next, save] : [save]);
    if (rows.length > 8) box.insertBefore(tools, box.querySelector(".table-scroll"));
    else box.querySelector("p.table-foot").after(tools);

    function draw() {
      var pages = Math.max(1, Math.ceil(view.length / PAGE));
      page = Math.min(Math.max(page, 0), pages - 1);
      body.textContent = "";
      view.slice(page * PAGE, page * PAGE + PAGE).forEach(function (row) {
        body.appendChild(el("tr", {}, row.map(function (v, c) {
          var cell = el("td", data.classes[c] ? { "class": data.classes[c] } : {});
          cell.textContent = shown(v, data.numeric[c]);
          if (data.numeric[c] && !missing(v)) cell.title = v;
          return cell;
        })));
      });
      where.textContent = view.length ? (page * PAGE + 1) + "–" + Math.min(view.length, page * PAGE + PAGE) + " of " + view.length : "no match";
      back.disabled = page === 0; next.disabled = page >= pages - 1;
    }
    function update() {
      var words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      view = rows.filter(function (row) {
        var text = row.join("\t").toLowerCase();
        return words.every(function (w) { return text.indexOf(w) >= 0; });
      });
      var c = sort.column, sign = sort.down ? -1 : 1;
      if (c >= 0) view.sort(function (a, b) {
        var x = a[c], y = b[c];
        if (missing(x) || missing(y)) return missing(x) - missing(y); /* missing values stay last */
        if (data.numeric[c]) return sign * (Number(x) - Number(y));
        return sign * x.localeCompare(y, "en", { numeric: true });
      });
      page = 0; draw();
    }
    heads.forEach(function (th, c) {
      var button = el("button", { type: "button", text: th.textContent });
      th.textContent = ""; th.appendChild(button);
      button.addEventListener("click", function () {
        sort = { column: c, down: sort.column === c ? !sort.down : false };
        heads.forEach(function (h) { h.removeAttribute("aria-sort"); });
        th.setAttribute("aria-sort", sort.down ? "descending" : "ascending");
        update();
      });
    });
    search.addEventListener("input", update);
    back.addEventListener("click", function () { page -= 1; draw(); });
    next.addEventListener("click", function () { page += 1; draw(); });
    save.addEventListener("click", function () {
      var lines = data.notes.map(function (n) { return "# " + n; }).concat([data.header.join("\t")], view.map(function (r) { return r.join("\t"); }));
      var link = el("a", { download: data.name + ".tsv" });
      link.href = URL.createObjectURL(new Blob([lines.join("\n") + "\n"], { type: "text/tab-separated-values" }));
      document.body.appendChild(link); link.click(); link.remove();
      setTimeout(function () { URL.revokeObjectURL(link.href); }, 1000);
    });
    draw();
  }
  document.querySelectorAll(".table").forEach(table);

  /* ---- light, dark or as the system says ---- */
  var themes = ["auto", "light", "dark"], button = document.getElementById("theme"), root = document.documentElement;
  function stored(value) {
    try { if (value === undefined) return localStorage.getItem("clcc-theme"); localStorage.setItem("clcc-theme", value); } catch (e) { return null; }
  }
  function theme(name) {
    if (name === "auto") root.removeAttribute("data-theme"); else root.setAttribute("data-theme", name);
    button.textContent = "Theme: " + name; button.value = name;
  }
  var wanted = location.hash.indexOf("theme=") >= 0 ? location.hash.split("theme=")[1] : stored();
  button.hidden = false;
  theme(themes.indexOf(wanted) >= 0 ? wanted : "auto");
  button.addEventListener("click", function () {
    var name = themes[(themes.indexOf(button.value) + 1) % themes.length];
    theme(name); stored(name);
  });

  /* ---- contents follow the reader ---- */
  var links = {};
  document.querySelectorAll("nav a").forEach(function (a) { links[a.getAttribute("href").slice(1)] = a; });
  if ("IntersectionObserver" in window) {
    var seen = {};
    var watch = new IntersectionObserver(function (entries) {
      entries.forEach(function (e) { seen[e.target.id] = e.isIntersecting; });
      var first = true;
      document.querySelectorAll("main>section").forEach(function (s) {
        var here = first && seen[s.id];
        if (here) first = false;
        if (links[s.id]) links[s.id].classList.toggle("here", !!here);
      });
    }, { rootMargin: "-10% 0px -60% 0px" });
    document.querySelectorAll("main>section").forEach(function (s) { watch.observe(s); });
  }
  /* An anchor inside a closed fold opens it. */
  function reveal() {
    var target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (var node = target; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
    if (target) target.scrollIntoView();
  }
  window.addEventListener("hashchange", reveal); reveal();

  /* ---- the record of the run ---- */
  function simple(head, rows) {
    return el("div", { "class": "table-scroll" }, [el("table", {}, [
      head.length ? el("thead", {}, [el("tr", {}, head.map(function (h) { return el("th", { scope: "col", text: h }); }))]) : el("thead"),
      el("tbody", {}, rows.map(function (row) {
        return el("tr", {}, row.map(function (v, c) {
          if (!head.length && c === 0) return el("th", { scope: "row", text: v });
          return typeof v === "number" ? el("td", { "class": "num", text: short(v) }) : el("td", { text: v });
        }));
      }))])]);
  }
  function words(value) {
    if (value === null || value === undefined) return "";
    return typeof value === "object" ? JSON.stringify(value) : String(value);
  }
  function provenance() {
    var source = document.getElementById("run-provenance"), view = document.getElementById("provenance-view");
    if (!source || !view) return;
    var run = JSON.parse(source.textContent), nodes = Array.isArray(run.nodes) ? run.nodes : [];
    view.textContent = "";
    var facts = [];
    ["workflow", "program", "machine", "summary"].forEach(function (part) {
      Object.keys(run[part] || {}).forEach(function (k) { if (words(run[part][k]) !== "") facts.push([part + " " + k, words(run[part][k])]); });
    });
    ["run", "started", "seconds"].forEach(function (k) { if (run[k] !== undefined) facts.push([k, typeof run[k] === "number" ? short(run[k]) : words(run[k])]); });
    if (facts.length) view.appendChild(simple([], facts));
    if (Array.isArray(run.inputs) && run.inputs.length) {
      view.appendChild(el("h3", { text: "Inputs" }));
      view.appendChild(simple(["name", "path or built-in", "format", "digest"], run.inputs.map(function (i) {
        return [words(i.name), words(i.path || i.builtin), words(i.format), words(i.digest).slice(0, 16)];
      })));
    }
    if (!nodes.length) return;
    var tally = {};
    nodes.forEach(function (n) { var s = words(n.status); tally[s] = (tally[s] || 0) + 1; });
    view.appendChild(el("h3", { text: nodes.length + " nodes: " + Object.keys(tally).sort().map(function (s) { return tally[s] + " " + s; }).join(", ") }));
    var measured = function (n, k) { return (n.measured || {})[k]; };
    var columns = [
      ["node", function (n) { return words(n.id); }],
      ["status", function (n) { return words(n.status); }],
      ["seconds", function (n) { var s = measured(n, "seconds"); return typeof s === "number" ? s : ""; }],
      ["memory, MB", function (n) { var b = measured(n, "peak_rss_bytes"); return typeof b === "number" ? Math.round(b / 1e6) : ""; }],
      ["device", function (n) { return words(measured(n, "device")); }],
      ["version", function (n) { return words(measured(n, "version")); }],
      ["key", function (n) { return words(n.key).slice(0, 12); }],
      ["needs", function (n) { return (n.needs || []).join(", "); }],
      ["warnings", function (n) { return (n.warnings || []).join("; ") || words(n.error); }]
    ].filter(function (c) { return nodes.some(function (n) { return c[1](n) !== ""; }); });
    view.appendChild(simple(columns.map(function (c) { return c[0]; }), nodes.map(function (n) { return columns.map(function (c) { return c[1](n); }); })));
    var seen = {}, params = [];
    nodes.forEach(function (n) {
      var text = JSON.stringify(n.params || {}, null, 1), stage = words(n.stage);
      if (text !== "{}" && seen[stage + text] === undefined) { seen[stage + text] = true; params.push([stage, text]); }
    });
    if (params.length) {
      var fold = el("details", { "class": "fold" }, [el("summary", { text: "Parameters of every stage" })]);
      params.forEach(function (p) { fold.appendChild(el("h4", { text: p[0] })); fold.appendChild(el("pre", { text: p[1] })); });
      view.appendChild(fold);
    }
  }
  try { provenance(); } catch (e) { console.error("run record: " + e.message); }
})();
