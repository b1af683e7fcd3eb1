//! Writing the kernel's initramfs format ("newc" cpio), uncompressed: unpacking is what an emulated
//! guest is slowest at.

use std::{
    collections::BTreeSet,
    io::{self, Write},
    path::Path,
};

/// An archive under construction.
pub struct Archive<W> {
    out: W,
    count: u32,
    folders: BTreeSet<String>,
}

impl<W: Write> Archive<W> {
    /// Starts an archive.
    pub fn new(out: W) -> Self {
        Self {
            out,
            count: 0,
            folders: BTreeSet::new(),
        }
    }

    /// Adds a folder, and the folders above it.
    pub fn folder(&mut self, path: &str) -> io::Result<()> {
        let path = path.trim_matches('/');
        if path.is_empty() || self.folders.contains(path) {
            return Ok(());
        }
        self.parents(path)?;
        self.folders.insert(path.to_owned());
        self.entry(path, 0o040_755, &[])
    }

    /// Adds an executable or plain file.
    pub fn file(&mut self, path: &str, contents: &[u8], executable: bool) -> io::Result<()> {
        self.parents(path)?;
        self.entry(
            path,
            if executable { 0o100_755 } else { 0o100_644 },
            contents,
        )
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, to: &str) -> io::Result<()> {
        self.parents(path)?;
        self.entry(path, 0o120_777, to.as_bytes())
    }

    /// Ends the archive; another may follow it in the same file.
    pub fn finish(mut self) -> io::Result<W> {
        self.entry("TRAILER!!!", 0, &[])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn parents(&mut self, path: &str) -> io::Result<()> {
        match Path::new(path).parent().and_then(Path::to_str) {
            Some(parent) => self.folder(parent),
            None => Ok(()),
        }
    }

    fn entry(&mut self, path: &str, mode: u32, contents: &[u8]) -> io::Result<()> {
        let path = path.trim_start_matches('/');
        let size = u32::try_from(contents.len()).map_err(io::Error::other)?;
        let name_size = u32::try_from(path.len() + 1).map_err(io::Error::other)?;
        self.count += 1;
        // inode, mode, uid, gid, links, time, size, four device numbers, name size, checksum
        let fields = [self.count, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        write!(self.out, "070701")?;
        for field in fields {
            write!(self.out, "{field:08x}")?;
        }
        self.out.write_all(path.as_bytes())?;
        // The header's 110 bytes, the name and its NUL are padded to four bytes, and so are the contents.
        let end = 110 + path.len() + 1;
        self.out.write_all(&[0; 4][..1 + (4 - end % 4) % 4])?;
        self.out.write_all(contents)?;
        self.out.write_all(&[0; 3][..(4 - contents.len() % 4) % 4])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_padded_and_parents_come_first() {
        let mut archive = Archive::new(Vec::new());
        archive
            .file("a/b/file", b"12345", false)
            .expect("a Vec takes all");
        archive
            .file("a/b/other", b"", true)
            .expect("a Vec takes all");
        let bytes = archive.finish().expect("a Vec takes all");
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8_lossy(&bytes);
        assert_eq!(
            text.matches("070701").count(),
            5,
            "two folders, two files, the trailer"
        );
        assert!(text.find("a/b\0").expect("folder") < text.find("a/b/file\0").expect("file"));
    }
}
