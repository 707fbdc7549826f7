//! The report in a browser: no error, every figure drawn, dark mode, a telephone's width, nothing from elsewhere. Clicks,
//! tables and the views are tested beside the script, in `stages/report/web/tests`.
//!
//! Needs Chromium (`CLCC_CHROMIUM`, or `chromium` on the path); says so where there is none.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Runs in the page: the errors so far, then what a reader would try.
const ERRORS: &str = "<script>window.pageErrors = [];
addEventListener('error', function (e) { pageErrors.push(e.message || 'a resource did not load'); }, true);
console.error = function () { pageErrors.push(Array.from(arguments).join(' ')); };</script>";
const CHECKS: &str = r#"<script>addEventListener("load", function () {
  document.querySelectorAll("details").forEach(function (d) { d.open = true; });
  // Figures are drawn when they come near the screen, and before the page is printed: once the script has unpacked them.
  setTimeout(function () { dispatchEvent(new Event("beforeprint")); }, 5000);
  setTimeout(checks, 6000);
});
function checks() {
  var out = { errors: pageErrors, figures: [], empty: [] };
  document.querySelectorAll("figure").forEach(function (f) {
    var art = f.querySelector("svg, img, canvas"), box = art && art.getBoundingClientRect();
    var name = f.id || (f.querySelector("figcaption") || f).textContent.slice(0, 60);
    out.figures.push(name);
    if (!art || box.width < 40 || box.height < 20 || (art.tagName === "IMG" && !art.naturalWidth) || !f.querySelector("figcaption"))
      out.empty.push(name);
  });
  dispatchEvent(new Event("afterprint"));
  out.ground = getComputedStyle(document.body).backgroundColor;
  out.width = window.innerWidth;
  out.overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  out.external = Array.from(document.querySelectorAll("[src],link[href]")).map(function (n) { return n.src || n.href; })
    .filter(function (u) { return !/^(data|blob):/.test(u); });
  parent.postMessage(JSON.stringify(out), "*");
}</script>"#;
/// A frame as wide as asked for: the browser's window has a least width above a telephone's.
const FRAME: &str = r#"<!doctype html><body style="margin:0"><iframe style="border:0;width:WIDTHpx;height:900px" src="PAGE"></iframe>
<script>addEventListener("message", function (e) {
  var checks = document.createElement("script");
  checks.type = "application/json"; checks.id = "page-checks"; checks.textContent = e.data;
  document.body.appendChild(checks);
});</script>"#;

fn chromium() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("CLCC_CHROMIUM") {
        return Some(path.into());
    }
    let path = std::env::var_os("PATH")?;
    ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .flat_map(|name| std::env::split_paths(&path).map(move |dir| dir.join(name)))
        .find(|p| p.is_file())
}

/// What the checks found in the page under a theme, at a width.
fn look(chromium: &Path, page: &Path, theme: &str, width: u32) -> Value {
    let profile = tempfile::tempdir().expect("a directory");
    let name = page.file_name().expect("a file").to_string_lossy();
    let frame = FRAME
        .replace("WIDTH", &width.to_string())
        .replace("PAGE", &format!("{name}#theme={theme}"));
    let outer = page.with_file_name("page-frame.html");
    std::fs::write(&outer, frame).expect("written");
    let out = Command::new(chromium)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg("--virtual-time-budget=40000")
        .args(["--window-size=1400,900"])
        .arg(format!("file://{}", outer.display()))
        .output()
        .expect("Chromium starts");
    std::fs::remove_file(&outer).expect("removed");
    let dom = String::from_utf8_lossy(&out.stdout);
    let found = dom
        .split_once("id=\"page-checks\">")
        .and_then(|(_, rest)| rest.split_once("</script>"))
        .unwrap_or_else(|| panic!("the checks ran: {}", String::from_utf8_lossy(&out.stderr)));
    serde_json::from_str(found.0).expect("JSON")
}

/// Mean of red, green and blue of `rgb(r, g, b)`.
fn brightness(colour: &Value) -> f64 {
    let numbers: Vec<f64> = colour
        .as_str()
        .expect("a colour")
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|n| n.parse().ok())
        .collect();
    numbers.iter().take(3).sum::<f64>() / 3.0
}

/// Checks the report of a finished run.
pub(crate) fn check(report: &Path, at_least: usize) {
    let Some(chromium) = chromium() else {
        eprintln!("skipped: no Chromium here");
        return;
    };
    let page = report.with_file_name("page-under-test.html");
    let text = std::fs::read_to_string(report).expect("read");
    assert!(text.len() < 15 << 20, "{} bytes", text.len());
    let text = text
        .replacen("<head>", &format!("<head>{ERRORS}"), 1)
        .replacen("</body>", &format!("{CHECKS}</body>"), 1);
    std::fs::write(&page, text).expect("written");
    for (theme, width) in [("light", 1280), ("dark", 390)] {
        let found = look(&chromium, &page, theme, width);
        let none = Value::Array(Vec::new());
        assert_eq!(found["errors"], none, "{theme}");
        assert_eq!(found["external"], none, "{theme}");
        assert_eq!(found["empty"], none, "{theme}, width {width}");
        let figures = found["figures"].as_array().expect("figures").len();
        assert!(figures >= at_least, "{figures} figures");
        assert_eq!(found["width"], width, "the window is as wide as asked for");
        assert!(
            found["overflow"].as_i64().expect("a width") <= 0,
            "the page is {} px wider than {width}",
            found["overflow"]
        );
        let ground = brightness(&found["ground"]);
        assert_eq!(ground < 64.0, theme == "dark", "{}", found["ground"]);
    }
    std::fs::remove_file(&page).expect("removed");
}
