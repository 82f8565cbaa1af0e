//! A file's bytes from the disk: around the kernel's cache where the file system can read so, else after the cache was told
//! to drop them.

use std::{num::NonZeroU64, os::fd::OwnedFd};

use rustix::{
    fs::{Advice, AtFlags, OFlags, StatxFlags},
    io::Errno,
};

/// Bytes of one read.
const CHUNK: usize = 1 << 20;
/// What reading around the cache needs of offsets and memory, on every disk we know.
const ALIGN: usize = 4096;

/// Memory for reading, aligned.
pub(super) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
}

impl Buffer {
    pub(super) fn new() -> Self {
        let bytes = vec![0; CHUNK + ALIGN];
        let start = bytes.as_ptr().align_offset(ALIGN).min(ALIGN);
        Self { bytes, start }
    }
}

/// The bytes of a stretch, one chunk after the other.
pub(super) struct Stream<'a> {
    file: &'a OwnedFd,
    buffer: &'a mut Buffer,
    /// Whether the cache is left out.
    direct: bool,
    /// Where the next chunk begins.
    position: u64,
    end: u64,
    /// What of the buffer was not given out yet.
    chunk: std::ops::Range<usize>,
}

impl<'a> Stream<'a> {
    /// What was written at `position` must be synced.
    pub(super) fn new(file: &'a OwnedFd, buffer: &'a mut Buffer, position: u64, bytes: u64) -> Self {
        let direct = go_direct(file);
        let stream = Self { file, buffer, direct, position, end: position.saturating_add(bytes), chunk: 0..0 };
        if !direct {
            stream.drop_cached();
        }
        stream
    }

    /// The next bytes, at most `most`; none at the end of the file.
    pub(super) fn next(&mut self, most: u64) -> Result<&[u8], Errno> {
        if self.chunk.is_empty() {
            self.fill()?;
        }
        let from = self.chunk.start;
        self.chunk.start += self.chunk.len().min(usize::try_from(most).unwrap_or(usize::MAX));
        Ok(self.buffer.bytes.get(self.buffer.start + from..self.buffer.start + self.chunk.start).unwrap_or_default())
    }

    fn fill(&mut self) -> Result<(), Errno> {
        let got = loop {
            let skip = if self.direct { self.position % ALIGN as u64 } else { 0 };
            let from = self.position - skip;
            let left = usize::try_from(self.end - from).unwrap_or(CHUNK).min(CHUNK);
            let want = if self.direct { left.next_multiple_of(ALIGN) } else { left };
            match rustix::io::pread(self.file, &mut self.buffer.bytes[self.buffer.start..self.buffer.start + want], from) {
                Err(Errno::INTR) => {}
                // It promised more than it holds.
                Err(Errno::INVAL) if self.direct => self.go_through_cache()?,
                Ok(got) => break (usize::try_from(skip).unwrap_or(0), got.min(left)),
                Err(errno) => return Err(errno),
            }
        };
        let (skip, end) = got;
        self.chunk = skip.min(end)..end;
        self.position += self.chunk.len() as u64;
        Ok(())
    }

    fn go_through_cache(&mut self) -> Result<(), Errno> {
        let flags = rustix::fs::fcntl_getfl(self.file)?;
        rustix::fs::fcntl_setfl(self.file, flags - OFlags::DIRECT)?;
        self.direct = false;
        self.drop_cached();
        Ok(())
    }

    /// Only what is read here: others may be reading other parts. The kernel need not heed it.
    fn drop_cached(&self) {
        if let Some(length) = NonZeroU64::new(self.end - self.position) {
            let _ = rustix::fs::fadvise(self.file, self.position, Some(length), Advice::DontNeed);
            let _ = rustix::fs::fadvise(self.file, self.position, Some(length), Advice::Sequential);
        }
    }
}

/// Tries to have the cache left out. Some file systems would take the flag and not do so; only where the kernel tells the
/// alignment it wants, it means it.
fn go_direct(file: &OwnedFd) -> bool {
    let Ok(stat) = rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN) else { return false };
    let fits = |align: u32| align > 0 && ALIGN.is_multiple_of(align as usize);
    stat.stx_mask & StatxFlags::DIOALIGN.bits() != 0
        && fits(stat.stx_dio_mem_align)
        && fits(stat.stx_dio_offset_align)
        && rustix::fs::fcntl_getfl(file).and_then(|flags| rustix::fs::fcntl_setfl(file, flags | OFlags::DIRECT)).is_ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn read(file: &OwnedFd, position: u64, bytes: u64) -> Vec<u8> {
        let mut buffer = Buffer::new();
        let mut stream = Stream::new(file, &mut buffer, position, bytes);
        let mut all = Vec::new();
        loop {
            match stream.next(bytes - all.len() as u64).unwrap() {
                [] => return all,
                more => all.extend_from_slice(more),
            }
        }
    }

    #[test]
    fn any_stretch_is_read_as_it_was_written_and_nothing_is_made_up_at_the_end() {
        let content: Vec<u8> = (0..2 * CHUNK + 4567).map(|at| u8::try_from(at * 7 % 251).unwrap()).collect();
        // Likely one on a disk and one in memory.
        for folder in [std::env::temp_dir(), "/dev/shm".into()] {
            let mut file = tempfile::tempfile_in(folder).unwrap();
            file.write_all(&content).unwrap();
            file.sync_all().unwrap();
            let file = OwnedFd::from(file);
            for (from, to) in
                [(0, content.len()), (0, 1), (4095, 4097), (5, CHUNK + 5), (CHUNK - 1, content.len()), (content.len(), content.len())]
            {
                assert_eq!(read(&file, from as u64, (to - from) as u64), content[from..to], "{from}..{to}");
            }
            assert_eq!(read(&file, 4096, 1 << 30), content[4096..], "a file that is too short");
        }
    }
}
