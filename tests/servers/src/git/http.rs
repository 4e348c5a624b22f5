//! nginx with git http-backend and basic authentication, over HTTP or HTTPS.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::Command,
    sync::Mutex,
};

use tempfile::TempDir;

use super::repository::Repositories;
use crate::process::{Running, free_port, program, run, wait_for};

/// Who may log in.
pub const USER: &str = "ipvland";
/// The password: with characters that a URL must encode.
pub const PASSWORD: &str = "hunter2#/@ü";
/// The same as a part of a URL.
pub const ENCODED: &str = "hunter2%23%2F%40%C3%BC";

/// Where a server is reached by tests: at a second address too, as another host's name for it.
const LOOPBACK: &[&str] = &["127.0.0.1", "127.0.0.2"];

/// A Git server over HTTP.
#[derive(Debug)]
pub struct HttpServer {
    /// The repositories that it serves.
    pub repositories: Repositories,
    port: u16,
    tls: bool,
    folder: TempDir,
    _fcgiwrap: Running,
    nginx: Mutex<Option<Running>>,
}

impl HttpServer {
    /// Starts a server without TLS.
    pub fn start() -> Self {
        Self::with(false, LOOPBACK)
    }

    /// Starts a server without TLS that is reached at every address of its network namespace, for hosts that have
    /// namespaces of their own.
    pub fn start_for_hosts() -> Self {
        Self::with(false, &["0.0.0.0"])
    }

    /// Starts a server whose certificate is signed by an authority that nobody knows: [`ca_file`](Self::ca_file).
    pub fn start_tls() -> Self {
        Self::with(true, LOOPBACK)
    }

    fn with(tls: bool, addresses: &[&str]) -> Self {
        let repositories = Repositories::default();
        let folder = tempfile::tempdir().unwrap();
        let run_dir = folder.path().to_path_buf();
        let fcgiwrap = program("fcgiwrap", "fcgiwrap");
        let openssl = program("openssl", "openssl");

        let hash = run(Command::new(&openssl).args(["passwd", "-apr1", PASSWORD]));
        fs::write(run_dir.join("htpasswd"), format!("{USER}:{hash}")).unwrap();
        if tls {
            make_certificates(&openssl, &run_dir);
        }
        let exec_path = run(Command::new(program("git", "git")).arg("--exec-path"));
        let backend = PathBuf::from(exec_path.trim()).join("git-http-backend");
        let port = free_port();
        let config = configuration(&run_dir, &repositories, &backend, (addresses, port), tls);
        fs::write(run_dir.join("nginx.conf"), config).unwrap();

        let socket = run_dir.join("fcgi.sock");
        let fcgiwrap = Running::start(
            Command::new(fcgiwrap)
                .args(["-c", "8", "-s"])
                .arg(format!("unix:{}", socket.display()))
                .env("HOME", &run_dir)
                .env("GIT_CONFIG_NOSYSTEM", "1"),
        );
        while !socket.exists() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let server = Self { repositories, port, tls, folder, _fcgiwrap: fcgiwrap, nginx: Mutex::default() };
        server.set_away(false);
        server
    }

    /// Stops the server, or starts it again on the same port.
    pub fn set_away(&self, away: bool) {
        let mut nginx = self.nginx.lock().unwrap();
        // An old one must let go of the port first.
        *nginx = None;
        if !away {
            let mut command = Command::new(program("nginx", "nginx-light"));
            command.args(["-e", "stderr", "-c"]).arg(self.folder.path().join("nginx.conf"));
            *nginx = Some(Running::start(&mut command));
            wait_for(self.port);
        }
    }

    /// Returns the URL of a repository, with something before the host: `user:password@` or nothing.
    pub fn url(&self, login: &str, name: &str) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{login}127.0.0.1:{}/{name}", self.port)
    }

    /// Returns where the server listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Returns the URL of a repository with user and password.
    pub fn full_url(&self, name: &str) -> String {
        self.url(&format!("{USER}:{ENCODED}@"), name)
    }

    /// Returns the certificate of the authority that signed the server's.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }
}

fn configuration(
    run_dir: &std::path::Path,
    repositories: &Repositories,
    backend: &std::path::Path,
    (addresses, port): (&[&str], u16),
    tls: bool,
) -> String {
    let dir = run_dir.display();
    let root = repositories.folder().display();
    let backend = backend.display();
    let (mode, keys) = if tls {
        (" ssl", format!("ssl_certificate {dir}/server.pem; ssl_certificate_key {dir}/server.key;"))
    } else {
        ("", String::new())
    };
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let second = free_port();
    let listen: String = addresses.iter().map(|address| format!("listen {address}:{port}{mode}; ")).collect();
    format!(
        "{user} daemon off; master_process off; pid {dir}/nginx.pid; error_log stderr crit;
events {{}}
http {{
    access_log off; client_max_body_size 0;
    client_body_temp_path {dir}/body; fastcgi_temp_path {dir}/fastcgi; proxy_temp_path {dir}/proxy;
    uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
    server {{
        {listen}listen 127.0.0.1:{second}; {keys}
        location /moved/ {{ return 301 http://localhost:{port}/overlay.git/info/refs?service=git-upload-pack; }}
        location /other-port/ {{ return 301 http://127.0.0.1:{second}/overlay.git/info/refs?service=git-upload-pack; }}
        location /broken/ {{ return 503; }}
        location /forbidden/ {{ return 403; }}
        location / {{
            auth_basic git; auth_basic_user_file {dir}/htpasswd;
            include /etc/nginx/fastcgi_params;
            fastcgi_pass unix:{dir}/fcgi.sock;
            fastcgi_param SCRIPT_FILENAME {backend};
            fastcgi_param GIT_PROJECT_ROOT {root};
            fastcgi_param GIT_HTTP_EXPORT_ALL 1;
            fastcgi_param PATH_INFO $uri;
            fastcgi_param REMOTE_USER $remote_user;
        }}
    }}
}}
"
    )
}

fn make_certificates(openssl: &std::path::Path, run_dir: &std::path::Path) {
    let step = |arguments: &[&str]| {
        run(Command::new(openssl).current_dir(run_dir).args(arguments));
    };
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let mut authority = vec!["req", "-x509", "-days", "2", "-subj", "/CN=a test authority"];
    authority.extend(key);
    authority.extend(["-keyout", "ca.key", "-out", "ca.pem"]);
    step(&authority);
    let mut request = vec!["req", "-subj", "/CN=localhost"];
    request.extend(key);
    request.extend(["-keyout", "server.key", "-out", "server.csr"]);
    step(&request);
    fs::write(run_dir.join("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").unwrap();
    step(&[
        "x509",
        "-req",
        "-days",
        "2",
        "-in",
        "server.csr",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-extfile",
        "names",
        "-out",
        "server.pem",
    ]);
}
