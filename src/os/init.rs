//! The first process of a container: it passes on signals, and waits for whoever nobody else
//! waits for.
//!
//! A process that is the first of its PID namespace inherits all orphans there, and the kernel
//! ignores signals for it that it does not handle (`pid_namespaces(7)`). Telling orphans from the
//! children that the program itself waits for would be guesswork, so that the program becomes a
//! child: what was the first process has only that one to know.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, wait};

/// Which of the two a process has become.
#[derive(Debug)]
pub enum Role {
    /// The one that does the work: the child, or whoever is not the first process.
    Program,
    /// The first process.
    First(First),
}

/// A first process with its one child.
#[derive(Debug)]
pub struct First {
    program: Pid,
}

/// Whether this process is the child of a first one.
static IS_DIVIDED: AtomicBool = AtomicBool::new(false);

/// The number by which whoever started this program knows it: that of the first process, if it has
/// been divided.
pub fn number_at_start() -> u32 {
    if IS_DIVIDED.load(Ordering::Relaxed) {
        Pid::INIT.as_raw_nonzero().get().cast_unsigned()
    } else {
        std::process::id()
    }
}

/// Of a program that a signal has ended, as shells say it (POSIX 1003.1, 2.8.2).
const BY_SIGNAL: i32 = 128;

/// Where this process is the first of its namespace, makes the program a child of it. Blocks all
/// signals of the first process. To be called while there is one thread.
pub fn divide() -> io::Result<Role> {
    if !getpid().is_init() {
        return Ok(Role::Program);
    }
    let (all, mut before) = (every_signal(), MaybeUninit::<libc::sigset_t>::uninit());
    // SAFETY: `all` is a set, and `before` has room for one, which the call fills in.
    #[expect(unsafe_code, reason = "sigprocmask has no safe wrapper")]
    let blocked =
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const all, before.as_mut_ptr()) };
    if blocked != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: there is one thread, so that nothing in the child is half done; SIGCHLD gets the
    // disposition that waiting for children needs.
    #[expect(unsafe_code, reason = "fork and signal have no safe wrapper")]
    let child = unsafe {
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
        libc::fork()
    };
    if child < 0 {
        return Err(io::Error::last_os_error());
    }
    if let Some(program) = Pid::from_raw(child) {
        return Ok(Role::First(First { program }));
    }
    // SAFETY: the call above has filled `before` in.
    #[expect(unsafe_code, reason = "sigprocmask has no safe wrapper")]
    unsafe {
        libc::sigprocmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut());
    }
    IS_DIVIDED.store(true, Ordering::Relaxed);
    Ok(Role::Program)
}

impl First {
    /// Works until the program has ended, and gives its exit code. Whatever else runs in the
    /// namespace ends with this process.
    pub fn wait(&self) -> u8 {
        loop {
            let (number, is_by_kernel) = next_signal();
            if number == libc::SIGCHLD {
                if let Some(code) = self.reap() {
                    return code;
                }
            } else if !is_by_kernel {
                // What the kernel sends, a terminal's signals above all, has gone to the program,
                // too. One that cannot be named is none of those that are meant for programs.
                if let Some(signal) = Signal::from_named_raw(number) {
                    let _ = kill_process(self.program, signal);
                }
            }
        }
    }

    /// Waits for all that have ended: the code, if the program is among them.
    fn reap(&self) -> Option<u8> {
        let mut code = None;
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.program => code = Some(exit_code(status)),
                Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
                Ok(None) | Err(_) => return code,
            }
        }
    }
}

fn exit_code(status: WaitStatus) -> u8 {
    let by_signal = || Some(BY_SIGNAL + status.terminating_signal()?);
    let code = status.exit_status().or_else(by_signal);
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

fn every_signal() -> libc::sigset_t {
    let mut all = MaybeUninit::uninit();
    // SAFETY: `all` has room for a set, which the call fills in.
    #[expect(unsafe_code, reason = "sigfillset has no safe wrapper")]
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        all.assume_init()
    }
}

/// Waits for the next of the blocked signals: its number, and whether nobody but the kernel has
/// sent it.
fn next_signal() -> (i32, bool) {
    let (all, mut about) = (every_signal(), MaybeUninit::<libc::siginfo_t>::uninit());
    loop {
        // SAFETY: `all` is a set, and `about` has room for what the call says of a signal.
        #[expect(unsafe_code, reason = "sigwaitinfo has no safe wrapper")]
        let number = unsafe { libc::sigwaitinfo(&raw const all, about.as_mut_ptr()) };
        if number > 0 {
            // SAFETY: the call has filled it in, since it returned a signal.
            #[expect(unsafe_code, reason = "what a system call has filled in")]
            let about = unsafe { about.assume_init() };
            return (number, about.si_code == libc::SI_KERNEL);
        }
    }
}
