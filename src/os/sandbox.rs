//! What this process gives up for good, and all that it starts with it: new privileges, system calls
//! that none of them needs, and writing beyond its own places.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::files::read_text_now;

/// What became of one measure.
#[derive(Debug)]
pub enum Outcome {
    Active,
    /// Somebody has seen to it before.
    ThereAlready,
    /// Why it does not fit here.
    LeftOut(&'static str),
    Failed(io::Error),
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Active => formatter.write_str("active"),
            Self::ThereAlready => formatter.write_str("there already"),
            Self::LeftOut(why) => write!(formatter, "left out: {why}"),
            Self::Failed(error) => write!(formatter, "failed: {error}"),
        }
    }
}

/// What the kernel says that this thread gives.
fn check(returned: libc::c_long) -> io::Result<libc::c_long> {
    if returned < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(returned)
    }
}

/// Programs that this thread starts get no more rights than it has, whatever their files say
/// (`PR_SET_NO_NEW_PRIVS`, prctl(2)). The other two ask for it.
#[expect(unsafe_code, reason = "a call of prctl")]
pub fn renounce_privileges() -> Outcome {
    // SAFETY: the call takes numbers alone.
    let returned = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    match check(returned.into()) {
        Ok(_) => Outcome::Active,
        Err(error) => Outcome::Failed(error),
    }
}

/// Has the kernel answer `EPERM` to the system calls in `DENIED`, from this thread and all that
/// it starts, where no filter is at work yet: service managers and container engines have better
/// ones.
#[expect(unsafe_code, reason = "a call of prctl")]
pub fn filter_system_calls() -> Outcome {
    const STATUS: usize = 16 * 1024;
    let status = read_text_now(Path::new("/proc/thread-self/status"), STATUS);
    let has_none = |status: &str| status.lines().any(|line| line == "Seccomp:\t0");
    match status {
        Ok(status) if !has_none(&status) => return Outcome::ThereAlready,
        Ok(_) => {}
        Err(error) => return Outcome::Failed(error),
    }
    let Some(architecture) = ARCHITECTURE else {
        return Outcome::LeftOut("there is no filter for this architecture");
    };
    let program = filter(architecture, DENIED);
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).unwrap_or(0),
        filter: program.as_ptr().cast_mut(),
    };
    let mode = libc::SECCOMP_MODE_FILTER;
    // SAFETY: `program` points to as many instructions as it says, which the kernel only reads.
    let returned = unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program) };
    match check(returned.into()) {
        Ok(_) => Outcome::Active,
        Err(error) => Outcome::Failed(error),
    }
}

/// `AUDIT_ARCH_*` (linux/audit.h): what the kernel calls the calling convention.
const ARCHITECTURE: Option<u32> = if cfg!(all(target_arch = "x86_64", target_pointer_width = "64"))
{
    Some(0xc000_003e)
} else if cfg!(all(target_arch = "aarch64", target_endian = "little")) {
    Some(0xc000_00b7)
} else {
    None
};

/// From here on, numbers are those of x32, a second way to all calls of x86-64.
const X32: u32 = 0x4000_0000;

/// What neither credd nor a program that obtains credentials needs: changing the host, its clock,
/// its mounts and its kernel; looking into other processes; keyrings; other namespaces. The kernel
/// refuses most of it to all but root, and has been wrong about that now and then.
const DENIED: &[libc::c_long] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_adjtimex,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    libc::SYS_kcmp,
    #[cfg(not(all(target_arch = "aarch64", target_env = "musl")))]
    libc::SYS_kexec_file_load,
    // libc lacks the name there.
    #[cfg(all(target_arch = "aarch64", target_env = "musl"))]
    294,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_madvise,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
];

/// A program of classic BPF (seccomp(2)) over `struct seccomp_data`, whose first word is the number
/// of the call, and whose second its architecture. It looks at nothing else, so that the kernel
/// knows beforehand which calls pass, and does not run it for those (Linux 5.11).
fn filter(architecture: u32, denied: &[libc::c_long]) -> Vec<libc::sock_filter> {
    const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const IF_AT_LEAST: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    let refused = libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned();
    let instruction =
        |code: u32, value: u32, jump_if_true: u8, jump_if_false: u8| libc::sock_filter {
            code: u16::try_from(code).unwrap_or(u16::MAX),
            jt: jump_if_true,
            jf: jump_if_false,
            k: value,
        };
    let mut program = vec![
        instruction(LOAD, 4, 0, 0),
        instruction(IF_EQUAL, architecture, 1, 0),
        instruction(RETURN, refused, 0, 0),
        instruction(LOAD, 0, 0, 0),
        instruction(IF_AT_LEAST, X32, 0, 1),
        instruction(RETURN, refused, 0, 0),
    ];
    for number in denied
        .iter()
        .filter_map(|number| u32::try_from(*number).ok())
    {
        program.push(instruction(IF_EQUAL, number, 0, 1));
        program.push(instruction(RETURN, refused, 0, 0));
    }
    program.push(instruction(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0));
    program
}

/// Rights of landlock (linux/landlock.h), each with the version that brought it.
mod right {
    pub(super) const EXECUTE: u64 = 1;
    pub(super) const WRITE_FILE: u64 = 1 << 1;
    /// To remove, and to make files of all kinds.
    pub(super) const REMOVE_AND_MAKE: u64 = 0b1_1111_1111 << 4;
    /// Version 2: to move to another folder. Always denied before.
    pub(super) const REFER: u64 = 1 << 13;
    /// Version 3.
    pub(super) const TRUNCATE: u64 = 1 << 14;
}

/// Has the kernel refuse this thread, and all that it starts, to make, change or remove files but
/// below `writable` and in `/dev/null`, and to run any program (landlock(7), Linux 5.13). What is
/// not there is passed over.
pub fn confine_writing(writable: &[PathBuf]) -> Outcome {
    match landlock(writable) {
        Ok(()) => Outcome::Active,
        // The last is what filters of system calls say.
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::ENOSYS | libc::EOPNOTSUPP | libc::EPERM)
            ) =>
        {
            Outcome::LeftOut("the kernel offers no landlock here")
        }
        Err(error) => Outcome::Failed(error),
    }
}

#[expect(unsafe_code, reason = "system calls that have no wrapper")]
fn landlock(writable: &[PathBuf]) -> io::Result<()> {
    const VERSION: u32 = 1;
    let nothing: *const u64 = std::ptr::null();
    // SAFETY: with this flag the call takes no more than it.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0_usize, VERSION) };
    let version = check(version)?;
    let mut handled = right::EXECUTE | right::WRITE_FILE | right::REMOVE_AND_MAKE;
    if version >= 2 {
        handled |= right::REFER;
    }
    if version >= 3 {
        handled |= right::TRUNCATE;
    }
    // SAFETY: `struct landlock_ruleset_attr` of version 1 is one number, `handled`; the size says
    // so. The descriptor that comes back is nobody else's.
    let rules = unsafe {
        let (attributes, size) = (&raw const handled, size_of_val(&handled));
        let rules = check(libc::syscall(
            libc::SYS_landlock_create_ruleset,
            attributes,
            size,
            0_u32,
        ))?;
        OwnedFd::from_raw_fd(i32::try_from(rules).map_err(io::Error::other)?)
    };
    for path in writable {
        allow(&rules, path, handled & !right::EXECUTE)?;
    }
    let of_files = (right::WRITE_FILE | right::TRUNCATE) & handled;
    allow(&rules, Path::new("/dev/null"), of_files)?;
    // SAFETY: the call takes numbers alone.
    let returned =
        unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules.as_raw_fd(), 0_u32) };
    check(returned).map(|_| ())
}

/// Lets what is at and below `path` be used so.
#[expect(unsafe_code, reason = "a system call that has no wrapper")]
fn allow(rules: &OwnedFd, path: &Path, rights: u64) -> io::Result<()> {
    /// `struct landlock_path_beneath_attr`.
    #[repr(C, packed)]
    struct PathBeneath {
        rights: u64,
        parent: i32,
    }
    const PATH_BENEATH: u32 = 1;
    let mut options = std::fs::OpenOptions::new();
    let opened = options.read(true).custom_flags(libc::O_PATH).open(path);
    let place = match opened {
        Ok(place) => place,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let rule = PathBeneath {
        rights,
        parent: place.as_raw_fd(),
    };
    // SAFETY: `rule` is what the kernel reads for this kind of rule; both descriptors are open.
    let returned = unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            rules.as_raw_fd(),
            PATH_BENEATH,
            &raw const rule,
            0_u32,
        )
    };
    check(returned).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the kernel does with a call, by the program.
    fn run(program: &[libc::sock_filter], architecture: u32, number: u32) -> u32 {
        let (mut at, mut loaded) = (0, 0);
        loop {
            let instruction = &program[at];
            at += 1;
            let (code, value) = (u32::from(instruction.code), instruction.k);
            let is_true = match code & 0xf0 {
                libc::BPF_JEQ => loaded == value,
                _ => loaded >= value,
            };
            match code & 0x07 {
                libc::BPF_LD => loaded = if value == 0 { number } else { architecture },
                libc::BPF_JMP if is_true => at += usize::from(instruction.jt),
                libc::BPF_JMP => at += usize::from(instruction.jf),
                _ => return value,
            }
        }
    }

    proptest! {
        #[test]
        fn exactly_what_is_denied_is_refused(
            number in prop_oneof![0..500_u32, any::<u32>()],
            is_native in proptest::bool::weighted(0.9),
        ) {
            let native = 0xc000_003e;
            let architecture = if is_native { native } else { 0x4000_0003 };
            let is_denied = !is_native || number >= X32 || DENIED.contains(&number.into());
            let verdict = run(&filter(native, DENIED), architecture, number);
            let refused = libc::SECCOMP_RET_ERRNO | 1;
            prop_assert_eq!(verdict, if is_denied { refused } else { libc::SECCOMP_RET_ALLOW });
        }
    }

    /// On a thread of its own, which ends with the test: what it gave up is given up for good.
    fn on_a_thread(test: impl FnOnce() + Send) {
        std::thread::scope(|scope| scope.spawn(test).join().unwrap());
    }

    #[test]
    fn a_confined_thread_writes_where_it_may_and_nowhere_else() {
        let (own, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let there = other.path().join("there");
        std::fs::File::create(&there).unwrap();
        on_a_thread(|| {
            assert!(matches!(renounce_privileges(), Outcome::Active));
            let places = [own.path().to_owned(), own.path().join("missing")];
            match confine_writing(&places) {
                Outcome::Active => {}
                outcome => return assert!(matches!(outcome, Outcome::LeftOut(_)), "{outcome}"),
            }
            let make = |path: &Path| std::fs::File::create(path).map(|_| ());
            let refused = |outcome: io::Result<()>| {
                assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
            };
            make(&own.path().join("file")).unwrap();
            std::fs::create_dir(own.path().join("folder")).unwrap();
            std::fs::rename(own.path().join("file"), own.path().join("folder/file")).unwrap();
            std::fs::remove_dir_all(own.path().join("folder")).unwrap();
            make(Path::new("/dev/null")).unwrap();
            refused(make(&there));
            refused(make(&other.path().join("new")));
            refused(std::fs::create_dir(other.path().join("new")));
            refused(std::fs::remove_file(&there));
            assert!(std::fs::read_dir("/").is_ok());
            let program = std::process::Command::new("/bin/true").status();
            refused(program.map(|_| ()));
        });
        assert!(there.exists());
    }
}
