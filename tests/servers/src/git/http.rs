//! nginx with git http-backend and basic authentication, over HTTP or HTTPS.

use std::{
    fs,
    io::Write as _,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::PathBuf,
    process::Command,
    sync::Mutex,
    thread,
    time::Duration,
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

/// How a server is to be.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// It speaks TLS, with a certificate by an authority that nobody knows: [`ca_file`](HttpServer::ca_file).
    pub tls: bool,
    /// Its certificate has expired.
    pub is_expired: bool,
    /// It lets in who shows a certificate of the same authority only: [`client_cert`](HttpServer::client_cert).
    pub asks_for_certificate: bool,
    /// It is reached at every address of its network namespace.
    pub for_hosts: bool,
}

/// Where a server is reached by tests: at a second address too, as another host's name for it.
const LOOPBACK: &[&str] = &["127.0.0.1", "127.0.0.2"];

/// A Git server over HTTP.
#[derive(Debug)]
pub struct HttpServer {
    /// The repositories that it serves.
    pub repositories: Repositories,
    port: u16,
    plain_port: u16,
    tls: bool,
    folder: TempDir,
    _fcgiwrap: Running,
    nginx: Mutex<Option<Running>>,
}

impl HttpServer {
    /// Starts a server without TLS.
    pub fn start() -> Self {
        Self::with(Options::default())
    }

    /// Starts a server without TLS that is reached at every address of its network namespace, for hosts that have
    /// namespaces of their own.
    pub fn start_for_hosts() -> Self {
        Self::with(Options { for_hosts: true, ..Options::default() })
    }

    /// Starts a server whose certificate is signed by an authority that nobody knows: [`ca_file`](Self::ca_file).
    pub fn start_tls() -> Self {
        Self::with(Options { tls: true, ..Options::default() })
    }

    /// Starts a server.
    pub fn with(options: Options) -> Self {
        let tls = options.tls;
        let repositories = Repositories::default();
        let folder = tempfile::tempdir().unwrap();
        let run_dir = folder.path().to_path_buf();
        let fcgiwrap = program("fcgiwrap", "fcgiwrap");
        let openssl = program("openssl", "openssl");

        let hash = run(Command::new(&openssl).args(["passwd", "-apr1", PASSWORD]));
        fs::write(run_dir.join("htpasswd"), format!("{USER}:{hash}")).unwrap();
        if tls {
            make_certificates(&openssl, &run_dir, options.is_expired);
        }
        let exec_path = run(Command::new(program("git", "git")).arg("--exec-path"));
        let backend = PathBuf::from(exec_path.trim()).join("git-http-backend");
        let port = free_port();
        let plain_port = free_port();
        let config = configuration(&run_dir, &repositories, &backend, (port, plain_port), options);
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
            thread::sleep(Duration::from_millis(10));
        }
        let server = Self {
            repositories,
            port,
            plain_port,
            tls,
            folder,
            _fcgiwrap: fcgiwrap,
            nginx: Mutex::default(),
        };
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

    /// Returns the URL of a repository, with user and password, at a port without TLS that sends to the one with TLS.
    pub fn plain_url(&self, name: &str) -> String {
        format!("http://{USER}:{ENCODED}@127.0.0.1:{}/{name}", self.plain_port)
    }

    /// Returns what was asked so far, one line a request: the connection's number, method, status, the `Authorization`
    /// that was sent, and the path with its query.
    pub fn log(&self) -> Vec<String> {
        // nginx writes the line of a request a moment after its answer, and before that of the next.
        const SETTLED: &str = "/settled";
        let read = || fs::read_to_string(self.folder.path().join("access.log")).unwrap();
        let count = |text: &str| text.lines().filter(|line| line.ends_with(SETTLED)).count();
        let before = count(&read());
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, self.plain_port)).unwrap();
        write!(client, "GET {SETTLED} HTTP/1.0\r\n\r\n").unwrap();
        loop {
            let text = read();
            if count(&text) > before {
                return text.lines().filter(|line| !line.ends_with(SETTLED)).map(str::to_owned).collect();
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Returns a client certificate that the server trusts, and its key.
    pub fn client_cert(&self) -> (PathBuf, PathBuf) {
        (self.folder.path().join("client.pem"), self.folder.path().join("client.key"))
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
    (port, plain_port): (u16, u16),
    options: Options,
) -> String {
    let dir = run_dir.display();
    let root = repositories.folder().display();
    let backend = backend.display();
    let (mode, mut keys) = if options.tls {
        (" ssl", format!("ssl_certificate {dir}/server.pem; ssl_certificate_key {dir}/server.key;"))
    } else {
        ("", String::new())
    };
    if options.asks_for_certificate {
        keys += &format!(" ssl_client_certificate {dir}/ca.pem; ssl_verify_client on;");
    }
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let second = free_port();
    let addresses = if options.for_hosts { &["0.0.0.0"] } else { LOOPBACK };
    let listen: String = addresses.iter().map(|address| format!("listen {address}:{port}{mode}; ")).collect();
    format!(
        "{user} daemon off; master_process off; pid {dir}/nginx.pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
    log_format seen '$connection $request_method $status [$http_authorization] $request_uri';
    access_log {dir}/access.log seen; client_max_body_size 0;
    client_body_temp_path {dir}/body; fastcgi_temp_path {dir}/fastcgi; proxy_temp_path {dir}/proxy;
    uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
    server {{
        {listen}listen 127.0.0.1:{second}; {keys}
        location /moved/ {{ return 301 http://localhost:{port}/overlay.git/info/refs?service=git-upload-pack; }}
        location /other-port/ {{ return 301 http://127.0.0.1:{second}/overlay.git/info/refs?service=git-upload-pack; }}
        location /broken/ {{ return 503; }}
        location /busy/ {{ add_header Retry-After 7 always; return 503; }}
        location /limited/ {{ add_header Retry-After 'Tue, 31 Dec 2999 23:59:59 GMT' always; return 429; }}
        location ~ ^/old/(?<rest>.*)$ {{ return 301 /$rest$is_args$args; }}
        location ~ ^/down/(?<rest>.*)$ {{ return 301 http://127.0.0.1:{plain_port}/$rest$is_args$args; }}
        location /page/ {{ default_type text/html; return 200 'a page'; }}
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
    server {{ listen 127.0.0.1:{plain_port}; return 301 https://127.0.0.1:{port}$request_uri; }}
}}
"
    )
}

fn make_certificates(openssl: &std::path::Path, run_dir: &std::path::Path, is_expired: bool) {
    let step = |arguments: &[&str]| {
        run(Command::new(openssl).current_dir(run_dir).args(arguments));
    };
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let mut authority = vec!["req", "-x509", "-days", "2", "-subj", "/CN=a test authority"];
    authority.extend(key);
    authority.extend(["-keyout", "ca.key", "-out", "ca.pem"]);
    step(&authority);
    fs::write(run_dir.join("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").unwrap();
    let config = "[ca]\ndefault_ca=x\n[x]\ndatabase=index\nnew_certs_dir=.\nserial=serial\ndefault_md=sha256\npolicy=p\n\
                  [p]\ncommonName=supplied\n";
    fs::write(run_dir.join("ca.cnf"), config).unwrap();
    fs::write(run_dir.join("index"), "").unwrap();
    fs::write(run_dir.join("serial"), "1000\n").unwrap();
    let past = ["-startdate", "200101000000Z", "-enddate", "200201000000Z"];
    for (name, subject, is_past) in [("server", "/CN=localhost", is_expired), ("client", "/CN=web-1", false)]
    {
        let (key_file, request, certificate) =
            (format!("{name}.key"), format!("{name}.csr"), format!("{name}.pem"));
        let mut ask = vec!["req", "-subj", subject];
        ask.extend(key);
        ask.extend(["-keyout", &key_file, "-out", &request]);
        step(&ask);
        let mut sign = vec!["ca", "-config", "ca.cnf", "-batch", "-notext", "-extfile", "names"];
        sign.extend(if is_past { &past[..] } else { &["-days", "2"] });
        sign.extend(["-cert", "ca.pem", "-keyfile", "ca.key", "-in", &request, "-out", &certificate]);
        step(&sign);
    }
}
