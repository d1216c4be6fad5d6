//! The numbers that users and groups have, by their names.

use std::ffi::{CStr, CString};
use std::io;

/// Longer than any entry; one that is longer still is an error (`ERANGE`).
const ENTRY: usize = 64 * 1024;

/// The number of the group `name`, if there is one (`getgrnam_r(3)`). Blocks.
#[expect(unsafe_code, reason = "getgrnam_r has no safe wrapper")]
pub fn group_of(name: &str) -> io::Result<Option<u32>> {
    looked_up(name, |name, buffer| {
        let mut entry = std::mem::MaybeUninit::<libc::group>::uninit();
        let mut found = std::ptr::null_mut();
        // SAFETY: all pointers are valid for the call, and `buffer` is as long as is said. The
        // entry is initialised where `found` points to it.
        unsafe {
            let code = libc::getgrnam_r(
                name.as_ptr(),
                entry.as_mut_ptr(),
                buffer.as_mut_ptr(),
                buffer.len(),
                &raw mut found,
            );
            (code, (!found.is_null()).then(|| entry.assume_init().gr_gid))
        }
    })
}

/// The number of the user `name`, if there is one (`getpwnam_r(3)`). Blocks.
#[expect(unsafe_code, reason = "getpwnam_r has no safe wrapper")]
pub fn user_of(name: &str) -> io::Result<Option<u32>> {
    looked_up(name, |name, buffer| {
        let mut entry = std::mem::MaybeUninit::<libc::passwd>::uninit();
        let mut found = std::ptr::null_mut();
        // SAFETY: as for groups.
        unsafe {
            let code = libc::getpwnam_r(
                name.as_ptr(),
                entry.as_mut_ptr(),
                buffer.as_mut_ptr(),
                buffer.len(),
                &raw mut found,
            );
            (code, (!found.is_null()).then(|| entry.assume_init().pw_uid))
        }
    })
}

fn looked_up(
    name: &str,
    look_up: impl FnOnce(&CStr, &mut [libc::c_char]) -> (libc::c_int, Option<u32>),
) -> io::Result<Option<u32>> {
    let Ok(name) = CString::new(name) else {
        return Ok(None);
    };
    match look_up(&name, &mut vec![0; ENTRY]) {
        (0, found) => Ok(found),
        // What the C library gives where there is no such file, or no such name in it.
        (libc::ENOENT | libc::ESRCH, _) => Ok(None),
        (code, _) => Err(io::Error::from_raw_os_error(code)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_zero_and_nobody_is_called_by_a_name_that_cannot_be() {
        assert_eq!(user_of("root").unwrap(), Some(0));
        assert_eq!(group_of("root").unwrap(), Some(0));
        for name in ["no-such-name-here", "", "a\0b", "a:b"] {
            assert_eq!(user_of(name).unwrap(), None, "{name:?}");
            assert_eq!(group_of(name).unwrap(), None, "{name:?}");
        }
    }
}
