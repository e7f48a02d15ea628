//! A row of SQLite, copied out of it: it outlives the statement and goes to other threads.

use rusqlite::types::ValueRef;
use rusqlite::{Error, Row, Statement};
use std::sync::Arc;

/// The names of the columns of a query, for all of its rows.
#[derive(Clone)]
pub(super) struct Names(Arc<str>);

impl Names {
    pub(super) fn of(statement: &Statement<'_>) -> Self {
        // No column has the separator in its name: all are literals of Weir's.
        let names: Vec<&str> = statement.column_names().collect();
        Self(names.join("\n").into())
    }

    fn position(&self, column: &str) -> Option<usize> {
        self.0.split('\n').position(|name| name == column)
    }
}

/// A row with its values.
pub(crate) struct SqliteRow {
    names: Names,
    cells: Box<[Cell]>,
}

/// A value of one of SQLite's types.
pub(crate) enum Cell {
    Null,
    Integer(i64),
    Fraction,
    Text(Box<str>),
    Bytes(Box<[u8]>),
}

/// Why a value is not what was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Mismatch {
    /// The query has none of that name.
    #[error("there is no such column")]
    NoColumn,
    /// It has another type.
    #[error("it is {found}, not {expected}")]
    Type {
        /// What is there.
        found: &'static str,
        /// What was asked for.
        expected: &'static str,
    },
}

impl Cell {
    fn what(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Integer(_) => "a number",
            Self::Fraction => "a fraction",
            Self::Text(_) => "a text",
            Self::Bytes(_) => "bytes",
        }
    }
}

impl SqliteRow {
    pub(super) fn of(names: Names, row: &Row<'_>) -> Result<Self, Error> {
        let count = row.as_ref().column_count();
        let cells = (0..count).map(|index| {
            Ok(match row.get_ref(index)? {
                ValueRef::Null => Cell::Null,
                ValueRef::Integer(number) => Cell::Integer(number),
                ValueRef::Real(_) => Cell::Fraction,
                ValueRef::Text(text) => match std::str::from_utf8(text) {
                    Ok(text) => Cell::Text(text.into()),
                    // Whoever asks for a text is told that it is none.
                    Err(_) => Cell::Bytes(text.into()),
                },
                ValueRef::Blob(bytes) => Cell::Bytes(bytes.into()),
            })
        });
        Ok(Self { names, cells: cells.collect::<Result<_, Error>>()? })
    }

    /// About how much memory it takes.
    pub(super) fn size(&self) -> usize {
        let held = |cell: &Cell| match cell {
            Cell::Text(text) => text.len(),
            Cell::Bytes(bytes) => bytes.len(),
            Cell::Null | Cell::Integer(_) | Cell::Fraction => 0,
        };
        self.cells.iter().map(|cell| size_of::<Cell>() + held(cell)).sum()
    }

    /// The value of a column.
    pub(crate) fn get<'r, T: FromCell<'r>>(&'r self, column: &str) -> Result<T, Mismatch> {
        let position = self.names.position(column).ok_or(Mismatch::NoColumn)?;
        self.at(position)
    }

    /// The value of the column at a position.
    pub(crate) fn at<'r, T: FromCell<'r>>(&'r self, position: usize) -> Result<T, Mismatch> {
        let cell = self.cells.get(position).ok_or(Mismatch::NoColumn)?;
        T::from_cell(cell).ok_or(Mismatch::Type { found: cell.what(), expected: T::WHAT })
    }
}

/// What a value can be read as.
pub(crate) trait FromCell<'r>: Sized {
    /// For errors.
    const WHAT: &'static str;

    fn from_cell(cell: &'r Cell) -> Option<Self>;
}

impl<'r> FromCell<'r> for &'r str {
    const WHAT: &'static str = "a text";

    fn from_cell(cell: &'r Cell) -> Option<Self> {
        if let Cell::Text(text) = cell { Some(text) } else { None }
    }
}

impl<'r> FromCell<'r> for String {
    const WHAT: &'static str = "a text";

    fn from_cell(cell: &'r Cell) -> Option<Self> {
        <&str>::from_cell(cell).map(str::to_owned)
    }
}

impl<'r> FromCell<'r> for &'r [u8] {
    const WHAT: &'static str = "bytes";

    fn from_cell(cell: &'r Cell) -> Option<Self> {
        if let Cell::Bytes(bytes) = cell { Some(bytes) } else { None }
    }
}

impl<'r> FromCell<'r> for Vec<u8> {
    const WHAT: &'static str = "bytes";

    fn from_cell(cell: &'r Cell) -> Option<Self> {
        <&[u8]>::from_cell(cell).map(<[u8]>::to_vec)
    }
}

impl<'r> FromCell<'r> for i64 {
    const WHAT: &'static str = "a number";

    fn from_cell(cell: &'r Cell) -> Option<Self> {
        if let Cell::Integer(number) = cell { Some(*number) } else { None }
    }
}

impl<'r> FromCell<'r> for bool {
    const WHAT: &'static str = "true or false";

    fn from_cell(cell: &'r Cell) -> Option<Self> {
        i64::from_cell(cell).map(|number| number != 0)
    }
}

impl<'r, T: FromCell<'r>> FromCell<'r> for Option<T> {
    const WHAT: &'static str = T::WHAT;

    fn from_cell(cell: &'r Cell) -> Option<Self> {
        if matches!(cell, Cell::Null) { Some(None) } else { T::from_cell(cell).map(Some) }
    }
}
