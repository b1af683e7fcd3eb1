//! What an executable or a kernel module needs, read from the file itself: no ldd, no depmod.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use object::{
    Endianness,
    build::elf::{Builder, SectionData},
    elf::{DT_NEEDED, FileHeader64},
    read::elf::FileHeader as _,
};

/// The shared libraries that these executables need, found in the given folders, by file name.
/// Libraries that are nowhere found are left out: the loader will name them.
pub fn libraries(
    executables: &[PathBuf],
    folders: &[PathBuf],
) -> Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    let mut open: Vec<PathBuf> = executables.to_vec();
    while let Some(path) = open.pop() {
        for name in needed(&path)? {
            if found.contains_key(&name) {
                continue;
            }
            if let Some(library) = folders
                .iter()
                .map(|dir| dir.join(&name))
                .find(|p| p.is_file())
            {
                open.push(library.clone());
                found.insert(name, library);
            }
        }
    }
    Ok(found)
}

/// Whether a file is an ELF executable.
pub fn is_elf(path: &Path) -> bool {
    use std::io::Read as _;
    let mut magic = [0; 4];
    fs::File::open(path)
        .and_then(|mut f| f.read_exact(&mut magic))
        .is_ok()
        && magic == *b"\x7fELF"
}

/// The names in the dynamic section.
fn needed(path: &Path) -> Result<Vec<String>> {
    let data = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let read = || -> object::read::Result<Vec<String>> {
        let header = FileHeader64::<Endianness>::parse(&*data)?;
        let endian = header.endian()?;
        let sections = header.sections(endian, &*data)?;
        let Some((entries, strings)) = sections.dynamic(endian, &*data)? else {
            return Ok(Vec::new());
        };
        let strings = sections.strings(endian, &*data, strings)?;
        let mut names = Vec::new();
        for entry in entries {
            use object::read::elf::Dyn as _;
            if entry.tag(endian) == DT_NEEDED {
                let name = entry.string(endian, strings)?;
                names.push(String::from_utf8_lossy(name).into_owned());
            }
        }
        Ok(names)
    };
    read().with_context(|| format!("{} is no ELF file", path.display()))
}

/// The modules that a kernel module depends on.
pub fn module_dependencies(module: &[u8]) -> Result<Vec<String>> {
    let builder = Builder::read(module).context("a kernel module is no ELF file")?;
    for section in &builder.sections {
        let (b".modinfo", SectionData::Data(data)) = (section.name.as_slice(), &section.data)
        else {
            continue;
        };
        let Some(list) = data
            .split(|b| *b == 0)
            .find_map(|entry| entry.strip_prefix(b"depends="))
        else {
            continue;
        };
        let list = String::from_utf8_lossy(list).into_owned();
        return Ok(list
            .split(',')
            .filter(|n| !n.is_empty())
            .map(str::to_owned)
            .collect());
    }
    Ok(Vec::new())
}

/// Cuts off a module's signature. Checking 60 of them takes an emulated guest two seconds.
pub fn without_signature(module: &mut Vec<u8>) {
    const MAGIC: &[u8] = b"~Module signature appended~\n";
    const DESCRIPTION: usize = 12;
    let Some(rest) = module.len().checked_sub(MAGIC.len() + DESCRIPTION) else {
        return;
    };
    if !module.ends_with(MAGIC) {
        return;
    }
    let length = &module[rest + DESCRIPTION - 4..rest + DESCRIPTION];
    let length = u32::from_be_bytes(length.try_into().expect("four bytes")) as usize;
    if let Some(end) = rest.checked_sub(length) {
        module.truncate(end);
    }
}
