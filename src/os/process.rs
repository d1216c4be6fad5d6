//! What this process may do and who it is.

use std::ffi::{CStr, c_char};
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal};

/// Descriptors that credd asks for: some two thousand connections, with a pidfd each on Unix sockets,
/// their upstream, and room.
const DESCRIPTORS: u64 = 8192;

/// The user who may do everything.
pub const ROOT: u32 = 0;

/// The user whom this process acts as.
pub fn effective_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

pub fn effective_gid() -> u32 {
    rustix::process::getegid().as_raw()
}

pub fn is_root() -> bool {
    effective_uid() == ROOT
}

/// Whether this process was started with `signal` ignored, as `nohup` and shells do for what runs
/// in the background. A process that ignores a signal should go on doing so (POSIX 1003.1, 2.11).
pub fn ignores(signal: i32) -> bool {
    u32::try_from(signal - 1).is_ok_and(|bit| has_bit("SigIgn:", bit))
}

/// Whether this process may look at those of other users (`CAP_SYS_PTRACE`, capabilities(7)).
pub fn may_trace() -> bool {
    const CAP_SYS_PTRACE: u32 = 19;
    has_bit("CapEff:", CAP_SYS_PTRACE)
}

/// Of a mask in this thread's status.
fn has_bit(name: &str, bit: u32) -> bool {
    let path = Path::new("/proc/thread-self/status");
    let status = super::files::read_text_now(path, STATUS_BYTES);
    let Ok(status) = status else { return false };
    let mask = status.lines().find_map(|line| line.strip_prefix(name));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.unwrap_or(0) >> bit & 1 == 1
}

/// More than any status has.
const STATUS_BYTES: usize = 16 * 1024;

/// Kills the process group that `leader` leads. It may be gone already.
pub fn kill_group(leader: u32) {
    if let Some(group) = Pid::from_raw(leader.cast_signed()).filter(|group| !group.is_init()) {
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
    }
}

/// Files made from now on are their owner's alone, whatever else their makers say.
pub fn make_files_private() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
}

/// No core dump is written, and no other process of this user may attach or look into memory:
/// either would show keys.
pub fn hide_memory() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _ = rustix::process::setrlimit(Resource::Core, none);
    let behavior = rustix::process::DumpableBehavior::NotDumpable;
    if let Err(error) = rustix::process::set_dumpable_behavior(behavior) {
        tracing::warn!(%error, "cannot hide memory from other processes of this user");
    }
}

/// Wipes the values of those variables that `is_secret` names, in the block that the kernel made
/// for this process. Does nothing once there are other threads, which might be reading it.
pub fn wipe_environment(is_secret: impl Fn(&str) -> bool) {
    #[expect(unsafe_code, reason = "std hands out copies only")]
    unsafe extern "C" {
        static mut environ: *mut *mut c_char;
    }
    let threads = std::fs::read_dir("/proc/self/task");
    if threads.map_or(0, Iterator::count) != 1 {
        tracing::warn!("cannot wipe the environment: threads are running already");
        return;
    }
    // SAFETY: no other thread runs, so that nobody reads or changes the variables meanwhile, which
    // the C library keeps as an array of texts that ends with a null. Only what stands between the
    // `=` and the end of a text is written to, all of it with zeros, so that each text stays one.
    #[expect(unsafe_code, reason = "no safe function reaches the block itself")]
    unsafe {
        let mut variable = environ;
        while !variable.is_null() && !(*variable).is_null() {
            let text = *variable;
            let bytes = CStr::from_ptr(text).to_bytes();
            let (length, equals) = (bytes.len(), bytes.iter().position(|byte| *byte == b'='));
            let name = equals.and_then(|at| str::from_utf8(bytes.get(..at)?).ok());
            if let (Some(at), true) = (equals, name.is_some_and(&is_secret)) {
                for place in at + 1..length {
                    text.add(place).write_volatile(0);
                }
            }
            variable = variable.add(1);
        }
    }
}

/// User and system time of all threads.
pub fn cpu_time() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(used).unwrap_or_default()
}

/// Bytes in memory.
pub fn resident_memory() -> Option<u64> {
    let status = super::files::read_text_now(Path::new("/proc/self/status"), STATUS_BYTES).ok()?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// Descriptors in use, the one that looks apart.
pub fn open_descriptors() -> Option<u64> {
    let entries = std::fs::read_dir("/proc/self/fd").ok()?;
    Some((entries.count() as u64).saturating_sub(1))
}

/// How many descriptors this process may have at once.
pub fn descriptors() -> usize {
    let limit = rustix::process::getrlimit(Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    })
}

/// Raises the soft limit of descriptors as far as it is needed and allowed.
pub fn raise_descriptor_limit() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let wanted = DESCRIPTORS.min(limit.maximum.unwrap_or(DESCRIPTORS));
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = Rlimit {
            current: Some(wanted),
            maximum: limit.maximum,
        };
        let _ = rustix::process::setrlimit(Resource::Nofile, raised);
    }
}

/// What this host calls itself; empty where that is not UTF-8.
pub fn host_name() -> String {
    let name = rustix::system::uname();
    name.nodename().to_str().unwrap_or_default().to_owned()
}
