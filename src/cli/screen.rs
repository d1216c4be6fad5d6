//! A terminal that shows the newest of what changes, drawn over again and again.

use super::Failed;
use super::output;

/// Goes to the corner; to the end of the line; to the end of the screen (ECMA-48: CUP, EL, ED).
const CORNER: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

/// Select Graphic Rendition (ECMA-48, section 8.3.117).
pub(super) const PLAIN: &str = "\x1b[0m";

/// Where frames are drawn: on a terminal each over the last, elsewhere one below the other.
#[derive(Debug)]
pub(super) struct Screen {
    is_terminal: bool,
}

impl Screen {
    pub(super) fn new() -> Self {
        Self {
            is_terminal: output::is_terminal(),
        }
    }

    pub(super) fn draw(&self, text: &str) -> Result<(), Failed> {
        if !self.is_terminal {
            return output::data(text.as_bytes());
        }
        // Asked each time: windows change.
        let (rows, columns) = output::size();
        output::data(frame(text, rows, columns).as_bytes())
    }
}

/// What shows `text` on a screen of this size. Nothing is cleared before it is drawn over, so that
/// nothing flickers, and no line breaks, which would put those below it out of place.
fn frame(text: &str, rows: usize, columns: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    // A terminal that does not know its size says 0.
    let (rows, columns) = (rows.max(2), if columns == 0 { 80 } else { columns });
    let (shown, more) = if lines.len() < rows {
        (lines.as_slice(), None)
    } else {
        let (shown, hidden) = lines.split_at(rows - 2);
        (shown, Some(format!("… {} more lines", hidden.len())))
    };
    let mut frame = CORNER.to_owned();
    for line in shown.iter().copied().chain(more.as_deref()) {
        frame += &cut(line, columns);
        frame += CLEAR_LINE;
        frame += "\r\n";
    }
    frame + CLEAR_BELOW
}

/// As much of a line as fits. What colours it takes no room.
fn cut(line: &str, columns: usize) -> String {
    let (mut cut, mut room, mut is_escape) = (String::new(), columns, false);
    for letter in line.chars() {
        if letter == '\x1b' {
            is_escape = true;
        }
        if is_escape {
            is_escape = letter != 'm';
        } else if room == 0 {
            return cut + PLAIN;
        } else {
            room -= 1;
        }
        cut.push(letter);
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_fits_its_screen() {
        let text = "one\ntwo is long\nthree\nfour\nfive\n";
        let lines = |rows| -> Vec<String> {
            let frame = frame(text, rows, 5);
            let frame = frame.strip_prefix(CORNER).unwrap();
            let frame = frame.strip_suffix(CLEAR_BELOW).unwrap();
            let lines = frame.split_terminator("\x1b[K\r\n");
            lines.map(|it| it.replace(PLAIN, "")).collect()
        };
        assert_eq!(lines(6), ["one", "two i", "three", "four", "five"]);
        assert_eq!(lines(4), ["one", "two i", "… 3 m"]);
        assert_eq!(lines(0).len(), 1);
    }

    #[test]
    fn what_colours_a_line_takes_no_room_and_ends_with_it() {
        assert_eq!(cut("\x1b[31mexpired\x1b[0m", 7), "\x1b[31mexpired\x1b[0m");
        assert_eq!(cut("\x1b[31mexpired\x1b[0m", 3), "\x1b[31mexp\x1b[0m");
    }
}
