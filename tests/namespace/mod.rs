//! Runs a test in a network namespace of its own: the test binary calls itself again under `unshare --net`.

use std::process::Command;

/// The variable that names the test that runs in its namespace. Daemons take it for one of theirs: remove it for them.
pub(crate) const INSIDE: &str = "IPVLAND_TEST_IN_NAMESPACE";

/// Runs a test's body in a fresh network namespace, as root.
///
/// # Panics
/// When the body fails, or there is no way to make a namespace.
pub(crate) fn run<F: Future<Output = ()>>(test: &str, body: impl FnOnce() -> F) {
    if std::env::var_os(INSIDE).is_some_and(|inside| inside == test) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        return runtime.expect("a tokio runtime").block_on(body());
    }
    let me = std::env::current_exe().expect("the path of the test binary");
    let output = Command::new("unshare")
        .arg("--net")
        .arg(me)
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, test)
        .output()
        .expect("`unshare` of util-linux is needed for this test; install it");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(
        !stderr.contains("unshare failed"),
        "this test makes network namespaces, which takes root (or CAP_SYS_ADMIN): {stderr}"
    );
    assert!(
        output.status.success() && stdout.contains("1 passed"),
        "{test} failed in its namespace:\n{stdout}\n{stderr}"
    );
}

/// Runs `ip` with words split at blanks.
///
/// # Panics
/// When it fails.
pub(crate) fn ip(words: &str) -> String {
    let output =
        Command::new("ip").args(words.split_whitespace()).output().expect("`ip` of iproute2 is needed");
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
