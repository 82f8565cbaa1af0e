//! Reads the tables of wire facts.

use std::{collections::BTreeMap, path::Path};

/// A line of a table by column name.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// Where it stands, for messages.
    pub(crate) place: String,
    cells: BTreeMap<String, String>,
}

impl Line {
    /// A cell; the column must exist.
    pub(crate) fn get(&self, column: &str) -> &str {
        self.cells.get(column).unwrap_or_else(|| panic!("{}: no column {column}", self.place))
    }

    /// Whether a cell says yes.
    pub(crate) fn yes(&self, column: &str) -> bool {
        match self.get(column) {
            "yes" => true,
            "" | "no" => false,
            other => panic!("{}: {column} is {other:?}", self.place),
        }
    }

    /// The words of a cell, separated by commas.
    pub(crate) fn list(&self, column: &str) -> Vec<&str> {
        self.get(column).split(',').filter(|word| !word.is_empty()).collect()
    }
}

/// All lines of a table. The comments on top must say where the facts come from.
pub(crate) fn read(name: &str) -> Vec<Line> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("upstream").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    parse(name, &text)
}

fn parse(name: &str, text: &str) -> Vec<Line> {
    assert!(text.starts_with("# Source: "), "{name} does not say where its facts come from");
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.starts_with('#'));
    let (_, header) = lines.next().unwrap_or_else(|| panic!("{name} is empty"));
    let columns: Vec<_> = header.split('\t').collect();
    let rows: Vec<_> = lines
        .map(|(number, line)| {
            let cells: Vec<_> = line.split('\t').collect();
            let place = format!("{name}:{}", number + 1);
            assert_eq!(cells.len(), columns.len(), "{place}: {line}");
            let cells = columns.iter().zip(cells).map(|(column, cell)| ((*column).to_owned(), cell.to_owned())).collect();
            Line { place, cells }
        })
        .collect();
    assert!(!rows.is_empty(), "{name} has no rows");
    rows
}
