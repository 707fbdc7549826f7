//! The thread that follows jobs: it takes turns, reads what jobs write, asks the batch system, and judges.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Seek as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
use std::time::{Duration, Instant};

use clcc_cache::{Digest, KeyLock, Store, Turn};
use tokio::sync::mpsc::UnboundedSender;

use super::Submission;
use super::batch::{Batch, How, Line, Word};
use super::hand_in::{Refused, at};
use super::judge::{Evidence, Verdict, judge};
use crate::exec::action::{Failure, FailureClass, NodeMessage};
use crate::exec::job::{Asked, Beat, Claim, Interrupted, Order, TurnEnd, host, made};
use crate::exec::local::{Cancel, Job, JobEvent, JobOutcome, Placed};
use crate::profile::Profile;

/// Nodes that become ready within this time of each other are handed in together.
const QUIET: Duration = Duration::from_millis(300);
/// Nobody waits longer for others.
const GATHER: Duration = Duration::from_secs(2);
/// Longest pause between two questions to the batch system.
const SLOWEST_POLL: Duration = Duration::from_secs(60);
/// How often the folders of a job must have been listed since its last sign of life before it counts as lost, a beat
/// apart: a network file system may show new files late.
const LOOKS: u32 = 2;
/// How old a claim must be before it counts as one that was never handed in: the program that hands in may outlive
/// its coordinator by a moment.
const SETTLED: Duration = Duration::from_secs(5);

/// What jobs run.
#[derive(Debug)]
pub(super) struct Own {
    /// The program in the cache.
    pub(super) program: PathBuf,
    /// Its digest.
    pub(super) build: Option<Digest>,
}

/// A node that has a turn.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) job: Job,
    pub(super) name: String,
    pub(super) events: UnboundedSender<JobEvent>,
    pub(super) turn: Turn,
    pub(super) claim: Claim,
    pub(super) asked: Asked,
    /// The record that is to be made anew.
    pub(super) before: Option<Digest>,
    /// Its id in the batch system.
    pub(super) id: Option<String>,
    /// The run that handed it in, where that is another.
    pub(super) adopted_from: Option<String>,
    /// When something was last seen of it.
    pub(super) heard: Instant,
    /// When it was handed in or adopted.
    pub(super) handed_at: Instant,
    beat: Option<Beat>,
    /// How often its folders were listed since, and when last.
    looks: u32,
    looked_at: Option<Instant>,
    /// Bytes of its messages that were passed on.
    read: u64,
    word: Word,
    node: String,
}

/// Asks the batch system now and then, without being waited for.
#[derive(Debug)]
pub(super) struct Poll {
    pause: Duration,
    shortest: Duration,
    due: Instant,
    asked: Option<(Instant, Receiver<Result<Vec<Line>, String>>)>,
    is_down: bool,
    last: Vec<Line>,
}

impl Poll {
    fn new(shortest: Duration) -> Self {
        Self {
            pause: shortest,
            shortest,
            due: Instant::now(),
            asked: None,
            is_down: false,
            last: Vec::new(),
        }
    }

    /// Something has changed: it is asked as often as at first.
    pub(super) fn soon(&mut self) {
        self.pause = self.shortest;
        self.due = self.due.min(Instant::now() + self.shortest);
    }
}

/// Everything that is followed.
#[derive(Debug)]
pub(super) struct Follower {
    pub(super) store: Store,
    pub(super) profile: Profile,
    pub(super) batch: Arc<dyn Batch>,
    pub(super) run: String,
    pub(super) own: Own,
    /// Nodes that have a turn and were not handed in.
    pub(super) waiting: Vec<Live>,
    pub(super) refused: Vec<Refused>,
    pub(super) live: Vec<Live>,
    /// Machines that failed a key.
    pub(super) without: BTreeMap<Digest, BTreeSet<String>>,
    pub(super) poll: Poll,
    events: Option<UnboundedSender<JobEvent>>,
    cancel: Option<Cancel>,
    said: BTreeSet<String>,
    first_waits: Instant,
    last_came: Instant,
}

impl Follower {
    pub(super) fn new(
        store: Store,
        profile: Profile,
        batch: Arc<dyn Batch>,
        run: String,
        own: Own,
    ) -> Self {
        let now = Instant::now();
        Self {
            poll: Poll::new(profile.poll),
            store,
            profile,
            batch,
            run,
            own,
            waiting: Vec::new(),
            refused: Vec::new(),
            live: Vec::new(),
            without: BTreeMap::new(),
            events: None,
            cancel: None,
            said: BTreeSet::new(),
            first_waits: now,
            last_came: now,
        }
    }

    /// Works until the executor is gone. A panic fails the nodes at hand, and those that come later.
    pub(super) fn work(mut self, submissions: &Receiver<Submission>) {
        let work = std::panic::AssertUnwindSafe(|| self.follow(submissions));
        if std::panic::catch_unwind(work).is_ok() {
            return;
        }
        let failure = || {
            Failure::new(
                FailureClass::Crash,
                "the engine panicked while it followed jobs",
            )
        };
        let mut held = self.drop_refused();
        held.append(&mut self.live);
        for live in held {
            self.fail(live, failure());
        }
        for s in submissions {
            let outcome = JobOutcome::Failed(failure());
            let _ = s
                .events
                .send(JobEvent::Ended(s.job.node, Duration::ZERO, outcome));
        }
    }

    fn follow(&mut self, submissions: &Receiver<Submission>) {
        loop {
            match submissions.recv_timeout(self.tick()) {
                Ok(submission) => {
                    self.accept(submission);
                    while let Ok(more) = submissions.try_recv() {
                        self.accept(more);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.is_cancelled() {
                self.cancel_all();
                continue;
            }
            let gathered =
                self.last_came.elapsed() >= QUIET || self.first_waits.elapsed() >= GATHER;
            if !self.waiting.is_empty() && gathered {
                self.hand_in();
            }
            self.hand_in_again();
            self.ask();
            self.look();
        }
    }

    /// The more jobs, the seldomer each is looked at.
    fn tick(&self) -> Duration {
        match (self.waiting.is_empty(), self.live.len()) {
            (false, _) => Duration::from_millis(50),
            (true, n) => Duration::from_millis((n as u64 * 5).clamp(200, 2000)),
        }
    }

    fn is_cancelled(&self) -> bool {
        self.cancel.as_ref().is_some_and(|c| *c.borrow() > 0)
    }

    /// Takes the next turn of the key, or follows the job that has it.
    fn accept(&mut self, submission: Submission) {
        let Submission {
            job,
            events,
            cancel,
        } = submission;
        self.events = Some(events.clone());
        self.cancel = Some(cancel);
        let name = job.log.file_stem().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        loop {
            let last = self.store.last_turn(&job.key);
            if let Some(turn) = last.clone().filter(|t| !t.has_ended()) {
                return self.adopt(job, name, events, turn);
            }
            let next = last.map_or(1, |t| t.number + 1);
            match self.store.take_turn(&job.key, next) {
                Ok(Some(turn)) => {
                    at("turn.taken");
                    return self.own_turn(job, name, events, turn);
                }
                Ok(None) => {}
                Err(e) => {
                    let outcome = JobOutcome::Failed(super::super::cache_failure(&e));
                    let _ = events.send(JobEvent::Ended(job.node, Duration::ZERO, outcome));
                    return;
                }
            }
        }
    }

    fn live_of(
        &self,
        job: Job,
        name: String,
        events: UnboundedSender<JobEvent>,
        turn: Turn,
        claim: Claim,
    ) -> Live {
        Live {
            name,
            asked: self.asked(&job),
            before: None,
            events,
            turn,
            claim,
            id: None,
            adopted_from: None,
            heard: Instant::now(),
            handed_at: Instant::now(),
            beat: None,
            looks: 0,
            looked_at: None,
            read: 0,
            word: Word::Unknown,
            node: String::new(),
            job,
        }
    }

    fn own_turn(&mut self, job: Job, name: String, events: UnboundedSender<JobEvent>, turn: Turn) {
        let mut live = self.live_of(job, name, events, turn, self.claim());
        // A record that is there and was not taken is to be made anew.
        let before = self.store.record(&live.job.key);
        live.before = before.as_ref().map(crate::exec::job::fingerprint);
        if let Err(e) = live.turn.write("claim.json", &live.claim) {
            let failure = super::super::cache_failure(&e);
            return self.fail(live, failure);
        }
        if self.waiting.is_empty() {
            self.first_waits = Instant::now();
        }
        self.last_came = Instant::now();
        self.waiting.push(live);
    }

    fn adopt(&mut self, job: Job, name: String, events: UnboundedSender<JobEvent>, turn: Turn) {
        // One that was taken a moment ago may not have its claim yet.
        let nobody = || Claim {
            run: String::new(),
            host: String::new(),
            batch: None,
            task: 0,
            at: 0.0,
        };
        let claim = turn.read("claim.json").unwrap_or_else(nobody);
        let mut live = self.live_of(job, name, events, turn, claim);
        live.adopted_from = Some(live.claim.run.clone());
        self.renew(&mut live);
        let placed = Placed {
            job: live.id.clone(),
            adopted_from: live.adopted_from.clone(),
        };
        let _ = live.events.send(JobEvent::Placed(live.job.node, placed));
        self.live.push(live);
        self.poll.soon();
    }

    /// Reads what another coordinator may still write of an adopted job.
    fn renew(&self, live: &mut Live) {
        if let Some(claim) = live.turn.read("claim.json") {
            live.claim = claim;
        }
        live.id = live.turn.read("job.json").or(live.id.take());
        if let Some(order) = live.turn.read::<Order>("order.json") {
            live.asked = order.asked;
            live.before = order.before;
        }
    }

    /// Asks the batch system if it is time, and takes its answer if it has come.
    fn ask(&mut self) {
        if let Some((asked_at, answer)) = &self.poll.asked {
            let asked_at = *asked_at;
            match answer.try_recv() {
                Ok(answer) => {
                    self.poll.asked = None;
                    self.on_answer(answer, asked_at);
                }
                Err(TryRecvError::Disconnected) => self.poll.asked = None,
                Err(TryRecvError::Empty) => return,
            }
        }
        if self.live.is_empty() || Instant::now() < self.poll.due {
            return;
        }
        let runs: BTreeSet<String> = self.live.iter().map(|l| l.claim.run.clone()).collect();
        let runs: Vec<String> = runs.into_iter().filter(|r| !r.is_empty()).collect();
        let ids: BTreeSet<String> = self.live.iter().filter_map(|l| l.id.clone()).collect();
        let ids: Vec<String> = ids.into_iter().collect();
        let (send, receive) = channel();
        let batch = Arc::clone(&self.batch);
        let spawned = std::thread::Builder::new()
            .name("poll".into())
            .spawn(move || send.send(batch.poll(&runs, &ids)));
        if spawned.is_ok() {
            self.poll.asked = Some((Instant::now(), receive));
        }
        self.poll.due = Instant::now() + self.poll.pause;
    }

    fn on_answer(&mut self, answer: Result<Vec<Line>, String>, asked_at: Instant) {
        let lines = match answer {
            Ok(lines) => lines,
            Err(why) => {
                if !std::mem::replace(&mut self.poll.is_down, true) {
                    self.note(format!(
                        "the batch system gives no answer; jobs go on without it: {why}"
                    ));
                }
                for live in &mut self.live {
                    live.word = Word::Unknown;
                }
                return;
            }
        };
        if std::mem::take(&mut self.poll.is_down) {
            self.note("the batch system answers again".to_string());
        }
        if lines == self.poll.last {
            self.poll.pause = self.poll.pause.mul_f64(1.5).min(SLOWEST_POLL);
        } else {
            self.poll.pause = self.poll.shortest;
        }
        self.poll.due = Instant::now() + self.poll.pause;
        let mut absent = BTreeSet::new();
        for live in self.live.iter_mut().filter(|l| l.handed_at < asked_at) {
            if live.id.is_none() {
                live.id = found(&lines, &live.claim);
            }
            match lines.iter().find(|l| Some(&l.id) == live.id.as_ref()) {
                Some(line) => live.take(line),
                None => {
                    live.word = Word::Absent;
                    absent.extend(
                        live.id
                            .clone()
                            .filter(|_| live.is_silent(self.profile.beat)),
                    );
                }
            }
        }
        self.poll.last = lines;
        if absent.is_empty() {
            return;
        }
        let absent: Vec<String> = absent.into_iter().collect();
        let recalled = self.batch.recall(&absent);
        for live in self.live.iter_mut().filter(|l| l.word == Word::Absent) {
            if let Some(line) = recalled.iter().find(|l| Some(&l.id) == live.id.as_ref()) {
                live.take(line);
            }
        }
    }

    /// Looks at every job.
    fn look(&mut self) {
        let mut kept = Vec::new();
        for mut live in std::mem::take(&mut self.live) {
            if live.adopted_from.is_some() && live.id.is_none() {
                self.renew(&mut live);
            }
            live.listen();
            match self.verdict(&mut live) {
                Verdict::Wait => kept.push(live),
                Verdict::Done => self.done(live),
                Verdict::Failed(failure) => self.lost(live, failure),
            }
        }
        self.live.append(&mut kept);
    }

    /// What is not there counts as missing once the folders have been listed [`LOOKS`] times.
    fn verdict(&self, live: &mut Live) -> Verdict {
        let mut evidence = self.evidence(live);
        let verdict = judge(&evidence);
        let is_doubtful = match (&verdict, &evidence.end) {
            (Verdict::Done, _) => false,
            (_, Some(TurnEnd::Published)) => true,
            (Verdict::Failed(_), end) => end.is_none(),
            (Verdict::Wait, _) => false,
        };
        if !is_doubtful {
            return verdict;
        }
        if live
            .looked_at
            .is_none_or(|at| at.elapsed() >= self.profile.beat)
        {
            self.store.look_again(&live.turn);
            live.looked_at = Some(Instant::now());
            live.looks += 1;
        }
        evidence.record = made(&self.store, &live.job.key, live.before).is_some();
        evidence.end = live.turn.read("end.json");
        match judge(&evidence) {
            Verdict::Failed(_) if live.looks < LOOKS => Verdict::Wait,
            verdict => verdict,
        }
    }

    fn evidence(&self, live: &Live) -> Evidence {
        let end: Option<TurnEnd> = live.turn.read("end.json");
        // A job that works has no record yet: that is not looked up all the time.
        let may_be_done = end.is_some() || live.is_silent(self.profile.beat);
        let record = may_be_done && made(&self.store, &live.job.key, live.before).is_some();
        let interrupted: Option<Interrupted> = live.turn.read("interrupted.json");
        let attempt = live.beat.as_ref().map(|b| b.attempt.clone());
        let interrupted =
            interrupted.filter(|i| i.attempt.is_empty() || Some(&i.attempt) == attempt.as_ref());
        Evidence {
            record,
            end: end.or_else(|| self.never_handed_in(live)),
            interrupted,
            has_begun: live.beat.is_some(),
            silent: live.heard.elapsed(),
            word: live.word.clone(),
            is_handed_in: live.id.is_some(),
            is_adopted: live.adopted_from.is_some(),
            asked_seconds: live.asked.seconds,
            asked_memory: live.asked.memory,
            rss: live.beat.as_ref().map_or(0, |b| b.rss),
            beat: self.profile.beat,
            lost_after: self.profile.lost_after,
        }
    }

    /// A turn whose coordinator ended before it handed anything in: the batch system answers and knows nothing of
    /// it, and the run that took the turn is known to have ended.
    fn never_handed_in(&self, live: &Live) -> Option<TurnEnd> {
        let is_orphan = live.adopted_from.is_some() && live.id.is_none() && live.beat.is_none();
        if !is_orphan || !self.is_gone(&live.claim) {
            return None;
        }
        // Without a batch nothing can have been handed in; with one, the batch system must have said so.
        let settling = match self.batch.finds_by_batch() {
            true => SETTLED,
            false => self.profile.lost_after,
        };
        let settled = match live.claim.batch {
            None => true,
            Some(_) => live.word == Word::Absent && live.handed_at.elapsed() >= settling,
        };
        settled.then(|| TurnEnd::GivenUp {
            why: "it was never handed in".to_string(),
        })
    }

    /// Whether the run of a claim is known to have ended: its lock is free, and would be seen here if it were not.
    fn is_gone(&self, claim: &Claim) -> bool {
        let lock = self.store.root().join("runs").join(&claim.run).join("lock");
        claim.host == host() && KeyLock::is_taken(&lock) == Some(false)
    }

    fn done(&mut self, live: Live) {
        let Some(record) = made(&self.store, &live.job.key, live.before) else {
            self.live.push(live);
            return;
        };
        live.keep_log();
        let took = Duration::from_secs_f64(record.measured["seconds"].as_f64().unwrap_or(0.0));
        let peak = record.measured["peak_rss_bytes"].as_u64().unwrap_or(0);
        if !live.turn.has_ended() {
            let _ = live.turn.write("end.json", &TurnEnd::Published);
        }
        let outcome = JobOutcome::Published(Arc::new(record), peak);
        let _ = live
            .events
            .send(JobEvent::Ended(live.job.node, took, outcome));
    }

    /// The turn is over, without a record.
    fn lost(&mut self, live: Live, failure: Failure) {
        if live.word == Word::Ended(How::Machine) && !live.node.is_empty() {
            let nodes = self.without.entry(live.job.key).or_default();
            nodes.insert(live.node.clone());
        }
        let is_open = !live.turn.has_ended();
        self.give_up(&live, &failure.message);
        if is_open && !matches!(live.word, Word::Ended(_)) {
            // It may be alive where nobody sees it.
            let ids: Vec<String> = live.id.iter().cloned().collect();
            if !ids.is_empty() && self.alone_in_task(&live) {
                let _ = self.batch.cancel(&ids);
            }
        }
        live.keep_log();
        self.fail(live, failure);
    }

    /// Whether no other node that is followed is in the same job.
    fn alone_in_task(&self, live: &Live) -> bool {
        !self.live.iter().any(|other| other.id == live.id)
    }

    pub(super) fn give_up(&self, live: &Live, why: &str) {
        if !live.turn.has_ended() {
            let why = why.to_string();
            let _ = live.turn.write("end.json", &TurnEnd::GivenUp { why });
        }
    }

    pub(super) fn fail(&self, live: Live, failure: Failure) {
        let took = live.handed_at.elapsed();
        let outcome = JobOutcome::Failed(failure);
        let _ = live
            .events
            .send(JobEvent::Ended(live.job.node, took, outcome));
    }

    /// Ends the jobs of this run, and those of runs that have ended; what another run waits for goes on.
    fn cancel_all(&mut self) {
        let mut held = self.drop_refused();
        held.append(&mut self.live);
        if held.is_empty() {
            return;
        }
        let is_own = |live: &Live| live.adopted_from.is_none() || self.is_gone(&live.claim);
        let ids: BTreeSet<String> = held
            .iter()
            .filter(|l| is_own(l))
            .filter_map(|l| l.id.clone())
            .collect();
        let ids: Vec<String> = ids.into_iter().collect();
        for live in held.iter().filter(|l| is_own(l)) {
            self.give_up(live, "the run was cancelled");
        }
        if !ids.is_empty()
            && let Err(why) = self.batch.cancel(&ids)
        {
            self.note(format!(
                "jobs could not be cancelled; those that have not begun do nothing when they do: {why}"
            ));
        }
        for live in held {
            let failure = Failure::new(FailureClass::Cancelled, "the run was cancelled");
            self.fail(live, failure);
        }
    }

    pub(super) fn note(&self, text: String) {
        if let Some(events) = &self.events {
            let _ = events.send(JobEvent::Note(text));
        }
    }

    pub(super) fn note_once(&mut self, text: String) {
        if self.said.insert(text.clone()) {
            self.note(text);
        }
    }
}

/// The id of a job by what it was handed in with.
fn found(lines: &[Line], claim: &Claim) -> Option<String> {
    let batch = claim.batch.as_ref()?;
    let mut of_batch = lines.iter().filter(|l| l.batch.as_ref() == Some(batch));
    let end = format!("_{}", claim.task);
    of_batch
        .find(|l| l.id.ends_with(&end))
        .map(|l| l.id.clone())
}

impl Live {
    fn take(&mut self, line: &Line) {
        self.word = line.word.clone();
        if !line.node.is_empty() {
            self.node = line.node.clone();
        }
    }

    /// Whether its last sign of life is old.
    fn is_silent(&self, beat: Duration) -> bool {
        self.beat.is_none() || self.heard.elapsed() >= beat * 2
    }

    /// Reads its beat and what it says.
    fn listen(&mut self) {
        let beat: Option<Beat> = self.turn.read("beat.json");
        if beat.is_some() && beat != self.beat {
            self.heard = Instant::now();
            self.beat = beat;
            (self.looks, self.looked_at) = (0, None);
        }
        for line in self.new_lines() {
            // Its end brings the failure.
            if let Ok(message @ (NodeMessage::Progress { .. } | NodeMessage::Warning { .. })) =
                serde_json::from_str(&line)
            {
                let _ = self.events.send(JobEvent::Message(self.job.node, message));
            }
        }
    }

    /// Whole lines of its messages that were not read yet.
    fn new_lines(&mut self) -> Vec<String> {
        let path = self.turn.dir.join("messages.jsonl");
        let mut text = Vec::new();
        let read = clcc_cache::open_plain(&path).and_then(|mut file| {
            file.seek(std::io::SeekFrom::Start(self.read))?;
            file.take(1 << 20).read_to_end(&mut text)
        });
        if read.is_err() {
            return Vec::new();
        }
        let whole = text.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
        self.read += whole as u64;
        let text = String::from_utf8_lossy(&text[..whole]);
        text.lines().map(str::to_string).collect()
    }

    /// Copies what the stage printed to where logs of the run are.
    fn keep_log(&self) {
        let attempt = match &self.beat {
            Some(beat) => beat.attempt.clone(),
            None => return,
        };
        if attempt.contains('/') {
            return;
        }
        if let Some(dir) = self.job.log.parent() {
            let _ = std::fs::create_dir_all(dir);
        }
        let from = self.turn.dir.join(attempt).join("log");
        let _ = clcc_cache::read_plain(&from).and_then(|text| std::fs::write(&self.job.log, text));
    }
}
