//! Programs inside a workload that fetch what a stranger says (server-side request forgery): open
//! proxies, and clients that follow redirects.
//!
//! Each way is first shown to lead to a server that gives its credentials to anybody.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;

use credd::authz::{Conditions, ListenerName, Opens, Rule, RuleName};
use credd::clock::SystemClock;
use credd::config::Config;
use credd::environment::Environment;
use credd::identity::IdentityName;
use credd::os::files;
use credd::providers::chain::Link;
use credd::providers::container;
use tempfile::TempDir;

use super::{PATH, Served, is_leaking};
use crate::serving::daemon::{InProcess, config};
use crate::serving::program::{Running, Said};
use crate::serving::upstream;
use crate::serving::wire::exchange;
use crate::serving::{eventually, skipped};

/// Has `target` asked for credentials, with an `Authorization` if there is one, and returns all
/// that a stranger gets to see.
type Way<'a> = &'a dyn Fn(SocketAddr, Option<&str>) -> String;

fn has_canary(text: &str) -> bool {
    [upstream::KEY, upstream::SECRET, upstream::TOKEN]
        .iter()
        .any(|canary| text.contains(canary))
}

/// What the way does with a request that shows the right token.
#[derive(Debug, PartialEq)]
enum Kind {
    /// It looks as if it came from here: the token is all that is missing.
    Bare,
    /// It bears a mark of who has forwarded it.
    Marked,
}

/// Nobody is to get anything by `way`, in which only `kind` says what the token would do.
#[track_caller]
fn assert_leads_to_others_and_not_to_credd(served: &Served, name: &str, kind: &Kind, way: Way<'_>) {
    let open = way(served.upstream.address(), None);
    assert!(has_canary(&open), "{name} leads nowhere: {open}");
    let calls = served.upstream.calls();
    let credd = served.daemon.address;
    let guess = "0".repeat(64);
    for authorization in [None, Some(""), Some(&guess[..]), Some("Bearer x")] {
        let said = way(credd, authorization);
        assert!(said.contains("AccessDenied"), "{name}: {said}");
        assert!(!has_canary(&said), "{name}: {said}");
    }
    let said = way(credd, Some(&served.daemon.token));
    assert_eq!(has_canary(&said), *kind == Kind::Bare, "{name}: {said}");
    assert_eq!(served.upstream.calls(), calls, "{name}");
}

#[test]
fn a_plain_get_through_an_open_reverse_proxy_gets_nothing_without_the_token() {
    let Some(nginx) = Nginx::start() else {
        skipped("there is no nginx here; tests/prepare installs it where it may");
        return;
    };
    let served = Served::new();
    for (name, kind) in [
        ("bare", Kind::Bare),
        ("kept", Kind::Bare),
        ("marked", Kind::Marked),
    ] {
        let way = |target: SocketAddr, authorization: Option<&str>| {
            let path = format!("/{name}/{target}{PATH}");
            nginx.ask(&request(&path, "127.0.0.1", authorization))
        };
        assert_leads_to_others_and_not_to_credd(&served, name, &kind, &way);
    }
}

#[test]
fn a_rule_that_knows_the_caller_opens_nothing_to_a_plain_get_unless_it_says_without_token() {
    let target = Served::new();
    let rule = |tcp_without_token| Rule {
        name: RuleName::of_config(1),
        caller: Conditions {
            listener: Some(ListenerName::http()),
            tcp_without_token,
            ..Conditions::default()
        },
        opens: Opens::All,
    };
    for tcp_without_token in [Conditions::default().tcp_without_token, true] {
        let link = Link::Container(container::Config {
            uri: Some(target.upstream.uri("/")),
            ..container::Config::default()
        });
        let config = Config {
            allow: vec![rule(tcp_without_token)],
            ..config(
                [(IdentityName::default(), vec![link])].into(),
                "127.0.0.1:0",
            )
        };
        let clock = Arc::new(SystemClock::new());
        let daemon = InProcess::with(clock, config, Environment::default()).warm();
        let get = request(PATH, "127.0.0.1", None);
        let reply = exchange(&mut daemon.tcp(), &get).unwrap();
        // The second of them shows that the rule is met, but for that.
        let expected = if tcp_without_token { 200 } else { 403 };
        assert_eq!(reply.status, expected);
        assert_eq!(is_leaking(&reply), tcp_without_token);
    }
}

#[test]
fn a_plain_get_through_an_open_forward_proxy_gets_nothing_without_the_token() {
    let Some(squid) = Squid::start() else {
        skipped("there is no squid here; tests/prepare installs it where it may");
        return;
    };
    let served = Served::new();
    let get = |target: SocketAddr, authorization: Option<&str>| {
        let url = format!("http://{target}{PATH}");
        squid.ask(&[&request(&url, &target.to_string(), authorization)])
    };
    assert_leads_to_others_and_not_to_credd(&served, "get", &Kind::Marked, &get);
    let tunnel = |target: SocketAddr, authorization: Option<&str>| {
        let connect = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
        squid.ask(&[&connect, &request(PATH, &target.to_string(), authorization)])
    };
    assert_leads_to_others_and_not_to_credd(&served, "connect", &Kind::Bare, &tunnel);
}

#[test]
fn a_client_that_follows_redirects_or_sends_what_a_url_says_gets_nothing_without_the_token() {
    if Command::new("curl").arg("--version").output().is_err() {
        skipped("there is no curl here");
        return;
    }
    let served = Served::new();
    let curl = |words: &[&str], url: &str| {
        let mut command = Command::new("curl");
        command.args(["--silent", "--max-time", "20", "--noproxy", "*"]);
        Said::by(command.args(words).arg(url)).stdout
    };
    for status in ["301", "302", "303", "307", "308"] {
        let followed = |target: SocketAddr, authorization: Option<&str>| {
            let stranger = redirecting(status, &format!("http://{target}{PATH}"));
            let header = format!("Authorization: {}", authorization.unwrap_or_default());
            let words = ["--location-trusted", "--header", &header];
            curl(&words, &format!("http://{stranger}/"))
        };
        assert_leads_to_others_and_not_to_credd(&served, status, &Kind::Bare, &followed);
    }
    // curl takes gopher from a URL, and from a redirect where it is told to.
    let raw = |target: SocketAddr, authorization: Option<&str>| {
        let all = request(PATH, &target.to_string(), authorization);
        let escaped: Vec<_> = all.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let escaped = escaped.concat();
        curl(&[], &format!("gopher://{target}/_{escaped}"))
    };
    assert_leads_to_others_and_not_to_credd(&served, "gopher", &Kind::Bare, &raw);
}

fn request(target: &str, host: &str, authorization: Option<&str>) -> String {
    let authorization = authorization.map(|it| format!("Authorization: {it}\r\n"));
    let authorization = authorization.unwrap_or_default();
    format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{authorization}Connection: close\r\n\r\n")
}

/// A stranger's server, which sends its first caller elsewhere.
fn redirecting(status: &'static str, url: &str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = format!(
        "HTTP/1.1 {status} -\r\nLocation: {url}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(answer.as_bytes());
    });
    address
}

/// Where a program is that distributions keep out of everybody's path.
fn program(name: &str) -> Option<PathBuf> {
    ["/usr/sbin", "/usr/bin", "/usr/local/sbin"]
        .into_iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.exists())
}

/// A reverse proxy whose caller says what is behind it.
struct Nginx {
    folder: TempDir,
    _running: Running,
}

impl Nginx {
    fn start() -> Option<Self> {
        let program = program("nginx")?;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {}/{kind};\n", path.display()))
            .concat();
        let marks = "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n\
                     proxy_set_header X-Real-IP 10.0.0.1;\n";
        let location = |name: &str, settings: &str| {
            format!("location ~ ^/{name}/([^/]+)(/.*)$ {{ {settings} proxy_pass http://$1$2; }}\n")
        };
        let locations = [
            location("bare", ""),
            location("kept", "proxy_set_header Host $http_host;\n"),
            location("marked", marks),
        ]
        .concat();
        let config = format!(
            "daemon off;\nmaster_process off;\npid {0}/pid;\nerror_log {0}/errors;\n\
             events {{}}\nhttp {{\naccess_log off;\n{temporary}\
             server {{ listen unix:{0}/nginx.sock;\n{locations} }}\n}}\n",
            path.display()
        );
        let file = path.join("nginx.conf");
        files::write_private(&file, config.as_bytes()).unwrap();
        let mut command = Command::new(program);
        command.arg("-p").arg(path).arg("-c").arg(&file);
        command.arg("-e").arg(path.join("errors"));
        let running = Running::start(&mut command, &path.join("log"));
        let nginx = Self {
            folder,
            _running: running,
        };
        eventually("nginx listens", || UnixStream::connect(nginx.socket()).ok());
        Some(nginx)
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("nginx.sock")
    }

    fn ask(&self, request: &str) -> String {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        rest(&mut stream)
    }
}

/// A forward proxy for anybody to anywhere.
struct Squid {
    port: u16,
    _folder: TempDir,
    _running: Running,
}

impl Squid {
    fn start() -> Option<Self> {
        let program = program("squid")?;
        // Somebody else may take the port before squid does: then with another.
        (0..5).find_map(|_| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path();
            // Where it is started by root, it becomes somebody else.
            let open = std::fs::Permissions::from_mode(0o777);
            std::fs::set_permissions(path, open).unwrap();
            let free = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = free.local_addr().unwrap().port();
            drop(free);
            let config = format!(
                "http_port 127.0.0.1:{port}\nhttp_access allow all\naccess_log none\n\
                 cache deny all\ncache_mem 8 MB\npinger_enable off\nnetdb_filename none\n\
                 shutdown_lifetime 0 seconds\ncache_log {0}/log\npid_filename {0}/pid\n\
                 coredump_dir {0}\nmax_filedescriptors 1024\n",
                path.display()
            );
            let file = path.join("squid.conf");
            files::write_private(&file, config.as_bytes()).unwrap();
            let mut command = Command::new(&program);
            command.arg("-N").arg("-n").arg(format!("credd{port}"));
            let mut running = Running::start(command.arg("-f").arg(&file), &path.join("output"));
            let listens = eventually("squid listens or ends", || {
                let listens = TcpStream::connect(("127.0.0.1", port)).is_ok();
                (listens || running.try_end().is_some()).then_some(listens)
            });
            listens.then_some(Self {
                port,
                _folder: folder,
                _running: running,
            })
        })
    }

    /// Sends one thing after the other, the next when the last is answered.
    fn ask(&self, requests: &[&str]) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let (last, before) = requests.split_last().unwrap();
        for request in before {
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = Vec::new();
            while !answer.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                answer.extend(byte);
            }
        }
        stream.write_all(last.as_bytes()).unwrap();
        rest(&mut stream)
    }
}

/// All that is still to come.
fn rest(stream: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}
