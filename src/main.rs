//! The `credd` program.

fn main() -> std::process::ExitCode {
    credd::cli::run()
}
