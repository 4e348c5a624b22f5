//! A Git server as operators have it: nginx, git http-backend, a password.

use std::fs;
use std::time::Duration;

use super::host::Host;
use super::lab::Lab;
use super::wait;
use crate::failure::{OrFail, Outcome};

/// The user that may read and write.
pub(crate) const USER: &str = "user";
/// Its password: a word that is found nowhere else, so that a search for it shows every leak.
pub(crate) const PASSWORD: &str = "pw-Sesam7Kq";
/// Where the repository is on the server.
pub(crate) const REPOSITORY: &str = "/srv/net/overlay.git";

/// The host 10.1.1.1 with the repository `net/overlay.git`.
pub(crate) struct GitServer {
    /// The host that it runs on; its shell is also the operator's.
    pub(crate) host: Host,
}

impl GitServer {
    /// Makes the host, an empty repository on it, and starts the server.
    ///
    /// # Errors
    /// Where nginx or fcgiwrap does not come up.
    pub(crate) fn new(lab: &mut Lab) -> Outcome<Self> {
        Self::at(lab, "git", 1)
    }

    /// As [`GitServer::new`], on a host of another name and number.
    ///
    /// # Errors
    /// Where nginx or fcgiwrap does not come up.
    pub(crate) fn at(lab: &mut Lab, name: &str, number: u8) -> Outcome<Self> {
        let host = lab.host(name, number)?;
        host.run(&format!("git init --quiet --bare --initial-branch main {REPOSITORY}"))?;
        let this = Self { host };
        this.configure()?;
        this.start()?;
        Ok(this)
    }

    /// The URL that hosts are given, with the password in it.
    pub(crate) fn url(&self) -> String {
        format!("http://{USER}:{PASSWORD}@{}/net/overlay.git", self.host.address())
    }

    /// The URL without user and password.
    pub(crate) fn bare_url(&self) -> String {
        format!("http://{}/net/overlay.git", self.host.address())
    }

    /// Starts the server.
    ///
    /// # Errors
    /// Where it does not come up.
    pub(crate) fn start(&self) -> Outcome {
        self.host.run("rm -f /run/fcgi.sock")?;
        self.host.start("fcgiwrap", "fcgiwrap -c 6 -s unix:/run/fcgi.sock")?;
        self.host.start("nginx", "nginx -c /srv/nginx.conf -g 'daemon off;'")?;
        let url = self.url();
        wait::holds("the Git server answers", Duration::from_secs(20), || {
            Ok(self.host.attempt(&format!("git ls-remote {url}"))?.code == 0)
        })?;
        Ok(())
    }

    /// Stops the server: connections are refused.
    ///
    /// # Errors
    /// Where it does not end.
    pub(crate) fn stop(&self) -> Outcome {
        for program in ["nginx", "fcgiwrap"] {
            self.host.signal(program, "TERM")?;
            self.host.ended(program, Duration::from_secs(10))?;
        }
        Ok(())
    }

    /// Runs git in the repository on the server, for looking, and gives what it said.
    ///
    /// # Errors
    /// Where git fails.
    pub(crate) fn git(&self, arguments: &str) -> Outcome<String> {
        self.host.look(&format!("git -C {REPOSITORY} {arguments}"))
    }

    /// The record of a host as it is in the repository, or nothing where there is none.
    pub(crate) fn record(&self, address: &str) -> Outcome<Option<String>> {
        let ran = self.host.attempt(&format!("git -C {REPOSITORY} show main:endpoints/{address}.json"))?;
        Ok((ran.code == 0).then_some(ran.stdout))
    }

    /// The file names under `endpoints/`.
    pub(crate) fn records(&self) -> Outcome<Vec<String>> {
        let ran = self.host.attempt(&format!("git -C {REPOSITORY} ls-tree --name-only main:endpoints"))?;
        Ok(if ran.code == 0 { ran.stdout.lines().map(str::to_owned).collect() } else { Vec::new() })
    }

    /// Does something in an operator's clone and pushes it, as told in `words`; `line` runs in the clone's folder.
    ///
    /// # Errors
    /// Where the line, the commit or the push fails.
    pub(crate) fn operator(&self, words: &str, line: &str) -> Outcome {
        let url = self.url();
        let pull = "if git ls-remote --exit-code origin main >/dev/null; then git pull --quiet --rebase origin main; fi";
        // A host may push in between, so the push is tried a few times.
        self.host.run(&format!(
            "set -e; export HOME=/srv; test -d /srv/clone || git clone --quiet {url} /srv/clone; cd /srv/clone; \
             git config user.name operator; git config user.email operator@example.net; {pull}; {line}; git add --all; \
             git diff --cached --quiet || git commit --quiet --message '{words}'; \
             for i in 1 2 3 4 5; do git push --quiet origin HEAD:main && exit 0; {pull}; done; exit 1"
        ))?;
        Ok(())
    }

    fn configure(&self) -> Outcome {
        let disk = self.host.file("disk/srv");
        let hash = self.host.look(&format!("openssl passwd -apr1 {PASSWORD}"))?;
        fs::write(disk.join("htpasswd"), format!("{USER}:{hash}")).or_fail("writing htpasswd")?;
        let backend = self.host.look("git --exec-path")?;
        let backend = format!("{}/git-http-backend", backend.trim());
        fs::write(disk.join("nginx.conf"), nginx(&backend)).or_fail("writing nginx.conf")
    }
}

fn nginx(backend: &str) -> String {
    format!(
        r"user root;
pid /run/nginx.pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_max_body_size 0;
    client_body_temp_path /run/nginx-body;
    fastcgi_temp_path /run/nginx-fastcgi;
    proxy_temp_path /run/nginx-proxy;
    uwsgi_temp_path /run/nginx-uwsgi;
    scgi_temp_path /run/nginx-scgi;
    server {{
        listen 80;
        auth_basic git;
        auth_basic_user_file /srv/htpasswd;
        location / {{
            include /etc/nginx/fastcgi_params;
            fastcgi_pass unix:/run/fcgi.sock;
            fastcgi_param SCRIPT_FILENAME {backend};
            fastcgi_param GIT_PROJECT_ROOT /srv;
            fastcgi_param GIT_HTTP_EXPORT_ALL 1;
            fastcgi_param PATH_INFO $uri;
            fastcgi_param REMOTE_USER $remote_user;
        }}
    }}
}}
"
    )
}
