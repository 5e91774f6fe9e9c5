//! A small Hub on 127.0.0.1: the URLs and headers that Hub clients rely on, and faults on demand.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How the server treats one file.
#[derive(Clone, Copy, PartialEq)]
pub enum Manner {
    Serve,
    /// Redirect to another path, with the `x-linked-etag` of large files.
    Redirect,
    /// Answer with this status.
    Status(u16),
    /// Promise the whole body and hang up after half of it.
    HangUp,
    /// Send half of the body in a proper answer, while `content-range` names the whole size.
    Half,
    /// Accept and send nothing.
    Silent,
    /// Claim this many bytes.
    Claim(u64),
    /// An etag that would leave the cache folder.
    WildEtag,
    /// A redirect to nowhere.
    Lost,
    /// A web page in place of a file.
    Page,
}

/// One request, as far as the tests look at it.
#[derive(Clone, Debug)]
pub struct Request {
    pub path: String,
    pub headers: HashMap<String, String>,
}

#[derive(Default)]
pub struct Content {
    /// By path below the endpoint, for example `owner/name/resolve/main/config.json`.
    pub files: HashMap<String, (Manner, Vec<u8>)>,
    pub commit: String,
    /// When set, files answer 401 without it.
    pub token: Option<String>,
    pub requests: Vec<Request>,
}

pub struct Server {
    address: SocketAddr,
    pub content: Arc<Mutex<Content>>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let content = Arc::new(Mutex::new(Content { commit: "c0ffee".into(), ..Content::default() }));
        let stopping = Arc::new(AtomicBool::new(false));
        let (shared, stop) = (content.clone(), stopping.clone());
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                let (shared, stop) = (shared.clone(), stop.clone());
                // A client that hangs up early is part of the tests.
                std::thread::spawn(move || answer(stream.expect("accepted"), &shared, &stop).ok());
            }
        });
        Self { address, content, stopping, thread: Some(thread) }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn put(&self, path: &str, manner: Manner, body: &[u8]) {
        self.content.lock().expect("lock").files.insert(path.into(), (manner, body.to_vec()));
    }

    pub fn requests(&self) -> Vec<Request> {
        self.content.lock().expect("lock").requests.clone()
    }

    pub fn stop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // Wakes the accepting thread.
        TcpStream::connect(self.address).ok();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("server thread");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn answer(mut stream: TcpStream, shared: &Mutex<Content>, stop: &AtomicBool) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let request = read_request(&stream)?;
    let (found, commit, allowed) = {
        let mut content = shared.lock().expect("lock");
        content.requests.push(request.clone());
        let bearer = content.token.as_ref().map(|token| format!("Bearer {token}"));
        let allowed = bearer.is_none() || bearer.as_ref() == request.headers.get("authorization");
        (
            content.files.get(request.path.trim_start_matches("/cdn/")).cloned(),
            content.commit.clone(),
            allowed,
        )
    };
    match found {
        _ if !allowed => status(&mut stream, 401),
        None => status(&mut stream, 404),
        Some((Manner::Status(code), _)) => status(&mut stream, code),
        Some((Manner::Page, _)) => {
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi")
        }
        Some((Manner::Silent, _)) => {
            while !stop.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(20));
            }
            Ok(())
        }
        Some((manner, body)) => serve(&mut stream, &request, manner, &body, &commit),
    }
}

fn read_request(stream: &TcpStream) -> std::io::Result<Request> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().unwrap_or(Ok(String::new()))?;
    let path = first.split(' ').nth(1).unwrap_or("").trim_start_matches('/').to_owned();
    let mut headers = HashMap::new();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    // The redirect's path keeps its leading slash, so that `/cdn/` marks it.
    let path = if path.starts_with("cdn/") { format!("/{path}") } else { path };
    Ok(Request { path, headers })
}

fn status(stream: &mut TcpStream, code: u16) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 {code} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
}

/// Blob names as on the Hub depend on the content; a length and a sum are enough here.
fn etag(body: &[u8]) -> String {
    format!("{:04x}{:08x}", body.len(), body.iter().fold(7u32, |sum, &b| sum.wrapping_mul(31) ^ u32::from(b)))
}

fn serve(
    stream: &mut TcpStream,
    request: &Request,
    manner: Manner,
    body: &[u8],
    commit: &str,
) -> std::io::Result<()> {
    let tag = if manner == Manner::WildEtag { "../../../escaped".into() } else { etag(body) };
    let elsewhere = manner == Manner::Redirect && !request.path.starts_with("/cdn/");
    if manner == Manner::Lost || elsewhere {
        let host = request.headers.get("host").cloned().unwrap_or_default();
        let location = format!("location: http://{host}/cdn/{}\r\n", request.path);
        return write!(
            stream,
            "HTTP/1.1 302 X\r\n{}x-linked-etag: \"{tag}\"\r\netag: \"other\"\r\n\
             x-repo-commit: {commit}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            if elsewhere { &location } else { "" }
        );
    }
    let range = request.headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let start = range.and_then(|(start, _)| start.parse().ok()).unwrap_or(0usize);
    if start >= body.len() {
        return status(stream, 416);
    }
    let end = range.and_then(|(_, end)| end.parse().ok()).unwrap_or(body.len() - 1).min(body.len() - 1);
    let part = &body[start..=end];
    let half = if end == 0 { part } else { &part[..part.len() / 2] };
    let (promised, sent) = match manner {
        Manner::HangUp => (part.len(), half),
        Manner::Half => (half.len(), half),
        _ => (part.len(), part),
    };
    let total = if let Manner::Claim(bytes) = manner { bytes } else { body.len() as u64 };
    write!(
        stream,
        "HTTP/1.1 206 Partial Content\r\netag: \"{tag}\"\r\nx-repo-commit: {commit}\r\n\
         content-range: bytes {start}-{end}/{total}\r\ncontent-length: {promised}\r\nconnection: close\r\n\r\n"
    )?;
    stream.write_all(sent)
}
