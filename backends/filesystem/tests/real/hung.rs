//! A disk that hangs: calls end in time, no threads pile up, and the store goes on when the disk does.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use ipvland_store::{EndpointStore as _, Remedy};

use crate::{
    host::{Host, pairs, put},
    mounted::{mount_ext4, on_tmpfs, run},
};

/// A frozen file system: who writes there waits in the kernel until it's thawed.
struct Frozen(PathBuf);

impl Frozen {
    fn freeze(path: &Path) -> Self {
        run("fsfreeze", &["--freeze", path.to_str().unwrap()]);
        Self(path.to_owned())
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // Whatever becomes of the test: a frozen file system can't be unmounted.
        _ = Command::new("fsfreeze").arg("--unfreeze").arg(&self.0).status();
    }
}

fn threads() -> usize {
    fs::read_dir("/proc/self/task").unwrap().count()
}

#[test]
fn a_disk_that_hangs_is_told_in_time() {
    on_tmpfs("hung::a_disk_that_hangs_is_told_in_time", "32m", async |directory| {
        let disk = mount_ext4(directory);
        let path = disk.join("net");
        fs::create_dir(&path).unwrap();
        let open = || Host::open(&path, "50ms", "200ms", Arc::new(tempfile::tempdir().unwrap()));
        let (host, reader) = (open(), open());
        let base = host.publish("a", "1").await;
        let frozen = Frozen::freeze(&disk);
        let before = threads();
        for _ in 0..10 {
            let begun = Instant::now();
            let error = host.store.commit(&base, put("a", "2")).await.unwrap_err();
            assert_eq!(error.remedy(), Remedy::RetryLater, "{error}");
            assert!(error.to_string().contains("did not answer"), "{error}");
            assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        }
        let more = threads().saturating_sub(before);
        assert!(more <= 2, "ten calls that hang left {more} threads");
        assert_eq!(reader.snapshot().await.revision, base);
        drop(frozen);
        // The commit that hung may land now, late; it was said that it may.
        let begun = Instant::now();
        while let Err(error) = host.commit(put("a", "3")).await {
            assert_ne!(error.remedy(), Remedy::GiveUp, "{error}");
            assert!(begun.elapsed() < Duration::from_secs(20), "{error}");
        }
        assert_eq!(reader.texts().await, pairs(&[("a", "3")]));
        // The hung thread is gone by now; the disk can be unmounted.
        run("umount", &[disk.to_str().unwrap()]);
    });
}
