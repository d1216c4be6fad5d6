//! Users and groups by their names, as the host knows them: `passwd` and `group` of
//! `nsswitch.conf`, so that those of a directory service are found too; but for a static program.

use std::ffi::{CStr, CString, c_char, c_int};
use std::io;
use std::mem::MaybeUninit;
use std::path::Path;
use std::ptr;

use super::files;

/// Where the numbers of users and groups come from.
pub trait Accounts {
    /// The number of the user called `name`, if there is one. An error where that cannot be said.
    fn user(&self, name: &str) -> io::Result<Option<u32>>;

    /// The number of the group called `name`, if there is one.
    fn group(&self, name: &str) -> io::Result<Option<u32>>;

    /// Which of them are nobody's.
    fn overflow(&self) -> Overflow;
}

/// The numbers that stand for every user and group without one in this user namespace
/// (`user_namespaces(7)`): they say of nobody who it is.
#[derive(Debug, Clone, Copy)]
pub struct Overflow {
    pub uid: u32,
    pub gid: u32,
}

impl Overflow {
    /// Linux's own choice, `nobody` to most (`DEFAULT_OVERFLOWUID`, linux/highuid.h).
    pub const USUAL: Self = Self {
        uid: 65534,
        gid: 65534,
    };

    /// Also not the usual one where another is set: it is a real user's on few hosts, and in few
    /// programs' eyes.
    pub fn is_user(self, uid: u32) -> bool {
        ![self.uid, Self::USUAL.uid, u32::MAX].contains(&uid)
    }

    pub fn is_group(self, gid: u32) -> bool {
        ![self.gid, Self::USUAL.gid, u32::MAX].contains(&gid)
    }
}

/// A static program looks names up in files and by DNS, whatever `nsswitch.conf` says: modules of
/// the host's own C library crash one that has another inside. To be called first of all.
#[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
#[expect(unsafe_code, reason = "__nss_configure_lookup has no wrapper")]
pub fn load_no_modules() {
    unsafe extern "C" {
        /// `nss.h` of glibc.
        fn __nss_configure_lookup(database: *const c_char, services: *const c_char) -> c_int;
    }
    for (database, services) in [
        (c"passwd", c"files"),
        (c"group", c"files"),
        (c"hosts", c"files dns"),
    ] {
        // SAFETY: both are texts that end with a NUL, of which the call keeps none; no lookup is
        // under way, since no other thread runs yet.
        unsafe {
            __nss_configure_lookup(database.as_ptr(), services.as_ptr());
        }
    }
}

/// What is linked to the host's own C library, or to another that has no modules, looks names up as
/// the host says.
#[cfg(not(all(target_env = "gnu", target_feature = "crt-static")))]
pub fn load_no_modules() {}

/// Those of this host.
#[derive(Debug, Clone, Copy)]
pub struct HostAccounts;

impl Accounts for HostAccounts {
    fn user(&self, name: &str) -> io::Result<Option<u32>> {
        find(name, libc::getpwnam_r, |user: &libc::passwd| user.pw_uid)
    }

    fn group(&self, name: &str) -> io::Result<Option<u32>> {
        find(name, libc::getgrnam_r, |group: &libc::group| group.gr_gid)
    }

    /// Where `/proc/sys` is out of sight, those of every kernel that nobody has set others on.
    fn overflow(&self) -> Overflow {
        let Overflow { uid, gid } = Overflow::USUAL;
        Overflow {
            uid: number("/proc/sys/kernel/overflowuid").unwrap_or(uid),
            gid: number("/proc/sys/kernel/overflowgid").unwrap_or(gid),
        }
    }
}

fn number(file: &str) -> Option<u32> {
    const LONGEST: usize = 32;
    let text = files::read_text_now(Path::new(file), LONGEST).ok()?;
    text.trim().parse().ok()
}

/// `getpwnam_r` or `getgrnam_r`.
type Search<T> =
    unsafe extern "C" fn(*const c_char, *mut T, *mut c_char, libc::size_t, *mut *mut T) -> c_int;

/// Enough for a user, and for a group of a few hundred members.
const ROOM: usize = 16 * 1024;

/// A group of tens of thousands.
const MOST_ROOM: usize = 4 * 1024 * 1024;

fn find<T>(name: &str, search: Search<T>, number: fn(&T) -> u32) -> io::Result<Option<u32>> {
    let name = CString::new(name)?;
    let mut room = ROOM;
    loop {
        match attempt(&name, search, number, room) {
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
            Err(error) if error.raw_os_error() == Some(libc::ERANGE) && room < MOST_ROOM => {
                room *= 4;
            }
            outcome => return outcome,
        }
    }
}

#[expect(unsafe_code, reason = "getpwnam_r and getgrnam_r have no safe wrapper")]
fn attempt<T>(
    name: &CStr,
    search: Search<T>,
    number: fn(&T) -> u32,
    room: usize,
) -> io::Result<Option<u32>> {
    let mut entry = MaybeUninit::<T>::uninit();
    let mut texts: Vec<c_char> = vec![0; room];
    let mut found: *mut T = ptr::null_mut();
    // SAFETY: `name` ends with a NUL; `entry` and `found` can be written to, as can `room` bytes
    // at `texts`; all of them outlive the call, which keeps none of them.
    let code = unsafe {
        search(
            name.as_ptr(),
            entry.as_mut_ptr(),
            texts.as_mut_ptr(),
            texts.len(),
            &raw mut found,
        )
    };
    // SAFETY: `found` is null or points at `entry`, which has been filled in then, and which is
    // still there. `number` reads a number of it, not the texts that it points to.
    if let Some(entry) = unsafe { found.as_ref() } {
        return Ok(Some(number(entry)));
    }
    match code {
        // getpwnam(3) lists what systems say of a name that is not there.
        0 | libc::ENOENT | libc::ESRCH | libc::EBADF | libc::EPERM => Ok(None),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_found_and_nobody_of_a_name_that_no_host_has() {
        let host = HostAccounts;
        assert_eq!(host.user("root").unwrap(), Some(0));
        assert_eq!(host.group("root").unwrap(), Some(0));
        for name in ["", "credd-has/no:such name", &"x".repeat(100_000)] {
            assert_eq!(host.user(name).unwrap(), None, "{name}");
            assert_eq!(host.group(name).unwrap(), None, "{name}");
        }
        assert!(host.user("a\0b").is_err());
    }

    #[test]
    fn more_room_is_made_where_an_entry_does_not_fit() {
        assert_eq!(
            attempt(c"root", libc::getpwnam_r, |user| user.pw_uid, 1)
                .unwrap_err()
                .raw_os_error(),
            Some(libc::ERANGE)
        );
    }

    #[test]
    fn the_numbers_that_stand_for_all_others_are_the_kernels() {
        let host = HostAccounts.overflow();
        for nobody in [65534, u32::MAX, host.uid] {
            assert!(!host.is_user(nobody), "{nobody}");
        }
        assert!(!host.is_group(host.gid));
        assert!(host.is_user(0) && host.is_group(0));
        assert!(number("/proc/sys/kernel/overflowuid").is_some());
        assert_eq!(number("/proc/no/such/file"), None);
    }
}
