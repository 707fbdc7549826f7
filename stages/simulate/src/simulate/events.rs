//! Clones and the chromosome arms that they gain and lose.

use clcc_data::genome::{Arm, Assembly};
use clcc_numerics::rng::Rng;

use super::params::SimulateParams;

/// A gain or loss of a chromosome arm.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Chromosome, `chr1` to `chr22`.
    pub chromosome: String,
    /// The arm.
    pub arm: Arm,
    /// Relative copy number: .5, 1.5 or 2 (1, 3 or 4 copies).
    pub ratio: f64,
}

impl Event {
    /// First and last base of the arm, 1-based, in GRCh38.
    pub fn span(&self) -> (i64, i64) {
        let c = Assembly::GRCh38
            .chromosome(&self.chromosome)
            .expect("events lie on chromosomes with arms");
        match self.arm {
            Arm::P => (1, c.p_end),
            Arm::Q => (c.p_end + 1, c.length),
        }
    }
}

/// A clone of a tumour.
#[derive(Debug, Clone, PartialEq)]
pub struct TumourClone {
    /// `c1`, `c2`, ...; unique within a patient.
    pub name: String,
    /// Events in genome order, including those of the trunk; an arm occurs once.
    pub events: Vec<Event>,
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

fn arms() -> Vec<(String, Arm)> {
    let acrocentric = [13, 14, 15, 21, 22];
    (1..=22)
        .flat_map(|c| [(c, Arm::P), (c, Arm::Q)])
        .filter(|(c, arm)| *arm == Arm::Q || !acrocentric.contains(c))
        .map(|(c, arm)| (format!("chr{c}"), arm))
        .collect()
}

/// Draw the clones of a patient. Arms known for gains or losses in lung adenocarcinoma are three times
/// as likely as others and keep their direction nine times in ten; elsewhere gains and losses are
/// equally likely. Three of ten gains are to ratio 2.
pub fn plant_events(patient: &str, params: &SimulateParams, seed: u64) -> Vec<TumourClone> {
    let mut rng = Rng::new(seed, &format!("simulate events {patient}"), &[]);
    let mut free = arms();
    let trunk: Vec<Event> = (0..params.trunk_events)
        .map(|_| draw(&mut free, &mut rng))
        .collect();
    (0..params.n_clones)
        .map(|i| {
            // Two clones may alter the same arm, each in its own way.
            let mut free = free.clone();
            let mut events = trunk.clone();
            events.extend((0..params.clone_events).map(|_| draw(&mut free, &mut rng)));
            let order = arms();
            let rank = |e: &Event| {
                order
                    .iter()
                    .position(|a| a.0 == e.chromosome && a.1 == e.arm)
            };
            events.sort_by_key(rank);
            TumourClone {
                name: format!("c{}", i + 1),
                events,
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
    let arm = free.remove(at.unwrap_or(free.len() - 1));
    let gain_probability = match known(&arm) {
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
    Event {
        chromosome: arm.0,
        arm: arm.1,
        ratio,
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
        let params = SimulateParams::default();
        let clones = plant_events("P1", &params, 3);
        assert_eq!(clones.len(), 3);
        for clone in &clones {
            assert_eq!(clone.events.len(), 14);
            for (i, e) in clone.events.iter().enumerate() {
                assert!(
                    clone.events[..i]
                        .iter()
                        .all(|f| (&f.chromosome, f.arm) != (&e.chromosome, e.arm))
                );
                assert!([0.5, 1.5, 2.0].contains(&e.ratio));
            }
        }
        let shared = clones[0]
            .events
            .iter()
            .filter(|e| clones[1..].iter().all(|c| c.events.contains(e)))
            .count();
        assert!(shared >= 10);
        assert_ne!(clones[0].events, clones[1].events);
        assert_eq!(clones, plant_events("P1", &params, 3));
        assert_ne!(clones, plant_events("P2", &params, 3));
    }
}
