//! Tables of cells put under one another, tables of genes beside one another.

use std::collections::HashMap;

use indexmap::{IndexMap, IndexSet};

use clcc_data::frame::{Categorical, Column, Frame};

/// The rows of all frames, with every column that any of them has. What a frame lacks is missing in its rows.
pub(super) fn stacked(frames: &[&Frame]) -> Frame {
    let names: IndexSet<&String> = frames.iter().flat_map(|f| f.columns.keys()).collect();
    let columns: IndexMap<String, Column> = names
        .into_iter()
        .map(|name| {
            let parts: Vec<(Option<&Column>, usize)> = frames
                .iter()
                .map(|f| (f.columns.get(name), f.len()))
                .collect();
            (name.clone(), stacked_column(&parts))
        })
        .collect();
    let mut out = Frame::new(frames.iter().flat_map(|f| f.index.clone()).collect());
    out.columns = columns;
    out
}

/// Columns under one another, each with its number of rows. Those of one type keep it; numbers with whole numbers or
/// with nothing are numbers; all else is text from a fixed set.
fn stacked_column(parts: &[(Option<&Column>, usize)]) -> Column {
    macro_rules! all {
        ($kind:ident) => {
            parts
                .iter()
                .map(|(column, _)| match column {
                    Some(Column::$kind(values)) => Some(values.clone()),
                    _ => None,
                })
                .collect::<Option<Vec<_>>>()
                .map(|parts| Column::$kind(parts.concat()))
        };
    }
    if let Some(same) = all!(Str)
        .or_else(|| all!(Bool))
        .or_else(|| all!(I64))
        .or_else(|| all!(F64))
    {
        return same;
    }
    let numeric = |(column, _): &(Option<&Column>, usize)| {
        matches!(column, None | Some(Column::F64(_) | Column::I64(_)))
    };
    if parts.iter().all(numeric) {
        let numbers = |(column, rows): &(Option<&Column>, usize)| match column {
            Some(Column::F64(v)) => v.clone(),
            Some(Column::I64(v)) => v.iter().map(|&n| n as f64).collect(),
            _ => vec![f64::NAN; *rows],
        };
        return Column::F64(parts.iter().flat_map(numbers).collect());
    }
    Column::Category(stacked_texts(parts))
}

/// Categories in the order of the first column that has each.
fn stacked_texts(parts: &[(Option<&Column>, usize)]) -> Categorical {
    let mut categories: IndexSet<String> = IndexSet::new();
    let mut codes = Vec::new();
    let mut code_of = |text: String| match text.is_empty() {
        true => -1,
        false => categories.insert_full(text).0 as i32,
    };
    for (column, rows) in parts {
        match column {
            None => codes.extend(std::iter::repeat_n(-1, *rows)),
            Some(Column::Category(c)) => {
                let new: Vec<i32> = c.categories.iter().cloned().map(&mut code_of).collect();
                let coded = |code: &i32| usize::try_from(*code).map_or(-1, |code| new[code]);
                codes.extend(c.codes.iter().map(coded));
            }
            Some(other) => codes.extend((0..*rows).map(|row| code_of(other.text(row)))),
        }
    }
    let ordered = parts.iter().all(|(column, _)| match column {
        Some(Column::Category(c)) => c.ordered && c.categories.iter().eq(&categories),
        _ => false,
    });
    Categorical {
        ordered,
        codes,
        categories: categories.into_iter().collect(),
    }
}

/// The rows called `names`, with the columns that say the same of a row in all frames that have it, and that all
/// frames have.
pub(super) fn same_of_rows(frames: &[&Frame], names: &[String]) -> Frame {
    let places = places(frames);
    let rows: Vec<Vec<(usize, usize)>> = names
        .iter()
        .map(|name| {
            let of_frame = places.iter().enumerate();
            of_frame
                .filter_map(|(f, rows)| Some((f, *rows.get(name.as_str())?)))
                .collect()
        })
        .collect();
    let starts: Vec<usize> = frames
        .iter()
        .scan(0, |at, f| {
            let start = *at;
            *at += f.len();
            Some(start)
        })
        .collect();
    let mut out = Frame::new(names.to_vec());
    let of_first = frames.first().map(|f| f.columns.keys());
    for name in of_first.into_iter().flatten() {
        let parts: Vec<(Option<&Column>, usize)> = frames
            .iter()
            .map(|f| (f.columns.get(name), f.len()))
            .collect();
        if parts.iter().any(|(column, _)| column.is_none()) {
            continue;
        }
        let column = stacked_column(&parts);
        let same = |owners: &Vec<(usize, usize)>| {
            let mut places = owners.iter().map(|(f, row)| starts[*f] + row);
            let first = places.next();
            first.is_none_or(|first| places.all(|other| same_value(&column, first, other)))
        };
        if rows.iter().all(same) {
            let first: Vec<usize> = rows
                .iter()
                .filter_map(|owners| owners.first().map(|(f, row)| starts[*f] + row))
                .collect();
            out.set(name, column.take(&first));
        }
    }
    out
}

/// How many of the frames have each row.
pub(super) fn owners(frames: &[&Frame], names: &[String]) -> Vec<i64> {
    let places = places(frames);
    let having = |name: &String| {
        places
            .iter()
            .filter(|p| p.contains_key(name.as_str()))
            .count()
    };
    names.iter().map(|name| having(name) as i64).collect()
}

/// The row of each name, for each frame.
fn places<'a>(frames: &[&'a Frame]) -> Vec<HashMap<&'a str, usize>> {
    let of_frame = |f: &&'a Frame| f.index.iter().map(String::as_str).zip(0..).collect();
    frames.iter().map(of_frame).collect()
}

/// Whether two rows have the same value; missing values are the same.
fn same_value(column: &Column, a: usize, b: usize) -> bool {
    match column {
        Column::Str(v) => v[a] == v[b],
        Column::Category(c) => c.codes[a] == c.codes[b],
        Column::F64(v) => v[a] == v[b] || (v[a].is_nan() && v[b].is_nan()),
        Column::I64(v) => v[a] == v[b],
        Column::Bool(v) => v[a] == v[b],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(index: &[&str], columns: &[(&str, Column)]) -> Frame {
        let mut frame = Frame::new(index.iter().map(|s| s.to_string()).collect());
        for (name, column) in columns {
            frame.set(name, column.clone());
        }
        frame
    }

    fn category(values: &[&str]) -> Column {
        Column::Category(Categorical::from_values(values))
    }

    #[test]
    fn columns_keep_their_type_and_what_is_lacking_is_missing() {
        let a = frame(
            &["a", "b"],
            &[
                ("n", Column::I64(vec![1, 2])),
                ("both", Column::F64(vec![0.5, 1.5])),
                ("flag", Column::Bool(vec![true, false])),
                ("kind", category(&["T", ""])),
                ("whole", Column::I64(vec![7, 8])),
            ],
        );
        let b = frame(
            &["c"],
            &[
                ("both", Column::I64(vec![3])),
                ("kind", category(&["B"])),
                ("whole", Column::I64(vec![9])),
                ("late", Column::Str(vec!["x".into()])),
            ],
        );
        let out = stacked(&[&a, &b]);
        assert_eq!(out.index, ["a", "b", "c"]);
        let names: Vec<&String> = out.columns.keys().collect();
        assert_eq!(names, ["n", "both", "flag", "kind", "whole", "late"]);
        let Column::F64(n) = &out.columns["n"] else {
            panic!("whole numbers with gaps are numbers")
        };
        assert!(n[..2] == [1.0, 2.0] && n[2].is_nan());
        assert_eq!(out.columns["both"], Column::F64(vec![0.5, 1.5, 3.0]));
        assert_eq!(out.texts("flag").unwrap(), ["True", "False", ""]);
        assert_eq!(out.texts("kind").unwrap(), ["T", "", "B"]);
        assert_eq!(out.columns["whole"], Column::I64(vec![7, 8, 9]));
        assert_eq!(out.texts("late").unwrap(), ["", "", "x"]);
    }

    #[test]
    fn a_column_of_genes_stays_if_it_says_the_same_in_all() {
        let a = frame(
            &["g1", "g2", "g3"],
            &[
                ("start", Column::I64(vec![1, 2, 3])),
                ("slope", Column::F64(vec![0.5, f64::NAN, 1.0])),
                ("own", Column::F64(vec![1.0, 1.0, 1.0])),
                ("only", Column::I64(vec![1, 1, 1])),
            ],
        );
        let b = frame(
            &["g3", "g2", "g4"],
            &[
                ("start", Column::I64(vec![3, 2, 4])),
                ("slope", Column::F64(vec![1.0, f64::NAN, 2.0])),
                ("own", Column::F64(vec![1.0, 2.0, 1.0])),
            ],
        );
        let names = |names: &[&str]| names.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        let common = same_of_rows(&[&a, &b], &names(&["g2", "g3"]));
        assert_eq!(
            common.columns.keys().collect::<Vec<_>>(),
            ["start", "slope"]
        );
        assert_eq!(common.columns["start"], Column::I64(vec![2, 3]));
        let all = names(&["g1", "g2", "g3", "g4"]);
        let any = same_of_rows(&[&a, &b], &all);
        assert_eq!(any.columns["start"], Column::I64(vec![1, 2, 3, 4]));
        assert_eq!(owners(&[&a, &b], &all), [1, 2, 2, 1]);
    }
}
