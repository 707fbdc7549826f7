//! Each source's way to write gene positions, and what is wrong with a file.

use std::io::Write as _;

use super::*;

type Place = (String, String, i64, i64);

fn table(text: &str) -> StageResult<GeneTable> {
    parse(Path::new("genes"), text)
}

fn read(text: &str) -> StageResult<Vec<Place>> {
    let genes = table(text)?.genes.into_iter();
    Ok(genes
        .map(|g| (g.name, g.chromosome, g.start.get(), g.end.get()))
        .collect())
}

fn row(name: &str, chromosome: &str, start: i64, end: i64) -> Place {
    (name.into(), chromosome.into(), start, end)
}

#[test]
fn tables_read_with_and_without_header_and_prefix() {
    let expected = vec![row("A", "chr1", 5, 9), row("B", "chrX", 1, 2)];
    for text in [
        "A\tchr1\t5\t9\nB\tchrX\t1\t2\n",
        "gene\tchr\tstart\tend\nA\t1\t5\t9\nB\tX\t1\t2",
        "chromosome,start,end,symbol,x\n1,5.0,9.0,A,\n\"X\",1,2,\"B\",z\n",
        "# note\nA 1 5 9\r\n\r\nB X 1 2\r\n",
        "\tchromosome\tstart\tend\nA\tchr1\t5\t9\nB\tchrX\t1\t2\n",
        "\u{feff}gene;chr;start;end\r\nA;1;5;9\r\nB;X;1;2\r\n",
        "Gene,Chr,Start,Stop\nA,1,5,9\n\nB,X,1,2\n",
        "# gene\tchr\tstart\tend\nA\t1\t5\t9\nB\tX\t1\t2\n",
        "A,1.0,5,9\nB,X,1e0,2\n",
    ] {
        assert_eq!(read(text).unwrap(), expected, "{text}");
    }
}

#[test]
fn a_pandas_table_with_gaps_counts_the_genes_without_a_position() {
    let text = ",gene_ids,chromosome,start,end\n\
        OR4F5,ENSG00000186092,,,\n\
        ATAD3C,ENSG00000215915.3,chr1,1449689.0,1470158.0\n\
        NOWHERE,,nan,NaN,<NA>\n\
        TPRG1L,ENSG00000158109,1.0,3625015.0,3630127.0\n";
    let found = table(text).unwrap();
    assert_eq!(found.n_left_out, 2);
    assert_eq!(found.genes[0].id.as_deref(), Some("ENSG00000215915"));
    assert_eq!(
        read(text).unwrap(),
        [
            row("ATAD3C", "chr1", 1_449_689, 1_470_158),
            row("TPRG1L", "chr1", 3_625_015, 3_630_127)
        ]
    );
    // The same without a header begins with a gene without a position.
    let bare = "OR4F5,,,\nA,chr1,5,9\n";
    assert_eq!(read(bare).unwrap(), [row("A", "chr1", 5, 9)]);
    assert_eq!(table(bare).unwrap().n_left_out, 1);
    // What the program's own export leaves for genes without a position.
    let own = ",chromosome,start,end,mt\nA,chr1,5,9,False\nB,,-1,-1,False\n";
    assert_eq!(read(own).unwrap(), [row("A", "chr1", 5, 9)]);
}

#[test]
fn an_index_of_numbers_or_ids_is_no_name() {
    let counted = ",gene,chr,start,end\n0,A,1,5,9\n1,B,X,1,2\n";
    assert_eq!(read(counted).unwrap()[1].0, "B");
    let again = "Unnamed: 0,gene_ids,chr,start,end\nA-1,ENSG00000186092,1,5,9\n";
    assert_eq!(read(again).unwrap()[0].0, "A-1");
    let by_id = ",gene_id,chr,start,end\n0,ENSG00000186092,1,5,9\n";
    assert_eq!(read(by_id).unwrap()[0].0, "ENSG00000186092");
    // An index of ids, and the symbols under a name of their own.
    let indexed = table(",feature_name,chr,start,end\nENSG00000186092,A,1,5,9\n").unwrap();
    let gene = &indexed.genes[0];
    assert_eq!(
        (gene.name.as_str(), gene.id.as_deref()),
        ("A", Some("ENSG00000186092"))
    );
    // A table of ids alone is found by id, whatever the version.
    let alone = table("ENSG00000186092.7\t1\t5\t9\n").unwrap();
    assert_eq!(alone.genes[0].id.as_deref(), Some("ENSG00000186092"));
}

#[test]
fn biomart_reads_in_its_three_spellings() {
    let expected = vec![
        row("OR4F5", "chr1", 65_419, 71_585),
        row("ENSG00000227232", "chr1", 14_404, 29_570),
    ];
    let web = "Gene stable ID,Gene stable ID version,Gene name,Chromosome/scaffold name,Gene start (bp),Gene end (bp),Gene type,Gene description\n\
        ENSG00000186092,ENSG00000186092.7,OR4F5,1,65419,71585,protein_coding,\"olfactory receptor, family 4 [Source:HGNC; Acc:14825]\"\n\
        ENSG00000227232,ENSG00000227232.5,,1,14404,29570,unprocessed_pseudogene,\"\"\n";
    let older = "Ensembl Gene ID\tAssociated Gene Name\tChromosome Name\tGene Start (bp)\tGene End (bp)\n\
        ENSG00000186092\tOR4F5\t1\t65419\t71585\nENSG00000227232\t\t1\t14404\t29570\n";
    let api = "ensembl_gene_id\texternal_gene_name\tchromosome_name\tstart_position\tend_position\n\
        ENSG00000186092\tOR4F5\t1\t65419\t71585\nENSG00000227232\t\t1\t14404\t29570\n";
    let r = "\"ensembl_gene_id\" \"hgnc_symbol\" \"chromosome_name\" \"start_position\" \"end_position\"\n\
        \"1\" \"ENSG00000186092\" \"OR4F5\" \"1\" 65419 71585\n\"2\" \"ENSG00000227232\" \"\" \"1\" 14404 29570\n";
    for text in [web, older, api, r] {
        assert_eq!(read(text).unwrap(), expected, "{text}");
        let id = table(text).unwrap().genes[0].id.clone();
        assert_eq!(id.as_deref(), Some("ENSG00000186092"), "{text}");
    }
    assert_eq!(
        table(web).unwrap().genes[1].class,
        Some(GeneClass::Pseudogene)
    );
    // Columns in the order in which they were asked for, and a row for each transcript.
    let other = "Chromosome/scaffold name\tGene start (bp)\tGene end (bp)\tTranscript stable ID\tTranscript start (bp)\tGene stable ID\n\
        1\t65419\t71585\tENST00000641515\t65419\tENSG00000186092\n\
        1\t65419\t71585\tENST00000335137\t69055\tENSG00000186092\n";
    assert_eq!(
        read(other).unwrap(),
        [row("ENSG00000186092", "chr1", 65_419, 71_585)]
    );
    // Without ids a gene without a symbol cannot be looked up.
    let symbols = "hgnc_symbol\tchromosome_name\tstart_position\tend_position\nOR4F5\t1\t65419\t71585\n\t1\t14404\t29570\n";
    assert_eq!(read(symbols).unwrap(), expected[..1]);
    assert_eq!(table(symbols).unwrap().n_left_out, 1);
}

#[test]
fn row_names_of_r_are_the_genes() {
    let expected = vec![row("A", "chr1", 100_000, 200_000), row("B", "chrX", 1, 2)];
    for text in [
        "chr\tstart\tend\nA\tchr1\t1e+05\t2e+05\nB\tchrX\t1\t2\n",
        "\"chr\" \"start\" \"end\"\n\"A\" \"chr1\" 1e+05 2e+05\n\"B\" \"chrX\" 1 2\n",
        "\"\",\"seqnames\",\"start\",\"end\"\n\"A\",\"chr1\",100000,200000\n\"B\",\"chrX\",1,2\n",
        // Numbers for row names, and a column of genes.
        "symbol\tchr\tstart\tend\n1\tA\tchr1\t100000\t200000\n2\tB\tchrX\t1\t2\n",
        "seqnames,start,end,width,strand,gene_name\n1,chr1,100000,200000,100001,+,A\n2,chrX,1,2,2,-,B\n",
    ] {
        assert_eq!(read(text).unwrap(), expected, "{text}");
    }
    // A separator at the end of each row is no further column.
    assert_eq!(
        read("gene,chr,start,end\nA,1,5,9,\nB,1,7,8,\n").unwrap()[0],
        row("A", "chr1", 5, 9)
    );
}

#[test]
fn starts_of_a_bed_count_from_zero() {
    let expected = vec![row("A", "chr1", 1, 9), row("B", "chrX", 101, 200)];
    for text in [
        "chr1\t0\t9\tA\nchrX\t100\t200\tB\n",
        "browser position chr1:1-9\ntrack name=\"genes of mine\" description=\"x\"\nchr1\t0\t9\tA\t7\t+\nchrX\t100\t200\tB\t7\t-\n",
        "#chrom\tchromStart\tchromEnd\tname\nchr1\t0\t9\tA\nchrX\t100\t200\tB\n",
        "chr1 0 9 A\nchrX 100 200 B\n",
        // The ninth column makes no GTF of it, nor do names of numbers.
        "chr1\t0\t9\tA\t0\t+\t0\t9\t0\nchrX\t100\t200\tB\t0\t+\t100\t200\t0\n",
    ] {
        assert_eq!(read(text).unwrap(), expected, "{text}");
    }
    let numbered = "chr1\t0\t9\t7157\t0\t+\t0\t9\t0\n";
    assert_eq!(read(numbered).unwrap(), [row("7157", "chr1", 1, 9)]);
    // A gene order whose second column is a number is none.
    assert_eq!(
        read("TP53\t17\t7661779\t7687550\n").unwrap(),
        [row("TP53", "chr17", 7_661_779, 7_687_550)]
    );
    let message = read("chr1\t0\t9\n").unwrap_err().to_string();
    assert_eq!(
        message,
        "`genes`, line 1: expected at least 4 fields (a BED has the gene in its fourth), found 3"
    );
    // With a header, the name of the file says so.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("genes.bed");
    std::fs::write(&path, "chrom\tstart\tend\tname\nchr1\t0\t9\tA\n").unwrap();
    assert_eq!(GeneTable::read(&path).unwrap().genes[0].start.get(), 1);
}

#[test]
fn two_columns_before_the_chromosome_are_id_and_name() {
    let features = "ENSG00000186092\tOR4F5\tGene Expression\tchr1\t65418\t71585\n\
        ENSG00000284733\tOR4F29\tGene Expression\tchr1\t450739\t451678\n";
    let genes = table(features).unwrap().genes;
    assert_eq!(
        (genes[0].name.as_str(), genes[0].start.get()),
        ("OR4F5", 65_418)
    );
    assert_eq!(genes[1].id.as_deref(), Some("ENSG00000284733"));
    assert_eq!(read("0,A,chr1,5,9\n1,B,chr1,7,8\n").unwrap()[1].0, "B");
}

#[test]
fn gtf_gives_gene_lines_only() {
    let text = "#!genome-build GRCh38.p14\n\
        1\thavana\tgene\t11\t20\t.\t+\t.\tgene_id \"ENSG01.5\"; gene_name \"A; B\"; gene_biotype \"protein_coding\";\n\
        1\thavana\texon\t11\t15\t.\t+\t.\tgene_id \"ENSG01.5\"; gene_name \"A; B\";\n\
        MT\tx\tgene\t3\t4\t.\t+\t.\tgene_id \"ENSG02.1\"; level 2;\n";
    assert_eq!(
        read(text).unwrap(),
        vec![row("A; B", "chr1", 11, 20), row("ENSG02", "chrM", 3, 4)]
    );
    let found = table(text).unwrap();
    assert_eq!(found.genes[0].id.as_deref(), Some("ENSG01"));
    assert_eq!(found.genes[0].class, Some(GeneClass::ProteinCoding));
    assert_eq!(found.assembly, Some(Assembly::GRCh38));
}

#[test]
fn gff3_of_ensembl_gencode_and_ncbi() {
    let ensembl = "##gff-version 3\n#!genome-build GRCm39\n\
        1\tGRCm39\tchromosome\t1\t195154279\t.\t.\t.\tID=chromosome:1\n\
        ###\n\
        1\thavana\tgene\t11\t20\t.\t+\t.\tID=gene:ENSMUSG00000051951;Name=Xkr4;biotype=protein_coding;gene_id=ENSMUSG00000051951;version=6\n\
        1\thavana\tmRNA\t11\t15\t.\t+\t.\tID=transcript:ENSMUST01;Parent=gene:ENSMUSG00000051951;Name=Xkr4-201\n\
        1\thavana\tncRNA_gene\t31\t40\t.\t-\t.\tID=gene:ENSMUSG00000102693;biotype=TEC\n\
        MT\tx\tpseudogene\t3\t4\t.\t+\t.\tID=gene:ENSMUSG00000064842;Name=P1;biotype=pseudogene\n\
        ##FASTA\n>1\nACGT\n";
    let found = table(ensembl).unwrap();
    assert_eq!(
        read(ensembl).unwrap(),
        [
            row("Xkr4", "chr1", 11, 20),
            row("ENSMUSG00000102693", "chr1", 31, 40),
            row("P1", "chrM", 3, 4)
        ]
    );
    assert_eq!(found.assembly, Some(Assembly::GRCm39));
    assert_eq!(found.genes[0].id.as_deref(), Some("ENSMUSG00000051951"));
    assert_eq!(found.genes[2].class, Some(GeneClass::Pseudogene));
    let gencode = "##gff-version 3\n##description: evidence-based annotation of the human genome (GRCh37), version 19\n\
        chr1\tHAVANA\tgene\t11869\t14412\t.\t+\t.\tID=ENSG00000223972.4;gene_id=ENSG00000223972.4;gene_type=pseudogene;gene_name=DDX11L1\n\
        chr1\tHAVANA\ttranscript\t11869\t14409\t.\t+\t.\tID=ENST00000456328.2;gene_id=ENSG00000223972.4;gene_name=DDX11L1\n";
    let found = table(gencode).unwrap();
    assert_eq!(found.assembly, Some(Assembly::GRCh37));
    assert_eq!(found.genes.len(), 1);
    assert_eq!(found.genes[0].id.as_deref(), Some("ENSG00000223972"));
    let ncbi = "##gff-version 3\n\
        NC_000017.11\tRefSeq\tregion\t1\t83257441\t.\t+\t.\tID=NC_000017.11:1..83257441;Name=17\n\
        NC_000017.11\tBestRefSeq\tgene\t7668421\t7687490\t.\t-\t.\tID=gene-TP53;Dbxref=GeneID:7157;Name=TP53;gbkey=Gene;gene=TP53;gene_biotype=protein_coding\n";
    assert_eq!(
        read(ncbi).unwrap(),
        [row("TP53", "chr17", 7_668_421, 7_687_490)]
    );
}

#[test]
fn a_comment_of_two_assemblies_declares_none() {
    let table = table("# lifted from hg19 to hg38\nA\t1\t5\t9\n").unwrap();
    assert_eq!(table.assembly, None);
}

#[test]
fn broken_lines_are_named() {
    let message = |text: &str| read(text).unwrap_err().to_string();
    assert_eq!(
        message("A\tchr1\t5\t9\nB\tchr1\tx\t9\n"),
        "`genes`, line 2: start: expected a whole number, found `x`"
    );
    assert_eq!(
        message("A\tchr1\t5\t9\n\nB\tchr1\t5\n"),
        "`genes`, line 3: expected at least 4 fields, found 3"
    );
    assert_eq!(
        message("A\tchr1\t9\t5\n"),
        "`genes`, line 1: gene `A` ends at 5, before its start at 9"
    );
    assert_eq!(
        message("A\tchr1\t5.5\t9\nB\tchr1\t5\t9\n"),
        "`genes`, line 1: expected a gene, a chromosome, a start and an end, or a header that names them; \
         no column is the chromosome or the start or the end: found `A`, `chr1`, `5.5`, `9`"
    );
}

#[test]
fn a_header_that_is_not_understood_is_refused_with_what_is_expected() {
    for (text, missing) in [
        (
            "Gen;Chromosom;Anfang;Ende\nA;1;5;9\n",
            "the chromosome or the start or the end",
        ),
        (
            "gene\tchr\tbegin\tend\nA\t1\t5\t9\n",
            "no column is the start:",
        ),
        (
            "chr\tstart\tend\tlabel\n1\t5\t9\tA\n",
            "no column is the gene:",
        ),
        ("gene\nA\nB\n", "the chromosome or the start or the end"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.to_string().contains(missing), "{error}");
        assert!(error.hint().unwrap().contains("`start_position`"));
    }
}

#[test]
fn gzip_other_encodings_and_empty_files() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let mut z = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    z.write_all("\u{feff}gene\tchr\tstart\tend\r\nA\t1\t5\t9\r\n".as_bytes())
        .unwrap();
    let packed = write("genes.tsv.gz", &z.finish().unwrap());
    assert_eq!(
        GeneTable::read(&packed).unwrap().genes[0].chromosome,
        "chr1"
    );
    let old = write("mac", b"gene,chr,start,end\rA,1,5,9\rB,2,5,9\r");
    assert_eq!(GeneTable::read(&old).unwrap().genes.len(), 2);
    for (bytes, part) in [
        (&b"# nothing\n"[..], "found none"),
        (
            b"gene,chr,start,end\nA,,,\n",
            "found 1 rows without a position",
        ),
        (b"\xff\xfeA\0\t\0", "found UTF-16"),
        (b"PK\x03\x04...", "found a zip archive or a spreadsheet"),
        (
            b"A\tchr1\t5\t9\nB\xe9\tchr1\t5\t9\n",
            "byte 12: expected UTF-8 text",
        ),
    ] {
        let error = GeneTable::read(&write("bad", bytes)).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn real_gtf_and_the_builtin_table_agree() {
    let Some(path) = clcc_testing::shared_data("genes/hg38_gene_only.gtf.gz") else {
        return;
    };
    let gtf = GeneTable::read(&path).unwrap();
    let builtin = GeneTable::grch38();
    let ids: Vec<&str> = builtin
        .genes
        .iter()
        .filter_map(|g| g.id.as_deref())
        .collect();
    let at = gtf.resolve(&ids, crate::genome::Duplicates::First);
    for (gene, at) in builtin.genes.iter().zip(at) {
        assert_eq!(
            gene,
            &gtf.genes[at.expect("every built-in gene is in the GTF")]
        );
    }
}
