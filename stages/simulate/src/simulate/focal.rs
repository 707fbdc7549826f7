//! Events smaller than an arm, and genome doubling.
//!
//! A part of an arm is a run of the simulation's genes on it, so none is empty. A focal event is around
//! a gene; its factor multiplies what the place has in the clone. Each draws from a stream of its own, so
//! the events of arms are the same with and without it.

use clcc_numerics::math;
use clcc_numerics::rng::Rng;

use super::events::{Event, EventKind, arm_span, arms};
use super::params::SimulateParams;
use super::world::{SimulatedGene, World};

/// Shares of an arm's genes in an event of a part of it.
const PART: (f64, f64) = (0.25, 0.6);
/// Factors of focal events: a loss, and amplifications twice as often as losses.
const FACTORS: [f64; 3] = [0.5, 2.0, 3.0];
/// Draws after which a focal event that finds no free place is left out.
const TRIES: usize = 100;

/// Turns events of arms into smaller ones and draws focal ones, for one patient.
pub(super) struct Planter<'a> {
    world: &'a World,
    patient: &'a str,
    params: &'a SimulateParams,
    seed: u64,
    /// Whether the patient's genome is doubled.
    pub(super) doubled: bool,
}

impl<'a> Planter<'a> {
    pub(super) fn new(
        world: &'a World,
        patient: &'a str,
        params: &'a SimulateParams,
        seed: u64,
    ) -> Self {
        let mut rng = Rng::new(seed, &format!("simulate doubling {patient}"), &[]);
        Self {
            world,
            patient,
            params,
            seed,
            doubled: rng.uniform() < params.genome_doubling,
        }
    }

    fn rng(&self, what: &str, [owner, i]: [usize; 2]) -> Rng {
        let stream = format!("simulate {what} {}", self.patient);
        Rng::new(self.seed, &stream, &[owner as u64, i as u64])
    }

    /// The event `i` of the trunk (owner 0) or of a clone (owner 1 and up), perhaps of one copy in four, and
    /// perhaps of a part of its arm.
    pub(super) fn arm_event(&self, event: Event, at: [usize; 2]) -> Event {
        let late = self.doubled && self.rng("late event", at).uniform() < 0.5;
        let ratio = if late {
            after_doubling(event.ratio)
        } else {
            event.ratio
        };
        let event = Event { ratio, ..event };
        let mut rng = self.rng("sub-arm", at);
        if rng.uniform() < self.params.sub_arm_share {
            self.part(event, &mut rng)
        } else {
            event
        }
    }

    /// The event on a run of the genes of its arm.
    fn part(&self, event: Event, rng: &mut Rng) -> Event {
        let mut genes: Vec<&SimulatedGene> = self.world.genes.iter().collect();
        genes.retain(|g| event.covers(g));
        genes.sort_by_key(|g| g.start + g.end);
        if genes.is_empty() {
            return event;
        }
        let share = PART.0 + (PART.1 - PART.0) * rng.uniform();
        let n = ((genes.len() as f64 * share).round() as usize).max(1);
        let first = rng.below((genes.len() - n + 1) as u64) as usize;
        let run = &genes[first..first + n];
        Event {
            kind: EventKind::SubArm,
            start: run.iter().map(|g| g.start).min().unwrap_or(event.start),
            end: run.iter().map(|g| g.end).max().unwrap_or(event.end),
            ..event
        }
    }

    /// Focal events of a clone that has these larger `events`: those of the trunk, then its own.
    pub(super) fn focal_events(&self, events: &[Event], clone: usize) -> Vec<Event> {
        let trunk = (0..self.params.focal_events).map(|i| [0, i]);
        let own = (0..self.params.clone_focal_events).map(|i| [clone + 1, i]);
        let mut out: Vec<Event> = Vec::new();
        for at in trunk.chain(own) {
            let mut rng = self.rng("focal", at);
            let places = (0..TRIES).map(|_| self.place(&mut rng));
            let is_free = |e: &Event| out.iter().all(|o| !overlap(o, e));
            if let Some((mut event, factor)) = { places }.find(|(e, _)| is_free(e)) {
                let middle = (event.start + event.end) / 2;
                let around = |e: &&Event| {
                    e.chromosome == event.chromosome && (e.start..=e.end).contains(&middle)
                };
                event.ratio = factor * events.iter().find(around).map_or(1.0, |e| e.ratio);
                out.push(event);
            }
        }
        out
    }

    /// A place around a gene, within its arm, and the factor of its copies.
    fn place(&self, rng: &mut Rng) -> (Event, f64) {
        let arms = arms();
        let genes: Vec<&SimulatedGene> = self.world.genes.iter().collect();
        let (gene, arm) = loop {
            let gene = genes[rng.below(genes.len() as u64) as usize];
            if let Some(arm) = gene.arm
                && arms.contains(&(gene.chromosome.clone(), arm))
            {
                break (gene, arm);
            }
        };
        let longest = self.params.focal_mb * 1e6;
        let length = longest * math::pow(10.0, rng.uniform() - 1.0);
        let middle = (gene.start + gene.end) / 2;
        let (first, last) = arm_span(&gene.chromosome, arm);
        let event = Event {
            chromosome: gene.chromosome.clone(),
            arm,
            kind: EventKind::Focal,
            start: (middle - (length / 2.0) as i64).clamp(first, middle),
            end: (middle + (length / 2.0) as i64).clamp(middle, last.max(middle)),
            ratio: 1.0,
        };
        (event, FACTORS[rng.below(FACTORS.len() as u64) as usize])
    }
}

/// The ratio of an event of one copy (or two) of a genome of four.
fn after_doubling(ratio: f64) -> f64 {
    1.0 + (ratio - 1.0) / 2.0
}

fn overlap(a: &Event, b: &Event) -> bool {
    a.chromosome == b.chromosome && a.start <= b.end && b.start <= a.end
}

/// Cut events in genome order so that none overlaps another; the smaller one stays whole.
pub(super) fn disjoint(events: &[Event]) -> Vec<Event> {
    let mut out = Vec::new();
    for event in events {
        let mut inner: Vec<&Event> = events
            .iter()
            .filter(|e| e.kind > event.kind && overlap(e, event))
            .collect();
        inner.sort_by_key(|e| e.start);
        let mut from = event.start;
        for e in inner {
            if e.start > from {
                out.push(Event {
                    start: from,
                    end: e.start - 1,
                    ..event.clone()
                });
            }
            from = from.max(e.end + 1);
        }
        if from <= event.end {
            out.push(Event {
                start: from,
                ..event.clone()
            });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::events::plant_events;
    use super::*;

    fn hard() -> SimulateParams {
        SimulateParams {
            n_genes: 3000,
            sub_arm_share: 0.5,
            focal_events: 4,
            clone_focal_events: 2,
            ..SimulateParams::default()
        }
    }

    #[test]
    fn small_events_leave_those_of_arms_as_they_are() {
        let params = hard();
        let plain = SimulateParams {
            n_genes: 3000,
            ..SimulateParams::default()
        };
        let world = World::new(&params, 5).unwrap();
        let (with, without) = (
            plant_events(&world, "A", &params, 5),
            plant_events(&world, "A", &plain, 5),
        );
        let mut parts = 0;
        for (a, b) in with.iter().zip(&without) {
            let focal = a.events.iter().filter(|e| e.kind == EventKind::Focal);
            assert_eq!(focal.count(), 6);
            let larger = a.events.iter().filter(|e| e.kind != EventKind::Focal);
            for (e, f) in larger.zip(&b.events) {
                assert_eq!(
                    (&e.chromosome, e.arm, e.ratio),
                    (&f.chromosome, f.arm, f.ratio)
                );
                assert!(f.start <= e.start && e.end <= f.end);
                if e.kind == EventKind::SubArm {
                    parts += 1;
                    let n = |x: &Event| world.genes.iter().filter(|g| x.covers(g)).count() as f64;
                    let share = n(e) / n(f);
                    assert!((0.2..0.7).contains(&share), "{share} of {}", n(f));
                }
            }
        }
        // Half of three times 14 events; the ten of the trunk are the same in each clone.
        assert!((8..=34).contains(&parts), "{parts}");
    }

    /// Segments have, at each gene, the ratio of the smallest event that covers it.
    #[test]
    fn segments_do_not_overlap_and_say_what_the_events_say() {
        let params = SimulateParams {
            genome_doubling: 1.0,
            ..hard()
        };
        let world = World::new(&params, 6).unwrap();
        for clone in plant_events(&world, "A", &params, 6) {
            let segments = clone.segments();
            for (i, s) in segments.iter().enumerate() {
                assert!(s.start <= s.end);
                assert!(segments[..i].iter().all(|o| !overlap(o, s)), "{s:?}");
            }
            for gene in &world.genes {
                let middle = (gene.start + gene.end) / 2;
                let at = segments.iter().find(|s| {
                    s.chromosome == gene.chromosome && (s.start..=s.end).contains(&middle)
                });
                // A gene across the centromere is of the arm of most of its bases.
                if gene.arm.is_some() {
                    assert_eq!(
                        at.map_or(1.0, |s| s.ratio),
                        clone.ratio(gene),
                        "{}",
                        gene.name
                    );
                }
            }
            let ratios = clone.events.iter().map(|e| e.ratio);
            assert!(clone.doubled);
            assert!(
                ratios.filter(|r| [0.75, 1.25].contains(r)).count() > 0,
                "some events came after doubling"
            );
        }
    }
}
