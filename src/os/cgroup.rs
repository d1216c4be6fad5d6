//! Which systemd unit and which container a process is in, by the names of its control groups.

use std::sync::Arc;

/// What a process belongs to, by the word of those who set up control groups as root: the system's
/// service manager and container engines. What they have delegated (to a user's own manager, to a
/// container's inside) is part of the unit or container that it was delegated to, whatever the
/// groups below are called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Membership {
    /// A unit of the system's manager: `app.service`. All that a user runs is in `user@UID.service`
    /// or `session-N.scope`.
    pub unit: Option<Arc<str>>,
    /// The engine's full id.
    pub container: Option<Arc<str>>,
}

/// Reads a `/proc/PID/cgroup` (cgroups(7)): `hierarchy:controllers:path` in each line. The unified
/// hierarchy counts, and systemd's own of version 1; where they contradict each other, neither.
pub fn parse(text: &str) -> Membership {
    let paths = text.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (hierarchy, controllers) = (parts.next()?, parts.next()?);
        let is_managed = (hierarchy == "0" && controllers.is_empty()) || controllers == SYSTEMD;
        parts.next().filter(|_| is_managed)
    });
    let (mut unit, mut container) = (Claims::None, Claims::None);
    for path in paths.filter(|path| is_whole(path)) {
        let components = || path.split('/').skip(1);
        unit.add(unit_of(components()));
        container.add(container_of(components()));
    }
    Membership {
        unit: unit.agreed(),
        container: container.agreed(),
    }
}

/// systemd's hierarchy of version 1.
const SYSTEMD: &str = "name=systemd";

/// From a control group namespace, what is outside of it is seen by `..`, and its names are
/// anybody's.
fn is_whole(path: &str) -> bool {
    path.starts_with('/') && path.split('/').all(|part| part != "..")
}

/// What the hierarchies say.
enum Claims<'a> {
    None,
    One(&'a str),
    Contradictory,
}

impl<'a> Claims<'a> {
    fn add(&mut self, claim: Option<&'a str>) {
        *self = match (&*self, claim) {
            (_, None) => return,
            (Self::None, Some(claim)) => Self::One(claim),
            (Self::One(before), Some(claim)) if *before == claim => return,
            (Self::One(_) | Self::Contradictory, Some(_)) => Self::Contradictory,
        }
    }

    fn agreed(self) -> Option<Arc<str>> {
        match self {
            Self::One(claim) => Some(claim.into()),
            Self::None | Self::Contradictory => None,
        }
    }
}

/// The first component that is no slice, as systemd's `cg_path_get_unit` has it
/// (src/basic/cgroup-util.c). Slices hold units and no processes.
fn unit_of<'a>(mut components: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let component = components.find(|component| !is_slice(component))?;
    // A name that the kernel could take for one of its files has this before it (`cg_escape`).
    let name = component.strip_prefix('_').unwrap_or(component);
    is_unit(name).then_some(name)
}

fn is_slice(component: &str) -> bool {
    component
        .strip_suffix(".slice")
        .is_some_and(|name| !name.is_empty())
}

/// Units that can have processes, by their names (systemd.unit(5)).
fn is_unit(name: &str) -> bool {
    const LONGEST: usize = 255;
    const SUFFIXES: [&str; 5] = [".service", ".scope", ".socket", ".mount", ".swap"];
    let is_sign = |sign: u8| sign.is_ascii_alphanumeric() || b":-_.\\@".contains(&sign);
    name.len() <= LONGEST
        && name.bytes().all(is_sign)
        && SUFFIXES
            .iter()
            .any(|suffix| name.len() > suffix.len() && name.ends_with(suffix))
}

/// The id of the outermost container: what is inside of one names its groups as it likes. Known are
/// the scopes that engines have systemd make, and the groups that they make themselves: Docker
/// (`/docker/ID`), the ECS agent (`/ecs/TASK/ID`), the kubelet (`/kubepods/…/podUID/ID`) and Podman
/// (`/libpod_parent/libpod-ID`).
fn container_of<'a>(components: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut components = components.skip_while(|component| is_slice(component));
    let first = components.next()?;
    if let Some(scope) = first.strip_suffix(".scope") {
        return ENGINES
            .iter()
            .find_map(|engine| id(scope.strip_prefix(engine)?));
    }
    match first {
        "docker" => id(components.next()?),
        "ecs" => {
            let task = components.next()?;
            let container = components.next()?;
            id(container).or_else(|| id_on_fargate(task, container))
        }
        "kubepods" => {
            let class = ["besteffort", "burstable", "guaranteed"];
            let pod = components.find(|component| !class.contains(component))?;
            let container = components.next().filter(|_| pod.starts_with("pod"))?;
            id(container.strip_prefix("crio-").unwrap_or(container))
        }
        "libpod_parent" => id(components.next()?.strip_prefix("libpod-")?),
        _ => None,
    }
}

const ENGINES: [&str; 5] = ["docker-", "cri-containerd-", "crio-", "libpod-", "nerdctl-"];

/// 256 bits in hexadecimal.
fn id(text: &str) -> Option<&str> {
    (text.len() == 64 && text.bytes().all(is_hexadecimal)).then_some(text)
}

/// `TASK-NUMBER`
fn id_on_fargate<'a>(task: &str, container: &'a str) -> Option<&'a str> {
    let number = container.strip_prefix(task)?.strip_prefix('-')?;
    let is_id = task.len() == 32
        && task.bytes().all(is_hexadecimal)
        && (1..=10).contains(&number.len())
        && number.bytes().all(|digit| digit.is_ascii_digit());
    is_id.then_some(container)
}

fn is_hexadecimal(digit: u8) -> bool {
    matches!(digit, b'0'..=b'9' | b'a'..=b'f')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn unit(text: &str) -> Option<String> {
        parse(text).unit.map(|unit| unit.to_string())
    }

    fn container(path: &str) -> Option<String> {
        let text = format!("0::{}\n", path.replace("ID", ID));
        parse(&text).container.map(|id| id.replace(ID, "ID"))
    }

    #[test]
    fn a_unit_is_what_stands_directly_below_slices() {
        for (path, expected) in [
            ("/system.slice/app.service", Some("app.service")),
            (
                "/app.slice/app-a.slice/app@1.service",
                Some("app@1.service"),
            ),
            ("/init.scope", Some("init.scope")),
            ("/system.slice/a\\x2db.mount", Some("a\\x2db.mount")),
            ("/system.slice/_cpu.service", Some("cpu.service")),
            ("/system.slice/__a.service", Some("_a.service")),
            // Delegated.
            (
                "/system.slice/app.service/other.service",
                Some("app.service"),
            ),
            (
                "/system.slice/app.service/system.slice/x.service",
                Some("app.service"),
            ),
            (
                "/user.slice/user-7.slice/session-3.scope",
                Some("session-3.scope"),
            ),
            (
                "/user.slice/user-7.slice/user@7.service/app.slice/app.service",
                Some("user@7.service"),
            ),
            // No unit.
            ("/", None),
            ("/system.slice", None),
            ("/system.slice/", None),
            ("/.service", None),
            ("/docker/app.service", None),
            ("/made/system.slice/app.service", None),
            ("/../system.slice/app.service", None),
            ("/system.slice/../app.service", None),
            ("system.slice/app.service", None),
            ("/system.slice/app.service (deleted)", None),
            ("/system.slice/app .service", None),
            ("/system.slice/app.target", None),
        ] {
            assert_eq!(unit(&format!("0::{path}\n")).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn the_unified_hierarchy_and_that_of_systemd_count_and_must_not_contradict_each_other() {
        let a = Some("a.service");
        for (text, expected) in [
            ("0::/a.service\n", a),
            ("1:name=systemd:/a.service\n0::/\n", a),
            ("1:name=systemd:/a.service\n0::/a.service/inside\n", a),
            ("1:name=systemd:/a.service\n0::/b.service\n", None),
            (
                "1:name=systemd:/b.service\n0::/a.service\n2:name=systemd:/b.service",
                None,
            ),
            ("4:memory:/a.service\n0::/\n", None),
            ("1:name=other:/a.service\n", None),
            ("4:cpu,name=systemd:/a.service\n", None),
            ("0:x:/a.service\n", None),
            ("0::/x:/a.service\n", None),
            ("0::", None),
            ("0:", None),
            ("", None),
        ] {
            assert_eq!(unit(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_container_is_known_by_what_its_engine_has_made() {
        for path in [
            "/system.slice/docker-ID.scope",
            "/system.slice/docker-ID.scope/init.scope",
            "/ecstasks.slice/ecstasks-0123.slice/docker-ID.scope",
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1_2.slice/cri-containerd-ID.scope",
            "/kubepods.slice/kubepods-pod1.slice/crio-ID.scope",
            "/machine.slice/libpod-ID.scope/container",
            "/docker/ID",
            "/docker/ID/docker/0000",
            "/ecs/0123456789abcdef0123456789abcdef/ID",
            "/kubepods/burstable/pod1-2/ID",
            "/kubepods/pod1-2/ID",
            "/kubepods/pod1-2/crio-ID",
            "/libpod_parent/libpod-ID",
        ] {
            assert_eq!(container(path).as_deref(), Some("ID"), "{path}");
        }
        let task = "0123456789abcdef0123456789abcdef";
        assert_eq!(
            container(&format!("/ecs/{task}/{task}-0123456789")),
            Some(format!("{task}-0123456789"))
        );
        for path in [
            "/",
            "/ID",
            "/docker",
            "/docker/0123",
            "/docker/IDID",
            "/docker/0/ID",
            "/ecs/ID",
            "/ecs/0123/4567-1",
            "/kubepods/ID",
            "/kubepods/burstable/ID",
            "/system.slice/docker-0123.scope",
            "/machine.slice/libpod-conmon-ID.scope",
            // By whoever holds what these were delegated to.
            "/user.slice/user-7.slice/user@7.service/docker-ID.scope",
            "/user.slice/user-7.slice/user@7.service/user.slice/libpod-ID.scope",
            "/system.slice/app.service/docker/ID",
            "/lxc/guest/docker/ID",
            "/lxc/guest/system.slice/docker-ID.scope",
            "/../docker/ID",
        ] {
            assert_eq!(container(path), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn whatever_stands_there_is_read(text in ".{0,200}", path in "(/[a-z.@_-]{0,12}){0,6}") {
            let _ = parse(&text);
            let _ = parse(&format!("0::{path}\n1:name=systemd:{text}"));
        }

        /// Whoever is given a group may make others below it, and that is all.
        #[test]
        fn what_is_below_a_unit_or_a_container_changes_nothing(
            owner in prop::sample::select(vec![
                "/system.slice/app.service",
                "/user.slice/user-7.slice/user@7.service",
                "/system.slice/docker-ID.scope",
                "/docker/ID",
                "/kubepods/burstable/pod1/ID",
            ]),
            below in prop::collection::vec(
                prop::sample::select(vec![
                    "system.slice", "x.service", "docker-ID.scope", "docker", "ID", "_", "a",
                    "kubepods", "init.scope", "..x", "x:y", "0::", "name=systemd", " (deleted)",
                ]),
                0..6,
            ),
        ) {
            let below = [&[""][..], &below].concat().join("/");
            let line = |path: &str| format!("0::{path}\n").replace("ID", ID);
            let (own, made) = (parse(&line(owner)), parse(&line(&format!("{owner}{below}"))));
            prop_assert_eq!(own, made);
        }
    }
}
