//! What a process and its children cost, from `/proc`: processor time, resident memory, and how busy the
//! rest of the machine is meanwhile. Linux alone.

use crate::measure::Values;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two looks at the memory.
const PERIOD: Duration = Duration::from_millis(50);
/// A machine is quiet when others use less than this much of one core.
const QUIET: f64 = 0.35;
/// How long to wait for a quiet machine, and for a server that still works for clients that are gone.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What is measured from [`Meter::start`] to [`Meter::stop`].
pub(crate) struct Meter {
    roots: Vec<u32>,
    begun: Instant,
    cpu: f64,
    own: f64,
    busy: f64,
    stop: Arc<AtomicBool>,
    peak: Arc<AtomicU64>,
    sampler: JoinHandle<()>,
}

/// What was measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    /// Seconds that passed.
    pub(crate) wall: f64,
    /// Processor seconds of the processes.
    pub(crate) cpu: f64,
    /// Processor seconds of this program and what it ran, which is the client.
    pub(crate) client: f64,
    /// Largest resident memory of the processes together, in bytes.
    pub(crate) peak: u64,
    /// Cores that were busy with neither.
    pub(crate) others: f64,
}

impl Meter {
    /// Begins to measure these processes with their children.
    pub(crate) fn start(roots: &[u32]) -> Self {
        let (stop, peak) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, highest, watched) = (stop.clone(), peak.clone(), roots.to_vec());
        let sampler = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                highest.fetch_max(memory(&watched), Ordering::Relaxed);
                std::thread::sleep(PERIOD);
            }
        });
        let roots = roots.to_vec();
        let (own, busy, cpu) = (own_cpu(), machine_busy(), cpu(&roots));
        Self { roots, begun: Instant::now(), cpu, own, busy, stop, peak, sampler }
    }

    /// Ends it.
    pub(crate) fn stop(self) -> Cost {
        let wall = self.begun.elapsed().as_secs_f64();
        let (cpu, busy, own) =
            (cpu(&self.roots) - self.cpu, machine_busy() - self.busy, own_cpu() - self.own);
        self.stop.store(true, Ordering::Relaxed);
        // The thread only reads files; one that panicked leaves the highest value it saw.
        let _ = self.sampler.join();
        let peak = self.peak.load(Ordering::Relaxed).max(memory(&self.roots));
        let others = ((busy - cpu - own) / wall).max(0.0);
        Cost { wall, cpu, client: own, peak, others }
    }
}

impl Cost {
    /// The values every measurement has.
    pub(crate) fn values(&self) -> Values {
        [
            ("wall_s", self.wall),
            ("cpu_s", self.cpu),
            ("client_cpu_s", self.client),
            ("peak_mb", self.peak as f64 / 1e6),
            ("other_cores", self.others),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }
}

/// Waits until the servers are idle and the machine is quiet; `false` when it did not become so in time.
pub(crate) async fn settle(roots: &[u32], patience: Duration) -> bool {
    let begun = Instant::now();
    let moment = Duration::from_millis(200);
    while begun.elapsed() < patience {
        let (server, busy, own) = (cpu(roots), machine_busy(), own_cpu());
        tokio::time::sleep(moment).await;
        let share = |used: f64| used / moment.as_secs_f64();
        let rest = share(machine_busy() - busy - (own_cpu() - own));
        if share(cpu(roots) - server) < 0.05 && rest < QUIET {
            return true;
        }
    }
    false
}

/// The resident memory of the processes and their children now, in bytes.
pub(crate) fn memory(roots: &[u32]) -> u64 {
    tree(roots).into_iter().map(|process| status_bytes(process, "VmRSS:")).sum()
}

/// The most resident memory that the processes and their children ever had, in bytes.
pub(crate) fn highest_memory(roots: &[u32]) -> u64 {
    tree(roots).into_iter().map(|process| status_bytes(process, "VmHWM:")).sum()
}

fn status_bytes(process: u32, name: &str) -> u64 {
    // A process that ended meanwhile has no memory.
    let status = fs_err::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kilobytes = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kilobytes.unwrap_or_default() * 1024
}

/// The processes with all below them.
fn tree(roots: &[u32]) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    let mut waiting = roots.to_vec();
    while let Some(process) = waiting.pop() {
        if !found.insert(process) {
            continue;
        }
        let Ok(threads) = fs_err::read_dir(format!("/proc/{process}/task")) else { continue };
        for thread in threads.flatten() {
            let children = fs_err::read_to_string(thread.path().join("children")).unwrap_or_default();
            waiting.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
    }
    found
}

/// Processor seconds of the processes, of their children, and of children that ended.
fn cpu(roots: &[u32]) -> f64 {
    let ticks: u64 = tree(roots)
        .into_iter()
        .filter_map(|process| fs_err::read_to_string(format!("/proc/{process}/stat")).ok())
        .map(|stat| ticks(&stat))
        .sum();
    seconds(ticks)
}

fn own_cpu() -> f64 {
    seconds(ticks(&fs_err::read_to_string("/proc/self/stat").unwrap_or_default()))
}

/// utime, stime, cutime and cstime. The name before them may hold anything, but ends at the last `)`.
fn ticks(stat: &str) -> u64 {
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    fields.skip(11).take(4).filter_map(|field| field.parse::<u64>().ok()).sum()
}

/// Seconds in which any core was busy, since the machine started.
fn machine_busy() -> f64 {
    let stat = fs_err::read_to_string("/proc/stat").unwrap_or_default();
    let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let fields: Vec<u64> = fields.filter_map(|field| field.parse().ok()).collect();
    // user, nice, system, (idle, iowait,) irq, softirq; guests are counted in user.
    let busy = [0, 1, 2, 5, 6].into_iter().filter_map(|at| fields.get(at)).sum();
    seconds(busy)
}

fn seconds(ticks: u64) -> f64 {
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_process_does_not_shift_the_fields() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 7 5 2 1 20 0 4 0 1000 1 1";
        assert_eq!(ticks(stat), 15);
    }

    #[test]
    fn this_process_has_memory_and_ends_busy_loops_with_processor_time() {
        let me = [std::process::id()];
        let meter = Meter::start(&me);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(150) {
            std::hint::black_box(0);
        }
        let cost = meter.stop();
        assert!(cost.peak > 1_000_000 && highest_memory(&me) >= 1_000_000, "{cost:?}");
        assert!(cost.cpu > 0.02 && cost.wall >= 0.15, "{cost:?}");
    }
}
