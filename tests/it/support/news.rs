//! What a test tells whoever runs it: a skipped suite, counts, figures.

#[expect(
    clippy::print_stderr,
    reason = "figures are what some tests are run for"
)]
pub(crate) fn tell(news: &str) {
    eprintln!("{news}");
}
