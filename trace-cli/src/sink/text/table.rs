//! Columns that line up, whatever is in them.

use std::io::{self, Write};

use anstyle::Style;
use unicode_width::UnicodeWidthStr as _;

use super::paint::{DIM, PLAIN, Paint};

/// Between columns.
const GAP: &str = "  ";

/// One field.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            style: PLAIN,
        }
    }

    pub(super) fn styled(self, style: Style) -> Self {
        Self { style, ..self }
    }
}

/// Which side of its column a field keeps to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Align {
    Left,
    Right,
}

/// Rows, each with lines below it that keep to no column.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<(Vec<Cell>, Vec<String>)>,
}

impl Table {
    pub(super) fn new(columns: &[(&'static str, Align)]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    pub(super) fn row(&mut self, cells: Vec<Cell>, below: Vec<String>) {
        self.rows.push((cells, below));
    }

    /// Columns taken by all of it, `GAP`s included.
    pub(super) fn width(&self) -> usize {
        self.widths().iter().sum::<usize>() + GAP.len() * self.columns.len().saturating_sub(1)
    }

    fn widths(&self) -> Vec<usize> {
        self.columns
            .iter()
            .enumerate()
            .map(|(i, (title, _))| {
                let fields = self.rows.iter().filter_map(|(cells, _)| cells.get(i));
                fields
                    .map(|cell| cell.text.width())
                    .max()
                    .unwrap_or(0)
                    .max(title.width())
            })
            .collect()
    }

    /// Writes it, each line behind `indent`, with titles when there are any.
    pub(super) fn write(&self, out: &mut dyn Write, paint: Paint, indent: &str) -> io::Result<()> {
        let widths = self.widths();
        if self.columns.iter().any(|(title, _)| !title.is_empty()) {
            let titles: Vec<Cell> = self
                .columns
                .iter()
                .map(|(title, _)| Cell::new(*title).styled(DIM))
                .collect();
            self.line(out, paint, indent, &titles, &widths)?;
        }
        for (cells, below) in &self.rows {
            self.line(out, paint, indent, cells, &widths)?;
            for line in below {
                writeln!(out, "{indent}{}", paint.with(DIM, line))?;
            }
        }
        Ok(())
    }

    fn line(
        &self,
        out: &mut dyn Write,
        paint: Paint,
        indent: &str,
        cells: &[Cell],
        widths: &[usize],
    ) -> io::Result<()> {
        // Spaces wait until something follows them: no line ends in one.
        let mut spaces = indent.len();
        for ((cell, width), (_, align)) in cells.iter().zip(widths).zip(&self.columns) {
            let missing = width - cell.text.width();
            let (before, after) = if *align == Align::Right {
                (missing, 0)
            } else {
                (0, missing)
            };
            if !cell.text.is_empty() {
                write!(
                    out,
                    "{:1$}{2}",
                    "",
                    spaces + before,
                    paint.with(cell.style, &cell.text)
                )?;
                spaces = 0;
                spaces += after + GAP.len();
            } else {
                spaces += width + GAP.len();
            }
        }
        writeln!(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_line_up_by_their_width_on_screen() {
        let mut table = Table::new(&[
            ("NAME", Align::Left),
            ("TIME", Align::Right),
            ("", Align::Left),
        ]);
        table.row(
            vec![Cell::new("a"), Cell::new("1.00 µs"), Cell::new("█")],
            vec!["  below".into()],
        );
        table.row(
            vec![Cell::new("longer"), Cell::new("5 ns"), Cell::new("")],
            vec![],
        );
        let mut out = Vec::new();
        table
            .write(&mut out, Paint::new(false), " ")
            .expect("a vector takes everything");
        let expected = " NAME       TIME\n a       1.00 µs  █\n   below\n longer     5 ns\n";
        assert_eq!(String::from_utf8(out).expect("text"), expected);
        assert_eq!(table.width(), 18);
    }
}
