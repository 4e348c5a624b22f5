//! The folder of one run of the lab: the programs that the guests run, and a folder for each boot's answers.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::watcher::Watcher;
use crate::failure::{OrFail, Outcome};

/// A folder under `/tmp` that goes away with the lab, also where the lab is killed.
///
/// The programs are copied there, so that a build meanwhile does not change them under a running guest.
pub(crate) struct RunFolder {
    path: PathBuf,
    used: AtomicU32,
    _watcher: Watcher,
}

impl RunFolder {
    /// Makes the folder and copies the lab and other programs there, each with the name that guests know it by.
    ///
    /// # Errors
    /// Where `/tmp` cannot be written, or a program is missing.
    pub(crate) fn new(programs: &[(&str, &Path)]) -> Outcome<Self> {
        let path = PathBuf::from(format!("/tmp/ipvland-lab-{}", std::process::id()));
        fs::create_dir(&path).or_fail(format_args!("making {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700))
            .or_fail("closing the run's folder to others")?;
        let this = Self { _watcher: Watcher::removes(&path)?, path, used: AtomicU32::new(0) };
        fs::create_dir(this.programs()).or_fail("making the folder of programs")?;
        let lab = std::env::current_exe().or_fail("finding the lab's own program")?;
        for (name, from) in programs.iter().copied().chain([("lab", lab.as_path())]) {
            fs::copy(from, this.programs().join(name)).or_fail(format_args!("copying {}", from.display()))?;
        }
        Ok(this)
    }

    /// Where the guests find `lab` and `ipvland`.
    pub(crate) fn programs(&self) -> PathBuf {
        self.path.join("bin")
    }

    /// Makes a new empty folder.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub(crate) fn new_folder(&self, name: &str) -> Outcome<PathBuf> {
        let number = self.used.fetch_add(1, Ordering::Relaxed);
        let folder = self.path.join(format!("{name}-{number}"));
        fs::create_dir(&folder).or_fail(format_args!("making {}", folder.display()))?;
        Ok(folder)
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}
