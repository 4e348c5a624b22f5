//! One GET of `info/refs` on a connection that is kept: the least that asking a Git server takes.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use url::Url;

/// A connection to a Git server over HTTP.
pub(crate) struct Get {
    request: String,
    stream: BufReader<TcpStream>,
}

impl Get {
    /// Connects to the server of a repository, by its URL with user and password.
    pub(crate) fn connect(url: &str) -> Self {
        let url = Url::parse(url).expect("a URL");
        let (host, port) = (url.host_str().expect("a host"), url.port().expect("a port"));
        let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
        let login = format!("{}:{}", decode(url.username()), decode(url.password().unwrap_or_default()));
        let login = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, login);
        let request = format!(
            "GET {}/info/refs?service=git-upload-pack HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Basic {login}\r\n\r\n",
            url.path()
        );
        let stream = TcpStream::connect((host, port)).expect("a connection");
        stream.set_nodelay(true).expect("no delay");
        Self { request, stream: BufReader::new(stream) }
    }

    /// Asks once, and returns how long that took.
    pub(crate) fn once(&mut self) -> Duration {
        let begun = Instant::now();
        self.stream.get_mut().write_all(self.request.as_bytes()).expect("a request");
        let (mut length, mut is_chunked) = (0, false);
        for number in 0.. {
            let line = self.line().to_ascii_lowercase();
            assert!(number > 0 || line.contains(" 200 "), "the server answers {line}");
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            is_chunked |= line.starts_with("transfer-encoding:") && line.contains("chunked");
            if line.is_empty() {
                break;
            }
        }
        if is_chunked {
            self.chunks();
        } else {
            self.skip(length);
        }
        begun.elapsed()
    }

    fn chunks(&mut self) {
        loop {
            let line = self.line();
            let length = usize::from_str_radix(line.trim(), 16).expect("the length of a chunk");
            self.skip(length);
            self.line();
            if length == 0 {
                return;
            }
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("an answer");
        line.trim_end().to_owned()
    }

    fn skip(&mut self, length: usize) {
        self.stream.read_exact(&mut vec![0; length]).expect("an answer");
    }
}
