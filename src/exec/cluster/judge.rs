//! Who is believed about a job, and in which order. A function of what was seen, without clock or file.

use std::time::Duration;

use super::batch::{How, Word};
use crate::exec::action::{Failure, FailureClass};
use crate::exec::job::{Interrupted, TurnEnd};

/// What is seen of a job.
#[derive(Debug, Clone)]
pub(super) struct Evidence {
    /// Its record is there, with every output.
    pub(super) record: bool,
    /// `end.json` of its turn.
    pub(super) end: Option<TurnEnd>,
    /// It was asked to end and did.
    pub(super) interrupted: Option<Interrupted>,
    /// Whether it ever beat.
    pub(super) has_begun: bool,
    /// How long nothing was seen of it, by this process's clock.
    pub(super) silent: Duration,
    /// What the batch system says.
    pub(super) word: Word,
    /// Whether the batch system has its id.
    pub(super) is_handed_in: bool,
    /// Whether another run handed it in: how that ended is no failure of this one.
    pub(super) is_adopted: bool,
    /// What was asked for, in seconds.
    pub(super) asked_seconds: u64,
    /// What was asked for, in bytes.
    pub(super) asked_memory: u64,
    /// Memory at the last beat.
    pub(super) rss: u64,
    /// Beats come so often.
    pub(super) beat: Duration,
    /// So long a silence is a loss.
    pub(super) lost_after: Duration,
}

/// What follows from it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verdict {
    /// Nothing yet.
    Wait,
    /// The record is there.
    Done,
    /// It ended without: the turn is over.
    Failed(Failure),
}

/// Record, then `end.json`, then a fresh beat, then the batch system, then silence.
pub(super) fn judge(e: &Evidence) -> Verdict {
    if e.record {
        return Verdict::Done;
    }
    match &e.end {
        Some(TurnEnd::Failed { failure }) => return Verdict::Failed(failure.clone()),
        Some(TurnEnd::GivenUp { why }) => return again(why.clone()),
        // The record comes before that word; another machine may see it later.
        Some(TurnEnd::Published) => {
            return loss(e, "says that it is done, and its record is not there");
        }
        None => {}
    }
    if e.has_begun && e.interrupted.is_none() && e.silent < e.beat * 3 {
        return Verdict::Wait;
    }
    match e.word {
        Word::Pending => Verdict::Wait,
        // Other nodes of its task come first.
        Word::Running if !e.has_begun => Verdict::Wait,
        Word::Running => loss(
            e,
            "runs, as the batch system says, and gave no sign of life",
        ),
        Word::Ended(how) => ended(e, how),
        Word::Absent => loss(
            e,
            "is not known to the batch system, and gave no sign of life",
        ),
        // An answer that fails is no failure of the job; one that never began may still wait.
        Word::Unknown if !e.has_begun && e.is_handed_in => Verdict::Wait,
        Word::Unknown => loss(e, "gave no sign of life"),
    }
}

fn ended(e: &Evidence, how: How) -> Verdict {
    let failure = |class, message: &str| Verdict::Failed(Failure::new(class, message));
    let time = || {
        let message = format!(
            "longer than the {} min that the job had asked for",
            e.asked_seconds / 60
        );
        Verdict::Failed(Failure {
            hint: Some(
                "give the stage `resources: {timeout_secs: ...}` or the profile a longer `time`"
                    .into(),
            ),
            ..Failure::new(FailureClass::Timeout, message)
        })
    };
    let near_its_time = e
        .interrupted
        .as_ref()
        .is_some_and(|i| i.after + 75.0 >= e.asked_seconds as f64);
    match how {
        How::Memory => failure(
            FailureClass::Memory,
            "the batch system ended the job: memory ran out",
        ),
        How::Time => time(),
        How::Machine => again("its machine failed".into()),
        How::Preempted => again("it was preempted".into()),
        _ if near_its_time => time(),
        // It left on being asked to, and the batch system does not say by whom.
        How::Itself if e.interrupted.is_some() => again("it was asked to end".into()),
        How::Cancelled if e.is_adopted => {
            again("it was cancelled with the run that it was of".into())
        }
        How::Cancelled => Verdict::Failed(Failure::new(
            FailureClass::Crash,
            "the job was cancelled in the batch system",
        )),
        How::Itself if e.rss * 10 > e.asked_memory * 9 => failure(
            FailureClass::Memory,
            "the job ended without a result, near the memory that it had asked for",
        ),
        // It may have been done, on a machine whose files are seen a little later.
        How::Itself if e.silent < e.beat * 3 => Verdict::Wait,
        How::Itself if e.is_adopted => again("it ended without a result".into()),
        How::Itself => failure(FailureClass::Crash, "the job ended without a result"),
    }
}

fn again(why: String) -> Verdict {
    Verdict::Failed(Failure::new(
        FailureClass::Transient,
        format!("the job is lost: {why}"),
    ))
}

fn loss(e: &Evidence, why: &str) -> Verdict {
    if e.silent < e.lost_after {
        return Verdict::Wait;
    }
    again(format!("it {why} for {} s", e.lost_after.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A job that began and was heard of a second ago.
    fn job() -> Evidence {
        Evidence {
            record: false,
            end: None,
            interrupted: None,
            has_begun: true,
            silent: Duration::from_secs(1),
            word: Word::Running,
            is_handed_in: true,
            is_adopted: false,
            asked_seconds: 600,
            asked_memory: 1 << 30,
            rss: 0,
            beat: Duration::from_secs(10),
            lost_after: Duration::from_secs(120),
        }
    }

    fn silent(secs: u64, word: Word) -> Evidence {
        Evidence {
            silent: Duration::from_secs(secs),
            word,
            ..job()
        }
    }

    fn class(verdict: &Verdict) -> Option<FailureClass> {
        match verdict {
            Verdict::Failed(failure) => Some(failure.class),
            _ => None,
        }
    }

    const ALL: [Word; 10] = [
        Word::Unknown,
        Word::Absent,
        Word::Pending,
        Word::Running,
        Word::Ended(How::Itself),
        Word::Ended(How::Memory),
        Word::Ended(How::Time),
        Word::Ended(How::Machine),
        Word::Ended(How::Preempted),
        Word::Ended(How::Cancelled),
    ];

    #[test]
    fn the_record_outweighs_everything_and_the_end_all_but_that() {
        for word in ALL {
            for secs in [0, 1000] {
                let mut e = silent(secs, word.clone());
                e.end = Some(TurnEnd::Failed {
                    failure: Failure::new(FailureClass::Stage, "no"),
                });
                assert_eq!(class(&judge(&e)), Some(FailureClass::Stage), "{word:?}");
                e.record = true;
                assert_eq!(judge(&e), Verdict::Done, "{word:?}");
            }
        }
    }

    #[test]
    fn while_it_beats_no_word_of_the_batch_system_ends_it() {
        for word in ALL {
            assert_eq!(judge(&silent(29, word.clone())), Verdict::Wait, "{word:?}");
        }
    }

    #[test]
    fn a_silent_job_ends_as_the_batch_system_says() {
        use FailureClass as C;
        for (how, expected) in [
            (How::Itself, C::Crash),
            (How::Memory, C::Memory),
            (How::Time, C::Timeout),
            (How::Machine, C::Transient),
            (How::Preempted, C::Transient),
            (How::Cancelled, C::Crash),
        ] {
            let verdict = judge(&silent(31, Word::Ended(how)));
            assert_eq!(class(&verdict), Some(expected), "{how:?}");
        }
        // What another run's end did to its job is no failure of this one.
        for how in [How::Itself, How::Cancelled] {
            let e = Evidence {
                is_adopted: true,
                ..silent(31, Word::Ended(how))
            };
            assert_eq!(class(&judge(&e)), Some(C::Transient), "{how:?}");
        }
        let full = Evidence {
            rss: 1020 << 20,
            ..silent(31, Word::Ended(How::Itself))
        };
        assert_eq!(class(&judge(&full)), Some(C::Memory));
    }

    #[test]
    fn silence_is_a_loss_only_where_nobody_says_that_it_waits() {
        for word in [Word::Unknown, Word::Absent, Word::Running] {
            assert_eq!(judge(&silent(119, word.clone())), Verdict::Wait, "{word:?}");
            let verdict = judge(&silent(120, word.clone()));
            assert_eq!(class(&verdict), Some(FailureClass::Transient), "{word:?}");
        }
        assert_eq!(judge(&silent(9999, Word::Pending)), Verdict::Wait);
        // It is not its turn in its task.
        let e = Evidence {
            has_begun: false,
            ..silent(9999, Word::Running)
        };
        assert_eq!(judge(&e), Verdict::Wait);
        // The controller is down, and the job never began: it may wait there.
        let e = Evidence {
            has_begun: false,
            ..silent(9999, Word::Unknown)
        };
        assert_eq!(judge(&e), Verdict::Wait);
    }

    #[test]
    fn one_that_was_asked_to_end_waits_in_the_queue_or_had_too_little_time() {
        let asked = |after, word| Evidence {
            interrupted: Some(Interrupted {
                attempt: "attempt.0".into(),
                after,
            }),
            ..silent(2, word)
        };
        assert_eq!(
            judge(&asked(30.0, Word::Pending)),
            Verdict::Wait,
            "requeued"
        );
        let verdict = judge(&asked(541.0, Word::Ended(How::Itself)));
        assert_eq!(class(&verdict), Some(FailureClass::Timeout));
        let verdict = judge(&asked(30.0, Word::Ended(How::Itself)));
        assert_eq!(class(&verdict), Some(FailureClass::Transient));
        let verdict = judge(&asked(30.0, Word::Ended(How::Cancelled)));
        assert_eq!(class(&verdict), Some(FailureClass::Crash));
    }

    #[test]
    fn a_record_that_is_seen_late_is_waited_for() {
        let e = Evidence {
            end: Some(TurnEnd::Published),
            ..silent(5, Word::Ended(How::Itself))
        };
        assert_eq!(judge(&e), Verdict::Wait);
        let e = Evidence {
            end: Some(TurnEnd::Published),
            ..silent(120, Word::Ended(How::Itself))
        };
        assert_eq!(class(&judge(&e)), Some(FailureClass::Transient));
        // COMPLETED before the folder shows it.
        assert_eq!(judge(&silent(29, Word::Ended(How::Itself))), Verdict::Wait);
    }
}
