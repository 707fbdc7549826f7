//! Subunits of complexes, as sets.
//!
//! Proteins of a complex that has all its other subunits are kept, and what is too many is broken down: so the subunits of
//! these complexes do not follow their gene's copy number as **proteins** (Stingele et al. 2012, Molecular Systems Biology
//! 8:608; Dephoure et al. 2014, eLife 3:e03023; Goncalves et al. 2017, Cell Systems 5:386; Schukken & Sheltzer 2022, Genome
//! Research 32:1254). Their **RNA** does, by and large. So here they are a control more than a hope: a list of genes that
//! escape as RNA should not be full of them, and where it is, look at counts and normalisation first, for these are among
//! the most expressed genes.
//!
//! Subunits are facts: symbols as approved by HGNC (CC0), earlier symbols of ATP synthase beside them. Chosen by hand, large
//! and well-defined complexes only; written for this program and taken from no database of complexes.

use super::GeneSet;

/// Collection of these sets.
pub(super) const COLLECTION: &str = "complexes";

const COMPLEXES: [(&str, &str); 15] = [
    (
        "cytosolic ribosome, large subunit",
        "RPL3 RPL4 RPL5 RPL6 RPL7 RPL7A RPL8 RPL9 RPL10 RPL10A RPL11 RPL12 RPL13 RPL13A RPL14 \
         RPL15 RPL17 RPL18 RPL18A RPL19 RPL21 RPL22 RPL23 RPL23A RPL24 RPL26 RPL27 RPL27A \
         RPL28 RPL29 RPL30 RPL31 RPL32 RPL34 RPL35 RPL35A RPL36 RPL36A RPL37 RPL37A RPL38 \
         RPL39 RPL41 RPLP0 RPLP1 RPLP2 UBA52",
    ),
    (
        "cytosolic ribosome, small subunit",
        "RPSA RPS2 RPS3 RPS3A RPS4X RPS4Y1 RPS5 RPS6 RPS7 RPS8 RPS9 RPS10 RPS11 RPS12 RPS13 \
         RPS14 RPS15 RPS15A RPS16 RPS17 RPS18 RPS19 RPS20 RPS21 RPS23 RPS24 RPS25 RPS26 RPS27 \
         RPS27A RPS28 RPS29 FAU RACK1",
    ),
    (
        "mitochondrial ribosome, large subunit",
        "MRPL1 MRPL2 MRPL3 MRPL4 MRPL9 MRPL10 MRPL11 MRPL12 MRPL13 MRPL14 MRPL15 MRPL16 \
         MRPL17 MRPL18 MRPL19 MRPL20 MRPL21 MRPL22 MRPL23 MRPL24 MRPL27 MRPL28 MRPL30 MRPL32 \
         MRPL33 MRPL34 MRPL35 MRPL36 MRPL37 MRPL38 MRPL39 MRPL40 MRPL41 MRPL42 MRPL43 MRPL44 \
         MRPL45 MRPL46 MRPL47 MRPL48 MRPL49 MRPL50 MRPL51 MRPL52 MRPL53 MRPL54 MRPL55 MRPL57 \
         MRPL58",
    ),
    (
        "mitochondrial ribosome, small subunit",
        "MRPS2 MRPS5 MRPS6 MRPS7 MRPS9 MRPS10 MRPS11 MRPS12 MRPS14 MRPS15 MRPS16 MRPS17 \
         MRPS18A MRPS18B MRPS18C MRPS21 MRPS22 MRPS23 MRPS24 MRPS25 MRPS26 MRPS27 MRPS28 \
         MRPS30 MRPS31 MRPS33 MRPS34 MRPS35",
    ),
    (
        "26S proteasome",
        "PSMA1 PSMA2 PSMA3 PSMA4 PSMA5 PSMA6 PSMA7 PSMB1 PSMB2 PSMB3 PSMB4 PSMB5 PSMB6 PSMB7 \
         PSMC1 PSMC2 PSMC3 PSMC4 PSMC5 PSMC6 PSMD1 PSMD2 PSMD3 PSMD4 PSMD6 PSMD7 PSMD8 PSMD11 \
         PSMD12 PSMD13 PSMD14 ADRM1 SEM1",
    ),
    ("chaperonin CCT", "TCP1 CCT2 CCT3 CCT4 CCT5 CCT6A CCT7 CCT8"),
    ("prefoldin", "VBP1 PFDN1 PFDN2 PFDN4 PFDN5 PFDN6"),
    (
        "respiratory complex I",
        "NDUFA1 NDUFA2 NDUFA3 NDUFA5 NDUFA6 NDUFA7 NDUFA8 NDUFA9 NDUFA10 NDUFA11 NDUFA12 \
         NDUFA13 NDUFAB1 NDUFB1 NDUFB2 NDUFB3 NDUFB4 NDUFB5 NDUFB6 NDUFB7 NDUFB8 NDUFB9 \
         NDUFB10 NDUFB11 NDUFC1 NDUFC2 NDUFS1 NDUFS2 NDUFS3 NDUFS4 NDUFS5 NDUFS6 NDUFS7 \
         NDUFS8 NDUFV1 NDUFV2 NDUFV3",
    ),
    (
        "ATP synthase",
        "ATP5F1A ATP5F1B ATP5F1C ATP5F1D ATP5F1E ATP5PB ATP5PD ATP5PF ATP5PO ATP5MC1 ATP5MC2 \
         ATP5MC3 ATP5ME ATP5MF ATP5MG ATP5A1 ATP5B ATP5C1 ATP5D ATP5E ATP5F1 ATP5H ATP5J \
         ATP5O ATP5G1 ATP5G2 ATP5G3 ATP5I ATP5J2 ATP5L",
    ),
    (
        "COP9 signalosome",
        "GPS1 COPS2 COPS3 COPS4 COPS5 COPS6 COPS7A COPS7B COPS8",
    ),
    (
        "eIF3",
        "EIF3A EIF3B EIF3C EIF3CL EIF3D EIF3E EIF3F EIF3G EIF3H EIF3I EIF3J EIF3K EIF3L EIF3M",
    ),
    ("MCM helicase", "MCM2 MCM3 MCM4 MCM5 MCM6 MCM7"),
    ("Sm ring", "SNRPB SNRPD1 SNRPD2 SNRPD3 SNRPE SNRPF SNRPG"),
    (
        "exosome",
        "EXOSC1 EXOSC2 EXOSC3 EXOSC4 EXOSC5 EXOSC6 EXOSC7 EXOSC8 EXOSC9 EXOSC10 DIS3",
    ),
    (
        "coatomer",
        "ARCN1 COPA COPB1 COPB2 COPE COPG1 COPG2 COPZ1 COPZ2",
    ),
];

/// All of them.
pub(super) fn sets() -> Vec<GeneSet> {
    let set = |(name, genes): (&str, &str)| GeneSet {
        collection: COLLECTION.to_string(),
        name: name.to_string(),
        genes: genes.split_whitespace().map(String::from).collect(),
    };
    COMPLEXES.into_iter().map(set).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use clcc_data::genome::GeneTable;

    #[test]
    fn subunits_are_genes_of_one_complex_each() {
        let table = GeneTable::grch38();
        let known: std::collections::HashSet<&str> =
            table.genes.iter().map(|g| g.name.as_str()).collect();
        let mut of: BTreeMap<String, String> = BTreeMap::new();
        for set in sets() {
            let n_known = set
                .genes
                .iter()
                .filter(|g| known.contains(g.as_str()))
                .count();
            // Earlier symbols, and genes on no assembled chromosome, are not in the table.
            let least = if set.name == "ATP synthase" {
                0.45
            } else {
                0.9
            };
            let share = n_known as f64 / set.genes.len() as f64;
            assert!(share >= least, "{}: {share}", set.name);
            for gene in set.genes {
                let other = of.insert(gene.clone(), set.name.clone());
                assert_eq!(other, None, "{gene} of {}", set.name);
            }
        }
        // 80 proteins of the cytosolic ribosome: RPS4 by two genes, of which one is on Y.
        let ribosome = of.values().filter(|c| c.starts_with("cytosolic")).count();
        assert_eq!(ribosome, 81);
    }
}
