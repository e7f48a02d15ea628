//! Archives built by hand, friendly and hostile.

use super::header::BLOCK;
use super::*;
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use std::io::Write;

/// A tar under construction; every field can be wrong on purpose.
#[derive(Default, Clone)]
struct Tar(Vec<u8>);

impl Tar {
    fn header(mut self, path: &[u8], kind: u8, size: &[u8]) -> Self {
        let mut block = [0; BLOCK];
        block[..path.len()].copy_from_slice(path);
        block[100..107].copy_from_slice(b"0000755");
        block[124..124 + size.len()].copy_from_slice(size);
        block[156] = kind;
        block[257..265].copy_from_slice(b"ustar\x0000");
        self.0.extend(block);
        self.sealed()
    }

    /// Writes the checksum of the last block.
    fn sealed(mut self) -> Self {
        let start = self.0.len() - BLOCK;
        let block = &mut self.0[start..];
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self
    }

    fn data(mut self, data: &[u8]) -> Self {
        self.0.extend(data);
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
        self
    }

    fn entry(self, path: &str, kind: u8, data: &[u8]) -> Self {
        self.header(path.as_bytes(), kind, format!("{:011o}", data.len()).as_bytes()).data(data)
    }

    fn file(self, path: &str, data: &str) -> Self {
        self.entry(path, b'0', data.as_bytes())
    }

    fn pax(self, kind: u8, records: &[(&str, &str)]) -> Self {
        let mut data = String::new();
        for (key, value) in records {
            let rest = format!(" {key}={value}\n");
            let length = (1..).find(|n: &usize| n.to_string().len() + rest.len() == *n).unwrap();
            data.push_str(&format!("{length}{rest}"));
        }
        self.entry("PaxHeader/x", kind, data.as_bytes())
    }

    fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 2 * BLOCK, 0);
        self.0
    }
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn read(packed: &[u8], limits: &ArchiveLimits) -> Result<(Summary, Vec<(Entry, String)>)> {
    let mut files = Vec::new();
    let summary = read_tgz(packed, limits, &mut |entry, content| {
        let mut text = String::new();
        content.read_to_string(&mut text).map_err(Error::internal)?;
        files.push((entry.clone(), text));
        Ok(())
    })?;
    Ok((summary, files))
}

fn paths(tar: Tar) -> Vec<String> {
    let (_, files) = read(&gzip(&tar.end()), &ArchiveLimits::of(0)).unwrap();
    files.into_iter().map(|(entry, _)| entry.path).collect()
}

fn check_refused(packed: &[u8], expected: &str) {
    let error = read(packed, &ArchiveLimits::of(0)).expect_err(expected);
    assert!(matches!(error, Error::Invalid { .. }), "{expected}: {error:?}");
    assert!(error.to_string().contains(expected), "wanted '{expected}', got '{error}'");
}

#[test]
fn files_are_shown_in_order_with_their_content() {
    let tar = Tar::default()
        .entry("package/", b'5', b"")
        .file("package/package.json", "{}")
        .file("package/a/b", "");
    let (summary, files) = read(&gzip(&tar.end()), &ArchiveLimits::of(0)).unwrap();
    assert_eq!(summary, Summary { entries: 3, unpacked_bytes: 6 * 512 });
    let first = Entry { path: "package/package.json".into(), size: 2, mode: 0o755 };
    assert_eq!(first.inside(), Some("package.json"));
    assert_eq!(files[0], (first, "{}".into()));
    assert_eq!(files[1].0.inside(), Some("a/b"));
}

#[test]
fn a_visitor_need_not_read_and_may_refuse() {
    let packed = gzip(&Tar::default().file("p/a", &"x".repeat(2000)).file("p/b", "y").end());
    let mut seen = 0;
    let mut first_byte = |_: &Entry, content: &mut dyn Read| {
        seen += 1;
        content.read_exact(&mut [0; 1]).map_err(Error::internal)
    };
    read_tgz(&packed[..], &ArchiveLimits::of(0), &mut first_byte).unwrap();
    assert_eq!(seen, 2);
    let refusal = read_tgz(&packed[..], &ArchiveLimits::of(0), &mut |_, _| Err(Error::denied("no")));
    assert!(matches!(refusal, Err(Error::Denied { .. })));
}

#[test]
fn a_visitor_may_stop_early_and_what_follows_is_not_read() {
    let mut packed = gzip(&Tar::default().file("p/a", "1").file("p/PKG-INFO", "2").file("p/b", "3").end());
    let last = packed.len() - 1;
    packed[last] ^= 1;
    let mut seen = Vec::new();
    let mut until = |entry: &Entry, _: &mut dyn Read| {
        seen.push(entry.path.clone());
        let is_found = entry.inside() == Some("PKG-INFO");
        Ok(if is_found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    };
    let summary = read_tgz_until(&packed[..], &ArchiveLimits::of(0), &mut until).unwrap();
    assert_eq!(summary.entries, 2);
    assert_eq!(seen, ["p/a", "p/PKG-INFO"]);
    check_refused(&packed, "checksum");
}

#[test]
fn paths_are_taken_from_wherever_they_stand_and_made_normal() {
    assert_eq!(paths(Tar::default().file("./package//a/./b", "")), ["package/a/b"]);
    assert_eq!(
        paths(Tar::default().pax(b'x', &[("path", "p/long"), ("mtime", "1.5")]).file("p/short", "")),
        ["p/long"]
    );
    assert_eq!(paths(Tar::default().entry("././@LongLink", b'L', b"p/gnu\0").file("p/short", "")), ["p/gnu"]);
    assert_eq!(paths(Tar::default().pax(b'g', &[("comment", "abc")]).file("p/a", "")), ["p/a"]);
    assert_eq!(paths(Tar::default().pax(b'x', &[("size", "1")]).file("p/a", "x")), ["p/a"]);
    let mut prefixed = Tar::default().file("name", "");
    prefixed.0[345..351].copy_from_slice(b"prefix");
    assert_eq!(paths(prefixed.clone().sealed()), ["prefix/name"]);
    prefixed.0[257..265].copy_from_slice(b"ustar  \0");
    assert_eq!(paths(prefixed.sealed()), ["name"]);
    let binary_size = Tar::default().header(b"p/a", b'0', b"\x80\0\0\0\0\0\0\0\0\0\0\x01").data(b"x");
    assert_eq!(paths(binary_size), ["p/a"]);
}

#[test]
fn what_could_escape_or_mislead_is_refused_by_name() {
    let tar = Tar::default;
    let cases = [
        (tar().entry("p/a", b'1', b""), "entry 'p/a' is a link"),
        (tar().entry("p/a", b'2', b""), "is a link"),
        (tar().entry("p/a", b'3', b""), "neither a file nor a folder"),
        (tar().entry("p/a", b'4', b""), "neither a file nor a folder"),
        (tar().entry("p/a", b'6', b""), "neither a file nor a folder"),
        (tar().entry("p/a", b'S', b""), "neither a file nor a folder"),
        (tar().file("/etc/passwd", ""), "entry '/etc/passwd' has an absolute path"),
        (tar().file("C:/x", ""), "absolute"),
        (tar().file("p/../../x", ""), "'..'"),
        (tar().file("..", ""), "'..'"),
        (tar().file("p\\a", ""), "backslash"),
        (tar().file("p/a\nb", ""), "control character"),
        (tar().file("p/a/", ""), "name of a folder"),
        (tar().file("./", ""), "name of a folder"),
        (tar().file("", ""), "empty path"),
        (tar().header(b"p/\xff", b'0', b"00000000000"), "not UTF-8"),
        (tar().entry("p", b'5', b"x"), "folder with content"),
        (tar().file("p/a", "1").file("p/a", "2"), "entry 'p/a' stands twice"),
        (tar().file("p/a", "1").file("./q//a", "2"), "stands twice"),
        (tar().file("p/a", "1").entry("p/a/", b'5', b""), "stands twice"),
        (tar().file("a", "1").file("a", "2"), "stands twice"),
        (tar().pax(b'x', &[("path", "p/../x")]).file("p/a", ""), "'..'"),
        (tar().pax(b'x', &[("path", "p/a\0b")]).file("p/a", ""), "control character"),
        (tar().pax(b'x', &[("size", "0")]).file("p/a", "x"), "two sizes"),
        (tar().pax(b'x', &[("size", "512"), ("size", "1")]).file("p/a", "x"), "two sizes"),
        (tar().pax(b'x', &[("size", "-1")]).file("p/a", "x"), "no number"),
        (tar().pax(b'x', &[("path", "p/a"), ("path", "p/b")]).file("p/c", ""), "more than one long path"),
        (tar().pax(b'x', &[]).pax(b'x', &[]).file("p/a", ""), "two pax headers"),
        (
            tar().pax(b'x', &[("path", "p/b")]).entry("L", b'L', b"p/c").file("p/a", ""),
            "more than one long path",
        ),
        (tar().pax(b'x', &[("linkpath", "p/b")]).file("p/a", ""), "target of a link"),
        (tar().entry("K", b'K', b"p/c").file("p/a", ""), "target of a link"),
        (tar().pax(b'x', &[("GNU.sparse.major", "1")]).file("p/a", ""), "sparse"),
        (tar().pax(b'g', &[("path", "p/b")]).file("p/a", ""), "global pax header"),
        (tar().pax(b'g', &[("size", "1")]).file("p/a", ""), "global pax header"),
        (tar().pax(b'x', &[("path", "p/b")]), "belongs to no entry"),
        (tar().entry("x", b'x', b"8 path=a\n").file("p/a", ""), "pax header is malformed"),
        (tar().entry("x", b'x', b"99999999999999999999 a=b\n").file("p/a", ""), "pax header is malformed"),
        (tar().entry("x", b'x', b"3 a").file("p/a", ""), "pax header is malformed"),
        (tar().entry("x", b'x', b"2 \n").file("p/a", ""), "pax header is malformed"),
        (tar().entry("L", b'L', "x".repeat(1025).as_bytes()).file("p/a", ""), "longer than 1024 bytes"),
        (tar().entry("L", b'L', &vec![b'x'; (1 << 20) + 1]).file("p/a", ""), "must not be larger"),
        (tar().header(b"p/a", b'0', b"0000000000x"), "no number"),
        (tar().header(b"p/a", b'0', b"1 1"), "no number"),
        (tar().header(b"p/a", b'0', b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), "no number"),
        (tar().header(b"p/a", b'0', b"77777777777"), "cut short"),
        (tar().header(b"p/a", b'0', b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff"), "cut short"),
    ];
    for (tar, expected) in cases {
        check_refused(&gzip(&tar.end()), expected);
    }
}

#[test]
fn a_wrong_checksum_is_refused() {
    let mut tar = Tar::default().file("p/a", "");
    tar.0[0] = b'q';
    check_refused(&gzip(&tar.end()), "wrong checksum");
}

#[test]
fn an_archive_has_one_end() {
    let tar = Tar::default().file("p/a", "some content");
    let whole = tar.clone().end();
    let packed = gzip(&whole);
    for cut in 0..packed.len() {
        assert!(read(&packed[..cut], &ArchiveLimits::of(0)).is_err(), "cut at {cut}");
    }
    check_refused(&gzip(&tar.0), "cut short");
    check_refused(&gzip(&whole[..700]), "cut short");
    check_refused(&gzip(&[whole.clone(), whole.clone()].concat()), "follows the end of the tar");
    check_refused(&[packed.clone(), vec![0]].concat(), "follows the end of the gzip");
    check_refused(&[packed.clone(), packed.clone()].concat(), "follows the end of the gzip");
    let halves: Vec<u8> = whole.chunks(512).flat_map(gzip).collect();
    check_refused(&halves, "cut short");
    let mut wrong_sum = packed.clone();
    let last = wrong_sum.len() - 8;
    wrong_sum[last] ^= 1;
    check_refused(&wrong_sum, "checksum");
    check_refused(b"", "cut short");
    check_refused(b"PK\x03\x04 no gzip", "not a gzip stream");
    assert!(read(&gzip(&vec![0; 10_240]), &ArchiveLimits::of(0)).is_ok(), "an empty tar");
}

#[test]
fn bombs_are_refused_by_bytes_and_by_entries() {
    let limits = ArchiveLimits { unpacked_bytes: 1 << 20, entries: 10, ..ArchiveLimits::of(0) };
    let zeros = "\0".repeat(2 << 20);
    let large = gzip(&Tar::default().file("p/a", &zeros).end());
    assert!(matches!(read(&large, &limits), Err(Error::TooLarge { .. })));
    let unread = read_tgz(&large[..], &limits, &mut |_, _| Ok(()));
    assert!(matches!(unread, Err(Error::TooLarge { .. })));
    let many = (0..11).fold(Tar::default(), |tar, n| tar.file(&format!("p/{n}"), ""));
    assert!(matches!(read(&gzip(&many.end()), &limits), Err(Error::TooLarge { .. })));
    let tail = gzip(&[Tar::default().file("p/a", "").end(), zeros.into()].concat());
    assert!(matches!(read(&tail, &limits), Err(Error::TooLarge { .. })));
    assert_eq!(ArchiveLimits::of(1).unpacked_bytes, 256 << 20);
    assert_eq!(ArchiveLimits::of(1 << 30).unpacked_bytes, 10 << 30);
}

#[test]
fn a_failing_disk_is_no_fault_of_the_archive() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::from(io::ErrorKind::PermissionDenied))
        }
    }
    let result = read_tgz(Failing, &ArchiveLimits::of(0), &mut |_, _| Ok(()));
    assert!(matches!(result, Err(Error::Internal(_))));
}

proptest! {
    #[test]
    fn no_bytes_panic(raw in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = read(&raw, &ArchiveLimits::of(0));
        let _ = read(&gzip(&raw), &ArchiveLimits::of(0));
    }

    #[test]
    fn no_damaged_archive_panics(changes in proptest::collection::vec((0usize..3000, any::<u8>()), 1..6)) {
        let pristine = Tar::default().pax(b'x', &[("path", "p/a"), ("size", "5")]).file("p/b", "12345").file("p/c", "");
        let mut tar = pristine.end();
        for (at, value) in changes {
            let at = at % tar.len();
            tar[at] = value;
            // With a right checksum the damage gets further.
            let start = at / BLOCK * BLOCK;
            let block = Tar(tar[..start + BLOCK].to_vec()).sealed();
            tar[..start + BLOCK].copy_from_slice(&block.0);
        }
        if let Ok((_, files)) = read(&gzip(&tar), &ArchiveLimits::of(0)) {
            for (entry, content) in files {
                prop_assert_eq!(entry.size, content.len() as u64);
                prop_assert!(!entry.path.split('/').any(|part| matches!(part, "" | "." | "..")));
            }
        }
    }
}
