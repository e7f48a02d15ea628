//! A row as a line of JSON: an array of its values in the order of the table's columns, bytes as hex.

use super::table::{Column, Kind};
use crate::db::{Row, Value};
use crate::error::DbError;
use serde::{Serialize, Serializer};
use serde_json::Value as Json;

/// A value of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cell {
    Text(Option<String>),
    Integer(Option<i64>),
    Boolean(bool),
    Bytes(Option<Vec<u8>>),
}

impl Cell {
    /// As a parameter of a statement.
    pub(super) fn value(&self) -> Value<'_> {
        match self {
            Self::Text(text) => Value::Text(text.as_deref()),
            Self::Integer(number) => Value::Int(*number),
            Self::Boolean(truth) => Value::Bool(*truth),
            Self::Bytes(bytes) => Value::Bytes(bytes.as_deref()),
        }
    }

    /// The text of a column that always has one; empty where this is something else.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Text(Some(text)) => text,
            Self::Text(None) | Self::Integer(_) | Self::Boolean(_) | Self::Bytes(_) => "",
        }
    }

    /// The number, if there is one.
    pub(super) fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => *number,
            Self::Text(_) | Self::Boolean(_) | Self::Bytes(_) => None,
        }
    }

    /// The bytes, if there are any.
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => bytes.as_deref(),
            Self::Text(_) | Self::Integer(_) | Self::Boolean(_) => None,
        }
    }

    fn read(row: &Row, column: &Column) -> Result<Self, DbError> {
        Ok(match column.kind {
            Kind::Text => Self::Text(row.optional_string(column.name)?),
            Kind::Integer => Self::Integer(row.optional_integer(column.name)?),
            Kind::Boolean => Self::Boolean(row.boolean(column.name)?),
            Kind::Bytes => Self::Bytes(row.optional_bytes(column.name)?),
        })
    }

    fn parse(json: Json, kind: Kind) -> Option<Self> {
        Some(match (kind, json) {
            (Kind::Text, Json::Null) => Self::Text(None),
            (Kind::Text, Json::String(text)) => Self::Text(Some(text)),
            (Kind::Integer, Json::Null) => Self::Integer(None),
            (Kind::Integer, Json::Number(number)) => Self::Integer(Some(number.as_i64()?)),
            (Kind::Boolean, Json::Bool(truth)) => Self::Boolean(truth),
            (Kind::Bytes, Json::Null) => Self::Bytes(None),
            (Kind::Bytes, Json::String(text)) => Self::Bytes(Some(hex::decode(text).ok()?)),
            _ => return None,
        })
    }
}

impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => text.serialize(serializer),
            Self::Integer(number) => number.serialize(serializer),
            Self::Boolean(truth) => serializer.serialize_bool(*truth),
            Self::Bytes(bytes) => bytes.as_deref().map(hex::encode).serialize(serializer),
        }
    }
}

/// A row as a line, with its end.
pub(crate) fn line_of(row: &Row, columns: &[Column]) -> Result<Vec<u8>, DbError> {
    let cells: Result<Vec<_>, _> = columns.iter().map(|column| Cell::read(row, column)).collect();
    let mut line = serde_json::to_vec(&cells?).expect("texts, numbers and truths can be written");
    line.push(b'\n');
    Ok(line)
}

/// The values of a line; `None` if it is not a row of these columns.
pub(super) fn cells_of(line: &[u8], columns: &[Column]) -> Option<Vec<Cell>> {
    let values: Vec<Json> = serde_json::from_slice(line).ok()?;
    if values.len() != columns.len() {
        return None;
    }
    values.into_iter().zip(columns).map(|(value, column)| Cell::parse(value, column.kind)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[Column] = &[
        Column { name: "t", kind: Kind::Text },
        Column { name: "i", kind: Kind::Integer },
        Column { name: "b", kind: Kind::Boolean },
        Column { name: "y", kind: Kind::Bytes },
    ];

    #[test]
    fn a_line_gives_the_values_it_was_written_from() {
        let rows = [
            vec![
                Cell::Text(Some("a\n\u{0}\"ü".to_owned())),
                Cell::Integer(Some(i64::MIN)),
                Cell::Boolean(true),
                Cell::Bytes(Some(vec![0, 255])),
            ],
            vec![Cell::Text(None), Cell::Integer(None), Cell::Boolean(false), Cell::Bytes(None)],
        ];
        for row in rows {
            let line = serde_json::to_vec(&row).expect("written");
            assert!(!line.contains(&b'\n'));
            assert_eq!(cells_of(&line, COLUMNS), Some(row));
        }
    }

    #[test]
    fn what_is_no_row_of_the_table_is_seen() {
        for line in [
            "",
            "{}",
            "[]",
            r#"["t",1,true]"#,
            r#"["t",1,null,null]"#,
            r#"["t",1.5,true,null]"#,
            r#"["t",1,true,"xy"]"#,
        ] {
            assert_eq!(cells_of(line.as_bytes(), COLUMNS), None, "{line}");
        }
    }
}
