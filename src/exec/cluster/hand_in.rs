//! From nodes that hold a turn to jobs: orders, tasks, arrays.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clcc_cache::{failpoint, fresh_dir};
use clcc_stages::stage::DeviceChoice;

use super::batch::{Handed, Refusal};
use super::follow::{Follower, Live};
use super::pack::{Shape, asked, pack};
use crate::exec::action::{Failure, FailureClass};
use crate::exec::job::{Claim, Order, Task, host, now};
use crate::exec::local::{JobEvent, Placed};

/// Pauses before what was refused for now is handed in again.
const PAUSES: [u64; 5] = [2, 5, 10, 30, 60];

/// Jobs that were refused for now, or of which that is not known.
#[derive(Debug)]
pub(super) struct Refused {
    handed: Handed,
    tasks: Vec<Vec<Live>>,
    tries: usize,
    not_before: Instant,
    /// Whether the batch system may have them: it is asked before they are handed in again.
    may_be_there: bool,
}

impl Follower {
    /// Hands in what has a turn: nodes of one shape together, short ones in one task.
    pub(super) fn hand_in(&mut self) {
        let mut shapes: BTreeMap<Shape, Vec<Live>> = BTreeMap::new();
        for live in std::mem::take(&mut self.waiting) {
            shapes.entry(self.shape(&live)).or_default().push(live);
        }
        for (shape, nodes) in shapes {
            for (shape, tasks) in self.tasks(&shape, nodes) {
                let mut tasks = tasks.into_iter().peekable();
                while tasks.peek().is_some() {
                    let some = tasks.by_ref().take(self.batch.most_tasks()).collect();
                    self.prepare(shape.clone(), some);
                }
            }
        }
    }

    /// What it asks for, but for the time.
    fn shape(&self, live: &Live) -> Shape {
        let wants_gpu = matches!(
            live.job.action.device,
            DeviceChoice::Cuda | DeviceChoice::Metal
        );
        let kind = crate::registry::kind(&live.job.action.kind);
        Shape {
            cores: live.asked.cores,
            memory_mb: live.asked.memory >> 20,
            minutes: 0,
            gpu: wants_gpu && kind.is_some_and(|k| k.device_sensitive),
            without: self.without.get(&live.job.key).cloned().unwrap_or_default(),
        }
    }

    /// Packed, and by the time that each task takes.
    fn tasks(&self, shape: &Shape, nodes: Vec<Live>) -> BTreeMap<Shape, Vec<Vec<Live>>> {
        let expected = |live: &Live| match live.job.grant.longer {
            0 => live.job.grant.seconds,
            // It took longer than was thought: nobody knows how long.
            _ => None,
        };
        let expected: Vec<Option<f64>> = nodes.iter().map(expected).collect();
        let mut nodes: Vec<Option<Live>> = nodes.into_iter().map(Some).collect();
        let mut by_time: BTreeMap<Shape, Vec<Vec<Live>>> = BTreeMap::new();
        for task in pack(&expected, self.profile.pack) {
            let task: Vec<Live> = task.into_iter().filter_map(|i| nodes[i].take()).collect();
            let alone = task.len() == 1;
            let seconds: u64 = match alone {
                true => task[0].asked.seconds,
                false => {
                    let own = |live: &Live| live.job.grant.seconds.unwrap_or(0.0) * 2.0 + 1.0;
                    let sum: f64 = task.iter().map(own).sum();
                    (sum as u64 + 300).div_ceil(300) * 300
                }
            };
            let shape = Shape {
                minutes: seconds.div_ceil(60),
                ..shape.clone()
            };
            by_time.entry(shape).or_default().push(task);
        }
        by_time
    }

    /// Writes down what a batch is to do, then hands it in.
    fn prepare(&mut self, shape: Shape, mut tasks: Vec<Vec<Live>>) {
        match self.write_batch(&shape, &mut tasks) {
            Ok(handed) => self.send(Refused {
                handed,
                tasks,
                tries: 0,
                not_before: Instant::now(),
                may_be_there: false,
            }),
            Err(e) => {
                let failure = super::super::cache_failure(&e);
                for live in tasks.into_iter().flatten() {
                    self.fail(live, failure.clone());
                }
            }
        }
    }

    fn write_batch(
        &self,
        shape: &Shape,
        tasks: &mut [Vec<Live>],
    ) -> Result<Handed, clcc_cache::CacheError> {
        let above = self.store.make_place("batches")?;
        let io = |path: &std::path::Path| {
            let path = path.to_path_buf();
            move |source| clcc_cache::CacheError::Io {
                verb: "write",
                path,
                source,
            }
        };
        let dir = fresh_dir(&above, "b").map_err(io(&above))?;
        let name = dir.file_name().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        for (n, task) in tasks.iter_mut().enumerate() {
            for live in task.iter_mut() {
                live.asked.seconds = shape.minutes * 60;
                live.claim = Claim {
                    batch: Some(name.clone()),
                    task: n,
                    at: now(),
                    ..live.claim.clone()
                };
                live.turn.write("order.json", &self.order(live))?;
                live.turn.write("claim.json", &live.claim)?;
            }
            let task = Task {
                cache: self.store.root().to_path_buf(),
                orders: task.iter().map(|l| (l.turn.key, l.turn.number)).collect(),
                dies_with_parent: self.batch.is_parent(),
                digest: self.own.build,
            };
            let file = dir.join(format!("{n}.json"));
            let bytes = serde_json::to_vec(&task).expect("plain values serialise");
            std::fs::write(&file, bytes).map_err(io(&file))?;
        }
        Ok(Handed {
            name,
            run: self.run.clone(),
            dir,
            tasks: tasks.len(),
            shape: shape.clone(),
            program: self.own.program.clone(),
        })
    }

    fn order(&self, live: &Live) -> Order {
        Order {
            node: live.name.clone(),
            preimage: live.job.preimage.clone(),
            action: live.job.action.clone(),
            input_bytes: live.job.grant.input_bytes,
            asked: live.asked,
            timeout: live.job.grant.timeout,
            before: live.before,
            beat: self.profile.beat,
        }
    }

    /// Hands a batch in. What is refused for now is kept.
    fn send(&mut self, mut batch: Refused) {
        at("batch.before");
        let answer = self.batch.submit(&batch.handed);
        at("batch.handed");
        match answer {
            Ok(ids) => self.accepted(batch.tasks, &ids),
            Err(Refusal::No(why)) if !batch.handed.shape.without.is_empty() => {
                self.note(format!(
                    "no machine is left without {}, which failed before; they are asked again ({why})",
                    batch.handed.shape.without.iter().cloned().collect::<Vec<_>>().join(", ")
                ));
                batch.handed.shape.without.clear();
                self.send(batch);
            }
            Err(Refusal::No(why)) => {
                let failure = Failure {
                    hint: Some(self.hint()),
                    ..Failure::new(FailureClass::Stage, format!("the job was refused: {why}"))
                };
                for live in batch.tasks.into_iter().flatten() {
                    self.give_up(&live, "refused");
                    self.fail(live, failure.clone());
                }
            }
            Err(refusal) => {
                let (why, may_be_there) = match refusal {
                    Refusal::Unknown(why) => (why, true),
                    Refusal::Later(why) | Refusal::No(why) => (why, false),
                };
                self.note_once(format!(
                    "jobs could not be handed in, and will be again: {why}"
                ));
                let pause = PAUSES[batch.tries.min(PAUSES.len() - 1)];
                batch.tries += 1;
                batch.not_before = Instant::now() + Duration::from_secs(pause);
                batch.may_be_there = may_be_there;
                self.refused.push(batch);
            }
        }
    }

    fn hint(&self) -> String {
        match &self.profile.file {
            Some(file) => format!("the profile is `{}`", file.display()),
            None => "no profile was found; --profile FILE gives one".to_string(),
        }
    }

    fn accepted(&mut self, tasks: Vec<Vec<Live>>, ids: &[String]) {
        for (task, id) in tasks.into_iter().zip(ids) {
            for mut live in task {
                live.id = Some(id.clone());
                // Where it cannot be noted, others find it by what it was handed in with.
                let _ = live.turn.write("job.json", id);
                let placed = Placed {
                    job: live.id.clone(),
                    adopted_from: None,
                };
                let _ = live.events.send(JobEvent::Placed(live.job.node, placed));
                live.heard = Instant::now();
                live.handed_at = Instant::now();
                self.live.push(live);
            }
        }
        at("batch.noted");
        self.poll.soon();
    }

    /// Hands in again what is due.
    pub(super) fn hand_in_again(&mut self) {
        let now = Instant::now();
        let (due, later): (Vec<Refused>, Vec<Refused>) = std::mem::take(&mut self.refused)
            .into_iter()
            .partition(|b| b.not_before <= now);
        self.refused = later;
        for batch in due {
            if !batch.may_be_there || !self.batch.finds_by_batch() {
                self.send(batch);
                continue;
            }
            match self.batch.poll(std::slice::from_ref(&self.run), &[]) {
                Ok(lines) => {
                    let name = Some(batch.handed.name.clone());
                    let first = lines.iter().find(|l| l.batch == name);
                    match first.and_then(|l| l.id.rsplit_once('_')) {
                        Some((id, _)) => {
                            let ids: Vec<String> = (0..batch.handed.tasks)
                                .map(|n| format!("{id}_{n}"))
                                .collect();
                            self.accepted(batch.tasks, &ids);
                        }
                        None => self.send(batch),
                    }
                }
                Err(_) => {
                    let not_before = now + Duration::from_secs(PAUSES[0]);
                    self.refused.push(Refused {
                        not_before,
                        ..batch
                    });
                }
            }
        }
    }

    /// Ends everything that was not accepted.
    pub(super) fn drop_refused(&mut self) -> Vec<Live> {
        let refused = std::mem::take(&mut self.refused).into_iter();
        let refused = refused.flat_map(|b| b.tasks.into_iter().flatten());
        refused.chain(std::mem::take(&mut self.waiting)).collect()
    }

    /// The claim of this run on a turn that was just taken.
    pub(super) fn claim(&self) -> Claim {
        Claim {
            run: self.run.clone(),
            host: host(),
            batch: None,
            task: 0,
            at: now(),
        }
    }

    /// What is asked for a node.
    pub(super) fn asked(&self, job: &crate::exec::Job) -> crate::exec::job::Asked {
        asked(&job.grant, job.action.threads, &self.profile)
    }
}

/// A place where a test may end the coordinator.
pub(super) fn at(place: &str) {
    let _ = failpoint::reach(place);
}
