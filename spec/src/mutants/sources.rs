//! Sources in directories: how they are copied and compared.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

/// Whether an entry of the workspace's root is part of the sources.
fn is_source(name: &str) -> bool {
    !matches!(name, "target" | "data") && (!name.starts_with('.') || name == ".cargo")
}

fn entries(directory: &Path, top: bool) -> io::Result<BTreeSet<OsString>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        if !top || is_source(&name.to_string_lossy()) {
            names.insert(name);
        }
    }
    Ok(names)
}

/// Makes an empty directory.
pub(super) fn empty(path: &Path) -> io::Result<()> {
    if path.exists() {
        remove(path)?;
    }
    fs::create_dir_all(path)
}

/// Copies a file of one directory to the same place in another, if it is there.
pub(super) fn copy(from: &Path, to: &Path, file: &Path) -> io::Result<()> {
    let (source, place) = (from.join(file), to.join(file));
    if !source.is_file() {
        return Ok(());
    }
    fs::create_dir_all(place.parent().unwrap_or(to))?;
    fs::copy(source, place).map(drop)
}

/// Makes `to` equal to `from`, writing only what differs.
pub(super) fn mirror(from: &Path, to: &Path, top: bool) -> io::Result<()> {
    fs::create_dir_all(to)?;
    let wanted = entries(from, top)?;
    for name in entries(to, top)?.difference(&wanted) {
        remove(&to.join(name))?;
    }
    for name in &wanted {
        let (source, place) = (from.join(name), to.join(name));
        if source.is_dir() {
            if place.is_file() {
                remove(&place)?;
            }
            mirror(&source, &place, false)?;
        } else if source.is_file() {
            if place.is_dir() {
                remove(&place)?;
            }
            let content = fs::read(&source)?;
            if fs::read(&place).ok().as_ref() != Some(&content) {
                fs::write(&place, content)?;
            }
        }
    }
    Ok(())
}

/// The files, as seen from the root, in which the sources of two copies differ, or which only one of them has.
pub(super) fn differing(one: &Path, other: &Path) -> io::Result<Vec<PathBuf>> {
    fn compare(one: &Path, other: &Path, at: &Path, top: bool, found: &mut Vec<PathBuf>) -> io::Result<()> {
        let names = |directory: &Path| if directory.is_dir() { entries(directory, top) } else { Ok(BTreeSet::new()) };
        for name in names(&one.join(at))?.union(&names(&other.join(at))?) {
            let place = at.join(name);
            let (a, b) = (one.join(&place), other.join(&place));
            if a.is_dir() || b.is_dir() {
                compare(one, other, &place, false, found)?;
            } else if fs::read(&a).ok() != fs::read(&b).ok() {
                found.push(place);
            }
        }
        Ok(())
    }
    let mut found = Vec::new();
    compare(one, other, Path::new(""), true, &mut found)?;
    Ok(found)
}

fn remove(path: &Path) -> io::Result<()> {
    if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

#[cfg(test)]
mod tests {
    use super::{differing, mirror};
    use std::{fs, path::PathBuf};

    #[test]
    fn the_copy_is_restored_and_what_is_equal_is_not_touched() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for file in ["Cargo.toml", "model/src/lib.rs", "target/x", ".git/x", "data/x", "model/target/kept"] {
            let path = from.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        mirror(from.path(), to.path(), true).unwrap();
        assert!(!["target", ".git", "data"].iter().any(|name| to.path().join(name).exists()));
        assert_eq!(differing(from.path(), to.path()).unwrap(), Vec::<PathBuf>::new());
        let time = |file: &str| fs::metadata(to.path().join(file)).unwrap().modified().unwrap();
        let before = time("Cargo.toml");

        fs::write(to.path().join("model/src/lib.rs"), "changed").unwrap();
        fs::write(to.path().join("model/src/lib.rs.orig"), "left by patch").unwrap();
        fs::create_dir(to.path().join("target")).unwrap();
        let changed = ["model/src/lib.rs", "model/src/lib.rs.orig"].map(PathBuf::from);
        assert_eq!(differing(from.path(), to.path()).unwrap(), changed);
        mirror(from.path(), to.path(), true).unwrap();
        assert_eq!(differing(from.path(), to.path()).unwrap(), Vec::<PathBuf>::new());
        assert_eq!(fs::read_to_string(to.path().join("model/src/lib.rs")).unwrap(), "model/src/lib.rs");
        assert_eq!(time("Cargo.toml"), before);
        assert!(to.path().join("target").exists(), "what the copy built stays");
    }
}
