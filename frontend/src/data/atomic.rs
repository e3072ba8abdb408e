//! Writing a file so that a crash leaves either the old contents or the new ones, never a part.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::error::{DataError, Fault};

/// Writes `path` with what `fill` puts into the writer it is given.
///
/// The bytes go to a temporary file in the same folder, which is flushed to the disk and then
/// renamed over `path`. If anything fails, `path` is as it was and the temporary file is removed.
///
/// # Errors
/// If `fill` fails or the folder or file cannot be written.
pub fn write_atomically(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), DataError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    replace(path, folder, fill)
        .map_err(|error| DataError::in_file(path, Fault::Io { action: "write", error }))
}

fn replace(
    path: &Path,
    folder: &Path,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".cygnet-");
    // Temporary files are private by default; the result must get the usual permissions (the
    // process's umask still applies).
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let file = builder.tempfile_in(folder)?;
    let mut writer = BufWriter::with_capacity(1 << 16, file);
    fill(&mut writer)?;
    let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|refused| refused.error)?;
    // The rename itself is durable only once the folder is on the disk. Only Unix lets a folder
    // be opened for that.
    if cfg!(unix) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_the_contents() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.bin");
        for contents in [b"first".as_slice(), b"second, longer"] {
            write_atomically(&path, |writer| writer.write_all(contents)).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), contents);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failure_keeps_the_old_contents_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.bin");
        std::fs::write(&path, "old").unwrap();
        let error = write_atomically(&path, |writer| {
            writer.write_all(&[0; 1 << 17])?;
            Err(io::Error::other("disk on fire"))
        })
        .unwrap_err();
        assert!(error.to_string().contains("cannot write: disk on fire"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_missing_folder_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let error = write_atomically(&folder.path().join("no/out"), |_| Ok(())).unwrap_err();
        assert!(matches!(*error.fault, Fault::Io { action: "write", .. }), "{error}");
        assert!(error.remedy().contains("folder exists"));
    }

    #[cfg(unix)]
    #[test]
    fn others_may_read_the_result_as_with_any_new_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (ours, plain) = (folder.path().join("ours"), folder.path().join("plain"));
        write_atomically(&ours, |_| Ok(())).unwrap();
        std::fs::write(&plain, "").unwrap();
        let mode = |path| std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&plain));
    }
}
