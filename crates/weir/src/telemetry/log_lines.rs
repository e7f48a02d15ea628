//! Log lines on their way to standard error: a thread writes them, all that have come meanwhile in one call, so that
//! no request waits for the log. Lines keep their order; when whoever reads them is too slow, lines are left out, and
//! how many is told.

use super::redacted::redact;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes of lines that may wait.
const MOST: usize = 1 << 20;
/// Lines that come so soon after others are written together: waking a thread costs a request more than its line does.
const TOGETHER: Duration = Duration::from_millis(2);

/// The lines of this process; clones write to the same place.
#[derive(Clone, Default)]
pub(super) struct LogLines(Arc<Shared>);

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// There is something to write.
    filled: Condvar,
    /// Something was written.
    written: Condvar,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    /// Lines that were left out since the last that was not.
    left_out: u64,
    /// The thread waits for lines.
    idle: bool,
}

impl LogLines {
    /// Lines that a thread writes to `place` from now on, without the tokens in them.
    pub(super) fn start(place: impl Write + Send + 'static) -> io::Result<Self> {
        let lines = Self::default();
        let shared = lines.0.clone();
        std::thread::Builder::new().name("log".to_owned()).spawn(move || shared.write_all_to(place))?;
        Ok(lines)
    }

    /// Waits until everything is written, for so long at most.
    pub(super) fn flush(&self, patience: Duration) {
        let waiting = self.0.lock();
        let open = |waiting: &mut Waiting| !waiting.idle || !waiting.lines.is_empty();
        let waited = self.0.written.wait_timeout_while(waiting, patience, open);
        drop(waited);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_all_to(&self, mut place: impl Write) {
        let mut lines = Vec::new();
        loop {
            let mut waiting = self.lock();
            while waiting.lines.is_empty() {
                waiting.idle = true;
                self.written.notify_all();
                waiting = self.filled.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
            waiting.idle = false;
            std::mem::swap(&mut lines, &mut waiting.lines);
            drop(waiting);
            self.written.notify_all();
            write_patiently(&mut place, &redact(&lines));
            lines.clear();
            std::thread::sleep(TOGETHER);
        }
    }
}

/// Writes everything, also where the place takes nothing for a while; gives up when it is gone.
fn write_patiently(place: &mut impl Write, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match place.write(bytes) {
            Ok(0) => return,
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(TOGETHER),
            // Nobody is left to be told that the log cannot be written.
            Err(_) => return,
        }
    }
}

impl Write for LogLines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut waiting = self.0.lock();
        if waiting.lines.len() > MOST {
            waiting.left_out += 1;
            return Ok(line.len());
        }
        let left_out = std::mem::take(&mut waiting.left_out);
        if left_out > 0 {
            let told = format!("{left_out} log lines were left out: whoever reads this log is too slow\n");
            waiting.lines.extend_from_slice(told.as_bytes());
        }
        waiting.lines.extend_from_slice(line);
        let wake = std::mem::take(&mut waiting.idle);
        drop(waiting);
        if wake {
            self.0.filled.notify_one();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes some bytes of each call, and every other time none.
    #[derive(Clone, Default)]
    struct Slow(Arc<Mutex<(Vec<u8>, bool)>>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut taken = self.0.lock().unwrap();
            taken.1 = !taken.1;
            if taken.1 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let count = bytes.len().min(100_000);
            taken.0.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_line_is_written_once_and_in_order() {
        let slow = Slow::default();
        let lines = LogLines::start(slow.clone()).unwrap();
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let mut lines = lines.clone();
                std::thread::spawn(move || {
                    for number in 0..500 {
                        let line = format!("{thread} {number:05} {}\n", "x".repeat(400));
                        lines.write_all(line.as_bytes()).unwrap();
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        lines.flush(Duration::from_secs(20));
        let written = String::from_utf8(slow.0.lock().unwrap().0.clone()).unwrap();
        for thread in 0..4 {
            let own = written.lines().filter(|line| line.starts_with(&format!("{thread} ")));
            let numbers: Vec<u32> = own.map(|line| line[2..7].parse().unwrap()).collect();
            assert_eq!(numbers, (0..500).collect::<Vec<_>>());
        }
    }
    #[test]
    fn lines_that_nobody_reads_are_left_out_and_counted() {
        let slow = Slow::default();
        let held = slow.0.lock().unwrap();
        let mut lines = LogLines::start(slow.clone()).unwrap();
        let line = format!("{}\n", "x".repeat(10_000));
        for _ in 0..300 {
            lines.write_all(line.as_bytes()).unwrap();
        }
        drop(held);
        lines.flush(Duration::from_secs(20));
        lines.write_all(b"the last\n").unwrap();
        lines.flush(Duration::from_secs(20));
        let written = String::from_utf8(slow.0.lock().unwrap().0.clone()).unwrap();
        let told = written.lines().find(|line| line.contains("left out")).unwrap();
        let count: usize = told.split(' ').next().unwrap().parse().unwrap();
        assert_eq!(written.lines().filter(|line| line.starts_with("xx")).count() + count, 300);
        assert!(written.ends_with("the last\n"), "{told}");
    }
}
