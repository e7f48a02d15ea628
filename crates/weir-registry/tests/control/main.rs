//! The control use cases over a temporary SQLite store: one file for each area, one world for all.

mod clock_back;
mod domain;
mod explain;
mod garbage;
mod identity;
mod lifecycle;
mod package;
mod repository;
mod token;
mod world;
