//! How many files this process may have open. Each connection is one, and the file it is answered with another.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use weir_store::blob::handles_that_fit;

/// What the database, the log, the listener and the connections to public registries need, beside the files that are
/// kept open.
const OTHERS: usize = 40;
/// However few files may be open, so many connections are tried.
const FEWEST: usize = 4;

/// Raises the limit of this process as far as it may, and gives how many connections fit: `wanted`, or fewer with a
/// warning.
pub(crate) fn connections_that_fit(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    // Where raising fails, what there is counts.
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let limit = if raised.is_ok() { limit.maximum } else { limit.current };
    let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else { return wanted };
    let fit = fitting(wanted, limit, handles_that_fit());
    if fit < wanted {
        tracing::warn!(
            "at most {limit} files may be open, which is enough for {fit} connections and not for the {wanted} of \
             max-connections; raise the limit (ulimit -n, LimitNOFILE) or lower max-connections"
        );
    }
    fit
}

fn fitting(wanted: usize, limit: usize, kept_open: usize) -> usize {
    wanted.min((limit.saturating_sub(OTHERS + kept_open) / 2).max(FEWEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connection_may_need_a_file_beside_it() {
        assert_eq!(fitting(4096, 1 << 20, 2048), 4096);
        assert_eq!(fitting(4096, 1024, 64), 460);
        assert_eq!(fitting(10, 1024, 64), 10);
        assert_eq!(fitting(4096, 64, 4), 10);
        assert_eq!(fitting(4096, 10, 0), 4);
    }
}
