//! Clones and the chromosome arms that they gain and lose; what is smaller than an arm is in `focal`.

use clcc_data::genome::{Arm, Assembly};
use clcc_numerics::rng::Rng;

use super::focal;
use super::params::SimulateParams;
use super::world::{SimulatedGene, World};

/// How much of the genome an event covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventKind {
    /// A chromosome arm.
    Arm,
    /// A part of an arm.
    SubArm,
    /// A few megabases.
    Focal,
}

impl EventKind {
    /// `arm`, `sub_arm` or `focal`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Arm => "arm",
            Self::SubArm => "sub_arm",
            Self::Focal => "focal",
        }
    }
}

/// A gain or loss.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Chromosome, `chr1` to `chr22`.
    pub chromosome: String,
    /// The arm that it is or is part of.
    pub arm: Arm,
    /// How much it covers.
    pub kind: EventKind,
    /// First base, 1-based, in GRCh38.
    pub start: i64,
    /// Last base, inclusive.
    pub end: i64,
    /// Copies over those of an unaltered place of the clone: of an arm .5, 1.5 or 2 (1, 3 or 4 copies of two),
    /// in a doubled genome also .75 or 1.25; of a focal event what it makes of the place.
    pub ratio: f64,
}

impl Event {
    /// First and last base, 1-based, in GRCh38.
    pub fn span(&self) -> (i64, i64) {
        (self.start, self.end)
    }

    /// Whether the event alters the gene: it is in the arm, or its middle in the span.
    pub fn covers(&self, gene: &SimulatedGene) -> bool {
        if self.kind == EventKind::Arm {
            return Some(self.arm) == gene.arm && self.chromosome == gene.chromosome;
        }
        let middle = (gene.start + gene.end) / 2;
        self.chromosome == gene.chromosome && (self.start..=self.end).contains(&middle)
    }
}

/// A clone of a tumour.
#[derive(Debug, Clone, PartialEq)]
pub struct TumourClone {
    /// `c1`, `c2`, ...; unique within a patient.
    pub name: String,
    /// Events in genome order, including those of the trunk; an arm occurs once, and focal events follow the
    /// event of their arm.
    pub events: Vec<Event>,
    /// Whether its genome is doubled.
    pub doubled: bool,
}

impl TumourClone {
    /// Relative copy number of a gene: that of the smallest event that covers it, 1 without any.
    pub fn ratio(&self, gene: &SimulatedGene) -> f64 {
        let over = self.events.iter().filter(|e| e.covers(gene));
        over.max_by_key(|e| e.kind).map_or(1.0, |e| e.ratio)
    }

    /// The events without overlap, in genome order: pieces of larger ones end where focal ones begin.
    pub fn segments(&self) -> Vec<Event> {
        focal::disjoint(&self.events)
    }
}

/// Number of autosomal arms that can be altered: all but the short arms of 13, 14, 15, 21 and 22, which
/// have hardly any genes.
pub(super) const N_ARMS: usize = 39;

/// Arms that lung adenocarcinoma often gains (TCGA 2014, Nature 511:543, Fig. 2 and supplement).
const OFTEN_GAINED: [&str; 9] = ["1q", "5p", "7p", "7q", "8q", "14q", "16p", "17q", "20q"];
/// Arms that lung adenocarcinoma often loses.
const OFTEN_LOST: [&str; 10] = [
    "3p", "5q", "6q", "8p", "9p", "9q", "13q", "15q", "17p", "18q",
];

/// Arms that can be altered, in genome order.
pub(super) fn arms() -> Vec<(String, Arm)> {
    let acrocentric = [13, 14, 15, 21, 22];
    (1..=22)
        .flat_map(|c| [(c, Arm::P), (c, Arm::Q)])
        .filter(|(c, arm)| *arm == Arm::Q || !acrocentric.contains(c))
        .map(|(c, arm)| (format!("chr{c}"), arm))
        .collect()
}

/// Draw the clones of a patient. Arms known for gains or losses in lung adenocarcinoma are three times
/// as likely as others and keep their direction nine times in ten; elsewhere gains and losses are
/// equally likely. Three of ten gains are to ratio 2. Events of parts of arms, focal ones and doubling:
/// `focal`.
pub fn plant_events(
    world: &World,
    patient: &str,
    params: &SimulateParams,
    seed: u64,
) -> Vec<TumourClone> {
    let mut rng = Rng::new(seed, &format!("simulate events {patient}"), &[]);
    let planter = focal::Planter::new(world, patient, params, seed);
    let mut free = arms();
    let trunk: Vec<Event> = (0..params.trunk_events)
        .map(|i| planter.arm_event(draw(&mut free, &mut rng), [0, i]))
        .collect();
    let order = arms();
    let rank = |e: &Event| {
        order
            .iter()
            .position(|a| a.0 == e.chromosome && a.1 == e.arm)
    };
    (0..params.n_clones)
        .map(|c| {
            // Two clones may alter the same arm, each in its own way.
            let mut free = free.clone();
            let mut events = trunk.clone();
            let own = (0..params.clone_events)
                .map(|i| planter.arm_event(draw(&mut free, &mut rng), [c + 1, i]));
            events.extend(own);
            events.extend(planter.focal_events(&events, c));
            events.sort_by_key(|e| (rank(e), e.kind, e.start));
            TumourClone {
                name: format!("c{}", c + 1),
                events,
                doubled: planter.doubled,
            }
        })
        .collect()
}

fn draw(free: &mut Vec<(String, Arm)>, rng: &mut Rng) -> Event {
    let label = |(chromosome, arm): &(String, Arm)| format!("{}{}", &chromosome[3..], arm.letter());
    let known = |a: &(String, Arm)| {
        let l = label(a);
        (
            OFTEN_GAINED.contains(&l.as_str()),
            OFTEN_LOST.contains(&l.as_str()),
        )
    };
    let weight = |a: &(String, Arm)| if known(a) == (false, false) { 1.0 } else { 3.0 };
    let total: f64 = free.iter().map(weight).sum();
    let mut left = rng.uniform() * total;
    let at = free.iter().position(|a| {
        left -= weight(a);
        left < 0.0
    });
    let (chromosome, arm) = free.remove(at.unwrap_or(free.len() - 1));
    let gain_probability = match known(&(chromosome.clone(), arm)) {
        (true, _) => 0.9,
        (_, true) => 0.1,
        _ => 0.5,
    };
    let gain = rng.uniform() < gain_probability;
    let double = rng.uniform() < 0.3;
    let ratio = if !gain {
        0.5
    } else if double {
        2.0
    } else {
        1.5
    };
    let (start, end) = arm_span(&chromosome, arm);
    Event {
        chromosome,
        arm,
        kind: EventKind::Arm,
        start,
        end,
        ratio,
    }
}

/// First and last base of an arm of GRCh38, 1-based.
pub(super) fn arm_span(chromosome: &str, arm: Arm) -> (i64, i64) {
    let c = Assembly::GRCh38
        .chromosome(chromosome)
        .expect("events are on chromosomes with arms");
    match arm {
        Arm::P => (1, c.p_end),
        Arm::Q => (c.p_end + 1, c.length),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_arms_as_stated() {
        assert_eq!(arms().len(), N_ARMS);
    }

    #[test]
    fn clones_share_the_trunk_and_alter_an_arm_once() {
        let params = SimulateParams {
            n_genes: 800,
            ..SimulateParams::default()
        };
        let world = World::new(&params, 3).unwrap();
        let planted = |name: &str| plant_events(&world, name, &params, 3);
        let clones = planted("P1");
        assert_eq!(clones.len(), 3);
        for clone in &clones {
            assert_eq!(clone.events.len(), 14);
            for (i, e) in clone.events.iter().enumerate() {
                assert!(
                    clone.events[..i]
                        .iter()
                        .all(|f| (&f.chromosome, f.arm) != (&e.chromosome, e.arm))
                );
                assert!([0.5, 1.5, 2.0].contains(&e.ratio) && e.kind == EventKind::Arm);
            }
            assert!(!clone.doubled && clone.segments() == clone.events);
        }
        let shared = clones[0]
            .events
            .iter()
            .filter(|e| clones[1..].iter().all(|c| c.events.contains(e)))
            .count();
        assert!(shared >= 10);
        assert_ne!(clones[0].events, clones[1].events);
        assert_eq!(clones, planted("P1"));
        assert_ne!(clones, planted("P2"));
    }
}
