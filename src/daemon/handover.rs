//! Which doors are there already, held by the service manager, and whether they are those that the
//! config means.

use std::collections::BTreeSet;
use std::fmt;
use std::mem::take;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::runtime_directory;
use crate::os::process;
use crate::serve::{self, Config, MetricsConfig, OwnSocket};
use crate::systemd::{Inherited, TcpDoor, TcpSocket, UnixDoor, UnixSocket};

/// Sockets that are handed over.
///
/// They are kept for as long as the daemon runs, as the service manager keeps them, and have to be
/// meant by each config.
#[derive(Debug, Default)]
pub(super) struct HandedOver {
    tcp: Vec<TcpSocket>,
    unix: Vec<UnixSocket>,
}

/// A socket is not what the config means.
#[derive(Debug)]
pub struct Mismatch {
    /// What is handed over.
    handed: String,
    /// What the config says instead.
    meant: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { handed, meant } = self;
        write!(
            formatter,
            "the service manager hands over {handed}, but {meant}; let the .socket unit and the \
             config say the same"
        )
    }
}

impl std::error::Error for Mismatch {}

impl HandedOver {
    pub(super) fn of(inherited: &mut Inherited) -> Self {
        Self {
            tcp: take(&mut inherited.tcp),
            unix: take(&mut inherited.unix),
        }
    }

    /// Says so in `config`, whose usual HTTP address and public socket give way to what is handed
    /// over. What is written there does not.
    pub(super) fn is_meant_by(
        &self,
        config: &mut Config,
        runtime_directory: &Path,
    ) -> Result<(), Mismatch> {
        let addresses = |door| {
            let of_door = self.tcp.iter().filter(move |socket| socket.door == door);
            of_door.map(|socket| socket.address).collect::<Vec<_>>()
        };
        http(config, addresses(TcpDoor::Http))?;
        imds(config, &addresses(TcpDoor::Imds))?;
        metrics(&config.metrics, &addresses(TcpDoor::Metrics))?;
        for UnixSocket { door, path, .. } in &self.unix {
            match door {
                UnixDoor::Public => public(config, runtime_directory, path)?,
                UnixDoor::Admin => admin(runtime_directory, path)?,
                UnixDoor::Own(name) => own(config, name, path)?,
            }
        }
        Ok(())
    }

    /// The socket at `address`, if it is one of these.
    pub(super) fn at_address(&self, address: SocketAddr) -> Option<&std::net::TcpListener> {
        let socket = self.tcp.iter().find(|socket| socket.address == address)?;
        Some(&socket.listener)
    }

    /// The same for the Unix socket at `path`.
    pub(super) fn at_path(&self, path: &Path) -> Option<&std::os::unix::net::UnixListener> {
        let socket = self.unix.iter().find(|socket| socket.path == path)?;
        Some(&socket.listener)
    }

    pub(super) fn has_public(&self) -> bool {
        self.has(&UnixDoor::Public)
    }

    pub(super) fn has_admin(&self) -> bool {
        self.has(&UnixDoor::Admin)
    }

    fn has(&self, door: &UnixDoor) -> bool {
        self.unix.iter().any(|socket| socket.door == *door)
    }
}

fn http(config: &mut Config, handed: Vec<SocketAddr>) -> Result<(), Mismatch> {
    if handed.is_empty() {
        return Ok(());
    }
    check_reach("the HTTP endpoint", &handed, serve::AGENTS)?;
    if config.http_is_written && !are_same(&handed, &config.http) {
        return Err(Mismatch {
            handed: format!("{} for the HTTP endpoint", listed(&handed)),
            meant: format!("`listen` in [serve.http] says {}", listed(&config.http)),
        });
    }
    let imds = config.imds.iter().flat_map(|imds| &imds.listen);
    let others: Vec<_> = imds.chain(&config.metrics.listen).collect();
    if let Some(twice) = handed.iter().find(|it| others.contains(it)) {
        return Err(Mismatch {
            handed: format!("{twice} for the HTTP endpoint"),
            meant: "the config has something else listen there".to_owned(),
        });
    }
    config.http = handed;
    Ok(())
}

fn imds(config: &Config, handed: &[SocketAddr]) -> Result<(), Mismatch> {
    if handed.is_empty() {
        return Ok(());
    }
    check_reach("instance metadata", handed, serve::METADATA)?;
    let listen = config.imds.as_ref().map(|imds| &*imds.listen);
    are_written("instance metadata", "[serve.imds]", handed, listen)
}

fn metrics(config: &MetricsConfig, handed: &[SocketAddr]) -> Result<(), Mismatch> {
    if handed.is_empty() {
        return Ok(());
    }
    let open = handed.iter().find(|it| !it.ip().is_loopback());
    if let Some(open) = open.filter(|_| !config.beyond_this_host) {
        return Err(Mismatch {
            handed: format!("{open} for metrics"),
            meant: "other hosts may reach that, and [serve.metrics] does not say \
                    `beyond-this-host = true`"
                .to_owned(),
        });
    }
    let listen = Some(&*config.listen).filter(|listen| !listen.is_empty());
    are_written("metrics", "[serve.metrics]", handed, listen)
}

/// Whether what is handed over for `what` is where `table` has it.
fn are_written(
    what: &str,
    table: &str,
    handed: &[SocketAddr],
    listen: Option<&[SocketAddr]>,
) -> Result<(), Mismatch> {
    let meant = match listen {
        Some(listen) if are_same(handed, listen) => return Ok(()),
        Some(listen) => format!("`listen` in {table} says {}", listed(listen)),
        None => format!("the config has no {table}"),
    };
    Err(Mismatch {
        handed: format!("{} for {what}", listed(handed)),
        meant,
    })
}

fn check_reach(
    what: &str,
    handed: &[SocketAddr],
    known_by: &[std::net::IpAddr],
) -> Result<(), Mismatch> {
    let is_open = |it: &&SocketAddr| !serve::is_for_this_host(it.ip(), known_by);
    handed.iter().find(is_open).map_or(Ok(()), |address| {
        Err(Mismatch {
            handed: format!("{address} for {what}"),
            meant: "credd listens on loopback addresses only, and on those that AWS has for such \
                    endpoints"
                .to_owned(),
        })
    })
}

fn public(config: &mut Config, runtime_directory: &Path, handed: &Path) -> Result<(), Mismatch> {
    let usual = runtime_directory::public_socket(runtime_directory);
    let mut others = config.own_sockets.iter();
    if let Some(own) = others.find(|own| own.path == handed) {
        return Err(Mismatch {
            handed: format!("{} as the public socket", handed.display()),
            meant: format!("[serve.unix.{}] has it", own.listener.as_str()),
        });
    }
    match &config.unix {
        _ if *handed == usual => Ok(()),
        Some(written) if written == handed => Ok(()),
        Some(written) => Err(Mismatch {
            handed: format!("{} as the public socket", handed.display()),
            meant: format!(
                "`path` in [serve.unix] says {}, besides the usual {}",
                written.display(),
                usual.display()
            ),
        }),
        None => {
            config.unix = Some(handed.to_owned());
            Ok(())
        }
    }
}

fn admin(runtime_directory: &Path, handed: &Path) -> Result<(), Mismatch> {
    let meant = runtime_directory::admin_socket(runtime_directory);
    if *handed == meant {
        return Ok(());
    }
    Err(Mismatch {
        handed: format!("{} as the admin socket", handed.display()),
        meant: format!("commands look for it at {}", meant.display()),
    })
}

fn own(config: &Config, name: &str, handed: &Path) -> Result<(), Mismatch> {
    let mut sockets = config.own_sockets.iter();
    let socket = sockets.find(|socket| socket.listener.as_str() == name);
    let meant = match socket {
        Some(socket) if socket.path == handed => match opens_more(socket, handed) {
            None => return Ok(()),
            Some(more) => more,
        },
        Some(socket) => format!(
            "`path` in [serve.unix.{name}] says {}",
            socket.path.display()
        ),
        None => format!("the config has no [serve.unix.{name}]"),
    };
    Err(Mismatch {
        handed: format!("{} as the socket {name}", handed.display()),
        meant,
    })
}

/// Whoever gets to such a socket gets what it is for, so nobody must whom the config keeps out.
fn opens_more(socket: &OwnSocket, handed: &Path) -> Option<String> {
    const PERMISSIONS: u32 = 0o777;
    let OwnSocket {
        listener,
        owner,
        group,
        mode,
        ..
    } = socket;
    let name = listener.as_str();
    let found = std::fs::symlink_metadata(handed).ok()?;
    if found.mode() & PERMISSIONS & !mode != 0 {
        let found = found.mode() & PERMISSIONS;
        return Some(format!(
            "its mode is {found:04o} where [serve.unix.{name}] means {mode:04o} (SocketMode=)"
        ));
    }
    // Root gets in anywhere. Where the config names nobody, the socket is the daemon's own.
    let owner = owner.unwrap_or_else(process::effective_uid);
    if found.mode() & 0o200 != 0 && ![0, owner].contains(&found.uid()) {
        let found = found.uid();
        return Some(format!(
            "it is the user {found}'s where [serve.unix.{name}] means {owner} (SocketUser=)"
        ));
    }
    let group = group.unwrap_or_else(process::effective_gid);
    let is_for_group = found.mode() & 0o020 != 0;
    (is_for_group && found.gid() != group).then(|| {
        let found = found.gid();
        format!(
            "it is for the group {found} where [serve.unix.{name}] means {group} (SocketGroup=)"
        )
    })
}

fn are_same(one: &[SocketAddr], other: &[SocketAddr]) -> bool {
    let set = |addresses: &[SocketAddr]| addresses.iter().copied().collect::<BTreeSet<_>>();
    set(one) == set(other)
}

fn listed(addresses: &[SocketAddr]) -> String {
    if addresses.is_empty() {
        return "that there is none".to_owned();
    }
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    addresses.join(" and ")
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;

    use super::*;
    use crate::authz::ListenerName;
    use crate::serve::ImdsConfig;

    fn tcp(door: TcpDoor, address: &str) -> TcpSocket {
        TcpSocket {
            door,
            listener: std::net::TcpListener::bind("127.0.0.1:0").unwrap(),
            address: address.parse().unwrap(),
        }
    }

    fn unix(folder: &Path, door: UnixDoor, path: &str) -> UnixSocket {
        UnixSocket {
            door,
            listener: UnixListener::bind(folder.join("any")).unwrap(),
            path: path.into(),
        }
    }

    fn written(addresses: &[&str]) -> Config {
        Config {
            http: addresses.iter().map(|it| it.parse().unwrap()).collect(),
            http_is_written: true,
            ..Config::default()
        }
    }

    fn taken(
        config: &mut Config,
        tcp: Vec<TcpSocket>,
        unix: Vec<UnixSocket>,
    ) -> Result<(), String> {
        let mut inherited = Inherited::default();
        inherited.tcp = tcp;
        inherited.unix = unix;
        let handed_over = HandedOver::of(&mut inherited);
        let taken = handed_over.is_meant_by(config, Path::new("/run/credd"));
        taken.map_err(|mismatch| mismatch.to_string())
    }

    #[test]
    fn an_address_that_is_handed_over_stands_for_the_usual_one_and_for_the_same() {
        let handed = || vec![tcp(TcpDoor::Http, "127.0.0.1:339")];
        let mut usual = Config {
            http: vec!["127.0.0.1:9169".parse().unwrap()],
            ..Config::default()
        };
        taken(&mut usual, handed(), vec![]).unwrap();
        assert_eq!(usual.http, ["127.0.0.1:339".parse().unwrap()]);
        taken(&mut written(&["127.0.0.1:339"]), handed(), vec![]).unwrap();
        // Nothing is handed over, so the config stands.
        let mut config = written(&["127.0.0.1:9169"]);
        taken(&mut config, vec![], vec![]).unwrap();
        assert_eq!(config, written(&["127.0.0.1:9169"]));
    }

    #[test]
    fn an_address_that_is_written_does_not_give_way_and_both_are_named() {
        for (addresses, said) in [
            (&["127.0.0.1:9169"][..], "says 127.0.0.1:9169;"),
            (
                &["127.0.0.1:339", "[::1]:339"],
                "127.0.0.1:339 and [::1]:339",
            ),
            (&[], "says that there is none"),
        ] {
            let handed = vec![tcp(TcpDoor::Http, "127.0.0.1:339")];
            let error = taken(&mut written(addresses), handed, vec![]).unwrap_err();
            let start = "the service manager hands over 127.0.0.1:339 for the HTTP endpoint, but ";
            assert!(error.starts_with(start) && error.contains(said), "{error}");
        }
    }

    #[test]
    fn no_address_is_taken_that_others_reach() {
        for (door, address) in [
            (TcpDoor::Http, "0.0.0.0:339"),
            (TcpDoor::Http, "[::]:339"),
            (TcpDoor::Http, "192.0.2.1:339"),
            (TcpDoor::Http, "169.254.169.254:80"),
            (TcpDoor::Imds, "169.254.170.2:80"),
        ] {
            let error = taken(&mut Config::default(), vec![tcp(door, address)], vec![]);
            let error = error.unwrap_err();
            assert!(
                error.contains(address) && error.contains("loopback"),
                "{error}"
            );
        }
    }

    /// Two endpoints on one socket would each get some of its connections.
    #[test]
    fn nothing_is_handed_over_for_two_endpoints() {
        let mut config = Config::default();
        config.metrics.listen = vec!["127.0.0.1:339".parse().unwrap()];
        let handed = vec![tcp(TcpDoor::Http, "127.0.0.1:339")];
        let error = taken(&mut config, handed, vec![]).unwrap_err();
        assert!(error.contains("something else listen there"), "{error}");

        let folder = tempfile::tempdir().unwrap();
        let mut config = Config {
            own_sockets: vec![OwnSocket {
                listener: ListenerName::own("app"),
                path: "/srv/a".into(),
                owner: None,
                group: None,
                mode: 0o600,
            }],
            ..Config::default()
        };
        let handed = vec![unix(folder.path(), UnixDoor::Public, "/srv/a")];
        let error = taken(&mut config, vec![], handed).unwrap_err();
        assert!(error.contains("[serve.unix.app] has it"), "{error}");
    }

    #[test]
    fn instance_metadata_is_taken_where_the_config_has_it() {
        let handed = || vec![tcp(TcpDoor::Imds, "169.254.169.254:80")];
        let error = taken(&mut Config::default(), handed(), vec![]).unwrap_err();
        assert!(error.contains("no [serve.imds]"), "{error}");
        let config = |listen: &str| Config {
            imds: Some(ImdsConfig {
                listen: vec![listen.parse().unwrap()],
                identity: None,
                region: None,
            }),
            ..Config::default()
        };
        taken(&mut config("169.254.169.254:80"), handed(), vec![]).unwrap();
        let error = taken(&mut config("127.0.0.1:80"), handed(), vec![]).unwrap_err();
        assert!(error.contains("says 127.0.0.1:80"), "{error}");
    }

    #[test]
    fn metrics_are_taken_where_the_config_has_them_and_beyond_this_host_only_if_it_says_so() {
        let given = |listen: &[&str], beyond_this_host, handed: &str| {
            let mut config = Config::default();
            config.metrics.listen = listen.iter().map(|it| it.parse().unwrap()).collect();
            config.metrics.beyond_this_host = beyond_this_host;
            taken(&mut config, vec![tcp(TcpDoor::Metrics, handed)], vec![])
        };
        let (here, beyond) = ("127.0.0.1:9170", "192.0.2.1:9170");
        given(&[here], false, here).unwrap();
        given(&[beyond], true, beyond).unwrap();
        for (outcome, said) in [
            (given(&[], false, here), "the config has no [serve.metrics]"),
            (given(&["[::1]:9170"], false, here), "says [::1]:9170"),
            (given(&[beyond], false, beyond), "`beyond-this-host = true`"),
            (
                given(&[], false, "0.0.0.0:9170"),
                "`beyond-this-host = true`",
            ),
        ] {
            let error = outcome.unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn a_unix_socket_is_where_its_clients_look_for_it() {
        let public = |path: Option<&str>, handed: &str| {
            let folder = tempfile::tempdir().unwrap();
            let mut config = Config {
                unix: path.map(PathBuf::from),
                ..Config::default()
            };
            let socket = unix(folder.path(), UnixDoor::Public, handed);
            taken(&mut config, vec![], vec![socket]).map(|()| config.unix)
        };
        let usual = "/run/credd/credd.sock";
        assert_eq!(public(None, usual), Ok(None));
        assert_eq!(public(Some("/srv/a"), usual), Ok(Some("/srv/a".into())));
        assert_eq!(public(None, "/srv/a"), Ok(Some("/srv/a".into())));
        assert_eq!(public(Some("/srv/a"), "/srv/a"), Ok(Some("/srv/a".into())));
        let error = public(Some("/srv/a"), "/srv/b").unwrap_err();
        assert!(
            error.contains("/srv/a") && error.contains("/srv/b"),
            "{error}"
        );

        let folder = tempfile::tempdir().unwrap();
        let admin = unix(folder.path(), UnixDoor::Admin, "/run/credd.sock");
        let error = taken(&mut Config::default(), vec![], vec![admin]).unwrap_err();
        assert!(
            error.contains("look for it at /run/credd/admin/credd.sock"),
            "{error}"
        );
    }

    #[test]
    fn a_socket_of_its_own_is_one_that_the_config_has_and_opens_no_more_than_it_says() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("any");
        let given = |name: &str, mode: u32, owner: Option<u32>, group: Option<u32>, to| {
            let _ = std::fs::remove_file(&path);
            let at = path.to_str().unwrap();
            let socket = unix(folder.path(), UnixDoor::Own("app".to_owned()), at);
            let permissions = std::fs::Permissions::from_mode(0o620);
            std::fs::set_permissions(&path, permissions).unwrap();
            if let Some((user, group)) = to {
                std::os::unix::fs::chown(&path, Some(user), Some(group)).unwrap();
            }
            let mut config = Config {
                own_sockets: vec![OwnSocket {
                    listener: ListenerName::own(name),
                    path: path.clone(),
                    owner,
                    group,
                    mode,
                }],
                ..Config::default()
            };
            taken(&mut config, vec![], vec![socket])
        };
        let taken =
            |name: &str, mode: u32, group: Option<u32>| given(name, mode, None, group, None);
        let group = std::fs::metadata(folder.path()).unwrap().gid();
        taken("app", 0o660, None).unwrap();
        taken("app", 0o620, Some(group)).unwrap();
        for (outcome, said) in [
            (taken("other", 0o660, None), "no [serve.unix.app]"),
            (taken("app", 0o600, None), "mode is 0620 where"),
            (taken("app", 0o660, Some(group + 1)), "for the group"),
        ] {
            let error = outcome.unwrap_err();
            assert!(error.contains(said), "{error}");
        }
        if !process::is_root() {
            return;
        }
        // What the config leaves out is the daemon's own, whoever the socket was given to.
        let own = Some((0, 0));
        given("app", 0o660, Some(7), Some(0), own).unwrap();
        given("app", 0o660, Some(7), None, Some((7, 0))).unwrap();
        for (owner, to, said) in [
            (None, (7, 0), "user 7's where [serve.unix.app] means 0"),
            (Some(8), (7, 0), "user 7's where [serve.unix.app] means 8"),
            (None, (0, 7), "group 7 where [serve.unix.app] means 0"),
        ] {
            let error = given("app", 0o660, owner, None, Some(to)).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
