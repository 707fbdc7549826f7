//! Chromosome arms of GRCh38.

/// An arm of a chromosome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Arm {
    /// The short arm, before the centromere.
    P,
    /// The long arm, after it.
    Q,
}

impl Arm {
    /// `p` or `q`.
    pub fn letter(self) -> char {
        match self {
            Self::P => 'p',
            Self::Q => 'q',
        }
    }
}

/// The extent of a centromere (the `acen` bands of UCSC's hg38 cytoBand table), in bases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Centromere {
    /// The short arm ends here.
    pub start: i64,
    /// The long arm starts here.
    pub end: i64,
}

/// Chromosome, start and end of the centromere, length of the chromosome.
const ARMS: [(&str, i64, i64, i64); 24] = [
    ("chr1", 121_700_000, 125_100_000, 248_956_422),
    ("chr2", 91_800_000, 96_000_000, 242_193_529),
    ("chr3", 87_800_000, 94_000_000, 198_295_559),
    ("chr4", 48_200_000, 51_800_000, 190_214_555),
    ("chr5", 46_100_000, 51_400_000, 181_538_259),
    ("chr6", 58_500_000, 62_600_000, 170_805_979),
    ("chr7", 58_100_000, 62_100_000, 159_345_973),
    ("chr8", 43_200_000, 47_200_000, 145_138_636),
    ("chr9", 42_200_000, 45_500_000, 138_394_717),
    ("chr10", 38_000_000, 41_600_000, 133_797_422),
    ("chr11", 51_000_000, 55_800_000, 135_086_622),
    ("chr12", 33_200_000, 37_800_000, 133_275_309),
    ("chr13", 16_500_000, 18_900_000, 114_364_328),
    ("chr14", 16_100_000, 18_200_000, 107_043_718),
    ("chr15", 17_500_000, 20_500_000, 101_991_189),
    ("chr16", 35_300_000, 38_400_000, 90_338_345),
    ("chr17", 22_700_000, 27_400_000, 83_257_441),
    ("chr18", 15_400_000, 21_500_000, 80_373_285),
    ("chr19", 24_200_000, 28_100_000, 58_617_616),
    ("chr20", 25_700_000, 30_400_000, 64_444_167),
    ("chr21", 10_900_000, 13_000_000, 46_709_983),
    ("chr22", 13_700_000, 17_400_000, 50_818_468),
    ("chrX", 58_100_000, 63_800_000, 156_040_895),
    ("chrY", 10_300_000, 10_600_000, 57_227_415),
];

/// The centromere of a chromosome of GRCh38; `None` for chrM and scaffolds.
pub fn centromere(chromosome: &str) -> Option<Centromere> {
    ARMS.iter().find(|a| a.0 == chromosome).map(|a| Centromere {
        start: a.1,
        end: a.2,
    })
}

/// The length of a chromosome of GRCh38 in bases; `None` for chrM and scaffolds.
pub fn chromosome_length(chromosome: &str) -> Option<i64> {
    ARMS.iter().find(|a| a.0 == chromosome).map(|a| a.3)
}

/// The arm on which the middle of `start..=end` lies; the middle of the centromere parts the arms,
/// so that every gene of a chromosome with arms has one. `None` for chrM and scaffolds.
pub fn arm_of(chromosome: &str, start: i64, end: i64) -> Option<Arm> {
    let c = centromere(chromosome)?;
    let middle = (start + end) / 2;
    Some(if middle < (c.start + c.end) / 2 {
        Arm::P
    } else {
        Arm::Q
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_genes_lie_on_their_arms() {
        // TP53 17p13, ERBB2 17q12, EGFR 7p11, MET 7q31, MYC 8q24.
        assert_eq!(arm_of("chr17", 7_661_779, 7_687_550), Some(Arm::P));
        assert_eq!(arm_of("chr17", 39_687_914, 39_730_426), Some(Arm::Q));
        assert_eq!(arm_of("chr7", 55_019_021, 55_211_628), Some(Arm::P));
        assert_eq!(arm_of("chr7", 116_672_196, 116_798_386), Some(Arm::Q));
        assert_eq!(
            arm_of("chr8", 127_735_434, 127_742_951).map(Arm::letter),
            Some('q')
        );
        assert_eq!(arm_of("chrM", 1, 100), None);
    }

    #[test]
    fn arms_agree_with_the_cytobands_where_they_are_present() {
        let Some(path) = crate::genome::shared("genes/hg38_chromosome_arms.tsv") else {
            return;
        };
        let text = std::fs::read_to_string(path).unwrap();
        let mut seen = 0;
        for line in text.lines().skip(1) {
            let f: Vec<&str> = line.split('\t').collect();
            let (start, end): (i64, i64) = (f[2].parse().unwrap(), f[3].parse().unwrap());
            match f[1] {
                "centromere" => assert_eq!(centromere(f[0]), Some(Centromere { start, end })),
                "q" => assert_eq!(chromosome_length(f[0]), Some(end)),
                _ => assert_eq!(start, 0),
            }
            seen += 1;
        }
        assert_eq!(seen, 72);
    }
}
