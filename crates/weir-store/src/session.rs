//! The methods of `Session`, in a file for each table, and what they share.

mod account;
mod blob;
mod change;
mod connection;
mod content;
mod deleted;
mod document;
mod domain;
mod event;
mod first_seen;
mod garbage;
mod lease;
mod package;
mod pin;
mod principal;
mod repository;
mod setting;
mod tag;
mod token;
mod verify;
mod version;

use crate::db::Value;
use crate::error::DbError;
use crate::rows::Id;
use weir_core::{AccountId, ConnectionName, PageRequest};

/// Identifiers as a list of parameters.
fn ids(ids: &[Id]) -> Vec<Value<'_>> {
    ids.iter().map(Value::from).collect()
}

/// The cursor of a listing sorted by `N` columns; each empty on the first page, which sorts first.
fn cursor<const N: usize>(page: &PageRequest) -> Result<[&str; N], DbError> {
    if page.after.is_empty() {
        return Ok([""; N]);
    }
    let texts: Vec<&str> = page.after.iter().map(String::as_str).collect();
    texts.try_into().map_err(|_| DbError::Cursor)
}

fn account(text: &str) -> Option<AccountId> {
    AccountId::parse("account", text).ok()
}

fn connection(text: &str) -> Option<ConnectionName> {
    ConnectionName::parse("connection", text).ok()
}
