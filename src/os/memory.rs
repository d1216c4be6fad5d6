//! Keeping the allocator from holding on to memory after a load.

/// One arena for all threads: the few there are besides the main one live for moments, and each
/// would reserve 64 MiB of address space.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "mallopt has no safe wrapper")]
pub fn limit_arenas() {
    // SAFETY: mallopt may be called at any time from any thread; it changes allocator parameters
    // only.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Returns free memory to the kernel. Without this, 256 connections leave 2.5 MiB behind.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "malloc_trim has no safe wrapper")]
pub fn give_back() {
    // SAFETY: malloc_trim may be called at any time from any thread; it touches free chunks only.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Other C libraries give memory back of themselves.
#[cfg(not(target_env = "gnu"))]
pub fn limit_arenas() {}

/// Other C libraries give memory back of themselves.
#[cfg(not(target_env = "gnu"))]
pub fn give_back() {}
