//! Aligned tables: columns at least six wide, three blanks between them, nothing after the last one.

use std::fmt;

/// A table with a heading line.
#[derive(Debug, Clone)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

/// Blanks between columns.
const PADDING: usize = 3;
/// Width of a column with its padding, at least.
const NARROWEST: usize = 6;

impl Table {
    /// A table with these column headings and no rows.
    pub fn new<S: Into<String>>(headings: impl IntoIterator<Item = S>) -> Self {
        Self { rows: vec![headings.into_iter().map(Into::into).collect()] }
    }

    /// Adds a row.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        // A line break or a control character in a cell (a label of somebody's object) must not make other rows.
        let clean = |cell: S| -> String { cell.into().chars().map(|c| if c.is_control() { ' ' } else { c }).collect() };
        self.rows.push(cells.into_iter().map(clean).collect());
    }

    /// Whether there are only headings.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.len() < 2
    }

    fn widths(&self) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widest = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell: &String| cell.chars().count()).max()
        };
        (0..columns).map(|column| (widest(column).unwrap_or(0) + PADDING).max(NARROWEST)).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', width - cell.chars().count()));
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}
