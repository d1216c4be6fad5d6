//! The `credd` program.

use credd::os::memory::WipingAllocator;

#[global_allocator]
static ALLOCATOR: WipingAllocator = WipingAllocator(std::alloc::System);

fn main() -> std::process::ExitCode {
    credd::cli::run()
}
