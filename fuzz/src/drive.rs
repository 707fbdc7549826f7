//! A worker reads input after input; the process that watches it keeps what kills it and starts the next one.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::mutate::{Files, Rng, mutate};
use crate::targets::{Target, files_below, write};

/// Names the folder that a worker works in.
pub const WORKER: &str = "CLCC_FUZZ_WORKER";
/// Address space of a worker in bytes. Threads and the program itself take about a sixth of it.
const MEMORY: u64 = 2 << 30;
/// A read that takes more of the processor's time is a finding: the seeds take milliseconds.
const SLOW: Duration = Duration::from_secs(10);
/// Findings that are kept of those that end with the same words.
const KEPT: u64 = 2;

/// Number `n` of the inputs of a target.
fn input(target: &Target, n: u64) -> Files {
    let mut rng = Rng::new(n);
    // The first inputs are the seeds as they are.
    if let Some(seed) = target.seeds.get(n as usize) {
        return seed.clone();
    }
    let seed = &target.seeds[rng.below(target.seeds.len())];
    let other = &target.seeds[rng.below(target.seeds.len())];
    mutate(seed, other, &mut rng)
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Empties the folder `dir`.
fn empty(dir: &Path) {
    let _ = std::fs::remove_dir_all(dir);
    std::fs::create_dir_all(dir).expect("a folder");
}

/// What was read so far: how often each outcome.
#[derive(Default)]
struct Tally(BTreeMap<String, u64>);

impl Tally {
    fn add(&mut self, outcome: &str, times: u64) {
        *self.0.entry(outcome.to_string()).or_default() += times;
    }

    fn save(&self, path: &Path) {
        let text = serde_json::to_string(&self.0).expect("a map of numbers");
        std::fs::write(path, text).expect("written");
    }

    fn load(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        Self(serde_json::from_str(&text).unwrap_or_default())
    }
}

/// A message without its values: how many different refusals were seen.
fn kind(message: &str) -> String {
    let text: String = message.rsplit(": ").next().unwrap_or("").split('`').step_by(2).collect();
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}

/// Reads inputs from number `first` for `seconds`; with 0 that one alone. Exits with 1 at a finding.
pub fn work(target: &Target, dir: &Path, seconds: u64, first: u64) -> ExitCode {
    let limit = Rlimit { current: Some(MEMORY), maximum: Some(MEMORY) };
    setrlimit(Resource::As, limit).expect("a lower limit");
    let shown = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !clcc_data::error::is_catching() {
            shown(panic);
        }
    }));
    let (folder, out) = (dir.join("in"), dir.join("out"));
    let (start, mut saved) = (Instant::now(), Instant::now());
    let mut tally = Tally::default();
    let mut n = first;
    loop {
        std::fs::write(dir.join("n"), n.to_string()).expect("written");
        empty(&folder);
        empty(&out);
        write(&input(target, n), &folder).expect("written");
        let began = cpu_time();
        let outcome = catch_unwind(AssertUnwindSafe(|| (target.read)(&folder, &out)));
        let took = cpu_time() - began;
        match outcome {
            Err(_) => break,
            Ok(_) if took > SLOW => {
                eprintln!("a slow read: {took:?}");
                break;
            }
            Ok(Ok(())) => tally.add("accepted", 1),
            Ok(Err(e)) => {
                if (n as usize) < target.seeds.len() {
                    eprintln!("a seed is refused: {e}");
                    break;
                }
                if seconds == 0 {
                    eprintln!("{e}");
                }
                tally.add(&kind(&e.to_string()), 1);
            }
        }
        n += 1;
        let over = start.elapsed().as_secs() >= seconds;
        if over || saved.elapsed().as_millis() > 500 {
            tally.save(&dir.join("tally"));
            saved = Instant::now();
        }
        if over {
            return ExitCode::SUCCESS;
        }
    }
    tally.save(&dir.join("tally"));
    ExitCode::from(1)
}

/// The processor's time that a process has taken, in ticks of 1/100 s.
fn ticks(child: &Child) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or("").split(' ').collect();
    let number = |at: usize| fields.get(at).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
    number(11) + number(12)
}

/// Waits for a worker's end, and ends it where one input takes too long.
fn wait(child: &mut Child, dir: &Path) -> String {
    let (mut at, mut since) = (String::new(), 0);
    loop {
        if let Some(status) = child.try_wait().expect("a child") {
            return if status.success() { String::new() } else { status.to_string() };
        }
        let now = std::fs::read_to_string(dir.join("n")).unwrap_or_default();
        if now != at {
            (at, since) = (now, ticks(child));
        } else if ticks(child) > since + 100 * SLOW.as_secs() * 2 {
            let _ = child.kill();
            let _ = child.wait();
            return "an endless read".to_string();
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Runs workers for `seconds` and keeps what ends them in `found/`.
pub fn watch(target: &Target, seconds: u64, first: u64) -> ExitCode {
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
    let dir = tempfile::tempdir_in(place).expect("a folder");
    let (start, mut next) = (Instant::now(), first);
    let mut all = Tally::default();
    let mut found = Tally::default();
    loop {
        let left = seconds.saturating_sub(start.elapsed().as_secs());
        let errors = std::fs::File::create(dir.path().join("errors")).expect("a file");
        let mut child = Command::new(std::env::current_exe().expect("a path"))
            .args([&target.name, &left.to_string(), &next.to_string()])
            .env(WORKER, dir.path())
            .env("RAYON_NUM_THREADS", "2")
            .env("MALLOC_ARENA_MAX", "2")
            .stderr(Stdio::from(errors))
            .spawn()
            .expect("a worker");
        let ended = wait(&mut child, dir.path());
        for (outcome, times) in Tally::load(&dir.path().join("tally")).0 {
            all.add(&outcome, times);
        }
        let _ = std::fs::remove_file(dir.path().join("tally"));
        let said = std::fs::read_to_string(dir.path().join("errors")).unwrap_or_default();
        if ended.is_empty() {
            if seconds == 0 {
                eprint!("{said}");
            }
            break;
        }
        let n: u64 = std::fs::read_to_string(dir.path().join("n")).ok().and_then(|n| n.parse().ok()).expect("a number");
        let why = format!("{ended}: {}", said.trim().lines().filter(|l| !l.starts_with("note: ")).collect::<Vec<_>>().join(" | "));
        let alike = kind(&why.replace('`', "'").replace(": ", "; "));
        found.add(&alike, 1);
        if found.0[&alike] <= KEPT {
            let kept = PathBuf::from("found").join(format!("{}-{n}", target.name));
            empty(&kept);
            for (name, bytes) in files_below(&dir.path().join("in")) {
                let path = kept.join(name);
                std::fs::create_dir_all(path.parent().expect("below a folder")).expect("a folder");
                std::fs::write(path, bytes).expect("written");
            }
            println!("{}: {why}", kept.display());
        }
        next = n + 1;
        if start.elapsed().as_secs() >= seconds || (n as usize) < target.seeds.len() {
            break;
        }
    }
    let total: u64 = all.0.values().sum();
    let accepted = all.0.remove("accepted").unwrap_or(0);
    let kinds = found.0.len();
    println!(
        "{}: {total} inputs in {} s, {accepted} accepted, {} kinds of refusal, {} findings of {kinds} kinds",
        target.name,
        start.elapsed().as_secs(),
        all.0.len(),
        found.0.values().sum::<u64>()
    );
    for (kind, times) in all.0 {
        println!("{times:>8} {kind}");
    }
    ExitCode::from(u8::from(kinds > 0))
}
