//! What becomes of memory that is given back: secrets in it are wiped, and after a load the kernel
//! gets it.

use std::alloc::{GlobalAlloc, Layout, System};

/// An allocator, the system's, which wipes whatever is given back to it. Libraries copy secrets too,
/// and buffers that grow leave copies behind.
#[derive(Debug)]
pub struct WipingAllocator<A = System>(pub A);

// SAFETY: it hands out what the other allocator does, and gives that back the same; `realloc` is the
// trait's own, which allocates, copies and gives back.
#[expect(unsafe_code, reason = "an allocator is unsafe by its nature")]
unsafe impl<A: GlobalAlloc> GlobalAlloc for WipingAllocator<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: the caller gives back all of what `layout` describes, which nobody has any more.
        // The empty assembly reads it, as far as the compiler knows, so that the zeros are written.
        unsafe {
            start.write_bytes(0, layout.size());
            std::arch::asm!("/* {0} */", in(reg) start, options(nostack, preserves_flags));
            self.0.dealloc(start, layout);
        }
    }
}

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

#[cfg(test)]
#[expect(unsafe_code, reason = "allocators are unsafe to call")]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Counts what comes back, all of it zeros.
    #[derive(Default)]
    struct Inspecting(Cell<usize>);

    // SAFETY: the system's allocator does all of it.
    unsafe impl GlobalAlloc for Inspecting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            // SAFETY: as the caller promises.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
            // SAFETY: as the caller promises.
            unsafe {
                let bytes = std::slice::from_raw_parts(start, layout.size());
                assert!(bytes.iter().all(|byte| *byte == 0));
                System.dealloc(start, layout);
            }
            self.0.update(|count| count + layout.size());
        }
    }

    #[test]
    fn what_is_given_back_is_wiped_also_by_buffers_that_grow_or_shrink() {
        let allocator = WipingAllocator(Inspecting::default());
        let layout = |size| Layout::from_size_align(size, 8).unwrap();
        // SAFETY: each place is written to within its layout, and given back once.
        unsafe {
            let start = allocator.alloc(layout(100));
            start.write_bytes(7, 100);
            let grown = allocator.realloc(start, layout(100), 5000);
            assert_eq!(grown.add(99).read(), 7);
            grown.write_bytes(7, 5000);
            let shrunk = allocator.realloc(grown, layout(5000), 10);
            assert_eq!(shrunk.read(), 7);
            allocator.dealloc(shrunk, layout(10));
        }
        assert_eq!(allocator.0.0.get(), 5110);
    }
}
