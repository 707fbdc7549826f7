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
          var cell = el("td", data.numeric[c] ? { "class": "num" } : {});
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
  function provenance() {
    var source = document.getElementById("run-provenance"), view = document.getElementById("provenance-view");
    if (!source || !view) return;
    var run = JSON.parse(source.textContent), nodes = run.nodes || [];
    if (!Array.isArray(nodes)) nodes = Object.keys(nodes).map(function (id) { var n = nodes[id]; if (!n.id) n.id = id; return n; });
    view.textContent = "";
    function flat(value, name, out) {
      if (value === null || value === undefined) return;
      if (typeof value !== "object") out.push([name, String(value)]);
      else if (Array.isArray(value)) { if (value.length && value.every(function (v) { return typeof v !== "object"; })) out.push([name, value.join(", ")]); }
      else Object.keys(value).forEach(function (k) { flat(value[k], name ? name + "." + k : k, out); });
    }
    var facts = [];
    Object.keys(run).forEach(function (k) { if (k !== "nodes" && k !== "metrics") flat(run[k], k, facts); });
    if (facts.length) view.appendChild(el("div", { "class": "table-scroll" }, [el("table", {}, [el("tbody", {}, facts.slice(0, 60).map(function (f) {
      return el("tr", {}, [el("th", { scope: "row", text: f[0] }), el("td", { text: f[1] })]);
    }))])]));
    if (nodes.length) {
      var tally = {};
      nodes.forEach(function (n) { var s = n.status || "?"; tally[s] = (tally[s] || 0) + 1; });
      view.appendChild(el("h3", { text: nodes.length + " nodes: " + Object.keys(tally).sort().map(function (s) { return tally[s] + " " + s; }).join(", ") }));
      var columns = [["node", function (n) { return n.id || n.node || ""; }], ["stage", function (n) { return n.stage || n.kind || ""; }],
        ["status", function (n) { return n.status || ""; }], ["seconds", function (n) { var s = n.seconds !== undefined ? n.seconds : n.wall_seconds; return typeof s === "number" ? short(s) : ""; }],
        ["key", function (n) { return String(n.key || "").slice(0, 12); }], ["device", function (n) { return typeof n.device === "string" ? n.device : ""; }]];
      columns = columns.filter(function (c) { return nodes.some(function (n) { return c[1](n) !== ""; }); });
      view.appendChild(el("div", { "class": "table-scroll" }, [el("table", {}, [
        el("thead", {}, [el("tr", {}, columns.map(function (c) { return el("th", { scope: "col", text: c[0] }); }))]),
        el("tbody", {}, nodes.map(function (n) { return el("tr", {}, columns.map(function (c) { return el("td", c[0] === "seconds" ? { "class": "num", text: c[1](n) } : { text: c[1](n) }); })); }))])]));
    }
  }
  try { provenance(); } catch (e) { console.error("run record: " + e.message); }
})();
