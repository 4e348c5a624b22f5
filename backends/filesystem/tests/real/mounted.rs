//! File systems that are full or read-only, mounted in a namespace of the test's own, as root.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use ipvland_store::{EndpointStore as _, Remedy};

use crate::host::{Host, next, pairs, put};

const INSIDE: &str = "IPVLAND_TEST_IN_NAMESPACE";
const DIRECTORY: &str = "IPVLAND_TEST_DIRECTORY";

/// Runs a test's body in a mount namespace of its own, with a tmpfs of some size.
pub(crate) fn on_tmpfs(test: &str, size: &str, body: impl AsyncFnOnce(&Path)) {
    if std::env::var_os(INSIDE).is_some_and(|inside| inside == test) {
        let directory = std::env::var_os(DIRECTORY).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        return runtime.unwrap().block_on(body(Path::new(&directory)));
    }
    let directory = tempfile::tempdir().unwrap();
    let mount = format!("mount -t tmpfs -o size={size} tmpfs \"${DIRECTORY}\" && exec \"$0\" \"$@\"");
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", &mount])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, test)
        .env(DIRECTORY, directory.path())
        .output()
        .expect("`unshare` of util-linux is needed for this test; install it");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(
        !stderr.contains("unshare failed"),
        "this test mounts a file system, which takes root (or CAP_SYS_ADMIN): {stderr}"
    );
    assert!(output.status.success() && stdout.contains("1 passed"), "{test} failed:\n{stdout}\n{stderr}");
}

#[test]
fn a_full_disk_is_told_and_waited_for() {
    on_tmpfs("mounted::a_full_disk_is_told_and_waited_for", "256k", async |directory| {
        let host = Host::at(directory);
        let base = host.publish("a", "1").await;
        let filler = directory.join("filler");
        fs::write(&filler, vec![0; 1 << 20]).expect_err("the disk is full");
        for _ in 0..3 {
            let batch = put("a", "2").put(crate::host::key("b"), "x".repeat(30_000));
            let error = host.store.commit(&base, batch).await.unwrap_err();
            assert_eq!(error.remedy(), Remedy::RetryLater, "{error}");
            assert!(error.to_string().contains("no space is left"), "{error}");
            assert_eq!(host.texts().await, pairs(&[("a", "1")]));
        }
        fs::remove_file(&filler).unwrap();
        host.store.commit(&base, put("a", "2")).await.unwrap();
        // A disk that fills up step by step: each commit is there as a whole, or not at all.
        let (mut told, mut made) = (0, 0);
        for round in 0..200 {
            let text = format!("{round:09000}");
            match host.commit(put("left", &text).put(crate::host::key("right"), text)).await {
                Ok(_) => made += 1,
                Err(error) => {
                    assert_eq!(error.remedy(), Remedy::RetryLater, "{error}");
                    told += 1;
                }
            }
            let records = host.snapshot().await.records;
            assert_eq!(records.get("left"), records.get("right"));
        }
        assert!(told > 0 && made > 0, "{made} made, {told} refused");
    });
}

pub(crate) fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program} is needed for this test: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Mounts an ext4 from a file in a directory, and returns where. It ends with the namespace.
pub(crate) fn mount_ext4(directory: &Path) -> PathBuf {
    let (image, disk) = (directory.join("image"), directory.join("disk"));
    fs::create_dir(&disk).unwrap();
    fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
    run("mkfs.ext4", &["-q", image.to_str().unwrap()]);
    run("mount", &["-o", "loop", image.to_str().unwrap(), disk.to_str().unwrap()]);
    disk
}

/// Takes the right to change what is in a directory, also from root.
fn set_immutable(directory: &Path, is_immutable: bool) {
    let flag = if is_immutable { "+i" } else { "-i" };
    run("chattr", &[flag, directory.to_str().unwrap()]);
}

#[test]
fn a_directory_that_may_not_be_written_is_told_before_anything_is_committed() {
    let test = "mounted::a_directory_that_may_not_be_written_is_told_before_anything_is_committed";
    on_tmpfs(test, "32m", async |directory| {
        // A tmpfs has such flags in newer kernels only.
        let directory = &mount_ext4(directory);
        let host = Host::at(directory);
        let base = host.publish("a", "1").await;
        for part in ["endpoints", ".ipvland/log", ".ipvland/staging", ".ipvland"] {
            let part = directory.join(part);
            set_immutable(&part, true);
            for host in [&host, &Host::at(directory)] {
                let error = host.store.commit(&base, put("a", "2")).await.unwrap_err();
                assert_eq!(error.remedy(), Remedy::GiveUp, "{}: {error}", part.display());
                assert!(error.to_string().contains("permission denied"), "{}: {error}", part.display());
                assert_eq!(host.texts().await, pairs(&[("a", "1")]), "{}", part.display());
            }
            set_immutable(&part, false);
        }
        host.publish("a", "3").await;
        assert_eq!(Host::at(directory).texts().await, pairs(&[("a", "3")]));
    });
}

#[test]
fn a_read_only_mount_is_read_and_not_written() {
    on_tmpfs("mounted::a_read_only_mount_is_read_and_not_written", "1m", async |directory| {
        let revision = Host::at(directory).publish("a", "1").await;
        let newer = Host::at(directory).publish("b", "1").await;
        run("mount", &["-o", "remount,ro", directory.to_str().unwrap()]);
        let host = Host::at(directory);
        assert_eq!(host.texts().await, pairs(&[("a", "1"), ("b", "1")]));
        assert_eq!(next(&mut host.store.watch(revision)).await.unwrap().revision, newer);
        let error = host.store.commit(&newer, put("a", "2")).await.unwrap_err();
        assert_eq!(error.remedy(), Remedy::GiveUp, "{error}");
        assert!(error.to_string().contains("mounted read-only"), "{error}");
    });
}
