//! The authorities and certificates of a cluster with TLS.

use std::{fs, path::Path, process::Command};

use crate::process::{program, run};

/// Which certificate the members show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// A valid one for `localhost` and `127.0.0.1`.
    Valid,
    /// One that expired.
    Expired,
    /// One for another name.
    OtherName,
}

impl Shown {
    /// Returns the name of its file, without the ending.
    pub(super) fn stem(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Expired => "expired",
            Self::OtherName => "other-name",
        }
    }
}

/// Makes in a folder: the authorities `ca.pem` and `stranger.pem`; the members' certificates; the client certificates
/// `client.pem`, `user.pem` (its common name is a user of etcd), `late.pem` (expired) and `strange.pem` (of the other
/// authority). Each has its key beside it, `client.key`.
pub(super) fn make(folder: &Path, user: &str) {
    let maker = Maker { folder, openssl: program("openssl", "openssl") };
    for name in ["ca", "stranger"] {
        let subject = format!("/CN=the authority {name}");
        let (key, pem) = (format!("{name}.key"), format!("{name}.pem"));
        maker.step(&["req", "-x509", "-days", "2", "-subj", &subject], &["-keyout", &key, "-out", &pem]);
    }
    let here = "subjectAltName=DNS:localhost,IP:127.0.0.1";
    fs::write(folder.join("index"), "").unwrap();
    fs::write(folder.join("ca.conf"), AUTHORITY).unwrap();
    maker.sign(Shown::Valid.stem(), "localhost", here, "ca", DAYS);
    maker.sign(Shown::Expired.stem(), "localhost", here, "ca", PAST);
    maker.sign(Shown::OtherName.stem(), "etcd.example", "subjectAltName=DNS:etcd.example", "ca", DAYS);
    let client = "extendedKeyUsage=clientAuth";
    maker.sign("client", "a host of the fleet", client, "ca", DAYS);
    maker.sign("user", user, client, "ca", DAYS);
    maker.sign("late", "a host of the fleet", client, "ca", PAST);
    maker.sign("strange", "a host of the fleet", client, "stranger", DAYS);
}

/// How long a certificate is valid that is.
const DAYS: &[&str] = &["-days", "2"];

/// When a certificate was valid that expired.
const PAST: &[&str] = &["-startdate", "20200101000000Z", "-enddate", "20200102000000Z"];

/// What openssl ca wants to know; other than openssl x509, it signs for days that are over.
const AUTHORITY: &str = "\
[ca]
default_ca = authority
[authority]
new_certs_dir = .
database = index
rand_serial = yes
unique_subject = no
default_md = sha256
policy = subject
[subject]
commonName = supplied
";

struct Maker<'a> {
    folder: &'a Path,
    openssl: std::path::PathBuf,
}

impl Maker<'_> {
    fn step(&self, first: &[&str], last: &[&str]) {
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        run(Command::new(&self.openssl).current_dir(self.folder).args(first).args(key).args(last));
    }

    fn sign(&self, name: &str, subject: &str, extensions: &str, authority: &str, valid: &[&str]) {
        let of = |ending: &str| format!("{name}.{ending}");
        let subject = format!("/CN={subject}");
        self.step(&["req", "-subj", &subject], &["-keyout", &of("key"), "-out", &of("csr")]);
        fs::write(self.folder.join(of("ext")), format!("{extensions}\n")).unwrap();
        let (ca, key) = (format!("{authority}.pem"), format!("{authority}.key"));
        run(Command::new(&self.openssl)
            .current_dir(self.folder)
            .args(["ca", "-batch", "-notext", "-config", "ca.conf", "-cert", &ca, "-keyfile", &key])
            .args(valid)
            .args(["-in", &of("csr"), "-extfile", &of("ext"), "-out", &of("pem")]));
    }
}
