//! Zips built by hand, friendly and hostile.

mod large;
mod writer;

use self::writer::*;
use super::*;
use proptest::prelude::*;
use std::io::Cursor;

type Files = Vec<(String, Vec<u8>)>;

fn read(bytes: &[u8]) -> Result<Files> {
    read_limited(bytes, &ArchiveLimits::of(0))
}

fn read_limited(bytes: &[u8], limits: &ArchiveLimits) -> Result<Files> {
    let mut zip = Zip::open(Cursor::new(bytes), bytes.len() as u64, limits)?;
    let mut files = Files::new();
    let summary = zip.read_all(&mut |entry, content| {
        let mut data = Vec::new();
        content.read_to_end(&mut data).map_err(Error::internal)?;
        files.push((entry.path.clone(), data));
        Ok(())
    })?;
    // Whatever can be read in order can be read alone, and is the same.
    let mut alone = Files::new();
    for index in (0..zip.entries().len()).rev() {
        let data = zip.read(index, u64::MAX)?;
        if !zip.entries()[index].is_folder {
            alone.push((zip.entries()[index].path.clone(), data));
        }
    }
    alone.reverse();
    assert_eq!(files, alone);
    assert_eq!(summary.entries, zip.entries().len() as u64);
    assert_eq!(summary.unpacked_bytes, files.iter().map(|(_, data)| data.len() as u64).sum::<u64>());
    Ok(files)
}

fn check_accepted(bytes: &[u8], expected: &[(&str, &str)]) {
    let expected: Files = expected.iter().map(|(path, data)| ((*path).into(), (*data).into())).collect();
    assert_eq!(read(bytes).unwrap(), expected);
}

fn check_refused(bytes: &[u8], expected: &str) {
    let error = read(bytes).expect_err(expected);
    assert!(matches!(error, Error::Invalid { .. }), "{expected}: {error:?}");
    assert!(error.to_string().contains(expected), "wanted '{expected}', got '{error}'");
}

#[test]
fn files_are_shown_in_order_with_their_content() {
    let long = "long ".repeat(100_000);
    let folder = stored("pkg/", "").both(|header| header.attributes = 0o040_755 << 16 | 0x10);
    let file = deflated("pkg/b", &long).both(|header| header.attributes = 0o100_644 << 16);
    let bytes =
        zip(&[folder, file, stored("./pkg//a", "some"), deflated("é", "").both(|h| h.flags |= 1 << 11)]);
    check_accepted(&bytes, &[("pkg/b", &long), ("pkg/a", "some"), ("é", "")]);
    let opened = Zip::open(Cursor::new(&bytes), bytes.len() as u64, &ArchiveLimits::of(0)).unwrap();
    let paths: Vec<_> = opened.entries().iter().map(|e| (e.path.as_str(), e.size, e.is_folder)).collect();
    assert_eq!(paths, [("pkg", 0, true), ("pkg/b", 500_000, false), ("pkg/a", 4, false), ("é", 0, false)]);
    check_accepted(&zip(&[]), &[]);
    let commented = [patched(&zip(&[stored("a", "1")]), 2, &[5, 0]), b"Hello".to_vec()].concat();
    check_accepted(&commented, &[("a", "1")]);
    // The same zip inside another, stored, is content.
    let inner = zip(&[stored("a", "1")]);
    let outer = zip(&[item("inner.zip", 0, &inner, inner.clone())]);
    assert_eq!(read(&outer).unwrap(), [("inner.zip".into(), inner)]);
}

#[test]
fn a_directory_in_another_order_than_the_file_is_sorted() {
    let mut bytes = zip(&[stored("a", "11"), stored("b", "2")]);
    let end = bytes.len() - 22;
    let record = 46 + 1;
    bytes[end - 2 * record..end].rotate_left(record);
    check_accepted(&bytes, &[("a", "11"), ("b", "2")]);
}

#[test]
fn a_visitor_need_not_read_and_may_refuse() {
    let bytes = zip(&[deflated("a", &"x".repeat(2000)), stored("b", "y")]);
    let open = || Zip::open(Cursor::new(&bytes), bytes.len() as u64, &ArchiveLimits::of(0)).unwrap();
    let mut seen = 0;
    let mut first_byte = |_: &ZipEntry, content: &mut dyn Read| {
        seen += 1;
        content.read_exact(&mut [0; 1]).map_err(Error::internal)
    };
    open().read_all(&mut first_byte).unwrap();
    assert_eq!(seen, 2);
    let refusal = open().read_all(&mut |_, _| Err(Error::denied("no")));
    assert!(matches!(refusal, Err(Error::Denied { .. })));
    assert!(matches!(open().read(0, 1999), Err(Error::TooLarge { .. })));
    assert!(matches!(open().read(2, 1999), Err(Error::Internal(_))));
    let bad = zip(&[stored("a", "1").both(|header| header.crc32 = 1), stored("b", "2")]);
    let mut opened = Zip::open(Cursor::new(&bad), bad.len() as u64, &ArchiveLimits::of(0)).unwrap();
    let unread = opened.read_all(&mut |_, _| Ok(()));
    assert!(matches!(unread, Err(Error::Invalid { .. })));
    assert_eq!(opened.read(1, 1).unwrap(), b"2", "a failure does not spoil what is read next");
}

#[test]
fn streamed_entries_have_their_sizes_behind_them() {
    for signature in [&b""[..], b"PK\x07\x08"] {
        for is_wide in [false, true] {
            let items = [deflated("a", "aaaa"), stored("b", "bb"), deflated("c", "")];
            let bytes = zip(&items.map(|item| item.streamed(signature, is_wide)));
            check_accepted(&bytes, &[("a", "aaaa"), ("b", "bb"), ("c", "")]);
        }
    }
    let known = stored("a", "1").both(|header| header.flags |= DESCRIBED);
    let descriptor = known.descriptor(b"PK\x07\x08", false);
    check_accepted(&zip(&[known.clone().behind(&descriptor)]), &[("a", "1")]);
    check_refused(&zip(std::slice::from_ref(&known)), "announces a data descriptor that is not there");
    check_refused(&zip(&[known.clone().behind(&descriptor[..15])]), "belong to no entry");
    check_refused(&zip(&[stored("a", "1").behind(&descriptor)]), "belong to no entry");
    for at in 0..descriptor.len() {
        let mut wrong = descriptor.clone();
        wrong[at] ^= 1;
        check_refused(&zip(&[known.clone().behind(&wrong)]), "data descriptor that differs");
    }
    // A descriptor without signature that begins like one.
    let mut ambiguous = opened_entry(&known);
    ambiguous.crc32 = 0x0807_4b50;
    let without = known.both(|header| header.crc32 = ambiguous.crc32).descriptor(b"", false);
    assert!(directory::check_descriptor(&without, &ambiguous).is_err());
    let partly = stored("a", "1").streamed(b"", false).local(|header| header.size = 2);
    check_refused(&zip(&[partly]), "two sizes");
}

fn opened_entry(item: &Item) -> ZipEntry {
    let bytes = zip(std::slice::from_ref(item));
    let opened = Zip::open(Cursor::new(&bytes), bytes.len() as u64, &ArchiveLimits::of(0)).unwrap();
    opened.entries()[0].clone()
}

#[test]
fn zip64_fields_are_understood_where_they_agree() {
    let wide = |header: &mut Header, fields: &[u64]| header.extra = field(1, &words(fields));
    // As Python writes an entry whose size it does not know.
    let forced = stored("a", "12").local(|header| {
        (header.size, header.compressed) = (u32::MAX, u32::MAX);
        wide(header, &[2, 2]);
    });
    check_accepted(&zip(std::slice::from_ref(&forced)), &[("a", "12")]);
    let streamed = deflated("a", "12").streamed(b"PK\x07\x08", true).local(|header| {
        (header.size, header.compressed) = (u32::MAX, u32::MAX);
        wide(header, &[0, 0]);
    });
    check_accepted(&zip(&[streamed]), &[("a", "12")]);
    let everywhere = forced.clone().central(|header| {
        (header.size, header.compressed, header.offset) = (u32::MAX, u32::MAX, Some(u32::MAX));
        wide(header, &[2, 2, 0]);
    });
    check_accepted(&zip(&[everywhere]), &[("a", "12")]);
    let only_offset = stored("a", "12").central(|header| {
        header.offset = Some(u32::MAX);
        wide(header, &[0]);
    });
    check_accepted(&zip(&[only_offset]), &[("a", "12")]);
    let repeated = stored("a", "12").both(|header| wide(header, &[2, 2]));
    check_accepted(&zip(&[repeated]), &[("a", "12")]);
    for fields in [&[3, 2][..], &[2, 3], &[2, 2, 1], &[2, 2, 0, 0], &[0]] {
        let lying = stored("a", "12").central(|header| wide(header, fields));
        check_refused(&zip(&[lying]), "ZIP64 field that does not fit its header");
    }
    let local_lie = stored("a", "12").local(|header| wide(header, &[3, 3]));
    check_refused(&zip(&[local_lie]), "ZIP64 field that does not fit its local header");
    let too_short = forced.clone().local(|header| wide(header, &[2]));
    check_refused(&zip(&[too_short]), "ZIP64 field");
    let other_size = forced.clone().local(|header| wide(header, &[3, 3]));
    check_refused(&zip(&[other_size]), "two sizes");
    let absent = forced.local(|header| header.extra.clear());
    check_refused(&zip(&[absent]), "two sizes");
    let twice = stored("a", "").both(|header| header.extra = field(1, &[]).repeat(2));
    check_refused(&zip(&[twice]), "extra field twice");
    let odd = stored("a", "12").central(|header| header.extra = field(1, &[0; 20]));
    check_refused(&zip(&[odd]), "ZIP64 field");
}

#[test]
fn the_end_records_must_agree() {
    let plain = zip(&[stored("a", "1"), stored("b", "2")]);
    let cases: [(usize, &[u8], &str); 9] = [
        (18, &[1, 0], "more than one disk"),
        (16, &[1, 0], "more than one disk"),
        (14, &[1, 0], "two counts"),
        (14, &[1, 0, 1, 0], "longer than its end record says"),
        (14, &[3, 0, 3, 0], "fewer entries"),
        (10, &[1, 0], "does not lie right before"),
        (6, &[1, 0], "does not lie right before"),
        (6, &[0xff; 4], "does not lie right before"),
        (2, &[1, 0], "does not end with the file"),
    ];
    for (from_end, new, expected) in cases {
        check_refused(&patched(&plain, from_end, new), expected);
    }
    let wide = widened(plain.clone(), 2);
    check_accepted(&wide, &[("a", "1"), ("b", "2")]);
    check_accepted(&patched(&wide, 14, &[2, 0, 2, 0]), &[("a", "1"), ("b", "2")]);
    let cases: [(usize, &[u8], &str); 15] = [
        (14, &[1, 0], "that of ZIP64 differ"),
        (12, &[1, 0], "that of ZIP64 differ"),
        (10, &[0; 4], "that of ZIP64 differ"),
        (6, &[0; 4], "that of ZIP64 differ"),
        (18, &[1, 0], "that of ZIP64 differ"),
        (38, &[1], "more than one disk"),
        (34, &[0], "points to another place"),
        (26, &[2], "more than one disk"),
        (98, b"X", "does not follow a ZIP64 end record"),
        (94, &[45], "wrong size"),
        (82, &[1], "more than one disk"),
        (78, &[1], "more than one disk"),
        (74, &[1], "two counts"),
        (58, &[1], "does not lie right before"),
        (50, &[0xff; 8], "does not lie right before"),
    ];
    for (from_end, new, expected) in cases {
        check_refused(&patched(&wide, from_end, new), expected);
    }
    // Without its locator the record is data that nothing explains.
    let mut unlocated = wide.clone();
    unlocated.drain(wide.len() - 42..wide.len() - 22);
    check_refused(&unlocated, "does not lie right before");
    check_refused(&patched(&wide, 42, b"X"), "does not lie right before");
}

#[test]
fn a_zip_has_one_end_and_nothing_around_it() {
    let one = zip(&[stored("a", "1")]);
    let other = zip(&[stored("b", "2")]);
    check_refused(b"", "no end of central directory");
    check_refused(b"no zip at all, although it is longer than 22 bytes", "not a zip");
    check_refused(&[&one[..], b"\n"].concat(), "does not end with the file");
    check_refused(&[&one[..], &[0; 70_000]].concat(), "not a zip");
    check_refused(&[b"#!/bin/sh\n", &one[..]].concat(), "does not lie right before");
    check_refused(&[&one[..], &other[..]].concat(), "does not lie right before");
    let long_comment =
        |comment: &[u8]| [patched(&one, 2, &(comment.len() as u16).to_le_bytes()), comment.to_vec()].concat();
    check_refused(&long_comment(&other), "two end of central directory records");
    check_refused(&long_comment(&other[..other.len() - 1]), "does not end with the file");
    check_refused(&long_comment(b"PK\x05\x06"), "does not end with the file");
    check_refused(&long_comment(b"xPK\x03\x04"), "signature of a zip record");
    check_refused(&long_comment(b"PK\x01"), "signature of a zip record");
    // A file whose content is an end record that claims all behind it as its comment.
    let data = |length: u16| {
        let head = [END, &[0; 16]].concat();
        String::from_utf8([&head[..], &length.to_le_bytes()].concat()).unwrap()
    };
    let inside = zip(&[stored("a", &data(0))]);
    let behind = (46 + 1 + 22) as u16;
    check_accepted(&inside, &[("a", &data(0))]);
    check_refused(&zip(&[stored("a", &data(behind))]), "two end of central directory records");
    let commented = stored("a", "1").central(|header| header.comment = END.to_vec());
    check_refused(&zip(&[commented]), "hides an end of central directory record");
    let extended = stored("a", "1").central(|header| header.extra = field(0xcafe, END));
    check_refused(&zip(&[extended]), "hides an end of central directory record");
    // Moved as a whole, offsets and all.
    let shifted = stored("a", "1").central(|header| header.offset = Some(3));
    let shifted = [b"abc", &zip(&[shifted])[..]].concat();
    let directory = u32::from_le_bytes(shifted[shifted.len() - 6..shifted.len() - 2].try_into().unwrap()) + 3;
    check_refused(&patched(&shifted, 6, &directory.to_le_bytes()), "data precedes its first entry");
}

#[test]
fn local_headers_must_say_the_same() {
    let a = || deflated("a", "some content");
    let cases = [
        (a().local(|h| h.name = b"b".to_vec()), "two names"),
        (a().local(|h| h.name = b"ab".to_vec()), "two names"),
        (a().local(|h| h.flags = 2), "two sets of flags"),
        (a().local(|h| h.flags = DESCRIBED), "two sets of flags"),
        (a().central(|h| h.flags = DESCRIBED), "two sets of flags"),
        (a().local(|h| h.method = 0), "two methods"),
        (a().local(|h| h.size += 1), "two sizes"),
        (a().local(|h| h.compressed += 1), "two sizes"),
        (a().local(|h| h.size = 0), "two sizes"),
        (a().local(|h| h.crc32 ^= 1), "two CRC-32s"),
        (a().local(|h| h.extra = vec![1, 0, 9, 0]), "extra fields that are malformed"),
        (a().local(|h| h.extra = field(0x7075, b"\x01\0\0\0\0b")), "a second path that differs"),
        (a().central(|h| h.offset = Some(1)), "data precedes"),
        (a().behind(b"x"), "belong to no entry"),
        (a().both(|h| h.crc32 ^= 1), "wrong CRC-32"),
        (a().both(|h| h.size += 1), "fewer bytes than it declares"),
        (a().both(|h| h.size -= 1), "more bytes than it declares"),
        (a().both(|h| h.compressed += 1), "overlaps"),
    ];
    for (item, expected) in cases {
        check_refused(&zip(&[item]), expected);
    }
    let mut misplaced = zip(&[stored("a", "1")]);
    misplaced[0] = b'Q';
    check_refused(&misplaced, "no local header where");
    let shorter = [a().both(|h| h.compressed -= 1).behind(b""), stored("b", "")];
    check_refused(&zip(&shorter), "belong to no entry");
}

#[test]
fn the_deflate_stream_is_all_there_is() {
    let packed = deflate(b"some content");
    let with = |data: &[u8]| {
        let item = item("a", 8, b"some content", data.to_vec());
        zip(&[item, stored("b", "")])
    };
    check_accepted(&with(&packed), &[("a", "some content"), ("b", "")]);
    check_refused(&with(&[&packed[..], b"x"].concat()), "behind the end of its deflate stream");
    check_refused(&with(&packed[..packed.len() - 1]), "cut short");
    check_refused(&with(b""), "cut short");
    check_refused(&with(b"\xff\xff\xff"), "broken deflate stream");
    // All the bytes, but no final block.
    let unfinished = [b"\0\x0c\0\xf3\xff", &b"some content"[..]].concat();
    check_refused(&with(&unfinished), "cut short");
    let finished = [b"\x01\x0c\0\xf3\xff", &b"some content"[..]].concat();
    check_accepted(&with(&finished), &[("a", "some content"), ("b", "")]);
    let empty_blocks = [&b"\0\0\0\xff\xff".repeat(50_000)[..], &finished].concat();
    check_accepted(&with(&empty_blocks), &[("a", "some content"), ("b", "")]);
}

#[test]
fn what_could_escape_or_mislead_is_refused_by_name() {
    let file = |name: &str| stored(name, "1");
    let mode = |mode: u32| file("a").both(move |header| header.attributes = mode << 16);
    let cases = [
        (vec![mode(0o120_777)], "entry 'a' is a link"),
        (vec![mode(0o010_644)], "neither a file nor a folder"),
        (vec![mode(0o060_644)], "neither a file nor a folder"),
        (vec![mode(0o140_644)], "neither a file nor a folder"),
        (vec![mode(0o040_755)], "mode of a folder"),
        (vec![file("a").both(|h| h.attributes = 0x10)], "attribute of a folder"),
        (vec![stored("a/", "").both(|h| h.attributes = 0o100_644 << 16)], "mode of a file"),
        (vec![file("a/")], "folder with content"),
        (vec![file("/etc/passwd")], "entry '/etc/passwd' has an absolute path"),
        (vec![file("C:/x")], "absolute"),
        (vec![file("p/../../x")], "'..'"),
        (vec![file("..")], "'..'"),
        (vec![file("p\\a")], "backslash"),
        (vec![file("p/a\nb")], "control character"),
        (vec![file("a\0.py")], "control character"),
        (vec![file("p/.")], "name of a folder"),
        (vec![file("")], "empty path"),
        (vec![file("é")], "neither ASCII nor marked as UTF-8"),
        (vec![file("").both(|h| (h.name, h.flags) = (b"\xff".to_vec(), 1 << 11))], "not UTF-8"),
        (vec![file(&"x".repeat(1025))], "longer than 1024 bytes"),
        (vec![file("p/a"), file("p/a")], "entry 'p/a' stands twice"),
        (vec![file("p/a"), file("b"), file("./p//a")], "stands twice"),
        (vec![file("p/a"), stored("p/a/", "")], "stands twice"),
        (vec![stored("p/", ""), stored("p/", "")], "stands twice"),
        (vec![file("p/a/b"), file("p/a-b"), file("p/a")], "entry 'p/a/b' lies below"),
        (vec![file("p"), stored("p/q/r/", "")], "lies below"),
        (vec![file("a").both(|h| h.flags = 1)], "is encrypted"),
        (vec![file("a").both(|h| h.flags = 1 << 6)], "is encrypted"),
        (vec![file("a").both(|h| h.flags = 1 << 13)], "is encrypted"),
        (vec![file("a").both(|h| h.flags = 1 << 5)], "flags that are not supported: 0x0020"),
        (vec![file("a").both(|h| h.method = 9)], "method 9"),
        (vec![file("a").both(|h| h.method = 12)], "method 12"),
        (vec![file("a").both(|h| h.size = 2)], "two sizes that differ"),
        (vec![file("a").central(|h| h.disk = 1)], "another disk"),
        (vec![file("a").both(|h| h.extra = field(0x7075, b"\x01\0\0\0\0b"))], "a second path"),
        (vec![file("a").both(|h| h.extra = field(0x7075, b"\x02\0\0\0\0a"))], "a second path"),
        (vec![file("a").both(|h| h.extra = field(0x7075, b"\x01"))], "a second path"),
        (vec![file("a").both(|h| h.extra = vec![1])], "malformed"),
        (vec![file("a").both(|h| h.extra = vec![9, 0, 1, 0])], "malformed"),
    ];
    for (items, expected) in cases {
        check_refused(&zip(&items), expected);
    }
    check_accepted(&zip(&[file("a"), file("A")]), &[("a", "1"), ("A", "1")]);
    check_accepted(
        &zip(&[file("a-b"), file("a.b"), file("ab/c")]),
        &[("a-b", "1"), ("a.b", "1"), ("ab/c", "1")],
    );
    let same = file("a").both(|h| h.extra = field(0x7075, b"\x01\0\0\0\0a"));
    check_accepted(&zip(&[same]), &[("a", "1")]);
    check_refused(&patched(&zip(&[file("a")]), 22 + 47, b"X"), "central directory is malformed");
    check_refused(&patched(&zip(&[file("a")]), 22 + 47 - 28, &[9]), "central directory is malformed");
}

#[test]
fn a_failing_disk_is_no_fault_of_the_archive() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::from(io::ErrorKind::PermissionDenied))
        }
    }
    impl Seek for Failing {
        fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
            Ok(0)
        }
    }
    assert!(matches!(Zip::open(Failing, 1000, &ArchiveLimits::of(0)), Err(Error::Internal(_))));
    let shorter_than_told = Zip::open(Cursor::new(b"PK"), 1000, &ArchiveLimits::of(0));
    assert!(matches!(shorter_than_told, Err(Error::Invalid { .. })));
}

fn pristine() -> Vec<u8> {
    let forced = stored("pkg/c", "12").local(|header| {
        (header.size, header.compressed) = (u32::MAX, u32::MAX);
        header.extra = field(1, &words(&[2, 2]));
    });
    let text = "some content that can be packed ".repeat(20);
    let items = [
        stored("pkg/", ""),
        deflated("pkg/a", &text),
        deflated("pkg/b", "x").streamed(b"PK\x07\x08", false),
        forced,
    ];
    zip(&items)
}

#[test]
fn cut_anywhere_it_is_refused() {
    for bytes in [pristine(), widened(pristine(), 4)] {
        assert!(read(&bytes).is_ok());
        for cut in 0..bytes.len() {
            assert!(read(&bytes[..cut]).is_err(), "cut at {cut}");
            assert!(read(&bytes[bytes.len() - cut..]).is_err(), "only the last {cut}");
        }
    }
}

/// Any zip that differs in one byte is refused, or differs in what nothing depends on: times, versions,
/// permissions and names.
#[test]
fn no_single_change_alters_content() {
    let bytes = pristine();
    let contents = |files: Files| files.into_iter().map(|(_, data)| data).collect::<Vec<_>>();
    let expected = contents(read(&bytes).unwrap());
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            if let Ok(files) = read(&changed) {
                assert_eq!(contents(files), expected, "bit {bit} of byte {at}");
            }
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(raw in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = read(&raw);
        let _ = read(&[&raw[..], &zip(&[])].concat());
    }

    #[test]
    fn no_damaged_zip_panics(
        changes in proptest::collection::vec((0usize..3000, any::<u8>()), 1..6),
        is_wide in any::<bool>(),
    ) {
        let mut bytes = if is_wide { widened(pristine(), 4) } else { pristine() };
        for (at, value) in changes {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        if let Ok(files) = read(&bytes) {
            for (path, _) in files {
                prop_assert!(!path.split('/').any(|part| matches!(part, "" | "." | "..")));
            }
        }
    }
}
