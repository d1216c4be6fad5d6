//! Writes the manual pages and the completions of shells into a folder, as the command line is
//! defined: `cargo run --example manuals -- FOLDER DATE`.

#![expect(
    clippy::disallowed_methods,
    reason = "pages are ordinary files of whoever builds a package"
)]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

/// What says all keys of the config; the version and the date are filled in.
const CONFIG_PAGE: &str = include_str!("credd.toml.5");

/// What the page of the program says beside the command line's definition.
const MORE: &str = include_str!("credd.1.more");

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args_os().skip(1);
    let (Some(folder), Some(date)) = (arguments.next(), arguments.next()) else {
        return Err("usage: manuals FOLDER DATE".into());
    };
    let (folder, date) = (PathBuf::from(folder), date.to_string_lossy());
    fs::create_dir_all(&folder)?;
    let mut program = credd::cli::definition();
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut program, "credd", &folder)?;
    }
    program.build();
    pages(&program, &folder, &date)?;
    let page = CONFIG_PAGE.replace("@DATE@", &date);
    let page = page.replace("@VERSION@", env!("CARGO_PKG_VERSION"));
    fs::write(folder.join("credd.toml.5"), page)?;
    Ok(())
}

/// One page for `command`, and one for each command below it.
fn pages(command: &Command, folder: &Path, date: &str) -> Result<(), Box<dyn Error>> {
    let name = command.get_display_name().unwrap_or(command.get_name());
    let page = Man::new(command.clone())
        .title(name.to_uppercase())
        .date(date)
        .source(concat!("credd ", env!("CARGO_PKG_VERSION")))
        .manual("credd");
    let mut text = Vec::new();
    page.render(&mut text)?;
    let more = if name == "credd" { MORE } else { SEE_ALSO };
    text.extend_from_slice(more.as_bytes());
    fs::write(folder.join(format!("{name}.1")), text)?;
    let commands = command.get_subcommands();
    commands
        .filter(|command| !command.is_hide_set())
        .try_for_each(|command| pages(command, folder, date))
}

const SEE_ALSO: &str = ".SH \"SEE ALSO\"\n.BR credd (1),\n.BR credd.toml (5)\n";
