//! The run on a terminal: one line a node, bars for what takes long, plain lines in a pipe. Whatever comes from
//! data or paths is made harmless here, once for each line ([`shown`]).

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use clcc_cache::remote::Transfer;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::estimate::{Estimate, duration};
use super::gc::size;
use super::out::tell_drawn;
use crate::decide::Reason;
use crate::device::RunDevice;
use crate::events::Event;
use crate::plan::{Node, Plan};
use crate::run::Finished;
use crate::schedule::{Outcome, SkipReason, Summary};
use crate::text::{hint_lines, shown};

/// Places of the results named where there are many.
const NAMED: usize = 5;
/// A long stage says where it is this often where there is no terminal.
const PLAIN_PROGRESS: Duration = Duration::from_secs(10);

/// Prints the events of a run.
pub(super) struct Terminal {
    total: usize,
    ended: usize,
    started: Instant,
    colour: bool,
    bars: MultiProgress,
    running: BTreeMap<String, Running>,
    /// The last line: how much is done, for how long, and how long it may still take.
    footer: Option<ProgressBar>,
    estimate: Estimate,
    cores: usize,
    /// Warnings of stages, and the nodes after the first that have the same.
    warned: BTreeMap<(String, String), usize>,
}

struct Running {
    bar: ProgressBar,
    began: Instant,
    said: Instant,
}

impl Terminal {
    pub(super) fn new(total: usize) -> Self {
        let live = std::io::stderr().is_terminal();
        let target = if live {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        Self {
            total,
            ended: 0,
            started: Instant::now(),
            colour: live && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
            bars: MultiProgress::with_draw_target(target),
            running: BTreeMap::new(),
            footer: None,
            estimate: Estimate::default(),
            cores: 1,
            warned: BTreeMap::new(),
        }
    }

    /// What the nodes are expected to take.
    pub(super) fn expect(&mut self, estimate: Estimate) {
        self.estimate = estimate;
    }

    /// Draws the last line anew.
    fn draw_footer(&mut self) {
        if !self.live() {
            return;
        }
        let footer = self.footer.get_or_insert_with(|| {
            let bar = self.bars.add(ProgressBar::new(self.total as u64));
            let style =
                ProgressStyle::with_template("        [{elapsed:>9}] {pos}/{len} done {wide_msg}");
            bar.set_style(style.expect("a valid template"));
            bar.enable_steady_tick(Duration::from_millis(500));
            bar
        });
        footer.set_position(self.ended as u64);
        let running = self.running.iter();
        let running = running.map(|(id, r)| (id.clone(), r.began.elapsed().as_secs_f64()));
        let left = self.estimate.left(&running.collect(), self.cores);
        footer.set_message(match left {
            Some(left) => {
                let about = if left.at_least { "more than" } else { "about" };
                format!("{about} {} left", duration(left.seconds))
            }
            None => String::new(),
        });
    }

    /// A warning, once for all nodes of a stage that have the same.
    fn warn(&mut self, id: &str, message: &str) {
        let stage = id.split('[').next().unwrap_or(id).to_string();
        match self.warned.get_mut(&(stage.clone(), message.to_string())) {
            Some(more) => *more += 1,
            None => {
                self.line("WARN", None, false, &format!("{id}: {message}"));
                self.warned.insert((stage, message.to_string()), 0);
            }
        }
    }

    /// How many nodes had a warning that was said of another.
    fn repeated_warnings(&self) {
        for ((stage, message), more) in self.warned.iter().filter(|(_, more)| **more > 0) {
            let nodes = if *more == 1 { "node" } else { "nodes" };
            self.line(
                "WARN",
                None,
                false,
                &format!("{stage}, {more} more {nodes}: {message}"),
            );
        }
    }

    /// The first line, where a node that the run may execute depends on the device: which it is, and why.
    pub(super) fn opening(&self, plan: &Plan, device: &RunDevice) {
        let asks = |n: &Node| n.kind.device_sensitive && !n.cached_only;
        if plan.nodes.iter().any(asks) {
            self.print(&format!(" device: {} ({})", device.class, device.reason));
        }
    }

    /// Whether lines may be drawn again.
    pub(super) fn live(&self) -> bool {
        !self.bars.is_hidden()
    }

    fn print(&self, line: &str) {
        self.print_drawn(&shown(line));
    }

    /// A line that may have colours in it.
    fn print_drawn(&self, line: &str) {
        if self.live() {
            let _ = self.bars.println(line);
        } else {
            tell_drawn(line);
        }
    }

    fn paint(&self, word: &str) -> String {
        let padded = format!("{word:>7}");
        let code = match word {
            "DONE" => "32;1",
            "CACHED" => "36",
            "FAIL" => "31;1",
            "WARN" | "RETRY" => "33;1",
            "SKIP" => "33",
            _ => "1",
        };
        if self.colour {
            format!("\u{1b}[{code}m{padded}\u{1b}[0m")
        } else {
            padded
        }
    }

    fn line(&self, word: &str, seconds: Option<f64>, counted: bool, text: &str) {
        let time = seconds.map_or_else(|| " ".repeat(11), |s| format!("[{s:>8.3}s]"));
        let width = self.total.to_string().len();
        let counter = if counted {
            format!("({:>width$}/{})", self.ended, self.total)
        } else {
            " ".repeat(2 * width + 3)
        };
        let text = shown(text);
        // What a node's line says is also in its log; a failure and a warning are said whole.
        let text = match self.width() {
            Some(width) if counted && word != "FAIL" => {
                let before = 7 + 1 + time.len() + 1 + counter.len() + 1;
                cut(&text, width.saturating_sub(before))
            }
            _ => text.into_owned(),
        };
        self.print_drawn(format!("{} {time} {counter} {text}", self.paint(word)).trim_end());
    }

    /// Columns of the terminal.
    fn width(&self) -> Option<usize> {
        let size = rustix::termios::tcgetwinsize(std::io::stderr());
        let columns = size.map_or(0, |size| usize::from(size.ws_col));
        (self.live() && columns > 0).then_some(columns)
    }

    pub(super) fn on_event(&mut self, event: &Event) {
        match event {
            Event::DidReuse { id, .. } | Event::DidSkip { id, .. } => self.estimate.end(id, None),
            Event::DidExecute { id, seconds, .. } => self.estimate.end(id, Some(*seconds)),
            Event::DidFail { id, .. } => self.estimate.end(id, None),
            Event::Started { jobs, .. } => self.cores = *jobs,
            _ => {}
        }
        self.show(event);
        match event {
            Event::Finished { .. } => {}
            _ => self.draw_footer(),
        }
    }

    fn finished(&mut self) {
        if let Some(footer) = self.footer.take() {
            footer.finish_and_clear();
        }
        self.repeated_warnings();
        let _ = self.bars.clear();
    }

    fn show(&mut self, event: &Event) {
        match event {
            Event::DidReuse { id, key, remote } => {
                self.ended += 1;
                let place = if *remote { "  remote" } else { "" };
                self.line("CACHED", None, true, &format!("{id}  {}{place}", &key[..8]));
            }
            Event::WillExecute {
                id,
                reason,
                threads,
                ..
            } => self.begin(id, reason.as_ref(), *threads),
            Event::Progress {
                id,
                done,
                total,
                message,
            } => self.progress(id, *done, *total, message),
            Event::Warning { id, message } => self.warn(id, message),
            Event::Note { message } => self.line("WARN", None, false, message),
            Event::DidExecute {
                id,
                key,
                reason,
                seconds,
                ..
            } => self.executed(id, &key[..8], reason.as_ref(), *seconds),
            Event::WillRetry {
                id, because, how, ..
            } => {
                self.finish(id);
                self.line("RETRY", None, false, &format!("{id} {how}: {because}"));
            }
            Event::DidFail { .. } => self.failed(event),
            Event::DidSkip {
                id,
                because,
                reason,
            } => self.skipped(id, because, reason.as_ref()),
            Event::Finished { .. } => self.finished(),
            _ => self.show_rare(event),
        }
    }

    /// What is not seen of every node.
    fn show_rare(&mut self, event: &Event) {
        match event {
            Event::Started {
                workflow,
                nodes,
                jobs,
                ..
            } => {
                let cores = if *jobs == 1 { "core" } else { "cores" };
                self.print(&format!("{workflow}: {nodes} nodes on {jobs} {cores}"));
            }
            Event::DidSubmit {
                id,
                job,
                adopted_from: Some(run),
            } => {
                let job = job.as_deref().unwrap_or("of unknown id");
                let text = format!("{id}: goes on with job {job} of run {run}");
                self.line("JOB", None, false, &text);
            }
            Event::DidFindDamage {
                id,
                role,
                digest,
                remote,
            } => self.damaged(id, role, &digest[..8], *remote),
            Event::WillWaitForSending { nodes } => {
                let s = if *nodes == 1 { "node" } else { "nodes" };
                let text =
                    format!("waiting until the results of {nodes} {s} are in the shared cache");
                self.line("SEND", None, false, &text);
            }
            _ => {}
        }
    }

    fn executed(&mut self, id: &str, key: &str, reason: Option<&Reason>, seconds: f64) {
        self.finish(id);
        self.ended += 1;
        let why = reason.map(Reason::text).unwrap_or_default();
        self.line("DONE", Some(seconds), true, &format!("{id}  {key}  {why}"));
    }

    fn damaged(&mut self, id: &str, role: &str, digest: &str, remote: bool) {
        self.ended = self.ended.saturating_sub(1);
        let what = match remote {
            true => "cannot be fetched",
            false => "is damaged in the cache",
        };
        let text = format!("{id}: output {role} ({digest}) {what}; made again");
        self.line("WARN", None, false, &text);
    }

    fn skipped(&mut self, id: &str, because: &str, reason: Option<&SkipReason>) {
        self.finish(id);
        self.ended += 1;
        if reason != Some(&SkipReason::NotSelected) {
            self.line("SKIP", None, true, &format!("{id}: {because}"));
        }
    }

    /// What failed, what to do about it, and the end of its log.
    fn failed(&mut self, event: &Event) {
        let Event::DidFail {
            id,
            message,
            hint,
            seconds,
            log,
            log_tail,
            ..
        } = event
        else {
            return;
        };
        self.finish(id);
        self.ended += 1;
        self.line("FAIL", Some(*seconds), true, &format!("{id}: {message}"));
        if let Some(hint) = hint {
            self.print_drawn(&format!("   hint: {}", hint_lines(hint)));
        }
        for text in log_tail {
            self.print(&format!("      | {text}"));
        }
        if !log_tail.is_empty() {
            self.print(&format!("    log: {log}"));
        }
    }

    fn begin(&mut self, id: &str, reason: Option<&Reason>, threads: usize) {
        let bar = ProgressBar::new(0);
        let bar = match &self.footer {
            Some(footer) => self.bars.insert_before(footer, bar),
            None => self.bars.add(bar),
        };
        let style = ProgressStyle::with_template("    RUN [{elapsed:>9}] {prefix} {wide_msg}")
            .expect("a valid template");
        bar.set_style(style);
        bar.set_prefix(shown(id).into_owned());
        let why = reason.map(Reason::text).unwrap_or_default();
        bar.set_message(shown(&why).into_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        if !self.live() {
            let why = reason.map(Reason::text).unwrap_or_default();
            let with = if threads > 1 {
                format!("  {threads} threads")
            } else {
                String::new()
            };
            self.line("RUN", None, false, &format!("{id}  {why}{with}"));
        }
        self.running.insert(
            id.to_string(),
            Running {
                bar,
                began: Instant::now(),
                said: Instant::now(),
            },
        );
    }

    fn progress(&mut self, id: &str, done: u64, total: u64, message: &str) {
        let expected = self.estimate.of(id);
        let Some(running) = self.running.get_mut(id) else {
            return;
        };
        if running.bar.length() != Some(total) {
            running.bar.set_length(total);
            let style = ProgressStyle::with_template(
                "    RUN [{elapsed:>9}] {prefix} {bar:24} {pos}/{len}  {wide_msg}",
            );
            running
                .bar
                .set_style(style.expect("a valid template").progress_chars("=> "));
        }
        running.bar.set_position(done);
        // By what it took before, which has early stopping in it; else by how far it has come.
        let elapsed = running.began.elapsed().as_secs_f64();
        let by_share = (done > 0).then(|| elapsed * total as f64 / done as f64);
        let left = expected.filter(|e| *e > elapsed).or(by_share);
        let left = left.map_or(String::new(), |all| {
            format!("  about {} left", duration((all - elapsed).max(0.0)))
        });
        running.bar.set_message(format!("{}{left}", shown(message)));
        if self.bars.is_hidden() && running.said.elapsed() > PLAIN_PROGRESS {
            running.said = Instant::now();
            self.line(
                "RUN",
                Some(self.started.elapsed().as_secs_f64()),
                false,
                &format!("{id}  {done}/{total}  {message}"),
            );
        }
    }

    fn finish(&mut self, id: &str) {
        if let Some(running) = self.running.remove(id) {
            running.bar.finish_and_clear();
        }
    }

    /// The last lines of a run: counts, failures again, where the results are.
    pub(super) fn closing(finished: &Finished) {
        let Finished {
            plan,
            outcome,
            published,
            moved,
            seconds,
        } = finished;
        let Summary {
            ran,
            cached,
            failed,
            skipped,
        } = outcome.summary();
        let not_selected = outcome
            .nodes
            .iter()
            .filter(|end| matches!(end, Outcome::Skipped(SkipReason::NotSelected)))
            .count();
        let skipped = skipped_text(skipped as u64, not_selected as u64);
        tell!(
            "{:>7} [{seconds:>8.3}s] {ran} ran, {cached} cached, {failed} failed, {skipped}",
            ""
        );
        for (node, end) in plan.nodes.iter().zip(&outcome.nodes) {
            if let Outcome::Failed(f) = end {
                tell!("  failed: {}: {}", node.id, f.message);
            }
        }
        if let Some(moved) = moved {
            tell!(" remote: {}", moved_text(moved));
        }
        tell_warnings_of_cached(&outcome.nodes);
        let dir = published.dir.display();
        if !published.restored.is_empty() {
            let which = some_of(&published.restored);
            tell!("   also: written again in {dir}, as it was changed there: {which}");
        }
        if !published.removed.is_empty() {
            let which = some_of(&published.removed);
            tell!("   also: removed from {dir}, as nothing makes it any more: {which}");
        }
        if !published.kept.is_empty() {
            let which = some_of(&published.kept);
            tell!("   also: of an earlier run in {dir}, as what makes it did not run: {which}");
        }
        let report = "report.html";
        let is_new = !published.kept.iter().any(|rel| rel == report);
        if is_new && published.dir.join(report).exists() {
            tell!(" report: {}", published.dir.join(report).display());
        } else {
            tell!("results: {dir}");
        }
    }
}

/// How many warnings the nodes have that did not run.
fn tell_warnings_of_cached(ends: &[Outcome]) {
    let cached = ends.iter().filter_map(|end| match end {
        Outcome::Cached(record) => Some(record.warnings.len()),
        _ => None,
    });
    match cached.sum::<usize>() {
        0 => {}
        1 => tell!("   also: 1 warning of a cached node (`warnings` in run.json)"),
        n => tell!("   also: {n} warnings of cached nodes (`warnings` in run.json)"),
    }
}

/// The text in at most `columns` columns; whole where there is hardly room for any.
fn cut(text: &str, columns: usize) -> String {
    const LEAST: usize = 10;
    if columns < LEAST || text.chars().count() <= columns {
        return text.to_string();
    }
    let kept: String = text.chars().take(columns - 1).collect();
    format!("{}…", kept.trim_end())
}

/// What travelled: `found 12 nodes; fetched 3 artifacts, 1.2 MiB; sent nothing`.
fn moved_text((remote, moved): &(String, Transfer)) -> String {
    let of = |verb: &str, artifacts: usize, bytes: u64| {
        let s = if artifacts == 1 { "" } else { "s" };
        match artifacts {
            0 => format!("{verb} nothing"),
            n => format!("{verb} {n} artifact{s}, {} ({bytes} bytes)", size(bytes)),
        }
    };
    let nodes = |n: usize| if n == 1 { "node" } else { "nodes" };
    let unsent = match moved.unsent {
        0 => String::new(),
        n => format!("; not sent: {n} {}", nodes(n)),
    };
    format!(
        "found {} {}; {}; {}{unsent} ({remote})",
        moved.found,
        nodes(moved.found),
        of("fetched", moved.fetched_artifacts, moved.fetched_bytes),
        of("sent", moved.sent_artifacts, moved.sent_bytes),
    )
}

/// Skipped nodes, those apart that were not selected.
pub(super) fn skipped_text(skipped: u64, not_selected: u64) -> String {
    match not_selected {
        0 => format!("{skipped} skipped"),
        n => format!("{} skipped, {n} not selected", skipped - n),
    }
}

/// The first few files and directories in which these files are: `report.html, tables/ and 2 more`.
fn some_of(files: &[String]) -> String {
    let tops: BTreeSet<String> = files
        .iter()
        .map(|rel| match rel.split_once('/') {
            Some((top, _)) => format!("{top}/"),
            None => rel.clone(),
        })
        .collect();
    let named: Vec<&str> = tops.iter().take(NAMED).map(String::as_str).collect();
    match tops.len() - named.len() {
        0 => named.join(", "),
        n => format!("{} and {n} more", named.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_cut_where_there_is_room_for_a_part() {
        assert_eq!(cut("infercnv[P1]  window", 20), "infercnv[P1]  window");
        assert_eq!(cut("infercnv[P1]  window", 14), "infercnv[P1]…");
        assert_eq!(cut("infercnv[P1]  window", 16), "infercnv[P1]  w…");
        assert_eq!(cut("infercnv[P1]  window", 3), "infercnv[P1]  window");
    }
}
