//! How the memory of a server is had from the C library. glibc's defaults keep what bursts of requests took: many arenas,
//! and bounds that grow with the largest piece ever freed. They can be set before a program starts only, so a
//! server starts itself once more, in the same process, with them.

/// The variable that glibc reads.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const TUNABLES: &str = "GLIBC_TUNABLES";
/// Larger pieces are had from the system and go back to it, as does what is free at the end.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE: usize = 128 << 10;

/// Starts this program anew with the settings, unless it has them or whoever started it set some. Comes back when there
/// is nothing to do or it cannot be done.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn settle() {
    use std::os::unix::process::CommandExt as _;
    let is_of_malloc =
        |name: &std::ffi::OsStr| name == TUNABLES || name.as_encoded_bytes().starts_with(b"MALLOC_");
    let set = std::env::vars_os().any(|(name, _)| is_of_malloc(&name));
    let Ok(program) = std::env::current_exe() else { return };
    if set {
        return;
    }
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| "weir".into());
    let mut command = std::process::Command::new(program);
    command.arg0(name).args(arguments).env(TUNABLES, tunables());
    // It comes back only with an error, and then all goes on with the defaults.
    let _error = command.exec();
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn settle() {}

/// An arena for each core.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn tunables() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!(
        "glibc.malloc.arena_max={cores}:glibc.malloc.mmap_threshold={LARGE}:glibc.malloc.trim_threshold={LARGE}"
    )
}
