//! Zips that are large, or say that they are.

use super::*;

#[test]
fn bombs_are_refused_by_bytes_entries_and_overlap() {
    let limits = ArchiveLimits { unpacked_bytes: 1 << 20, entries: 10, ..ArchiveLimits::of(0) };
    let is_too_large = |bytes: &[u8]| matches!(read_limited(bytes, &limits), Err(Error::TooLarge { .. }));
    let half = "\0".repeat((1 << 19) + 1);
    assert!(is_too_large(&zip(&[deflated("a", &half), deflated("b", &half)])));
    // What unpacks to more than it declares stops there.
    let modest = deflated("a", &"\0".repeat(8 << 20)).both(|header| header.size = 1000);
    check_refused(&zip(&[modest]), "more bytes than it declares");
    let many: Vec<Item> = (0..11).map(|n| stored(&n.to_string(), "")).collect();
    assert!(is_too_large(&zip(&many)));
    assert!(read_limited(&zip(&many[..10]), &limits).is_ok());
    // Many entries that share one kernel.
    let kernel = deflated("a", "kernel");
    let mut second = deflated("b", "kernel");
    second.central.offset = Some(0);
    let shared = zip(&[kernel.clone(), second]);
    let opened = Zip::open(Cursor::new(&shared), shared.len() as u64, &ArchiveLimits::of(0));
    assert!(opened.is_err_and(|error| error.to_string().contains("overlaps")), "before anything is unpacked");
    // An entry whose packed bytes are the next entry.
    let inner = zip(std::slice::from_ref(&kernel))[..30 + 1 + kernel.data.len()].to_vec();
    let quoted = item("q", 0, &inner, Vec::new()).both(|header| header.compressed = header.size);
    check_refused(&zip(&[quoted, kernel]), "overlaps");
    let header = |size: u32, offset: u32| {
        let mut bytes = vec![0; (32 << 20) + 1];
        bytes.extend([END, &[0; 4], &[0, 0, 0, 0]].concat());
        bytes.extend(size.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
        bytes.extend([0, 0]);
        bytes
    };
    assert!(matches!(read(&header((32 << 20) + 1, 0)), Err(Error::TooLarge { .. })));
    check_refused(&header(32 << 20, 1), "longer than its end record says");
}

/// Zeros of any length with some bytes among them.
struct Sparse {
    pieces: Vec<(u64, Vec<u8>)>,
    at: u64,
    size: u64,
}

impl Read for Sparse {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = (buffer.len() as u64).min(self.size.saturating_sub(self.at)) as usize;
        for (index, byte) in buffer[..count].iter_mut().enumerate() {
            let at = self.at + index as u64;
            let piece =
                self.pieces.iter().find(|(start, data)| (*start..start + data.len() as u64).contains(&at));
            *byte = piece.map_or(0, |(start, data)| data[(at - start) as usize]);
        }
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Sparse {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = match to {
            SeekFrom::Start(at) => at,
            SeekFrom::Current(by) => self.at.checked_add_signed(by).unwrap(),
            SeekFrom::End(by) => self.size.checked_add_signed(by).unwrap(),
        };
        Ok(self.at)
    }
}

#[test]
fn large_zips_are_zip64() {
    let many: Vec<Item> = (0..70_000).map(|n| stored(&n.to_string(), "")).collect();
    let narrow = zip(&many);
    let bytes = widened(narrow.clone(), 70_000);
    let opened = Zip::open(Cursor::new(&bytes), bytes.len() as u64, &ArchiveLimits::of(0)).unwrap();
    assert_eq!(opened.entries().len(), 70_000);
    // Without ZIP64 the count has wrapped around.
    check_refused(&narrow, "longer than its end record says");
    let exact = zip(&many[..65_535]);
    assert!(Zip::open(Cursor::new(&exact), exact.len() as u64, &ArchiveLimits::of(0)).is_ok());

    // Five gibibytes of zeros, then a small file, its offset beyond what 32 bits can hold.
    let large = 5u64 << 30;
    let wide = |fields: &[u64]| field(1, &words(fields));
    let first = stored("large", "").both(|header| {
        (header.size, header.compressed, header.extra) = (u32::MAX, u32::MAX, wide(&[large, large]));
    });
    let small = stored("small", "text").central(|header| header.offset = Some(u32::MAX));
    let local = |item: &Item| {
        let mut bytes = zip(std::slice::from_ref(item));
        let directory = u32::from_le_bytes(bytes[bytes.len() - 6..bytes.len() - 2].try_into().unwrap());
        bytes.truncate(directory as usize);
        bytes
    };
    let head = local(&first);
    let second = head.len() as u64 + large;
    let small = small.central(|header| header.extra = wide(&[second]));
    let whole = widened(zip(&[first.clone(), small.clone()]), 2);
    let locals = head.len() + local(&small).len();
    let mut rest = local(&small);
    rest.extend(&whole[locals..]);
    let directory = locals as u64 + large;
    let rest = patched(&rest, 50, &directory.to_le_bytes());
    let position = directory + (whole.len() - locals - 98) as u64;
    let rest = patched(&rest, 34, &position.to_le_bytes());
    let size = second + rest.len() as u64;
    let source = Sparse { pieces: vec![(0, head), (second, rest)], at: 0, size };
    let mut opened = Zip::open(source, size, &ArchiveLimits::of(size)).unwrap();
    assert_eq!(opened.entries()[0].size, large);
    assert_eq!(opened.read(1, 100).unwrap(), b"text");
}
