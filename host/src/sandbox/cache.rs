//! What a look from outside finds among the compiled code: whether each file is what was compiled. It changes nothing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::compile::{file_sum, sum_path};

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CacheFound {
    /// Files that were compared with their checksums.
    pub files: u64,
    /// Those that are not what was compiled, or have no checksum.
    pub damaged: Vec<PathBuf>,
}

/// Compares all compiled code in a directory with its checksums. Blocking: about a second for each GiB.
///
/// # Errors
///
/// The directory or a file cannot be read. Without a directory there is nothing to compare.
pub fn examine_cache(cache_dir: &Path) -> io::Result<CacheFound> {
    let mut found = CacheFound::default();
    let entries = match fs::read_dir(cache_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "cwasm") {
            continue;
        }
        let expected = fs::read_to_string(sum_path(&path)).unwrap_or_default();
        match file_sum(&path) {
            Ok(sum) if sum.to_string() == expected => {}
            Ok(_) => found.damaged.push(path),
            // A host that runs has removed it meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        }
        found.files += 1;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_that_is_not_what_its_checksum_says_is_found_and_so_is_code_without_one() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(examine_cache(&dir.path().join("none")).unwrap(), CacheFound::default());
        let [good, bad, alone] = ["a.cwasm", "b.cwasm", "c.cwasm"].map(|name| dir.path().join(name));
        for path in [&good, &bad, &alone] {
            fs::write(path, "code").unwrap();
            fs::write(sum_path(path), file_sum(path).unwrap().to_string()).unwrap();
        }
        assert_eq!(examine_cache(dir.path()).unwrap(), CacheFound { files: 3, damaged: Vec::new() });
        fs::write(&bad, "cods").unwrap();
        fs::remove_file(sum_path(&alone)).unwrap();
        let mut found = examine_cache(dir.path()).unwrap();
        found.damaged.sort();
        assert_eq!(found, CacheFound { files: 3, damaged: vec![bad, alone] });
    }
}
