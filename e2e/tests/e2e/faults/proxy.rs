//! A proxy between controller and API server that does to requests what a rule says: pass, refuse, lose, or kill whoever asked.
//! One request per connection, so that each is decided on by itself.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

/// What a rule sees of a request.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
}

impl Request {
    pub(super) fn is_write(&self) -> bool {
        self.method != "GET"
    }

    pub(super) fn is_event(&self) -> bool {
        self.path.split('?').next().is_some_and(|path| path.split('/').any(|part| part == "events"))
    }

    pub(super) fn is_watch(&self) -> bool {
        self.path.contains("watch=true") || self.path.contains("watch=1")
    }
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Pass,
    /// Answered with this status; the API server never hears of it.
    Refuse(u16),
    /// Done by the API server, and nobody is told.
    LoseAnswer,
    /// The controller is killed before the API server hears of it.
    KillBefore,
    /// The controller is killed when it is done and before it is told.
    KillUntold,
    /// The controller is killed as soon as it is told.
    KillTold,
}

/// A request and what became of it.
#[derive(Clone, Debug)]
pub(super) struct Logged {
    pub(super) request: Request,
    pub(super) fate: Fate,
}

type Rule = Box<dyn FnMut(&Request) -> Fate + Send>;

struct State {
    upstream: String,
    rule: Mutex<Rule>,
    log: Mutex<Vec<Logged>>,
    victim: AtomicU32,
    over: AtomicBool,
}

/// The proxy; it ends with the value.
pub(super) struct Proxy {
    state: Arc<State>,
    address: String,
}

impl Proxy {
    pub(super) fn start(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(State {
            upstream: upstream.into(),
            rule: Mutex::new(Box::new(|_| Fate::Pass)),
            log: Mutex::default(),
            victim: AtomicU32::new(0),
            over: AtomicBool::new(false),
        });
        let shared = state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if shared.over.load(Ordering::SeqCst) {
                    return;
                }
                let state = shared.clone();
                // A connection that breaks is no fault of the proxy: one of its ends was killed.
                std::thread::spawn(move || serve(&state, client).unwrap_or_default());
            }
        });
        Self { state, address }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Who is killed where the rule says so.
    pub(super) fn victim(&self, pid: u32) {
        self.state.victim.store(pid, Ordering::SeqCst);
    }

    pub(super) fn rule(&self, rule: impl FnMut(&Request) -> Fate + Send + 'static) {
        *self.state.rule.lock().unwrap() = Box::new(rule);
    }

    /// What came by since this was last asked.
    pub(super) fn take_log(&self) -> Vec<Logged> {
        std::mem::take(&mut *self.state.log.lock().unwrap())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(&self.address);
    }
}

fn serve(state: &State, client: TcpStream) -> std::io::Result<()> {
    let mut from = BufReader::new(client.try_clone()?);
    let (mut head, mut length, mut line) = (String::new(), 0, String::new());
    while from.read_line(&mut line)? > 2 {
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        if !lower.starts_with("connection:") {
            head.push_str(&line);
        }
        line.clear();
    }
    let mut words = head.split_whitespace().map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(()) };
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    let request = Request { method, path };
    let fate = (state.rule.lock().unwrap())(&request);
    state.log.lock().unwrap().push(Logged { request, fate });
    match fate {
        Fate::Refuse(code) => refuse(client, code),
        Fate::KillBefore => {
            kill(state);
            client.shutdown(Shutdown::Both)
        }
        Fate::LoseAnswer | Fate::KillUntold => {
            forward(state, &head, &body)?.read_to_end(&mut Vec::new())?;
            if fate == Fate::KillUntold {
                kill(state);
            }
            client.shutdown(Shutdown::Both)
        }
        Fate::Pass | Fate::KillTold => {
            let answer = forward(state, &head, &body)?;
            relay(answer, client)?;
            if fate == Fate::KillTold {
                // Time enough to read the answer, too little to do much with it.
                std::thread::sleep(std::time::Duration::from_millis(3));
                kill(state);
            }
            Ok(())
        }
    }
}

fn forward(state: &State, head: &str, body: &[u8]) -> std::io::Result<TcpStream> {
    let mut server = TcpStream::connect(&state.upstream)?;
    server.write_all(head.as_bytes())?;
    server.write_all(b"connection: close\r\n\r\n")?;
    server.write_all(body)?;
    Ok(server)
}

/// Passes the answer on as it comes; watches take as long as they like, and end when either side does.
fn relay(mut server: TcpStream, mut client: TcpStream) -> std::io::Result<()> {
    let (mut watching, closing) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || {
        let _ = watching.read(&mut [0; 1]);
        let _ = closing.shutdown(Shutdown::Both);
    });
    let copied = std::io::copy(&mut server, &mut client);
    let _ = client.shutdown(Shutdown::Both);
    copied.map(|_| ())
}

fn refuse(mut client: TcpStream, code: u16) -> std::io::Result<()> {
    let (reason, phrase) = match code {
        409 => ("Conflict", "Conflict"),
        410 => ("Expired", "Gone"),
        429 => ("TooManyRequests", "Too Many Requests"),
        _ => ("InternalError", "Internal Server Error"),
    };
    let body = format!(
        r#"{{"kind":"Status","apiVersion":"v1","metadata":{{}},"status":"Failure","message":"injected by the test","reason":"{reason}","code":{code}}}"#
    );
    let wait = if code == 429 { "retry-after: 1\r\n" } else { "" };
    let head = format!(
        "HTTP/1.1 {code} {phrase}\r\ncontent-type: application/json\r\n{wait}content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    client.write_all(head.as_bytes())?;
    client.write_all(body.as_bytes())
}

fn kill(state: &State) {
    let pid = state.victim.load(Ordering::SeqCst);
    if pid != 0 {
        // That it has ended already is fine.
        let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
    }
}
